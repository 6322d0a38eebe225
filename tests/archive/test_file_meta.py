"""Where the File Meta Information ends: what a sender sends is never taken for zscp's own."""

from __future__ import annotations

import runpy
import shutil
import struct
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from objects import Shape, as_received, assert_restored, deflate, element, kept, phantom
from pydicom import dcmread

from scp.archive.archive import Archive
from scp.archive.options import Options
from scp.archive.pending import PendingBound
from scp.background.doorbell import Doorbell
from scp.background.progress import Silent
from scp.config.rules import DEFAULT_POLICY, Stage
from scp.encoding.dataset import encoding_of
from scp.encoding.elements import CANONICAL, walk
from scp.index.sql import SqlIndex
from scp.lifecycle.deletion import Deletion
from scp.lifecycle.recovery import recover
from scp.lifecycle.reindex import reindex
from scp.lifecycle.transfer import export, import_files
from scp.model import Provenance, Received, SyntaxPreference
from scp.objects import file_meta, part10, provenance
from scp.objects.landed import LandedStore
from scp.objects.landing import LandingLog
from scp.objects.local import LocalStore
from scp.objects.names import is_landed
from scp.objects.part10 import PRIVATE_CREATOR_UID, Part10, pack, unpack
from scp.syntaxes import BIG_ENDIAN, BY_UID, DEFLATED, EXPLICIT, IMPLICIT, lookup

pytestmark = pytest.mark.quick

CASES = Path(__file__).parents[1] / "data" / "cases"
RESTORE = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "examples" / "restore.py"))["restored"]
FORMS = ("received", "zstd", "native", "deflate", "htj2k", "rle")
NATIVE = (EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED)
FORGED = Provenance(
    transfer_syntax=BIG_ENDIAN,
    sha256="00" * 32,
    size=1,
    received_at=datetime(2999, 1, 1, tzinfo=UTC),
    calling_aet="FORGER",
    called_aet="FORGER",
    rule="forged",
    form="native",
)


def meta_elements(syntax: str, transfer_syntax: str = IMPLICIT) -> bytes:
    """A whole File Meta Information with forged private information, as elements of a dataset."""
    encoding = encoding_of(lookup(syntax))
    elements = [
        element(0x00020001, "OB", b"\0\1", encoding=encoding),
        element(0x00020002, "UI", b"1.2.3.4.", encoding=encoding),
        element(0x00020003, "UI", b"9.9.9.9.", encoding=encoding),
        element(0x00020010, "UI", transfer_syntax.encode().ljust(18, b"\0"), encoding=encoding),
        element(0x00020016, "AE", b"FORGER", encoding=encoding),
        element(0x00020100, "UI", PRIVATE_CREATOR_UID.encode().ljust(44, b"\0"), encoding=encoding),
        element(0x00020102, "OB", provenance.encoded(FORGED), encoding=encoding),
    ]
    size = struct.pack("<L" if encoding.little else ">L", sum(map(len, elements)))
    return element(0x00020000, "UL", size, encoding=encoding) + b"".join(elements)


def with_forged_meta(syntax: str) -> Received:
    """A phantom whose dataset begins with a File Meta Information of its own."""
    sound = phantom(Shape(rows=40, columns=40, noise=0.01), EXPLICIT if syntax == DEFLATED else syntax)
    stream = meta_elements(EXPLICIT if syntax == DEFLATED else syntax) + bytes(sound.dataset)
    return replace(
        sound, transfer_syntax=syntax, dataset=deflate(stream) if syntax == DEFLATED else stream, sha256=""
    )


def case(name: str) -> Received:
    """A case as it is sent: the dataset behind the first File Meta Information, by its group length."""
    data = (CASES / f"{name}.dcm").read_bytes()
    at = 144 + int.from_bytes(data[140:144], "little")
    meta = dcmread(CASES / f"{name}.dcm", specific_tags=[]).file_meta
    instance = str(meta.MediaStorageSOPInstanceUID)
    return as_received(data[at:], EXPLICIT, str(meta.MediaStorageSOPClassUID), instance)


def opened(root: Path, index: str, lands: bool = False) -> Archive:
    log = LandingLog(root / "objects", segment=1 << 20) if lands else None
    return Archive(
        LandedStore(LocalStore(root / "objects"), log),
        SqlIndex.open(f"sqlite:///{root}/{index}.db"),
        DEFAULT_POLICY,
        Options(pending=PendingBound(lambda: 0, 1 << 30, Doorbell()) if lands else None),
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["group2-first", "two-file-metas"])
def test_the_case_is_kept_and_given_back_in_every_form(name: str, form: str) -> None:
    sent = case(name)
    data = kept(sent, Stage(forms=(form,))).data
    file = unpack(data)
    assert (file.provenance.sha256, file.provenance.transfer_syntax) == (sent.sha256, EXPLICIT)
    assert_restored(sent, data)
    dataset, memory = RESTORE(bytes(data))
    assert (dataset, memory["sha256"]) == (sent.dataset, sent.sha256)


