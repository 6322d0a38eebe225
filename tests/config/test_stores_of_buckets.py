"""How a bucket is written in the configuration, and what does not go with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from scp.config.load import load
from scp.config.settings import Settings
from scp.errors import ConfigurationError
from scp.objects.stores import request_seconds

BUCKET = """
[[storage]]
url = "s3://archive/zscp/"
endpoint = "https://s3.example.org:8333/"
access_key = "me"
secret_key = "hidden"
spool = "file:///var/lib/zscp/spool"
"""
AZURE = """
[[storage]]
url = "az://archive/zscp/"
account = "hospital"
secret_key = "aGlkZGVu"
spool = "file:///var/lib/zscp/spool"
"""


def read(text: str, tmp_path: Path, **environ: str) -> Settings:
    path = tmp_path / "zscp.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, environ)


def test_a_bucket_and_the_nodes_own_folder(tmp_path: Path) -> None:
    settings = read(
        BUCKET + '[[storage]]\nname = "cold"\nurl = "s3://other"\nfetch_seconds = 5.0\n', tmp_path
    )
    first, cold = settings.storage, settings.tiers[0]
    assert (first.in_bucket, first.path, first.where) == (
        True,
        Path("/var/lib/zscp/spool"),
        "s3://archive/zscp/",
    )
    place = first.bucket
    assert place is not None
    assert (place.bucket, place.prefix, place.endpoint) == ("archive", "zscp", "https://s3.example.org:8333")
    assert (place.name, place.secret_key) == ("s3://archive/zscp", "hidden")
    assert cold.bucket is not None
    assert (cold.bucket.bucket, cold.bucket.prefix, cold.bucket.access_key) == ("other", "", "")
    assert settings.folders["cold"] == Path("/var/lib/zscp/spool/.stores/cold")
    assert [request_seconds(settings, name) for name in ("", "cold")] == [30.0, 2.5]


def test_the_secret_is_shown_nowhere(tmp_path: Path) -> None:
    settings = read(BUCKET, tmp_path)
    for shown in (repr(settings), str(settings.storage.bucket), settings.model_dump_json()):
        assert "hidden" not in shown


def test_the_secret_may_come_from_a_file_or_the_environment(tmp_path: Path) -> None:
    text = BUCKET.replace('secret_key = "hidden"\n', "").replace("[[storage]]", "[storage]")
    place = read(text, tmp_path, ZSCP_STORAGE__SECRET_KEY="12345").storage.bucket
    assert place is not None
    assert place.secret_key == "12345"
    (tmp_path / "secret").write_text("from a file\n", encoding="utf-8")
    settings = read(f'{text}secret_key_file = "{tmp_path}/secret"\n', tmp_path)
    place = settings.storage.bucket
    assert place is not None
    assert place.secret_key == "from a file"
    (tmp_path / "secret").unlink()
    with pytest.raises(ConfigurationError, match=r"storage\.secret_key_file: .* cannot be read"):
        _ = settings.storage.bucket


def test_a_container_of_azure(tmp_path: Path) -> None:
    settings = read(
        AZURE + '[[storage]]\nname = "cold"\nurl = "az://archive/zscp"\naccount = "other"\n', tmp_path
    )
    place = settings.storage.bucket
    assert place is not None
    assert (place.scheme, place.bucket, place.prefix, place.account) == ("az", "archive", "zscp", "hospital")
    assert (place.name, place.secret_key, place.endpoint) == ("az://archive/zscp", "aGlkZGVu", "")
    for shown in (repr(settings), str(place), settings.model_dump_json()):
        assert "aGlkZGVu" not in shown
    assert settings.tiers[0].bucket is not None, "a container of another account is another one"


def test_folders_may_be_called_as_schemes_are(tmp_path: Path) -> None:
    for name in ("az", "s3", "gs"):
        assert not read(f'[storage]\nurl = "{name}"\n', tmp_path).storage.in_bucket


def test_an_account_key_that_is_none_is_told_without_it(tmp_path: Path) -> None:
    settings = read(AZURE.replace("aGlkZGVu", "hidden!"), tmp_path)
    with pytest.raises(ConfigurationError, match=r"storage\.secret_key: is no account key of Azure") as told:
        _ = settings.storage.bucket
    assert "hidden" not in str(told.value)
    assert told.value.__suppress_context__


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("az://archive/zscp/", "gs://archive"), "gs:// is not supported: no server of Google Cloud Storage"),
        (("az://archive/zscp/", "az://a--b"), '"az://a--b" names no bucket'),
        (("az://archive/zscp/", "az://archive/a b"), "names no bucket"),
        (("az://archive/zscp/", "abfs://archive"), 'abfs:// is not known; use "file:///absolute"'),
        (('account = "hospital"', ""), "storage.account: is needed with az://"),
        (("hospital", "hospital.example/"), "storage.account: is needed with az://"),
        (
            ("account =", 'access_key = "me"\naccount ='),
            "storage.access_key: is for s3://; az:// has account",
        ),
        (("az://archive/zscp/", "file:///srv"), "storage.account: is for a bucket"),
        (("az://archive/zscp/", "s3://archive"), "storage.account: is for az://; s3:// has access_key"),
        (("spool", 'encryption_keys = ["2026=env:KEY"]\nspool'), "Azure does so always"),
        (("spool", 'endpoint = "https://a.example/b?sig=c"\nspool'), "is not the URL of a server"),
        (
            ('spool"', 'spool"\n[[storage]]\nname = "cold"\naccount = "hospital"\nurl = "az://archive"'),
            'storage[1].url: is within the bucket of store "first"',
        ),
    ],
)
def test_what_does_not_go_with_azure_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], told: str
) -> None:
    monkeypatch.setenv("KEY", "ab" * 32)
    with pytest.raises(ConfigurationError) as fault:
        read(AZURE.replace(*change, 1), tmp_path)
    assert told in str(fault.value)
    assert "aGlkZGVu" not in str(fault.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("https://s3.example.org:8333/", "https://s3.example.org/path"), "storage.endpoint: has a path"),
        (('spool = "file:///var/lib/zscp/spool"', ""), "storage.spool: is needed with a bucket"),
        (("spool", 'encryption_keys = ["2026=env:KEY"]\nspool'), "storage.encryption_keys: are for folders"),
        (("spool", 'high_watermark = "90%"\nspool'), "storage.high_watermark: needs a disk"),
        (('secret_key = "hidden"', ""), "storage.access_key: goes with secret_key"),
        (("spool", 'secret_key_file = "/a"\nspool'), "storage.secret_key_file: stands beside secret_key"),
        (("s3://archive/zscp/", "file:///srv"), "storage.endpoint: is for a bucket"),
        (("s3://archive/zscp/", "s3://A"), 'storage[0].url: "s3://A" names no bucket'),
        (("https://", "ftp://"), "is not the URL of a server"),
        (('"hidden"', "12345"), "secret_key: must be text in quotes"),
        (("file:///var/lib", "s3://var-lib"), "s3:// is no folder"),
        (
            (
                'zscp/spool"',
                'zscp/spool"\n[[storage]]\nname = "cold"\nendpoint = "https://s3.example.org:8333"\n'
                'url = "s3://archive/zscp/cold"',
            ),
            'storage[1].url: is within the bucket of store "first"',
        ),
    ],
)
def test_what_does_not_fit_together_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], told: str
) -> None:
    monkeypatch.setenv("KEY", "ab" * 32)
    with pytest.raises(ConfigurationError) as fault:
        read(BUCKET.replace(*change, 1), tmp_path)
    assert told.replace("storage[0]", "storage") in str(fault.value)
    assert "hidden" not in str(fault.value)
    assert "12345" not in str(fault.value)
