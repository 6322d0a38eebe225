"""What DCMTK sends is found, and comes back: to the byte as it was sent, to the pixel in other syntaxes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
from objects import CORPUS, bundled

from .conftest import WAYS, RunningNode, Starter
from .peers import (
    EXPLICIT,
    HTJ2K,
    IMPLICIT,
    JPEG2000,
    JPEG_LOSSLESS,
    JPEGLS,
    JPEGXL,
    PATIENT_FIND,
    RLE,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    Sent,
    Sink,
    dcmtk,
    files_in,
    identifier,
    of_file,
    pixels,
    storescp,
)

NATIVE = (IMPLICIT, EXPLICIT)
# The corpus serves where it is found, else what pydicom brings.
pytestmark = [pytest.mark.corpus, pytest.mark.peer]

_BUNDLED = (
    "CT_small.dcm",
    "JPEG2000.dcm",
    "MR_small_RLE.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_small_odd.dcm",
    "waveform_ecg.dcm",
)


def _sample() -> list[Path]:
    """Objects of many kinds: of the corpus where there is one, else those that pydicom brings."""
    folders = {"mr-small": 40, "ct-ge": 1, "ct-philips": 1, "mr-siemens": 50, "sr": 2, "wg04": 69}
    found = [p for name, most in folders.items() for p in sorted((CORPUS / name).glob("*.dcm"))[:most]]
    found = [p for p in found if "mr-siemens" not in p.parts or of_file(p).syntax not in NATIVE]
    found = [
        p
        for p in found
        if "wg04" not in p.parts or p.stem.split("_")[0] in ("CT1", "MR4", "NM1", "US1", "VL1")
    ]
    return found or [path for path in bundled() if path.name in _BUNDLED]


@dataclass(frozen=True)
class Sending:
    """A node, and what DCMTK sent to it."""

    node: RunningNode
    sent: dict[str, Sent]

    @property
    def images(self) -> dict[str, Sent]:
        return {uid: one for uid, one in self.sent.items() if "PixelData" in one.dataset}

    @property
    def native(self) -> dict[str, Sent]:
        return {uid: one for uid, one in self.sent.items() if one.syntax in NATIVE}


@pytest.fixture(scope="module")
def sending(start_shared: Starter, tmp_path_factory: pytest.TempPathFactory) -> Sending:
    node, folder = start_shared(), tmp_path_factory.mktemp("reference") / "got"
    paths = {of_file(path).instance: path for path in _sample()}
    # dcmsend encodes anew what it reads and drops trailing padding: what DCMTK's own SCP gets from it,
    # and writes without a change, is what was sent.
    with storescp(folder, "+xa") as port:
        dcmtk("dcmsend", "-dn", "-aec", "DEST", "127.0.0.1", port, *paths.values())
    dcmtk("dcmsend", "-dn", "-aec", "ZSCP", *node.address, *paths.values())
    sent = files_in(folder)
    assert set(sent) == set(paths)
    return Sending(node, sent)


@WAYS
def test_storescu_and_dcmsend_store_the_same(sending: Sending, either: RunningNode) -> None:
    other = either
    files = [path for path in _sample() if of_file(path).syntax == EXPLICIT][:10]
    dcmtk("storescu", "-xe", "-aec", "ZSCP", *other.address, *files)
    for sent in map(of_file, files):
        assert other.held(sent).received_sha256 == sending.node.held(sent).received_sha256


def test_nothing_is_missing_and_all_is_sound(sending: Sending) -> None:
    held = {instance.sop_instance_uid: instance for instance in sending.node.archive.index.all()}
    assert set(held) == set(sending.sent)
    for uid, instance in held.items():
        assert instance.received_transfer_syntax == sending.sent[uid].syntax
        sending.node.archive.verify(instance, deep=True)


@pytest.mark.parametrize("root", ["-P", "-S"])
def test_everything_is_found_at_each_level(sending: Sending, root: str, tmp_path: Path) -> None:
    datasets = [sent.dataset for sent in sending.sent.values()]
    expected = {
        "STUDY": {("StudyInstanceUID", d.StudyInstanceUID) for d in datasets},
        "SERIES": {("SeriesInstanceUID", d.SeriesInstanceUID) for d in datasets},
        "IMAGE": {("SOPInstanceUID", d.SOPInstanceUID) for d in datasets},
    }
    if root == "-P":
        expected["PATIENT"] = {("PatientID", str(d.get("PatientID", "") or "")) for d in datasets}
    above = {"STUDY": "", "SERIES": "StudyInstanceUID", "IMAGE": "SeriesInstanceUID", "PATIENT": ""}
    for level, wanted in expected.items():
        keyword = next(iter(wanted))[0]
        keys = [["-k", f"{keyword}="]]
        if above[level]:  # a hierarchical query names what it looks into
            owners = sorted({str(d[above[level]].value) for d in datasets})
            keys = [["-k", f"{keyword}=", "-k", f"{above[level]}={owner}"] for owner in owners]
        elif level == "STUDY" and root == "-P":
            patients = sorted({str(d.get("PatientID", "") or "") for d in datasets} - {""})
            keys = [["-k", f"{keyword}=", "-k", f"PatientID={patient}"] for patient in patients]
            wanted = {(keyword, d.StudyInstanceUID) for d in datasets if d.get("PatientID")}  # noqa: PLW2901
        found = set()
        for number, key in enumerate(keys):
            folder = tmp_path / f"{level}{number}"
            folder.mkdir()
            arguments = (root, "-X", "-od", folder, "-aec", "ZSCP", "-k", f"QueryRetrieveLevel={level}", *key)
            dcmtk("findscu", *arguments, *sending.node.address)
            found |= {(keyword, str(pydicom.dcmread(path)[keyword].value or "")) for path in folder.iterdir()}
        assert found == wanted, level


def test_getscu_brings_back_what_came_uncompressed_to_the_byte(sending: Sending, tmp_path: Path) -> None:
    expected = {uid: sent for uid, sent in sending.native.items() if sent.syntax == EXPLICIT}
    assert expected
    got = _getscu(sending, expected, tmp_path, "+xe")
    assert {uid: got[uid].data for uid in expected} == {uid: sent.data for uid, sent in expected.items()}


def test_get_in_implicit_little_endian_has_the_same_pixels(sending: Sending) -> None:
    """By pynetdicom: getscu +xi proposes explicit VR for storage all the same."""
    classes = sorted({sent.sop_class for sent in sending.native.values()})
    studies = sorted({sent.dataset.StudyInstanceUID for sent in sending.native.values()})
    contexts = [(STUDY_GET, [IMPLICIT]), *((uid, [IMPLICIT]) for uid in classes)]
    with sending.node.scu(*contexts, roles=classes) as scu:
        done = scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID=studies))
    got = {one.instance: one for one in done.objects if one.instance in sending.native}
    assert set(got) == set(sending.native)
    for uid, one in got.items():
        assert one.syntax == IMPLICIT
        _same_pixels(one, sending.sent[uid])


def _getscu(sending: Sending, wanted: dict[str, Sent], folder: Path, option: str) -> dict[str, Sent]:
    for study in sorted({sent.dataset.StudyInstanceUID for sent in wanted.values()}):
        keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
        dcmtk(
            "getscu",
            "-S",
            option,
            "+B",
            "-aec",
            "ZSCP",
            "-od",
            folder,
            *keys,
            *sending.node.address,
            status=None,
        )
    return {uid: one for uid, one in files_in(folder).items() if uid in wanted}


def test_movescu_brings_everything_back_to_the_byte(sending: Sending, tmp_path: Path) -> None:
    """storescp +xa takes what DCMTK knows; each object goes in the syntax that it came in."""
    got = _movescu(sending, tmp_path / "got", "+xa")
    assert set(got) == set(sending.sent)
    same = [uid for uid, one in got.items() if one.syntax == sending.sent[uid].syntax]
    assert len(same) == len(got), [got[uid].syntax for uid in got if uid not in same]
    for uid, one in got.items():
        assert one.data == sending.sent[uid].data, uid


def test_movescu_to_implicit_only(sending: Sending, tmp_path: Path) -> None:
    got = _movescu(sending, tmp_path / "got", "+xi")
    assert set(got) == set(sending.sent)
    for uid, one in got.items():
        assert one.syntax == IMPLICIT
        _same_pixels(one, sending.sent[uid])


def test_compressed_objects_go_out_as_explicit(sending: Sending, tmp_path: Path) -> None:
    got = _movescu(sending, tmp_path / "got", "+xe")
    compressed = set(sending.sent) - set(sending.native)
    for uid in compressed:
        assert got[uid].syntax in (EXPLICIT, IMPLICIT)
        _same_pixels(got[uid], sending.sent[uid])


def _movescu(sending: Sending, folder: Path, *options: str) -> dict[str, Sent]:
    with storescp(folder, *options) as port:
        sending.node.peer("DEST", port)
        for study in sorted({sent.dataset.StudyInstanceUID for sent in sending.sent.values()}):
            keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
            dcmtk("movescu", "-S", "-aec", "ZSCP", "-aem", "DEST", *keys, *sending.node.address)
    return files_in(folder)


@pytest.mark.parametrize("form", [JPEGLS, RLE, JPEG2000, JPEG_LOSSLESS, HTJ2K, JPEGXL])
def test_one_form_only(sending: Sending, form: str) -> None:
    """A destination that takes nothing else gets it, or that object fails alone."""
    counted = Counter(sent.dataset.StudyInstanceUID for sent in sending.images.values())
    studies = sorted(study for study, count in counted.items() if count < 20)
    with Sink(accepts=lambda _, syntax: syntax == form) as sink:
        sending.node.peer("SINK", sink.port, prefer=[form])
        with sending.node.scu((STUDY_MOVE, [EXPLICIT])) as scu:
            done = scu.move(STUDY_MOVE, identifier("STUDY", StudyInstanceUID=studies), "SINK")
    arrived = sink.objects
    sources = {one.syntax for one in sending.sent.values()}
    if form == JPEG_LOSSLESS and form not in sources:
        pytest.skip("nothing was sent in JPEG Lossless, which is passed on but not made here")
    assert done.final.status in (0, 0xB000)
    assert {one.syntax for one in arrived.values()} == {form}
    came = {sending.sent[uid].syntax for uid in arrived}
    assert came & set(NATIVE) or form == JPEG_LOSSLESS
    assert form in came or form not in sources
    for uid, one in arrived.items():
        _same_pixels(one, sending.sent[uid])


_SUBSAMPLED_OR_LOSSY = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51))


def _same_pixels(one: Sent, original: Sent) -> None:
    """The same picture to the sample, and the same object."""
    got, came = one.dataset, original.dataset
    assert got.SOPInstanceUID == came.SOPInstanceUID
    assert str(got.get("PatientName")) == str(came.get("PatientName"))
    assert ("PixelData" in got) == ("PixelData" in came)
    if "PixelData" in came and original.syntax not in _SUBSAMPLED_OR_LOSSY:  # JPEG decoders may differ
        np.testing.assert_array_equal(pixels(one), pixels(original))


def test_roots_differ_only_in_their_levels(sending: Sending) -> None:
    with sending.node.scu((PATIENT_FIND, [EXPLICIT]), (STUDY_FIND, [EXPLICIT])) as scu:
        assert scu.find(PATIENT_FIND, identifier("PATIENT", PatientID=""))[-1].status == 0
        refused = scu.find(STUDY_FIND, identifier("PATIENT", PatientID=""))[-1]
    assert (refused.status, "PATIENT" in refused.comment) == (0xA900, True)
