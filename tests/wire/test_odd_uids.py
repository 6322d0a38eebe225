"""What is stored under an identifier that is no UID by the book can be asked for by it (invariant 7)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from .conftest import NodeProcess, RunningNode, Starter
from .peers import (
    EXPLICIT,
    MR_IMAGE,
    PATIENT_FIND,
    PATIENT_GET,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    Sent,
    Sink,
    as_file,
    dcmtk,
    files_in,
    identifier,
    image,
    of_file,
    storescp,
    written,
)

pytestmark = pytest.mark.peer

CASES = Path(__file__).parents[1] / "data" / "cases"
UNUSABLE = 0x0117
ODD = {
    "letters": "LOCALIZER2.16.124.113543.6003",
    "a hash": "sha256:9f86d081884c7d659a2feaa0c55ad015",
    "long": "1.2." + "3" * 200,
    "leading zeros": "1.02.003",
    "dots": ".1..2.",
    "star": "1.2.*",
    "question mark": "1.2.?",
    "per cent": "1%_/'\";--",
    "path": "../../etc/passwd",
    "space within": "1.2 3",
    "latin": "1.2.é",
    "empty arc": "1.2.",
}


def odd(value: str) -> tuple[Sent, Sent]:
    """An object that has such an identifier at each level, and one whose identifiers are like it."""
    values = [value + suffix for suffix in ("", ".S", ".I")]
    like = [one.replace("*", "9").replace("?", "9").replace("é", "è") + "1" for one in values]
    return _of(*values), _of(*like)


def _of(study: str, series: str, instance: str) -> Sent:
    return image(study=study, series=series, instance=instance, PatientID=f"P {study}"[:64])


def _find(node: RunningNode, root: str, query: Dataset) -> list[Dataset]:
    with node.scu((root, [EXPLICIT])) as scu:
        answers = scu.find(root, query)
    assert answers[-1].status == 0, answers[-1].comment
    return [one.identifier for one in answers[:-1] if one.identifier is not None]


@pytest.fixture(scope="module", params=[0, 10**9], ids=["encoded first", "landing"])
def node(start_shared: Starter, request: pytest.FixtureRequest) -> RunningNode:
    return start_shared(storage={"backlog": request.param}, query={"hierarchy": "lenient"})


@pytest.mark.usefixtures("any_uid")
@pytest.mark.parametrize("kind", list(ODD))
def test_found_and_retrieved_by_it(node: RunningNode, kind: str) -> None:
    sent, like = odd(ODD[kind])
    node.keep(sent, like)
    of = sent.dataset
    named = {
        "STUDY": {"StudyInstanceUID": of.StudyInstanceUID},
        "SERIES": {"StudyInstanceUID": of.StudyInstanceUID, "SeriesInstanceUID": of.SeriesInstanceUID},
        "IMAGE": {
            "StudyInstanceUID": of.StudyInstanceUID,
            "SeriesInstanceUID": of.SeriesInstanceUID,
            "SOPInstanceUID": sent.instance,
        },
    }
    with Sink(accepts=lambda _, syntax: syntax == EXPLICIT) as sink:
        node.peer("SINK", sink.port)
        for level, keys in named.items():
            for root in (STUDY_FIND, PATIENT_FIND):
                (found,) = _find(node, root, identifier(level, **keys))
                assert {keyword: found[keyword].value for keyword in keys} == keys
            with node.scu((STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT]), roles=[MR_IMAGE]) as scu:
                done = scu.get(STUDY_GET, identifier(level, **keys))
            assert (done.final.status, [one.data for one in done.objects]) == (0, [sent.data])
            assert [one.instance for one in done.objects] == [sent.instance]
        with node.scu((STUDY_MOVE, [EXPLICIT])) as scu:
            moved = scu.move(STUDY_MOVE, identifier("IMAGE", **named["IMAGE"]), "SINK")
        assert (moved.final.status, moved.final.counts[1]) == (0, 1)
    assert {one.instance: one.data for one in sink.objects.values()} == {sent.instance: sent.data}
    both = identifier("STUDY", StudyInstanceUID=[of.StudyInstanceUID, like.dataset.StudyInstanceUID, "1.9"])
    assert len(_find(node, STUDY_FIND, both)) == 2
    with node.scu((PATIENT_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT]), roles=[MR_IMAGE]) as scu:
        done = scu.get(PATIENT_GET, identifier("STUDY", PatientID=of.PatientID, **named["STUDY"]))
    if "*" not in of.PatientID and "?" not in of.PatientID:
        assert [one.data for one in done.objects] == [sent.data]


def test_dcmtk_finds_and_moves_the_case(start: Starter, tmp_path: Path) -> None:
    node = start()
    sent = of_file(CASES / "uid-with-letters.dcm")
    node.keep(sent)
    study, series = sent.dataset.StudyInstanceUID, sent.dataset.SeriesInstanceUID
    assert series == "LOCALIZER2.16.124.113543.6003"
    keys = ["QueryRetrieveLevel=SERIES", f"StudyInstanceUID={study}", f"SeriesInstanceUID={series}"]
    named = [part for key in keys for part in ("-k", key)]
    found = tmp_path / "found"
    found.mkdir()
    dcmtk("findscu", "-S", "-X", "-od", found, "-aec", "ZSCP", *named, *node.address)
    assert [pydicom.dcmread(path).SeriesInstanceUID for path in found.iterdir()] == [series]
    with storescp(tmp_path / "got") as port:
        node.peer("DEST", port)
        dcmtk("movescu", "-S", "-aec", "ZSCP", "-aem", "DEST", *named, *node.address)
    assert {uid: one.data for uid, one in files_in(tmp_path / "got").items()} == {sent.instance: sent.data}


@pytest.mark.usefixtures("any_uid")
@pytest.mark.parametrize("value", ["1.2\\1.3", "1." + "2" * 1100, "1.2\0.3"])
def test_what_no_object_can_be_kept_under_is_refused(start: Starter, value: str) -> None:
    for backlog in (0, 10**9):
        node = start(storage={"backlog": backlog})
        with node.scu((MR_IMAGE, [EXPLICIT])) as scu:
            refused = scu.store(image(instance="1.2.3.9"), instance=value)
            assert (refused.status, bool(refused.comment)) == (UNUSABLE, True)
            assert scu.store(image(instance="1.2.3.8")).status == 0
        assert [one.sop_instance_uid for one in node.archive.index.all()] == ["1.2.3.8"]


@pytest.mark.usefixtures("any_uid")
def test_padding_is_no_part_of_it(start: Starter) -> None:
    """Spaces where NUL should be: the same identifier, also where it was stored so."""
    node = start()
    padded = image(instance="1.2.3.44", study="1.2.5")
    data = padded.data.replace(b"1.2.5\0", b"1.2.5 ").replace(b"1.2.3.44", b"1.2.3.4 ")
    sent = Sent(MR_IMAGE, "1.2.3.4 ", EXPLICIT, data)
    node.keep(sent)
    for uid in ("1.2.5", "1.2.5 "):
        with node.scu((STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT]), roles=[MR_IMAGE]) as scu:
            done = scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID=uid))
        assert [one.instance for one in done.objects] == ["1.2.3.4"]


@pytest.mark.usefixtures("any_uid")
def test_a_longer_study_uid_than_can_be_indexed(start: Starter) -> None:
    """It is found under another, its sender is told so, and a peer gets that one."""
    node = start()
    sent = image(study="1." + "2" * 1100, series="1.2.9")
    (answer,) = node.store(sent)
    study = node.held(sent).study_instance_uid
    assert (answer.status, answer.comment) == (0xB000, f"Study UID missing: {study}")
    with node.scu((STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT]), roles=[MR_IMAGE]) as scu:
        (got,) = scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID=study)).objects
    assert got.dataset.StudyInstanceUID == study


@pytest.mark.parametrize("kind", ["letters", "star", "path"])
def test_the_command_line(process: Callable[..., NodeProcess], tmp_path: Path, kind: str) -> None:
    node = process()
    both = odd(ODD[kind])
    for number, sent in enumerate(both):
        as_file(sent, tmp_path / f"{number}.dcm")
    node.here("import", *tmp_path.glob("*.dcm"))
    sent = both[0]
    study = str(sent.dataset.StudyInstanceUID)

    def listed() -> set[str]:
        return {row["SOPInstanceUID"] for row in json.loads(node.here("ls", "--level", "image", "--json"))}

    out = tmp_path / "out"
    node.here("export", out, "--match", f"StudyInstanceUID={study}")
    (exported,) = out.rglob("*.dcm")
    assert of_file(exported).data == sent.data
    assert out in exported.parents
    assert sent.instance in node.here("explain", sent.instance)
    node.here("hold", "add", study, "--reason", "test")
    node.here("delete", study, "--reason", "test", "--yes", status=1)
    assert len(listed()) == 2
    node.here("hold", "remove", study)
    node.here("delete", study, "--reason", "test", "--yes")
    assert listed() == {both[1].instance}
    node.here("trash", "restore", study)
    for level, uid in (("series", sent.dataset.SeriesInstanceUID), ("image", sent.instance)):
        assert len(listed()) == 2
        node.here("delete", uid, "--level", level, "--reason", "test", "--yes")
        assert listed() == {both[1].instance}
        node.here("trash", "restore", sent.instance)


def test_a_file_with_two_instance_uids_is_imported_under_the_first(
    process: Callable[..., NodeProcess], tmp_path: Path
) -> None:
    node = process()
    sent = image(instance="1.2.3.7")
    dataset = sent.dataset
    dataset.SOPInstanceUID = ["1.2.3.7", "1.2.3.8"]
    as_file(Sent(MR_IMAGE, "1.2.3.7", EXPLICIT, written(dataset, EXPLICIT)), tmp_path / "two.dcm")
    node.here("import", *tmp_path.glob("*.dcm"))
    assert [row["SOPInstanceUID"] for row in json.loads(node.here("ls", "--level", "image", "--json"))] == [
        "1.2.3.7"
    ]


def test_a_star_never_means_everything(process: Callable[..., NodeProcess], tmp_path: Path) -> None:
    node = process()
    as_file(image(), tmp_path / "one.dcm")
    node.here("import", *tmp_path.glob("*.dcm"))
    for uid in ("*", "**", "1.2.*", "?"):
        node.here("delete", uid, "--reason", "test", "--yes", status=1)
        assert len(json.loads(node.here("ls", "--level", "image", "--json"))) == 1
