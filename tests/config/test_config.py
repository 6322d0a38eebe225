"""The configuration: what it accepts, and what it tells an admin who slipped."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from scp import syntaxes
from scp.config.load import load, warnings
from scp.config.rules import DEFAULT_POLICY, Stage
from scp.config.settings import Settings
from scp.config.values import byte_count, duration
from scp.errors import ConfigurationError
from scp.loss import LossyRule

pytestmark = pytest.mark.quick

CONF = Path(__file__).parents[2] / "conf"
PEER = '[[peer]]\naet = "{}"\nhost = "10.0.0.1"\nport = 104\n'
RULE = '[[policy]]\nname = "rule"\n'


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def read(text: str, **environ: str) -> Settings:
        path = tmp_path / "zscp.toml"
        path.write_text(text, encoding="utf-8")
        return load(path, environ)

    return read


@pytest.fixture
def fault(written: Any) -> Any:
    def tell(text: str, **environ: str) -> str:
        with pytest.raises(ConfigurationError) as caught:
            written(text, **environ)
        return str(caught.value)

    return tell


# ---- The files that are shipped ----


def models(model: type[BaseModel] = Settings) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from models(part)


def test_without_a_file_there_are_defaults() -> None:
    assert load(None, {}) == Settings()
    assert load(None, {"HOME": "/home/pacs"}).policy == DEFAULT_POLICY


def test_the_shipped_file_holds_the_defaults() -> None:
    assert load(CONF / "zscp.toml", {}) == Settings()
    assert warnings(Settings()) == []


@pytest.mark.parametrize("model", list(models()), ids=lambda model: model.__name__)
def test_the_shipped_file_names_every_key(model: type[BaseModel]) -> None:
    text = (CONF / "zscp.toml").read_text(encoding="utf-8")
    keys = [field.alias or name for name, field in model.model_fields.items() if name != "tiers"]
    assert [key for key in keys if not re.search(rf"\b{key}\b", text)] == []


def test_the_shipped_file_loads_with_its_examples_uncommented(written: Any) -> None:
    text = (CONF / "zscp.toml").read_text(encoding="utf-8")
    settings = written(re.sub(r"^#(?=[^\s#])", "", text.replace("\n#  {", "\n {"), flags=re.MULTILINE))
    assert [peer.aet for peer in settings.peer] == ["WORKSTATION1", "HOMEREAD", "WARDTABLET"]
    names = ["mammography", "old mammograms", "JPEG", "already compressed", "everything else"]
    assert [rule.name for rule in settings.policy] == names
    assert settings.policy[0].stages[1].store == settings.tiers[0].name == "cold"


@pytest.mark.parametrize("path", sorted((CONF / "examples").glob("*.toml")), ids=lambda path: path.stem)
def test_every_example_loads(path: Path) -> None:
    assert load(path, {}) != Settings()


def test_what_the_examples_say() -> None:
    known = load(CONF / "examples" / "modality-and-workstation.toml", {})
    assert (known.node.aet, known.access.allow, len(known.peer)) == ("ARCHIVE", "known", 2)
    thin = load(CONF / "examples" / "thin-line.toml", {}).peer_named("HOMEREAD")
    assert thin is not None
    assert (thin.link_mbps, thin.prefer[0]) == (5.0, syntaxes.JPEGXL)
    staged = load(CONF / "examples" / "two-stage-policy.toml", {})
    assert staged.policy[1].stages[1].after == 30 * 86_400
    assert warnings(staged) == []


# ---- Values ----


@pytest.mark.parametrize(
    ("written_as", "expected"),
    [
        (0, 0),
        (1000, 1000),
        ("2GB", 2 * 10**9),
        ("500 mb", 5 * 10**8),
        ("1GiB", 2**30),
        ("1.5kB", 1500),
        ("7", 7),
    ],
)
def test_amounts_of_bytes(written_as: object, expected: int) -> None:
    assert byte_count(written_as) == expected


@pytest.mark.parametrize("written_as", ["", "GB", "-1", "1 lump", "1e9", True, -5, []])
def test_what_is_no_amount_of_bytes(written_as: object) -> None:
    with pytest.raises(ValueError, match="not an amount of bytes"):
        byte_count(written_as)


@pytest.mark.parametrize(
    ("written_as", "expected"),
    [("0s", 0), ("15m", 900), ("12h", 43_200), ("30d", 2_592_000), ("6w", 3_628_800), (None, None)],
)
def test_durations(written_as: object, expected: int | None) -> None:
    assert duration(written_as) == expected


@pytest.mark.parametrize("written_as", [30, "30", "d", "-1d", "1 month", "1.5d", True])
def test_what_is_no_duration(written_as: object) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        duration(written_as)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///var/lib/zscp", "/var/lib/zscp"),
        ("file://data/objects", "data/objects"),
        ("data/objects", "data/objects"),
        ("/srv/objects", "/srv/objects"),
    ],
)
def test_the_folder_of_the_objects(written: Any, url: str, path: str) -> None:
    assert written(f'[storage]\nurl = "{url}"').storage.path == Path(path)


@pytest.mark.parametrize(
    ("url", "path"),
    [("sqlite:///data/index.db", "data/index.db"), ("sqlite:////srv/index.db", "/srv/index.db")],
)
def test_the_file_of_the_index(written: Any, url: str, path: str) -> None:
    assert written(f'[index]\nurl = "{url}"').index.path == Path(path)


PASSWORD = "not to be shown"


@pytest.mark.parametrize(
    "text",
    [
        f'url = "postgresql+psycopg://u:{PASSWORD}@h/d"',
        f'password = "{PASSWORD}',
        f'password = ["{PASSWORD}"]',
        f'password = "{PASSWORD}"\nconnections = 0',
    ],
)
def test_no_fault_shows_the_password(fault: Any, text: str) -> None:
    assert PASSWORD not in fault(f"[index]\n{text}")


def test_the_password_of_the_index_is_never_shown(written: Any) -> None:
    """Not as a number either, from the environment."""
    for settings in (
        written(f'[index]\npassword = "{PASSWORD}"'),
        written("", ZSCP_INDEX__PASSWORD="12345678"),
    ):
        told = f"{settings!r} {settings.model_dump_json()} {settings.model_dump(mode='json')}"
        assert PASSWORD not in told
        assert "12345678" not in told
        assert settings.index.password.get_secret_value() in {PASSWORD, "12345678"}
    server = written('[index]\nurl = "postgresql+psycopg://zscp@db/zscp"')
    assert server.index.path is None
    assert server.index.shown == "postgresql+psycopg://zscp@db/zscp"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[storage]\nurl = "s3://bucket/x"', "storage.spool: is needed with a bucket"),
        ('[storage]\nurl = "ftp://x"', "storage.url: ftp:// is not known"),
        ('[storage]\nurl = "file://"', "names no folder"),
        ('[storage]\nurl = ""', "names no folder"),
        (
            '[index]\nurl = "postgresql+psycopg://u:secret@h/d"',
            "index.url: has a password in it; write that as index.password",
        ),
        ('[index]\nurl = "postgresql+psycopg://h/d?password=x"', "index.url: has a password in it"),
        ('[index]\nurl = "postgresql+psycopg://h"', 'use "postgresql+psycopg://user@host/database"'),
        ('[index]\nurl = "postgres://h/d"', 'use "postgresql+psycopg://user@host/database"'),
        ("[index]\npassword = 5", "index.password: must be"),
        ("[index]\nconnections = 0", "index.connections: must be greater than or equal to 1"),
        ('[index]\nurl = "sqlite://"', "index.url: "),
        ('[index]\nurl = "index.db"', 'use "sqlite:///relative.db"'),
        ("[node]\nport = 65536", "node.port: must be less than or equal to 65535, not 65536"),
        ("[node]\nport = true", "node.port: must be a whole number, not true"),
        ('[node]\nport = "104"', 'node.port: must be a whole number, not "104"'),
        ("[node]\nworkers = 0", 'node.workers: "0" is not a number of processes'),
        ("[node]\nworkers = true", "node.workers: "),
        ('[access]\nallow = "some"', 'access.allow: must be "any" or "known", not "some"'),
        ('[access]\ncheck_called_aet = "no"', "access.check_called_aet: must be true or false"),
        ("[query]\nmax_matches = -1", "query.max_matches: must be greater than or equal to 0"),
        ("[limits]\nidle_seconds = 0", "limits.idle_seconds: must be greater than 0"),
        ("[limits]\nidle_seconds = inf", "limits.idle_seconds: must be a finite number"),
        ("[limits]\npdu_bytes = 0", "limits.pdu_bytes: must be greater than or equal to 4096"),
        ("[limits]\nassociations = 0", "limits.associations: "),
        ("[limits]\nelements = 0", "limits.elements: must be greater than or equal to 1"),
        ('[limits]\ncodec_bytes = "255MB"', "limits.codec_bytes: must be greater than or equal to 256000000"),
        ("[limits]\nframe_bytes = 0", "limits.frame_bytes: must be greater than or equal to 1"),
        ("node = 5", "node: must be a table, not 5"),
        ('[peer]\naet = "A"', "peer: is one table, not a list of tables"),
        ("peer = 5", "peer: must be a list, not 5"),
        ("policy = []", "policy: has no rule"),
    ],
)
def test_refused_values(fault: Any, text: str, expected: str) -> None:
    assert expected in fault(text)


@pytest.mark.parametrize("title", ["", "   ", "A" * 17, "A\\\\B", "A\\u0007", "Käse"])
def test_what_is_no_ae_title(fault: Any, title: str) -> None:
    assert "node.aet: " in fault(f'[node]\naet = "{title}"')
    assert "peer[0].aet: " in fault(PEER.format(title))


def test_padding_of_an_ae_title_does_not_count(written: Any, fault: Any) -> None:
    settings = written(PEER.format(" CT 1  "))
    assert settings.peer[0].aet == "CT 1"
    assert settings.peer_named("CT 1 ") is settings.peer[0]
    assert settings.peer_named("ct 1") is None
    assert 'peer: AE title "A" stands in [0] and [1]' in fault(PEER.format("A") + PEER.format("A "))


def test_preferred_transfer_syntaxes_are_kept_as_uids(written: Any, fault: Any) -> None:
    peer = PEER.format("A")
    settings = written(peer + f'prefer = ["HTJ2KLossless", "{syntaxes.JPEGLS}"]')
    assert settings.peer[0].prefer == (syntaxes.HTJ2K, syntaxes.JPEGLS)
    assert 'did you mean "HTJ2KLossless"' in fault(peer + 'prefer = "HTJ2KLosless"')
    assert "peer[0].prefer: 5 is not text" in fault(peer + "prefer = 5")


def test_a_lossy_rule(written: Any) -> None:
    peer = PEER.format("A")
    assert not written(peer).peer[0].lossy
    by_quality = written(peer + "lossy = true\nquality = 90").peer[0]
    assert (by_quality.lossy, by_quality.quality, by_quality.max_error) == (True, 90, None)
    near = 'lossy = true\nmax_error = 3\nprefer = ["JPEGLSNearLossless"]'
    assert written(peer + near).peer[0].max_error == 3
    both = 'lossy = true\nquality = 80.5\nprefer = ["JPEGLSNearLossless", "JPEGBaseline8Bit"]'
    assert written(peer + both).peer[0].quality == 80.5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lossy = true", "peer[0].max_error: lossy = true needs this (in sample values), or a quality"),
        ("quality = 90", "peer[0].quality: is part of a lossy rule; write lossy = true beside it"),
        ("max_error = 2", "peer[0].max_error: is part of a lossy rule; write lossy = true beside it"),
        ("lossy = false\nquality = 90", "peer[0].quality: is part of a lossy rule"),
        ("lossy = true\nquality = 0", "peer[0].quality: must be greater than or equal to 1"),
        ("lossy = true\nquality = 101", "peer[0].quality: must be less than or equal to 100"),
        ("lossy = true\nmax_error = 0", "peer[0].max_error: must be greater than or equal to 1"),
        ("lossy = true\nmax_error = 1.5", "peer[0].max_error: must be"),
        ('lossy = "yes"\nquality = 90', "peer[0].lossy: must be"),
        (
            'lossy = true\nquality = 90\nprefer = ["JPEGLSNearLossless", "HTJ2KLossless"]',
            "peer[0].max_error: JPEGLSNearLossless, the one lossy syntax in prefer, needs this",
        ),
    ],
)
def test_lossy_rules_that_are_none(fault: Any, text: str, expected: str) -> None:
    told = fault(PEER.format("A") + text)
    assert expected in told
    assert len(told.splitlines()) == 2


# ---- Policy ----


def test_a_rule(written: Any) -> None:
    settings = written(
        RULE + 'match = { Modality = ["CT", "M?"], BitsStored = "<= 8", Rows = 512, size = ">= 10MB" }\n'
        'stages = [{ form = "received" }, { after = "0s", form = ["jpegxl", "htj2k"], keep = "smallest" }]'
    )
    (rule,) = settings.policy
    assert rule.match == {
        "Modality": ("CT", "M?"),
        "BitsStored": ("<=8",),
        "Rows": ("512",),
        "size": (">=10000000",),
    }
    assert (rule.on_receive, *rule.later) == rule.stages
    assert (rule.stages[0].forms, rule.stages[0].wrap) == (("received",), None)
    assert (rule.stages[1].forms, rule.stages[1].after) == (("jpegxl", "htj2k"), 0)


def test_the_default_policy_knows_every_compressed_transfer_syntax() -> None:
    globs = DEFAULT_POLICY[1].match["transfer_syntax"]
    caught = {row.uid for row in syntaxes.TABLE if any(fnmatchcase(row.keyword, glob) for glob in globs)}
    assert caught == {
        row.uid for row in syntaxes.TABLE if row.encapsulated or row.deflated or "JPIP" in row.keyword
    }


@pytest.mark.parametrize("form", syntaxes.FORMS)
def test_every_form_can_be_named(form: str) -> None:
    assert Stage(forms=(form,)).forms == Stage.model_validate({"form": form}).forms == (form,)


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ('Modalty = "CT"', '"Modalty" cannot be matched; did you mean "Modality"'),
        ('calling_ae = "X"', 'did you mean "calling_aet"'),
        ('Quux = "X"', "use a keyword of PS3.6 or calling_aet, called_aet, transfer_syntax, size"),
        ('TransferSyntaxUID = "X"', 'is not part of a dataset; did you mean "transfer_syntax"'),
        ('PixelData = "X"', "is a sequence or a bulk value"),
        ('OtherPatientIDsSequence = "X"', "is a sequence or a bulk value"),
        ('transfer_syntax = "JPEG200"', 'transfer_syntax: "JPEG200" matches none; did you mean "JPEG2000'),
        ('BitsStored = "<=eight"', 'BitsStored: "eight" is not a number to compare with'),
        ('size = "10MB"', 'size: "10MB" is not a comparison'),
        ('size = ">=10 lumps"', "not an amount of bytes"),
        ("Modality = []", "Modality names no value"),
        ("Modality = true", "Modality: True is not text"),
        ("Modality = [1]", "Modality: [1] is not text"),
    ],
)
def test_refused_matches(fault: Any, match: str, expected: str) -> None:
    told = fault(RULE + f'match = {{ {match} }}\nstages = [{{ form = "htj2k" }}]')
    assert "policy[0].match: " in told
    assert expected in told


def test_a_private_transfer_syntax_can_be_matched(written: Any) -> None:
    settings = written(
        RULE + 'match = { transfer_syntax = "1.2.840.113619.*" }\nstages = [{ form = "zstd" }]'
    )
    assert settings.policy[0].match["transfer_syntax"] == ("1.2.840.113619.*",)


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ("[]", "policy[0].stages: has no stage"),
        ("[{}]", "policy[0].stages[0]: has neither a form nor a store"),
        ('[{ form = "htj3k" }]', 'policy[0].stages[0].form: "htj3k" is not a form; did you mean "htj2k"?'),
        ("[{ form = [] }]", "policy[0].stages[0].form: names no form; known: received, native"),
        ("[{ form = 1 }]", "policy[0].stages[0].form: 1 is not text"),
        ('[{ forms = "htj2k" }]', 'policy[0].stages[0].forms: unknown key; did you mean "form"'),
        ('[{ form = "zstd", level = 23 }]', "policy[0].stages[0].level: must be less than or equal to 22"),
        (
            '[{ form = "jpegxl", effort = 0 }]',
            "policy[0].stages[0].effort: must be greater than or equal to 1",
        ),
        ('[{ form = "zstd", wrap = "gzip" }]', 'must be "auto", "zstd" or "none", not "gzip"'),
        ('[{ form = "jpegls", quality = 90 }]', "stages[0]: quality is part of a lossy stage"),
        ('[{ form = "jpegls", max_error = 2 }]', "stages[0]: max_error is part of a lossy stage"),
        ('[{ form = "jpegls", uid = "same" }]', "stages[0]: uid is part of a lossy stage"),
        ('[{ form = "htj2k", after = "30d" }]', "policy[0].stages: [0] must apply on receive"),
        ('[{ form = "htj2k", after_access = "0s" }]', "policy[0].stages: [0] must apply on receive"),
        ('[{ form = "htj2k" }, { form = "jpegxl" }]', "policy[0].stages: [1] has no time"),
        (
            '[{ form = "htj2k" }, { after = "9d", form = "zstd" }, { after = "1w", form = "zstd" }]',
            "ascending order of `after`",
        ),
    ],
)
def test_refused_stages(fault: Any, stages: str, expected: str) -> None:
    assert expected in fault(RULE + f"stages = {stages}")


LOSSY_MATCH = 'match = { Modality = "MG" }\n'


def _lossy(stage: str, match: str = LOSSY_MATCH) -> str:
    first = '{ form = "received" }, { form = "htj2k", after = "0s" }'
    return RULE + f"{match}stages = [{first}, {{ {stage} }}]"


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ('form = "jpeg2000", lossy = true, after = "1y"', "stages[2]: lossy = true needs max_error"),
        ('lossy = true, max_error = 2, store = "cold", after = "1y"', "lossy = true needs a form"),
        (
            'form = "rle", lossy = true, max_error = 2, after = "1y"',
            '"rle" has no lossy kind; those that have',
        ),
        ('form = "jpegls", lossy = true, quality = 9, after = "1y"', "jpegls has no quality"),
        ('form = "jpeg2000", lossy = true, quality = 9, ratio = 3, after = "1y"', "a quality and a ratio"),
        ('form = "jpeg2000", lossy = true, ratio = 1, after = "1y"', "ratio: must be greater than 1"),
        ('form = "jpeg2000", lossy = true, max_error = 0, after = "1y"', "max_error: must be greater than"),
        (
            'form = "jpeg2000", lossy = true, max_error = 2, after = "0s"',
            "[2] is lossy: objects are first kept",
        ),
        ('form = "jpeg2000", lossy = true, quality = 9, uid = "same", after = "1y"', "C.7.6.1.1.2"),
        (
            'form = "jpegls", lossy = true, max_error = 2, uncommitted_before = 2999-01-01, after = "1y"',
            "uncommitted_before is in the future",
        ),
        (
            'form = "jpeg2000", lossy = true, max_error = 2, uid = "old", after = "1y"',
            'must be "new" or "same"',
        ),
    ],
)
def test_refused_lossy_stages(fault: Any, stage: str, expected: str) -> None:
    told = fault(_lossy(stage))
    assert "policy[0]" in told
    assert expected in told


@pytest.mark.parametrize(
    "match",
    [
        "",
        "match = {}\n",
        *(f"match = {{ Modality = {value} }}\n" for value in ('"*"', '"?*"', '["MG", "*"]')),
    ],
)
def test_a_lossy_stage_names_what_it_applies_to(fault: Any, match: str) -> None:
    stage = 'form = "jpeg2000", lossy = true, max_error = 2, after = "1y"'
    assert "policy[0]: has a lossy stage, and no `match`" in fault(_lossy(stage, match))


def test_nothing_is_brought_back_with_loss(fault: Any) -> None:
    written = _lossy('form = "zstd", after = "1y"')
    back = '\non_access = { form = "jpeg2000", lossy = true, max_error = 2 }'
    assert "brings an object back, so that nothing may be lost" in fault(written + back)


def test_a_lossy_stage(written: Any) -> None:
    """Later stages of other stores keep what it makes."""
    text = _lossy('form = "jpegls", lossy = true, max_error = 2, uid = "same", after = "1y"')
    rule = written(text).policy[0]
    assert rule.stages[2].loss == LossyRule(max_error=2)
    assert [stage.lossy for stage in rule.stages] == [False, False, True]
    assert rule.settled.forms == ("htj2k",)


def test_two_rules_of_one_name_could_not_be_told_apart(fault: Any) -> None:
    rule = RULE + 'stages = [{ form = "zstd" }]\n'
    assert 'policy: rule "rule" stands in [0] and [1]' in fault(rule + rule)


# ---- Where it comes from ----


def test_the_environment_overrides_the_file(written: Any) -> None:
    settings = written(
        "[node]\nport = 104",
        ZSCP_NODE__PORT="11113",
        ZSCP_NODE__AET="42",
        ZSCP_STORAGE__URL="file:///srv/objects",
        ZSCP_STORAGE__RESERVE="2GB",
        ZSCP_ACCESS__CHECK_CALLED_AET="false",
        ZSCP_LOG__LEVEL='"debug"',
        ZSCP_LIMITS__IDLE_SECONDS="60",
    )
    assert (settings.node.port, settings.node.aet) == (11113, "42")
    assert (settings.storage.url, settings.storage.reserve) == ("file:///srv/objects", 2 * 10**9)
    assert settings.access.check_called_aet is False
    assert (settings.log.level, settings.limits.idle_seconds) == ("debug", 60.0)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("ZSCP_NODE__PRT", "1", 'ZSCP_NODE__PRT: unknown variable; did you mean "ZSCP_NODE__PORT"'),
        ("ZSCP_NODE_PORT", "1", 'ZSCP_NODE_PORT: unknown variable; did you mean "ZSCP_NODE__PORT"'),
        (
            "ZSCP_PEER__AET",
            "A",
            "ZSCP_PEER__AET: a list of tables cannot come from the environment; write [[peer]]",
        ),
        ("ZSCP_POLICY", "[]", "write [[policy]] in the file"),
        ("ZSCP_NODE__PORT", "eleven", 'ZSCP_NODE__PORT (node.port): must be a whole number, not "eleven"'),
        ("ZSCP_NODE__PORT", "1\nx = 2", "ZSCP_NODE__PORT (node.port): must be a whole number"),
    ],
)
def test_a_faulty_environment(fault: Any, name: str, value: str, expected: str) -> None:
    assert expected in fault("", **{name: value})


def test_without_a_file_the_environment_is_named() -> None:
    with pytest.raises(ConfigurationError, match="The environment cannot be used:\n  ZSCP_NODE__PORT"):
        load(None, {"ZSCP_NODE__PORT": "x"})


def test_what_kubernetes_says_of_a_service_called_zscp_is_passed_over() -> None:
    linked = {
        "ZSCP_PORT": "tcp://10.0.0.1:11112",
        "ZSCP_SERVICE_HOST": "10.0.0.1",
        "ZSCP_SERVICE_PORT_DICOM": "11112",
        "ZSCP_PORT_11112_TCP_ADDR": "10.0.0.1",
        "ZSCP_WEB_SERVICE_HOST": "10.0.0.1",
    }
    assert load(None, linked) == Settings()


def test_every_fault_is_told_at_once_with_file_and_key(fault: Any, tmp_path: Path) -> None:
    told = fault("nodes = 1\n[node]\nprt = 1\nport = -1\n[log]\nlevel = 'loud'", ZSCP_X__Y="1")
    first, *others = told.splitlines()
    assert first == f"{tmp_path / 'zscp.toml'} cannot be used:"
    places = [line.strip().split(": ") for line in others]
    assert {": ".join(place[:2]) for place in places if place[0].startswith("line")} == {
        "line 1: nodes",
        "line 3: node.prt",
        "line 4: node.port",
        "line 6: log.level",
    }
    assert [place[0] for place in places if not place[0].startswith("line")] == ["ZSCP_X__Y"]
    assert 'node.prt: unknown key; did you mean "port"?' in told
    assert "known: level, format, patients" in fault("[log]\nquux = 1")


def test_a_slip_in_toml_is_shown_with_its_line(fault: Any) -> None:
    told = fault("[node]\naet = ZSCP\nport = 1")
    assert "is not valid TOML: " in told
    assert "line 2" in told
    assert told.endswith("\n  aet = ZSCP")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.toml cannot be read: No such file"):
        load(tmp_path / "absent.toml", {})
    (tmp_path / "latin.toml").write_bytes(b'[node]\naet = "K\xe4se"')
    with pytest.raises(ConfigurationError, match="not UTF-8 at byte 15"):
        load(tmp_path / "latin.toml", {})


def test_a_file_of_a_windows_editor_can_be_read(tmp_path: Path) -> None:
    """Notepad puts U+FEFF before the text, and ends lines with CR LF."""
    (tmp_path / "notepad.toml").write_bytes(b"\xef\xbb\xbf[node]\r\naet = 'ONE'\r\n")
    assert load(tmp_path / "notepad.toml", {}).node.aet == "ONE"


_NINES = "9" * 5000


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"[node]\nport = {_NINES}", "zscp.toml is not valid TOML: a number has over"),
        (f"a = {'[' * 5000}", "zscp.toml is not valid TOML: lists or tables nest too deep"),
        (f"a = {'{a=' * 2000}", "zscp.toml is not valid TOML: lists or tables nest too deep"),
        (f'[storage]\nreserve = "{_NINES}.5GB"', "storage.reserve: 9+… has too many digits"),
        (f'[storage]\ntrash = "{_NINES}y"', "storage.trash: .* the longest is"),
        ('[storage]\ntrash = "1001y"', "storage.trash: .* the longest is"),
        (f"[limits]\nassociations = 0x{'f' * 5000}", "limits.associations: .* not a number of so many"),
        ("[limits]\nidle_seconds = 1e300", "limits.idle_seconds: "),
    ],
    ids=range(8),
)
def test_values_beyond_what_python_reads_are_faults_like_others(fault: Any, text: str, told: str) -> None:
    """Found by fuzzing: each was a traceback, or ended the node once it was used."""
    assert re.search(told, fault(text))


def test_a_variable_of_any_bytes_is_a_fault_like_others(fault: Any) -> None:
    """Found by fuzzing: Python has lone surrogates in place of bytes that are not UTF-8."""
    assert "ZSCP_STORAGE__BACKLOG: its value is not UTF-8" in fault("", ZSCP_STORAGE__BACKLOG="1\udcff")
    assert "ZSCP_ST\\udcffORAGE__URL: unknown variable" in fault("", **{"ZSCP_ST\udcffORAGE__URL": "a"})
    assert "ZSCP_NODE__PORT (node.port)" in fault("", ZSCP_NODE__PORT=_NINES)
    assert "ZSCP_NODE__PORT (node.port)" in fault("", ZSCP_NODE__PORT="[" * 5000)


# ---- What it becomes ----


def test_settings_cannot_be_changed_and_can_be_handed_to_another_process() -> None:
    settings = Settings()
    with pytest.raises(ValidationError):
        settings.node.port = 1  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_warnings_name_what_has_no_effect(written: Any) -> None:
    settings = written(
        "[node]\nworkers = 4\n" + RULE + "stages = [\n"
        ' { form = "htj2k", dictionary = true },\n'
        ' { after = "0s", form = "rle" },\n]\non_access = { form = "zstd" }\n'
        '[[policy]]\nname = "next"\nstages = [{ form = "zstd" }]'
    )
    assert [line.partition(":")[0] for line in warnings(settings)] == [
        "policy[0].on_access",
        "policy[0]",
    ]


def test_what_a_retrieve_brings_back(written: Any, fault: Any) -> None:
    stages = 'stages = [{ form = "rle" }, { after_access = "30d", store = "cold" }]'
    rule = STORES + RULE + stages + "\non_access = "
    settings = written(rule + '{ form = "htj2k", store = "fast", keep_for = "1d" }')
    promotion = settings.policy[0].on_access
    assert promotion is not None
    assert (promotion.forms, promotion.store, promotion.keep_for) == (("htj2k",), None, 86_400)
    assert warnings(settings) == []
    plain = written(rule + "{}").policy[0].on_access
    assert plain is not None
    assert (plain.forms, plain.store, plain.keep_for) == ((), None, 7 * 86_400)
    for table, expected in (
        ('{ after = "1d" }', "policy[0].on_access: applies at once; leave out `after`"),
        ('{ store = "x" }', 'policy[0].on_access.store: "x" is no [[storage]]'),
        ("{ keep_for = 1 }", 'policy[0].on_access.keep_for: "1" is not a duration'),
        ('{ form = "x" }', 'policy[0].on_access.form: "x" is not a form'),
    ):
        assert expected in fault(rule + table)


STORES = '[[storage]]\nname = "fast"\nurl = "/srv/fast"\n[[storage]]\nname = "cold"\nurl = "/srv/cold"\n'


def test_several_stores(written: Any) -> None:
    """The first is where objects come in; a stage stays where the one before it moved to."""
    stages = '{ form = "htj2k" }, { after = "1d", store = "cold" }, { after = "2d", form = "jpegxl" }'
    settings = written(STORES + RULE + f'stages = [{stages}, {{ after = "3d", store = "fast" }}]')
    assert (settings.storage.name, settings.storage.path) == ("fast", Path("/srv/fast"))
    assert [(tier.name, settings.folders[tier.name], tier.availability) for tier in settings.tiers] == [
        ("cold", Path("/srv/cold"), "online")
    ]
    placed = [(stage.forms, stage.store) for stage in settings.policy[0].stages]
    assert placed == [
        (("htj2k",), None),
        (("htj2k",), "cold"),
        (("jpegxl",), "cold"),
        (("jpegxl",), None),
    ]
    assert [stage.after for stage in settings.policy[0].stages] == [None, 86_400, 172_800, 259_200]
    assert warnings(settings) == []
    alone = written('[[storage]]\nurl = "/srv/a"', ZSCP_STORAGE__RESERVE="2GB")
    assert (alone.storage.path, alone.storage.reserve, alone.tiers) == (Path("/srv/a"), 2 * 10**9, ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[[storage]]\n[[storage]]\nname = "cold"', "storage[1].url: is required"),
        ('[[storage]]\n[[storage]]\nurl = "/x"', "storage[1].name: is required"),
        (STORES.replace("cold", "fast"), 'storage[1].name: the first store is called "fast"'),
        (STORES.replace("/srv/cold", "/srv/fast"), "storage[1].url: is the folder of the first store"),
        (STORES.replace('"cold"', '"Cold!"'), 'storage[1].name: "Cold!" is not a name for a store'),
        (
            STORES + 'availability = "tape"',
            'storage[1].availability: must be "online", "nearline" or "offline"',
        ),
        (STORES + "fetch_seconds = 0", "storage[1].fetch_seconds: must be greater than 0"),
        (STORES + "backlog = 1", "storage[1].backlog: unknown key"),
        (
            STORES + RULE + 'stages = [{ form = "rle" }, { after = "1d", store = "col" }]',
            'policy[0].stages[1].store: "col" is no [[storage]]; did you mean "cold"?',
        ),
        (
            STORES + RULE + 'stages = [{ form = "rle", store = "cold" }]',
            "policy[0].stages: [0].store: objects come in to the first store",
        ),
        (
            STORES + RULE + 'stages = [{ form = "rle" }, { form = "zstd", after = "0s", store = "cold" }]',
            "policy[0].stages: [1].store: objects come in to the first store",
        ),
        (
            RULE + 'stages = [{ form = "rle" }, { after = "1d" }]',
            "policy[0].stages[1]: has neither a form nor a store",
        ),
    ],
)
def test_faulty_stores(fault: Any, text: str, expected: str) -> None:
    assert expected in fault(text)


def test_choosing_among_one_form_has_no_effect(written: Any) -> None:
    several = (
        RULE
        + 'stages = [{ form = ["htj2k", "jpegls"], keep = "smallest", budget_ms = 500, shortcut = false }]'
    )
    assert warnings(written(several)) == []
    assert written(several).policy[0].stages[0].budget_ms == 500
    for stage in (
        '{ form = "htj2k", keep = "smallest", budget_ms = 1.5, shortcut = false }',
        '{ form = ["htj2k", "jpegls"], budget_ms = 1.5, shortcut = false }',
    ):
        lines = warnings(written(RULE + f"stages = [{stage}]"))
        keys = ["budget_ms", "shortcut"] if "jpegls" in stage else ["keep", "budget_ms", "shortcut"]
        assert lines == [
            f'policy[0].stages[0].{key}: has an effect only with several forms and keep = "smallest"'
            for key in keys
        ]


def test_what_has_no_effect_on_lossy_copies_is_told(written: Any) -> None:
    rule = RULE + 'match = { Modality = "MG" }\n'
    of_one = 'form = "jpegls", keep = "smallest"'
    of_two = 'form = ["jpegls", "jpegxl"], keep = "smallest", shortcut = false'
    for form, first in ((of_one, ["keep", "budget_ms"]), (of_two, ["budget_ms", "shortcut"])):
        stage = f'{{ after = "1y", lossy = true, max_error = 1, {form}, budget_ms = 9, effort = 7 }}'
        lines = warnings(written(rule + f'stages = [{{ form = "received" }}, {stage}]'))
        keys = [line.split(": ")[0].removeprefix("policy[0].stages[1].") for line in lines]
        assert keys == [*first, "effort"]


@pytest.mark.parametrize("value", ["0", "-1", '"500"', "true", "inf", "nan"])
def test_a_faulty_budget(fault: Any, value: str) -> None:
    told = fault(RULE + f'stages = [{{ form = ["rle", "zstd"], keep = "smallest", budget_ms = {value} }}]')
    assert "policy[0].stages[0].budget_ms: must be " in told