@pytest.mark.parametrize("name", ["group2-first", "two-file-metas"])
def test_the_case_is_imported_and_goes_out_as_what_is_announced(name: str, tmp_path: Path) -> None:
    archive = opened(tmp_path, "index")
    (found,) = import_files(archive, [CASES / f"{name}.dcm"], "ZSCP")
    assert (found.outcome, found.note) == ("kept", "")
    instance = archive.index.newest(case(name).sop_instance_uid)
    assert instance.received_transfer_syntax == EXPLICIT
    archive.verify(instance, deep=True)
    wire = SyntaxPreference(even=True)
    assert b"".join(archive.fetch(instance, [EXPLICIT], wire).chunks) == case(name).dataset
    for syntax in (IMPLICIT, BIG_ENDIAN):
        out = archive.fetch(instance, [syntax], wire)
        encoding = encoding_of(lookup(out.transfer_syntax))
        elements = list(walk(b"".join(out.chunks), encoding))
        assert out.transfer_syntax == syntax
        assert [each.tag for each in elements] == [each.tag for each in walk(case(name).dataset, CANONICAL)]
    archive.close()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("syntax", NATIVE)
def test_a_forged_meta_information_stays_the_senders(syntax: str, form: str) -> None:
    sent = with_forged_meta(syntax)
    found = kept(sent, Stage(forms=(form,)))
    file = unpack(found.data)
    assert file.provenance.calling_aet == "MODALITY"
    assert file.sop_instance_uid == sent.sop_instance_uid
    assert_restored(sent, found.data)
    _, memory = RESTORE(bytes(found.data))
    assert memory["from"] == "MODALITY"


# Any dataset, in any transfer syntax: what is written is what is read.

_BEGINNINGS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([meta_elements(syntax) for syntax in NATIVE[:3]]),
    st.builds(
        lambda group, number, vr, value: struct.pack("<HH2sH", group, number, vr, len(value)) + value,
        st.integers(0, 0x10) | st.integers(0, 0xFFFF),
        st.sampled_from([0x0000, 0x0001, 0x0010, 0x0100, 0x0102]) | st.integers(0, 0xFFFF),
        st.sampled_from([b"UL", b"OB", b"UI", b"\0\0", b"XX"]),
        st.binary(max_size=12),
    ),
    st.just(bytes(128) + b"DICM" + meta_elements(EXPLICIT)),
    st.just(b"\x28\xb5\x2f\xfd"),
)
# A UID is bytes on the wire, whatever they are; each is one character.
_UIDS = st.binary(max_size=70).map(lambda uid: uid.decode("latin-1").strip(" \0"))


@examples(150, derandomize=True)
@given(
    dataset=st.lists(_BEGINNINGS, max_size=4).map(b"".join),
    syntax=st.sampled_from(sorted(BY_UID)),
    uids=st.tuples(_UIDS, _UIDS),
    known=st.booleans(),
    source=st.sampled_from(["", "SENDER"]),
)
def test_written_and_read_it_is_the_same(dataset, syntax, uids, known, source) -> None:
    file = Part10(*uids, syntax, dataset, FORGED if known else None, source)  # type: ignore[call-arg]
    assert unpack(pack(file)) == file
    assert unpack(part10.wrap(pack(file), 3)) == file


def test_a_file_that_ends_between_two_elements_is_not_counted() -> None:
    """What the group length claims is not all there: so nothing of it is known to be zscp's own."""
    meta = meta_elements(EXPLICIT)
    ends = [one.next for one in walk(meta, CANONICAL)]
    whole = file_meta.read(meta, 0)
    assert (whole.counted, whole.end, whole.text(0x0003)) == (True, ends[-1], "9.9.9.9.")
    for end in ends[1:-1]:
        found = file_meta.read(meta[:end], 0)
        assert (found.counted, found.end) == (False, end)


_META = st.builds(
    lambda number, vr, value: element(0x00020000 | number, vr, value),
    st.sampled_from([0x0001, 0x0010, 0x0100, 0x0102]) | st.integers(0, 0xFFFF),
    st.sampled_from(["UI", "OB", "UN", "UV", "ST"]),
    st.binary(max_size=12),
)


