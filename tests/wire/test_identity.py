"""Studies and instances that several patients share, as peers and people at the command line see them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from typer.testing import CliRunner

from scp.cli.main import app

from .conftest import NodeProcess, RunningNode, Starter
from .peers import (
    EXPLICIT,
    MR_IMAGE,
    PATIENT_GET,
    STUDY_FIND,
    STUDY_GET,
    as_file,
    dcmtk,
    identifier,
    image,
)

pytestmark = pytest.mark.peer

_STUDY, _UID = "1.2.3", "1.2.3.1.1"
ANNA = image(instance=_UID, PatientID="A1", PatientName="Alpha^Anna")
BRUNO = image(instance=_UID, seed=1, PatientID="B2", PatientName="Beta^Bruno")


def _got(node: RunningNode, root: str, level: str, **keys: str) -> list[bytes]:
    with node.scu((root, [EXPLICIT]), (MR_IMAGE, [EXPLICIT]), roles=[MR_IMAGE]) as scu:
        done = scu.get(root, identifier(level, **keys))
        assert done.final.status == 0
    return sorted(one.data for one in done.objects)


def _patients_in(folder: Path) -> list[str]:
    return sorted(pydicom.dcmread(path).PatientID for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("backlog", [0, 10**9], ids=["in files", "landed first"])
def test_each_patient_gets_their_own(start: Starter, tmp_path: Path, backlog: int) -> None:
    node = start(storage={"backlog": backlog})
    node.keep(ANNA, BRUNO)
    node.keep(ANNA)  # again: a duplicate of its own, which replaces nothing
    answers = []
    with node.scu((STUDY_FIND, [EXPLICIT])) as scu:
        asked = identifier("STUDY", StudyInstanceUID=_STUDY, PatientID="", PatientName="")
        answers = [one.identifier for one in scu.find(STUDY_FIND, asked)[:-1]]
    assert sorted((one.PatientID, str(one.PatientName)) for one in answers) == [
        ("A1", "Alpha^Anna"),
        ("B2", "Beta^Bruno"),
    ]
    assert _got(node, PATIENT_GET, "PATIENT", PatientID="A1") == [ANNA.data]
    assert _got(node, PATIENT_GET, "STUDY", PatientID="B2", StudyInstanceUID=_STUDY) == [BRUNO.data]
    assert _got(node, STUDY_GET, "STUDY", StudyInstanceUID=_STUDY) == sorted([ANNA.data, BRUNO.data])
    assert _got(node, STUDY_GET, "STUDY", StudyInstanceUID=_STUDY, PatientID="A1") == [ANNA.data]
    keys = ["-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID=B2"]
    dcmtk("getscu", "-P", *keys, "-od", tmp_path, "-aec", "ZSCP", *node.address)
    assert _patients_in(tmp_path) == ["B2"]


@pytest.mark.parametrize("backlog", [0, 10**9], ids=["in files", "landed first"])
def test_reject_refuses_what_is_held_of_another_patient(start: Starter, backlog: int) -> None:
    node = start(storage={"backlog": backlog, "duplicates": "reject"})
    node.keep(ANNA)
    assert [one.status for one in node.store(BRUNO)] == [0x0111]
    assert _got(node, STUDY_GET, "STUDY", StudyInstanceUID=_STUDY) == [ANNA.data]


@pytest.fixture
def shared(process: Callable[..., NodeProcess], tmp_path: Path) -> NodeProcess:
    """A folder with two patients' objects of one SOP Instance UID, imported."""
    node = process()
    for number, sent in enumerate((ANNA, BRUNO, image(instance="1.2.3.1.2", PatientID="B2"))):
        as_file(sent, tmp_path / f"{number}.dcm")
        _run(node, "import", tmp_path / f"{number}.dcm")
    return node


def _run(node: NodeProcess, *arguments: object, status: int = 0) -> Any:
    done = CliRunner().invoke(app, [*map(str, arguments), "--json", "-c", str(node.config)])
    assert done.exit_code == status, (arguments, done.output, done.exception)
    return json.loads(done.stdout) if done.stdout.startswith(("[", "{")) else done.output


def _patients(node: NodeProcess) -> list[tuple[str, str]]:
    rows = _run(node, "ls", "--level", "image")
    return sorted((row["PatientID"], row["SOPInstanceUID"]) for row in rows)


