"""Who else may read: the modes of all that is made, whatever the umask, and what a configuration lets in."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from objects import bundled_file

from scp.cli.main import main
from scp.config.exposure import exposures
from scp.config.settings import Settings


def made(root: Path, umask: int, monkeypatch: pytest.MonkeyPatch) -> tuple[set[int], set[int]]:
    """The modes of files and folders after a command that stores."""
    config = root / "zscp.toml"
    tables = {"storage": f"file://{root}/data/objects", "index": f"sqlite:///{root}/data/index.db"}
    text = "".join(f'[{name}]\nurl = "{url}"\n' for name, url in tables.items())
    config.write_text(f"{text}[lifecycle]\nworkers = 0\n", encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["zscp", "import", str(bundled_file("CT_small.dcm")), "-c", str(config)])
    before = os.umask(umask)
    try:
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
    finally:
        os.umask(before)
    found = [*(root / "data").rglob("*"), root / "data"]
    modes = {True: set[int](), False: set[int]()}
    for path in found:
        modes[path.is_dir()].add(stat.S_IMODE(path.stat().st_mode))
    return modes[False], modes[True]


def test_a_wide_umask_is_narrowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, folders = made(tmp_path, 0, monkeypatch)
    assert files <= {0o640, 0o600}
    assert 0o640 in files
    assert folders <= {0o750, 0o700}


def test_a_narrow_umask_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, folders = made(tmp_path, 0o077, monkeypatch)
    assert (files, folders) == ({0o600}, {0o700})


@pytest.mark.quick
@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o400, False), (0o640, True), (0o644, True)])
def test_a_key_that_others_may_read(tmp_path: Path, mode: int, warned: bool) -> None:
    key = tmp_path / "node.key"
    key.touch()
    key.chmod(mode)
    settings = Settings.model_validate({"node": {"host": "127.0.0.1"}})
    found = exposures(settings.model_copy(update={"tls": settings.tls.model_copy(update={"key": str(key)})}))
    assert [line for line in found if "chmod 600" in line and str(key) in line] == found
    assert bool(found) == warned


@pytest.mark.quick
@pytest.mark.parametrize(
    ("host", "access", "warned"),
    [
        ("0.0.0.0", {}, True),
        ("::", {}, True),
        ("192.0.2.7", {}, True),
        ("127.0.0.2", {}, False),
        ("::1", {}, False),
        ("localhost", {}, False),
        ("0.0.0.0", {"allow": "known"}, False),
        ("0.0.0.0", {"may": ["echo"]}, False),
        ("0.0.0.0", {"may": ["echo", "find"]}, True),
        ("0.0.0.0", {"users": "required"}, False),
    ],
)
def test_an_open_node(host: str, access: dict[str, object], warned: bool) -> None:
    settings = Settings.model_validate({"node": {"host": host}, "access": access})
    assert bool(exposures(settings)) == warned
