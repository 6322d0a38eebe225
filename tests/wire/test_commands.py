"""The command line as it is typed, in a process of its own, for people and with --json."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked
import pytest
from objects import bundled_file
from pydicom.dataset import Dataset
from typer.testing import CliRunner

from scp.cli.main import app
from scp.index.sql import SqlIndex
from scp.syntaxes import BY_KEYWORD, BY_UID

from .configured import environment, stored_files
from .conftest import NodeProcess, RunningNode, command, zscp
from .peers import (
    CT_IMAGE,
    EXPLICIT,
    IMPLICIT,
    JPEGLS,
    MR_IMAGE,
    PATIENT_FIND,
    PATIENT_GET,
    SECONDS,
    STUDY_FIND,
    STUDY_MOVE,
    VERIFICATION,
    Scu,
    Sent,
    as_file,
    files_in,
    free_port,
    identifier,
    image,
    of_file,
    pixels,
    until,
)

pytestmark = pytest.mark.slow

_LEVELS = ("PATIENT", "STUDY", "SERIES", "IMAGE")


def _objects() -> list[Sent]:
    mr = [image(instance=f"1.2.3.1.{n}", seed=n, InstanceNumber=n, syntax=IMPLICIT) for n in (1, 2, 3)]
    ct = image(instance="1.2.4.1.1", study="1.2.4", sop_class=CT_IMAGE, PatientID="WIRE2", Modality="CT")
    return [*mr, ct, of_file(bundled_file("chrGreek.dcm")), of_file(bundled_file("JPEG2000.dcm"))]


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> NodeProcess:
    """A node's data, imported, for tests that only look, and no process that serves it."""
    node = NodeProcess(tmp_path_factory.mktemp("held"))
    folder = tmp_path_factory.mktemp("in")
    for number, sent in enumerate(_objects()):
        as_file(sent, folder / f"{number}.dcm")
    node.run("import", folder)
    return node


@pytest.fixture
def filled(held: NodeProcess, process: Callable[..., NodeProcess]) -> NodeProcess:
    """The same data, to do with as the test likes."""
    node = process(query={"hierarchy": "lenient"})
    shutil.copytree(held.root, node.root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("zscp.toml"))
    return node


def _json(node: NodeProcess, *arguments: object, status: int = 0) -> Any:
    """What a command says with --json; inside this process, as starting one takes a second."""
    done = CliRunner().invoke(app, [*map(str, arguments), "--json", "-c", str(node.config)])
    assert done.exit_code == status, (arguments, done.output, done.exception)
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        ["check"],
        ["ls"],
        ["stats"],
        ["explain", "1.2.3.1.1"],
        ["verify", "--deep"],
        ["dictionary", "list"],
        ["dictionary", "train"],
        ["export", "out"],
        ["import", "out"],
        ["reindex"],
    ],
    ids=" ".join,
)
def test_json_is_all_that_is_printed(filled: NodeProcess, arguments: list[str]) -> None:
    (filled.root / "out").mkdir()
    assert json.loads(filled.run(*arguments, "--json").stdout) is not None


# -- serve -----------------------------------------------------------------------------------------------


def test_serve_ends_on_sigterm(process: Callable[..., NodeProcess]) -> None:
    """In time, though a peer sits there and says nothing, and with nothing left in the journal."""
    node = process()
    node.start()
    with Scu(node.address, [(VERIFICATION, [IMPLICIT]), (MR_IMAGE, [EXPLICIT])]) as idle:
        assert idle.store(image()).status == 0
        started = time.monotonic()
        assert node.kill(signal.SIGTERM) == 0
        assert time.monotonic() - started < 15
        idle.association.abort()
    assert [event["event"] for event in node.events()][:1] == ["listening"]
    assert list((node.root / "objects" / ".incoming").glob("*/*")) == []