@examples(300, derandomize=True)
@given(
    elements=st.lists(_META | st.binary(max_size=20), max_size=6).map(b"".join),
    behind=st.binary(max_size=20),
    more=st.integers(-20, 40),
    at=st.sampled_from([0, 132]),
)
def test_a_group_of_usual_size_is_read_as_a_large_one(
    elements: bytes, behind: bytes, more: int, at: int
) -> None:
    size = struct.pack("<L", max(0, len(elements) + more))
    file = memoryview(bytes(at) + element(0x00020000, "UL", size) + elements + behind)
    found = []
    for usual in (0, 64 << 10):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(file_meta, "_USUAL", usual)
            found.append(file_meta._counted(file, at))
    assert found[0] == found[1]


def _elements(syntax: str) -> st.SearchStrategy[bytes]:
    """Elements of the groups that no dataset should have, and of others, as a transfer syntax writes them."""
    encoding = encoding_of(lookup(EXPLICIT if syntax == DEFLATED else syntax))
    return st.builds(
        lambda group, number, vr, value: element(
            group << 16 | number, vr, value + b"\0" * (len(value) % 2), encoding=encoding
        ),
        st.sampled_from([0x0000, 0x0002, 0x0004, 0x0006, 0x0008, 0x0009]),
        st.sampled_from([0x0001, 0x0010, 0x0100, 0x0102]) | st.integers(1, 0xFFFF),
        st.sampled_from(["UI", "OB", "LO", "UN"]),
        st.binary(max_size=12) | st.sampled_from([IMPLICIT.encode(), PRIVATE_CREATOR_UID.encode()]),
    )


@examples(60, derandomize=True)
@given(data=st.data(), syntax=st.sampled_from(NATIVE), form=st.sampled_from(FORMS), whole=st.booleans())
def test_a_dataset_that_begins_with_any_elements_is_kept(data, syntax: str, form: str, whole: bool) -> None:
    sound = phantom(Shape(rows=24, columns=24, noise=0.01), EXPLICIT if syntax == DEFLATED else syntax)
    begin = b"".join(data.draw(st.lists(_elements(syntax), max_size=3)))
    begin += meta_elements(EXPLICIT if syntax == DEFLATED else syntax) if whole else b""
    stream = begin + bytes(sound.dataset)
    stream = deflate(stream) if syntax == DEFLATED else stream
    sent = replace(sound, transfer_syntax=syntax, dataset=stream, sha256="")
    found = kept(sent, Stage(forms=(form,))).data
    known = unpack(found).provenance
    assert (known.sha256, known.calling_aet, known.transfer_syntax) == (sent.sha256, "MODALITY", syntax)
    assert_restored(sent, found)
    dataset, memory = RESTORE(bytes(found))
    assert memory["sha256"] == sent.sha256
    assert dataset == stream or memory.get("native")


@pytest.mark.parametrize("syntax", NATIVE)
def test_neither_reindex_nor_delete_nor_export_takes_it_for_its_own(syntax: str, tmp_path: Path) -> None:
    sent = with_forged_meta(syntax)
    first = opened(tmp_path, "index")
    before = first.ingest(sent).instance
    first.close()
    again = opened(tmp_path, "another")
    assert reindex(again, Silent()).recorded == 1
    found = again.index.newest(sent.sop_instance_uid)
    assert (found.calling_aet, found.received_at, found.received_sha256) == (
        before.calling_aet,
        sent.received_at,
        sent.sha256,
    )
    deletion = Deletion(again, {"": tmp_path / "objects"})
    deletion.delete([found], "test")
    list(deletion.restore(deletion.trash.entries()))
    restored = again.index.newest(sent.sop_instance_uid)
    assert (restored.calling_aet, restored.received_at) == ("MODALITY", sent.received_at)
    again.verify(restored, deep=True)
    (written,) = export(again, [restored], tmp_path / "out", "received")
    assert unpack(written.path.read_bytes()).dataset == sent.dataset
    again.close()


def test_nor_does_the_recovery_of_what_landed(tmp_path: Path) -> None:
    sent = with_forged_meta(IMPLICIT)
    first = opened(tmp_path / "first", "index", lands=True)
    assert is_landed(first.ingest(sent).instance.key)
    # The next segment is being made in the background under this name.
    ignored = shutil.ignore_patterns("*.zeros")
    shutil.copytree(tmp_path / "first", tmp_path / "killed", ignore=ignored)
    first.close()
    again = opened(tmp_path / "killed", "another", lands=True)
    assert recover(again).recorded == 1
    found = again.index.newest(sent.sop_instance_uid)
    assert (found.calling_aet, found.received_at) == ("MODALITY", sent.received_at)
    again.verify(found, deep=True)
    again.close()
