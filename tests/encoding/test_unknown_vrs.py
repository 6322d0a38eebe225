"""VRs that PS3.5 does not have (yet): their length has 32 bits (7.1.2), though old toolkits write 16."""

from __future__ import annotations

import runpy
import struct
import subprocess
from pathlib import Path

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from objects import Shape, assert_restored, element, item, kept, phantom, received, sequence, transcoded
from pydicom import dcmread

from scp.config.rules import Stage
from scp.encoding.elements import CANONICAL, SHORT, VRS, Encoding, walk
from scp.encoding.facts import survey
from scp.encoding.headers import Header
from scp.model import Received
from scp.syntaxes import BIG_ENDIAN, DEFLATED, EXPLICIT, HTJ2K, IMPLICIT

pytestmark = pytest.mark.quick

CASE = Path(__file__).parents[1] / "data" / "cases" / "unknown-vr.dcm"
RESTORE = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "examples" / "restore.py"))["restored"]
BIG = Encoding(little=False)


@pytest.mark.parametrize("target", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED, HTJ2K])
def test_the_case_goes_out_in_every_transfer_syntax(target: str, tmp_path: Path) -> None:
    sent = received(CASE)
    assert survey(sent).readable
    (value,) = (
        sent.dataset[each.value : each.end]
        for each in walk(sent.dataset, CANONICAL)
        if each.tag == 0x00211001
    )
    out = transcoded(sent.dataset, EXPLICIT, target, None)
    path = tmp_path / "out.dcm"
    path.write_bytes(_file(sent, target, out))
    dumped = subprocess.run(["dcmdump", "-q", "+L", path], check=True, capture_output=True, text=True)
    assert "(7fe0,0010)" in dumped.stdout
    if target == IMPLICIT:
        assert dcmread(path)[0x0021, 0x1001].value == bytes(value)


def _file(sent: Received, syntax: str, dataset: bytes) -> bytes:
    from scp.objects.part10 import Part10, head  # noqa: PLC0415

    return head(Part10(sent.sop_class_uid, sent.sop_instance_uid, syntax, b"")) + dataset


@pytest.mark.parametrize("form", ["received", "zstd", "deflate", "htj2k", "rle", "jpegls"])
def test_the_case_is_kept_in_every_form(form: str) -> None:
    sent = received(CASE)
    found = kept(sent, Stage(forms=(form,)))
    assert found.encoded.form == form
    assert_restored(sent, found.data)
    assert RESTORE(bytes(found.data))[0] == sent.dataset


def short(vr: str, value: bytes, encoding: Encoding = CANONICAL) -> bytes:
    order = "<" if encoding.little else ">"
    return struct.pack(order + "HH2sH", 0x0021, 0x1001, vr.encode(), len(value)) + value


@pytest.mark.parametrize("encoding", [CANONICAL, BIG])
@pytest.mark.parametrize("value", [b"", b"ab", b"\0" * 6, b"x" * 300])
@pytest.mark.parametrize("behind", [b"", "element", "item"])
def test_both_ways_to_write_one_are_read(encoding: Encoding, value: bytes, behind: bytes | str) -> None:
    end = {
        "element": element(0x00220001, "US", b"\0\1", encoding=encoding),
        "item": element(0xFFFEE00D, "", b"", encoding=encoding),
    }.get(behind, b"")
    for written in (short("XY", value, encoding), element(0x00211001, "XY", value, encoding=encoding)):
        found = next(walk(written + end, encoding))
        assert (found.vr, found.next, (written + end)[found.value : found.end]) == (
            b"XY",
            len(written),
            value,
        )


@examples(150, derandomize=True)
@given(
    vr=st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=2, max_size=2).filter(
        lambda vr: vr.encode() not in VRS
    ),
    value=st.binary(max_size=40).map(lambda value: value + b"\0" * (len(value) % 2)),
    nested=st.booleans(),
    is_short=st.booleans(),
)
def test_a_phantom_with_any_unknown_vr_comes_back(
    vr: str, value: bytes, nested: bool, is_short: bool
) -> None:
    sent = phantom(Shape(rows=24, columns=24, noise=0.01))
    odd = short(vr, value) if is_short else element(0x00211001, vr, value)
    extra = sequence(0x00211002, [item(odd, defined=True)], defined=True) if nested else odd
    at = next(each.start for each in walk(sent.dataset, CANONICAL) if each.tag > 0x00220000)
    stream = bytes(sent.dataset[:at]) + extra + bytes(sent.dataset[at:])
    sent = Received(sent.sop_class_uid, "1.2.3", EXPLICIT, stream, "A", "B", sent.received_at)
    for form in ("htj2k", "deflate"):
        data = kept(sent, Stage(forms=(form,))).data
        assert_restored(sent, data)
        assert RESTORE(bytes(data))[0] == stream
    out = transcoded(stream, EXPLICIT, IMPLICIT, None)
    assert value in out


def test_an_element_of_an_unknown_vr_is_edited_whichever_way_it_is_written() -> None:
    for written in (short("XY", b"abcd"), element(0x00211001, "XY", b"abcd")):
        around = element(0x00080060, "CS", b"OT"), element(0x00280010, "US", b"\1\0")
        header = Header(around[0] + written + around[1])
        assert header.edited({0x00211001: None}) == around[0] + around[1]


def test_the_tables_of_the_standard_are_whole() -> None:
    """PS3.5 6.2 has 34 VRs; table 7.1-2 names those with 16 bits."""
    assert len(VRS) == 34
    assert len(SHORT) == 21