def test_sigterm_lets_a_store_finish(process: Callable[..., NodeProcess]) -> None:
    """What is under way when the node is told to stop is answered, and kept."""
    node = process()
    node.start()
    sent = image(rows=1200)
    assert node.process is not None
    with Scu(node.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
        scu.begin_store(sent)
        until(lambda: not scu.association.dul.to_provider_queue.qsize(), "it is sent")
        node.process.send_signal(signal.SIGTERM)
        response = scu.association.dimse.get_msg(block=True)[1]
        scu.association.abort()
    assert node.process.wait(SECONDS) == 0
    verdict = _json(node, "verify", "--deep")
    assert verdict["sound"] == (1 if response is not None and response.Status == 0 else verdict["sound"])


def test_sighup_reloads(process: Callable[..., NodeProcess]) -> None:
    node = process()
    node.start()
    unknown = identifier("STUDY", StudyInstanceUID="9.9")
    with Scu(node.address, [(STUDY_MOVE, [EXPLICIT])]) as scu:
        assert scu.move(STUDY_MOVE, unknown, "LATER").final.status == 0xA801
        node.write_config(peer=[{"aet": "LATER", "host": "127.0.0.1", "port": free_port()}])
        assert node.process is not None
        node.process.send_signal(signal.SIGHUP)
        until(lambda: any(e["event"] == "configuration reloaded" for e in node.events()), "it is read again")
        assert scu.move(STUDY_MOVE, unknown, "LATER").final.status == 0
        node.config.write_text("[node]\nport = 0\nnonsense = 1\n")
        node.process.send_signal(signal.SIGHUP)
        until(lambda: any("not reloaded" in e["event"] for e in node.events()), "it is refused")
        assert scu.move(STUDY_MOVE, unknown, "LATER").final.status == 0
    assert node.kill(signal.SIGTERM) == 0


def test_serve_says_why_it_cannot_listen(process: Callable[..., NodeProcess], node: RunningNode) -> None:
    taken = process(node={"port": node.address[1]})
    done = taken.run("serve", status=2)
    assert "cannot listen" in done.stderr
    assert "node.port" in done.stderr


# -- check and echo --------------------------------------------------------------------------------------


def test_check(process: Callable[..., NodeProcess]) -> None:
    node = process()
    assert "can be used" in node.run("check").stdout
    found = _json(node, "check")
    assert found["usable"] is True
    assert found["settings"]["node"]["host"] == "127.0.0.1"
    node.config.write_text('[node]\nport = "eleven"\nname = "X"\n')
    for arguments in (("check", "--json"), ("serve",)):
        done = node.run(*arguments, status=2)
        assert "node.port" in done.stderr
        assert "node.name" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["ls", "--level", "planet"],
        ["ls", "--match", "PatientID"],
        ["ls", "--match", "NoSuch=1"],
        ["export", ".", "--syntax", "GIF"],
        ["echo", "nowhere"],
    ],
    ids=" ".join,
)
def test_usage(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert "Traceback" not in done.output


def test_a_missing_configuration(tmp_path: Path) -> None:
    assert "missing.toml" in zscp("check", "-c", tmp_path / "missing.toml", status=2, cwd=tmp_path).stderr


def test_echo(node: RunningNode, tmp_path: Path) -> None:
    host, port = node.address
    assert "answers" in zscp("echo", f"{host}:{port}", cwd=tmp_path).stdout
    up = json.loads(zscp("echo", f"{host}:{port}", "--json", cwd=tmp_path).stdout)
    assert (up["answered"], up["fault"], up["aet"]) == (True, "", "ZSCP")
    down = zscp("echo", f"{host}:{free_port()}", "--json", status=1, cwd=tmp_path)
    told = json.loads(down.stdout)
    assert (told["answered"], told["fault"].rpartition(": ")[2]) == (False, "Connection refused")
    refused = zscp("echo", f"{host}:{port}", "--aet", "OTHER", status=1, cwd=tmp_path)
    assert "refused the association: Called AE title not recognised" in refused.stderr


# -- import and export -----------------------------------------------------------------------------------


def test_import_skips_what_is_no_object(process: Callable[..., NodeProcess], tmp_path: Path) -> None:
    node = process()
    folder = tmp_path / "in"
    (folder / "deep" / "er").mkdir(parents=True)
    as_file(image(instance="1.2.3.1.1"), folder / "deep" / "er" / "IM0001")
    (folder / "notes.txt").write_text("not DICOM")
    (folder / "empty.dcm").touch()
    (folder / "DICOMDIR").write_bytes(
        (bundled_file("CT_small.dcm").parent / "dicomdirtests" / "DICOMDIR").read_bytes()
    )
    found = _json(node, "import", folder, status=1)
    assert found["outcomes"] == {"kept": 1, "skipped": 3}
    assert {Path(fault["path"]).name for fault in found["faults"]} == {"notes.txt", "empty.dcm", "DICOMDIR"}
    again = node.run("import", folder, status=1).stdout
    assert "1 duplicate" in again
    assert f"skipped: {folder / 'notes.txt'}: it is not a DICOM" in again
    assert _json(node, "stats")["counts"]["instances"] == 1


def test_import_says_what_it_guessed(process: Callable[..., NodeProcess], tmp_path: Path) -> None:
    node = process()
    (tmp_path / "bare").write_bytes(image(instance="1.2.3.1.2").data)
    assert "ExplicitVRLittleEndian was guessed" in node.run("import", tmp_path / "bare").stdout
    (noted,) = _json(node, "import", tmp_path / "bare")["notes"]
    assert (Path(noted["path"]).name, noted["outcome"]) == ("bare", "duplicate")


def test_import_of_stored_files_restores_what_came(
    held: NodeProcess, process: Callable[..., NodeProcess]
) -> None:
    """An archive's own files are enough to move to another one: the received form comes back."""
    other = process()
    other.run("import", held.root / "objects")
    assert _index(held, "received_sha256", "received_transfer_syntax") == _index(
        other, "received_sha256", "received_transfer_syntax"
    )
    other.run("verify", "--deep")


def _index(node: NodeProcess, *fields: str) -> dict[str, tuple[Any, ...]]:
    index = SqlIndex.open(f"sqlite:///{node.root}/index.db")
    try:
        return {one.sop_instance_uid: tuple(getattr(one, field) for field in fields) for one in index.all()}
    finally:
        index.close()


def test_header_and_picture_of_an_object(held: NodeProcess, tmp_path: Path) -> None:
    first, *rest = _json(held, "header", "1.2.3.1.1", "--limit", "3")["rows"]
    assert (first["tag"], len(rest)) == ("(0008,0016)", 2)
    assert "There are more rows" in held.here("header", "1.2.3.1.1", "--limit", "3")
    file = tmp_path / "picture.png"
    assert "written to" in held.here("picture", "1.2.3.1.1", file)
    assert file.read_bytes().startswith(b"\x89PNG")
    held.here("header", "1.2.9", status=1)


def test_a_file_that_cannot_be_written_is_named(held: NodeProcess, tmp_path: Path) -> None:
    target = tmp_path / "no" / "such.png"
    done = held.run("picture", "1.2.3.1.1", target, status=2)
    assert done.stderr.strip() == f"zscp: {target} cannot be written: No such file or directory"


def test_export_as_received(held: NodeProcess, tmp_path: Path) -> None:
    found = _json(held, "export", tmp_path / "out")
    assert found["faults"] == []
    sent = {one.instance: one for one in _objects()}
    assert files_in(tmp_path / "out") == sent
    assert (tmp_path / "out" / "1.2.3" / "1.2.3.1" / "1.2.3.1.2.dcm").is_file()


def test_export_as_stored_and_in_a_syntax(held: NodeProcess, tmp_path: Path) -> None:
    at_rest = _index(held, "transfer_syntax")
    held.run("export", tmp_path / "stored", "--syntax", "stored")
    assert {uid: (one.syntax,) for uid, one in files_in(tmp_path / "stored").items()} == at_rest
    held.run("export", tmp_path / "jls", "--syntax", "JPEGLSLossless", "--match", "StudyInstanceUID=1.2.3")
    out = files_in(tmp_path / "jls")
    assert {one.syntax for one in out.values()} == {JPEGLS}
    for sent in _objects()[:3]:
        assert (pixels(out[sent.instance]) == pixels(sent)).all()
    refused = _json(held, "export", tmp_path / "no", "--syntax", "MPEG2MPML", status=1)
    assert len(refused["faults"]) == len(_objects())
    assert stored_files(tmp_path / "no") == []


# -- what is held ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", _LEVELS)
def test_ls(held: NodeProcess, level: str) -> None:
    datasets = [sent.dataset for sent in _objects()]
    keyword = {
        "PATIENT": "PatientID",
        "STUDY": "StudyInstanceUID",
        "SERIES": "SeriesInstanceUID",
        "IMAGE": "SOPInstanceUID",
    }
    rows = _json(held, "ls", "--level", level.lower())
    assert sorted(row[keyword[level]] for row in rows) == sorted(
        {str(d[keyword[level]].value) for d in datasets}
    )
    arguments = ("ls", "--level", level.lower(), "--limit", "1", "--match", "PatientID=WIRE?")
    (matched,) = _json(held, *arguments, "-m", "Modality=CT")
    assert matched[keyword[level]] in ("WIRE2", "1.2.4", "1.2.4.1", "1.2.4.1.1")
    if level == "IMAGE":
        assert isinstance(matched["kept"], int)
        assert isinstance(matched["received"], int)
    assert "--limit 0 shows all" in held.run(*arguments).stdout


def test_ls_shows_other_scripts(held: NodeProcess) -> None:
    assert "Διονυσιος" in held.run("ls", "--level", "patient").stdout
    assert _json(held, "ls", "--match", "PatientID=nobody") == []


def test_stats_add_up(held: NodeProcess) -> None:
    found = _json(held, "stats")
    sent = _objects()
    assert found["counts"] == {"patients": 4, "studies": 4, "series": 4, "instances": 6}
    assert found["received_size"] == sum(len(one.data) for one in sent)
    assert found["stored_size"] == sum(path.stat().st_size for path in stored_files(held.root / "objects"))
    for total, part in (("received_size", "received_size"), ("stored_size", "stored_size")):
        assert found[total] == sum(row[part] for row in found["by_form"])
    assert found["counts"]["instances"] == sum(row["instances"] for row in found["by_form"])
    assert "6 objects" in held.run("stats").stdout


def test_check_says_what_the_default_policy_does(held: NodeProcess) -> None:
    shown = " ".join(held.here("check").split())
    assert "smallest of JPEG XL, JPEG 2000 and JPEG-LS" in shown
    assert "Back up the folder `dictionaries`" in shown


def test_explain(held: NodeProcess, tmp_path: Path) -> None:
    stored = _json(held, "explain", "1.2.3.1.1")
    assert stored["sop_instance_uid"] == "1.2.3.1.1"
    assert stored["rule"]["name"] == "everything else"
    assert stored["provenance"]["transfer_syntax"] == IMPLICIT
    assert stored["stored"]["key"]
    assert (stored["attempts"], stored["tried_now"]) == ([], [])  # htj2k was asked for first, and taken
    other = as_file(image(instance="1.2.3.1.77"), tmp_path / "other.dcm")
    would = _json(held, "explain", other)
    assert would["stored"] is None
    assert would["attempts"]
    assert "would be kept" in held.run("explain", other).stdout
    unknown = tmp_path / "nothing.dcm"
    done = held.run("explain", unknown, status=1)
    assert str(unknown) in done.stderr
    assert "Traceback" not in done.stderr
    junk = tmp_path / "junk"
    junk.write_bytes(b"junk" * 100)
    held.run("explain", junk, status=1)


def test_explain_says_that_it_was_not_recorded_or_tries_now(held: NodeProcess) -> None:
    shown = held.run("explain", "1.2.3.1.1").stdout
    assert "Its file records no attempts" in shown
    assert "--try tries the forms now" in shown
    before = _index(held, "stored_sha256", "key")
    now = _json(held, "explain", "1.2.3.1.1", "--try")
    assert now["attempts"] == []
    assert [(one["form"], one["outcome"]) for one in now["tried_now"]] == [("htj2k", "kept")]
    assert now["tried_now"][0]["size"] == now["size"]
    assert "form tried now" in held.run("explain", "1.2.3.1.1", "--try").stdout
    assert _index(held, "stored_sha256", "key") == before


def test_explain_tells_what_each_transfer_syntax_costs(held: NodeProcess) -> None:
    found = _json(held, "explain", "1.2.3.1.1")
    costs = {cost["transfer_syntax"]: cost for cost in found["costs"]}
    assert list(costs)[: len(found["ways_out"])] == found["ways_out"]
    assert set(costs) == set(BY_UID)
    assert costs[IMPLICIT]["size"] == found["provenance"]["size"]
    assert 0 < costs[JPEGLS]["size"] < costs[IMPLICIT]["size"]
    assert costs[JPEGLS]["seconds"] > 0
    assert costs[BY_KEYWORD["MPEG2MPML"].uid] == {
        "transfer_syntax": BY_KEYWORD["MPEG2MPML"].uid,
        "keyword": "MPEG2MPML",
        "size": 0,
        "seconds": 0,
        "reason": "not encoded here",
    }
    assert _json(held, "explain", "1.2.3.1.1", "--no-costs")["costs"] == []
    shown = held.run("explain", "1.2.3.1.1").stdout
    assert "JPEGLSLossless" in shown
    assert "other transfer syntaxes are not encoded here" in shown
    assert "--costs" in held.run("explain", "1.2.3.1.1", "--no-costs").stdout


def test_explain_says_why_a_rule_was_passed_over(held: NodeProcess) -> None:
    found = _json(held, "explain", "1.2.3.1.1")
    over = found["passed_over"]
    names = ("JPEG", "already compressed")
    assert [(one["rule"], one["key"]) for one in over] == [(name, "transfer_syntax") for name in names]
    assert over[1]["has"] == [IMPLICIT, "ImplicitVRLittleEndian"]
    assert "JPEG*" in over[1]["wanted"]
    compressed = _json(held, "explain", _uid_of("JPEG2000.dcm"))
    assert [one["rule"] for one in compressed["passed_over"]] == ["JPEG"]
    assert compressed["matched"] == {"transfer_syntax": "1.2.840.10008.1.2.4.91\\JPEG2000"}
    shown = held.run("explain", "1.2.3.1.1").stdout
    assert "already compressed (transfer_syntax is" in shown
    assert "it takes every object" in shown


def test_explain_tells_the_fall_backs_of_odd_objects(
    process: Callable[..., NodeProcess], tmp_path: Path
) -> None:
    """Each form that was asked for and not taken has a reason, in the file and at hand."""
    stages = [{"form": ["jpegxl", "jpegls"], "keep": "smallest"}]
    node = process(policy=[{"name": "all", "stages": stages}])
    signed = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 1}
    negative = image(instance="1.2.5.1", PixelData=b"\xff" * 2048, **signed)
    odd = {
        "1.2.5.1": negative,
        "1.2.5.2": image(instance="1.2.5.2", Rows=None),
        "1.2.5.3": image(instance="1.2.5.3", BitsStored=8, HighBit=7),
        "1.2.5.4": image(instance="1.2.5.4", PixelData=b"\0\0"),
        "1.2.5.5": of_file(bundled_file("chrGreek.dcm")),
        "1.2.5.6": of_file(bundled_file("JPEG2000.dcm")),
        "1.2.5.7": of_file(bundled_file("SC_rgb_jpeg_dcmtk.dcm")),
    }
    for name, sent in odd.items():
        as_file(sent, tmp_path / f"{name}.dcm")
    node.run("import", *tmp_path.glob("*.dcm"))
    for sent in odd.values():
        found = _json(node, "explain", sent.instance, "--no-costs")
        asked = {one["form"]: one for one in found["attempts"]}
        assert {"jpegxl", "jpegls"} <= set(asked), found
        for one in asked.values():
            assert one["outcome"] in ("kept", "beaten") or one["reason"], one
        assert asked[found["provenance"]["form"]]["outcome"] == "kept"
    costs = {cost["keyword"]: cost["reason"] for cost in _json(node, "explain", "1.2.5.1")["costs"]}
    assert costs["JPEGXLLossless"] == (
        "JPEG XL encodes negative samples only where Bits Stored is Bits Allocated"
    )
    assert costs["JPEGLSLossless"] == costs["ExplicitVRLittleEndian"] == ""