def test_conflicts_are_listed(shared: NodeProcess) -> None:
    found = {one["kind"]: one for one in _run(shared, "ls", "--conflicts")}
    assert {kind: one["uid"] for kind, one in found.items()} == {
        "one study, several patients": _STUDY,
        "one patient, different data": "B2",
        "one instance, several studies or patients": _UID,
    }
    claimants = found["one study, several patients"]["claimants"]
    assert [(one["patient_id"], one["instances"]) for one in claimants] == [("A1", 1), ("B2", 2)]
    printed = CliRunner().invoke(app, ["ls", "--conflicts", "-c", str(shared.config)])
    assert "3 conflicts" in printed.stdout


def test_a_study_that_patients_share_is_deleted_for_the_one_who_is_named(shared: NodeProcess) -> None:
    refused = _run(shared, "delete", _STUDY, "--reason", "test", status=2)
    assert "several patients" in refused
    assert "--patient-id" in refused
    refused = _run(shared, "delete", "-m", f"StudyInstanceUID={_STUDY}", "--reason", "test", status=2)
    assert "several patients" in refused
    assert len(_patients(shared)) == 3
    on = ["hold", "add", _STUDY, "--patient-id", "A1", "--reason", "court", "-c", str(shared.config)]
    assert CliRunner().invoke(app, on).exit_code == 0
    removal = _run(shared, "delete", _STUDY, "--patient-id", "B2", "--reason", "test")
    assert sorted(removal["deleted"]) == [_UID, "1.2.3.1.2"]
    assert _patients(shared) == [("A1", _UID)]
    assert len(_run(shared, "trash", "restore", _STUDY)) == 2
    assert _patients(shared) == [("A1", _UID), ("B2", _UID), ("B2", "1.2.3.1.2")]
    held = _run(shared, "delete", _STUDY, "--all-patients", "--reason", "test", status=1)
    assert (held["held"], len(held["deleted"])) == ([_UID], 2)
    assert _patients(shared) == [("A1", _UID)]


def test_a_patient_id_of_two_issuers_is_two_patients(
    process: Callable[..., NodeProcess], tmp_path: Path
) -> None:
    node = process()
    for number, issuer in enumerate(("NORTH", "SOUTH")):
        sent = image(study=f"1.{number}", PatientID="A1", IssuerOfPatientID=issuer)
        _run(node, "import", as_file(sent, tmp_path / f"{number}.dcm"))
    refused = _run(node, "delete", "A1", "--level", "patient", "--reason", "test", status=2)
    assert "--issuer" in refused
    removal = _run(node, "delete", "A1", "--level", "patient", "--issuer", "NORTH", "--reason", "test")
    assert len(removal["deleted"]) == 1
    rows = _run(node, "ls", "-m", "IssuerOfPatientID=")
    assert [row["IssuerOfPatientID"] for row in rows] == ["SOUTH"]


def test_export_asks_for_the_patient_too(shared: NodeProcess, tmp_path: Path) -> None:
    named = ("-m", f"StudyInstanceUID={_STUDY}")
    assert "several patients" in _run(shared, "export", tmp_path / "refused", *named, status=2)
    _run(shared, "export", tmp_path / "one", *named, "-m", "PatientID=A1")
    assert _patients_in(tmp_path / "one") == ["A1"]
    _run(shared, "export", tmp_path / "all", *named, "--all-patients")
    assert _patients_in(tmp_path / "all") == ["A1", "B2", "B2"]


def test_holds_and_the_trash_ask_for_the_patient_too(shared: NodeProcess) -> None:
    for patient in ("A1", "B2"):
        shared.here("hold", "add", _STUDY, "--patient-id", patient, "--reason", "court")
    shared.here("hold", "remove", _STUDY, "--patient-id", "B2")
    assert [one["patient_id"] for one in _run(shared, "hold", "list")] == ["A1"]
    shared.here("hold", "remove", _STUDY, "--level", "series", status=1)
    shared.here("hold", "remove", _STUDY)
    _run(shared, "delete", _STUDY, "--all-patients", "--reason", "test")
    assert "several patients" in _run(shared, "trash", "restore", _STUDY, status=2)
    assert len(_run(shared, "trash", "restore", _STUDY, "--patient-id", "A1")) == 1
    assert _patients(shared) == [("A1", _UID)]
    assert len(_run(shared, "trash", "restore", _STUDY)) == 2