def _uid_of(name: str) -> str:
    return of_file(bundled_file(name)).instance


# -- verify and reindex ----------------------------------------------------------------------------------


def test_dictionaries_are_trained_listed_and_used(
    process: Callable[..., NodeProcess], tmp_path: Path
) -> None:
    node = process(policy=[{"name": "all", "stages": [{"form": "htj2k", "dictionary": True}]}])
    for folder in ("in0", "in1"):
        (tmp_path / folder).mkdir()
    for number in range(40):
        sent = image(instance=f"1.2.3.1.{number}", seed=number, rows=16)
        as_file(sent, tmp_path / f"in{number % 2}" / f"{number}.dcm")
    node.run("import", tmp_path / "in0")
    (trained,) = _json(node, "dictionary", "train", "--sop-class", "MRImageStorage", "--size", "16KiB")
    assert (trained["sop_class_uid"], trained["objects"], trained["reason"]) == (MR_IMAGE, 20, "")
    assert trained["then"] < 0.9 * trained["now"] == 0.9 * trained["without"]
    assert trained["saves"] > 0
    (listed,) = _json(node, "dictionary", "list")
    assert listed.items() >= {**trained["entry"], "newest": True}.items()
    assert listed["size"] <= 16 << 10
    first, then = (_json(node, "import", tmp_path / folder) for folder in ("in0", "in1"))
    assert first["outcomes"] == {"duplicate": 20}
    assert then["stored_size"] < 0.9 * first["stored_size"]
    assert "MRImageStorage" in node.run("dictionary", "list").stdout
    _json(node, "dictionary", "train")  # a larger one, which may be better; the first one stays
    assert listed["key"] in [one["key"] for one in _json(node, "dictionary", "list")]
    refused = node.run("dictionary", "remove", listed["id"], status=1)
    assert "not removed: " in refused.stderr
    assert "there is no dictionary 7" in node.run("dictionary", "remove", "7", status=1).stderr
    (none,) = _json(node, "dictionary", "train", "--sop-class", CT_IMAGE)
    assert (none["objects"], none["entry"]) == (0, None)
    found = _json(node, "plan")["groups"]
    had = sum(packed_with(node))
    assert {one["packs"] for one in found} == {True}
    assert sum(one["objects"] for one in found) == 40 - had > 0
    assert "packed anew with a dictionary" in node.run("plan").stdout
    assert "packed anew: " in node.run("recompress", "--now").stdout
    assert sum(packed_with(node)) > had
    node.run("dictionary", "train", "--sop-class", "NoSuchStorage", status=2)
    node.run("dictionary", "train", "--size", "large", status=2)
    _json(node, "verify", "--deep")
    assert _json(node, "reindex")["recorded"] == 40


def packed_with(node: NodeProcess) -> list[int]:
    """How many objects need each dictionary that is for new objects."""
    return [one["objects"] for one in _json(node, "dictionary", "list") if one["newest"]]


def test_verify_finds_a_flipped_bit(filled: NodeProcess) -> None:
    """It is reported, and never served: only the others are."""
    assert _json(filled, "verify")["damaged"] == 0
    key = _index(filled, "key")["1.2.3.1.2"][0]
    path = filled.root / "objects" / key
    data = bytearray(path.read_bytes())
    for position in (len(data) // 2, len(data) - 1):
        flipped = bytearray(data)
        flipped[position] ^= 0x10
        path.write_bytes(flipped)
        found = _json(filled, "verify", status=1)
        assert (found["sound"], found["damaged"]) == (5, 1)
        assert [fault["sop_instance_uid"] for fault in found["faults"]] == ["1.2.3.1.2"]
    assert "1.2.3.1.2" in filled.run("verify", "--deep", status=1).stdout
    _json(filled, "verify", "--match", "PatientID=WIRE2")
    filled.start()
    with Scu(filled.address, [(PATIENT_GET, [EXPLICIT]), (MR_IMAGE, [IMPLICIT])], roles=[MR_IMAGE]) as scu:
        done = scu.get(PATIENT_GET, identifier("PATIENT", PatientID="WIRE1"))
    assert done.final.status == 0xB000
    assert [one.instance for one in done.objects] == ["1.2.3.1.1", "1.2.3.1.3"]
    filled.kill(signal.SIGTERM)
    path.unlink()
    assert _json(filled, "verify", status=1)["damaged"] == 1


def test_reindex_brings_back_every_answer(filled: NodeProcess) -> None:
    before = _answers(filled)
    assert [len(found) for found in before.values()] == [4, 4, 4, 6]
    for left in filled.root.glob("index.db*"):
        left.unlink()
    found = _json(filled, "reindex")
    assert (found["recorded"], found["damaged"], found["gone"]) == (6, [], [])
    assert _answers(filled) == before
    assert "6 recorded" in filled.run("reindex").stdout
    assert _answers(filled) == before


def test_reindex_tells_what_is_damaged_and_what_is_gone(filled: NodeProcess) -> None:
    keys = {uid: key for uid, (key,) in _index(filled, "key").items()}
    (filled.root / "objects" / keys["1.2.3.1.1"]).unlink()
    (filled.root / "objects" / keys["1.2.3.1.2"]).write_bytes(b"junk")
    found = _json(filled, "reindex", status=1)
    assert found["gone"] == [keys["1.2.3.1.1"]]
    assert [key for key, _ in found["damaged"]] == [keys["1.2.3.1.2"]]


def _answers(node: NodeProcess) -> dict[str, list[str]]:
    """All that C-FIND says, at each level."""
    keys: dict[str, dict[str, Any]] = {
        "PATIENT": {
            "PatientID": "",
            "PatientName": "",
            "PatientSex": "",
            "NumberOfPatientRelatedInstances": None,
        },
        "STUDY": {"StudyInstanceUID": "", "StudyDate": "", "PatientName": "", "ModalitiesInStudy": ""},
        "SERIES": {"SeriesInstanceUID": "", "Modality": "", "SeriesNumber": None, "StudyInstanceUID": ""},
        "IMAGE": {"SOPInstanceUID": "", "SOPClassUID": "", "InstanceNumber": None, "Rows": None},
    }
    node.start()
    answers: dict[str, list[str]] = {}
    with Scu(node.address, [(PATIENT_FIND, [EXPLICIT]), (STUDY_FIND, [EXPLICIT])]) as scu:
        for level in _LEVELS:
            query = identifier(level, **keys[level])
            root = PATIENT_FIND if level == "PATIENT" else STUDY_FIND
            found = [one.identifier for one in scu.find(root, query)[:-1]]
            answers[level] = sorted(str(_plain(one)) for one in found if one is not None)
    assert node.kill(signal.SIGTERM) == 0
    return answers


def _plain(dataset: Dataset) -> Dataset:
    del dataset.file_meta
    return dataset


def test_commands_beside_a_running_node(filled: NodeProcess, tmp_path: Path) -> None:
    """The index is shared between processes."""
    filled.start()
    as_file(image(instance="1.2.3.1.50"), tmp_path / "more.dcm")
    commands = [
        forked.Python(
            command(name, "-c", filled.config), stdout=subprocess.DEVNULL, cwd=filled.root, env=environment()
        )
        for name in ("verify", "stats", "reindex")
    ]
    with Scu(filled.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
        assert [scu.store(image(seed=n)).status for n in range(20)] == [0] * 20
    assert [one.wait(60) for one in commands] == [0, 0, 0]
    filled.run("import", tmp_path / "more.dcm")
    assert filled.kill(signal.SIGTERM) == 0
    assert _json(filled, "verify", "--deep")["sound"] == 27
