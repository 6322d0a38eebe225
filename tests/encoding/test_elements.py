"""Data elements as bytes: every encoding to every other and back, and streams that are no datasets."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from objects import bundled, element, item, received, sequence
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from scp.encoding.conversion import convert
from scp.encoding.dataset import encoding_of, inflate
from scp.encoding.elements import (
    CANONICAL,
    IMPLICIT_LITTLE,
    UNDEFINED,
    Encoding,
    element_header,
    walk,
)
from scp.encoding.headers import Header
from scp.errors import UnreadableDataset
from scp.objects import part10
from scp.resources.bounds import DEFAULTS
from scp.syntaxes import lookup

BIG = Encoding(little=False)
LONG = "OB OD OF OL OV OW SQ SV UC UN UR UT UV".split()


# Element trees, as the strategies make them: an element in every encoding has the same tag, VR and words.


@dataclass(frozen=True)
class Leaf:
    tag: int
    vr: str
    words: tuple[bytes, ...]  # little endian

    def written(self, encoding: Encoding) -> bytes:
        value = b"".join(word if encoding.little else word[::-1] for word in self.words)
        return element(self.tag, self.vr, value, encoding=encoding)


@dataclass(frozen=True)
class Tree:
    tag: int
    items: tuple[tuple[bool, tuple[Leaf | Tree, ...]], ...]
    defined: bool

    def written(self, encoding: Encoding) -> bytes:
        items = [item(written(content, encoding), defined, encoding) for defined, content in self.items]
        return sequence(self.tag, items, self.defined, encoding=encoding)


@dataclass(frozen=True)
class Unknown:
    """UN of undefined length: implicit VR little endian wherever it stands (PS3.5 6.2.2)."""

    tag: int
    content: tuple[Leaf, ...]
    defined: bool

    def written(self, encoding: Encoding) -> bytes:
        inner = item(written(self.content, IMPLICIT_LITTLE), self.defined, IMPLICIT_LITTLE)
        end = element(0xFFFEE0DD, "", b"", encoding=IMPLICIT_LITTLE)
        return element(self.tag, "UN", inner, UNDEFINED, encoding) + end


def written(content: tuple[Leaf | Tree | Unknown, ...], encoding: Encoding) -> bytes:
    return b"".join(each.written(encoding) for each in content)


WORDS = {
    "US": 2,
    "SS": 2,
    "OW": 2,
    "UL": 4,
    "SL": 4,
    "FL": 4,
    "OF": 4,
    "OL": 4,
    "FD": 8,
    "OD": 8,
    "SV": 8,
    "UV": 8,
}
WORDS |= {"OV": 8, "LO": 1, "UI": 1, "OB": 1, "UT": 1, "UN": 1, "CS": 1, "PN": 1}
# Tags that PS3.6 has with one VR each, which is what implicit VR gives them back.
# fmt: off
KNOWN = {
    0x00080018: "UI", 0x00080060: "CS", 0x00100010: "PN", 0x00280010: "US", 0x00189219: "SS",
    0x00186020: "SL", 0x00186018: "UL", 0x00189087: "FD", 0x00420011: "OB", 0x00660016: "OF",
    0x00660040: "OL", 0x00287FE0: "UR", 0x0040A160: "UT", 0x00720083: "UV", 0x00100020: "LO",
    0x00090010: "LO", 0x00091001: "UN", 0x7FDF1003: "UN",
}
# fmt: on


def leaves(tags: st.SearchStrategy[tuple[int, str]]) -> st.SearchStrategy[Leaf]:
    def of(named: tuple[int, str]) -> st.SearchStrategy[Leaf]:
        tag, vr = named
        size = WORDS.get(vr, 1)
        word = st.binary(min_size=size, max_size=size)
        return st.builds(Leaf, st.just(tag), st.just(vr), st.lists(word, max_size=5).map(tuple))

    return tags.flatmap(of)


ANY_TAG = st.tuples(
    st.integers(0x0008, 0x7FDF), st.integers(0x0001, 0xFFFF), st.sampled_from(sorted(WORDS))
).map(lambda each: (each[0] << 16 | each[1], each[2]))
KNOWN_TAG = st.sampled_from(sorted(KNOWN.items()))


def trees(leaf: st.SearchStrategy[Leaf]) -> st.SearchStrategy[tuple[Leaf | Tree, ...]]:
    # Pixel Representation decides on the VRs around it, and is left to a test of its own.
    leaf = leaf.filter(lambda each: each.tag != 0x00280103)

    def deeper(inner: st.SearchStrategy[Leaf | Tree]) -> st.SearchStrategy[Tree]:
        items = st.lists(st.tuples(st.booleans(), st.lists(inner, max_size=3).map(tuple)), max_size=3).map(
            tuple
        )
        return st.builds(Tree, st.sampled_from((0x00081140, 0x00400275, 0x0040A730)), items, st.booleans())

    anything = st.recursive(leaf, deeper, max_leaves=8)
    return st.lists(anything, max_size=6).map(tuple)


@examples(150, derandomize=True)
@given(
    trees(leaves(ANY_TAG)),
    st.lists(
        st.builds(Unknown, st.just(0x00091002), st.lists(leaves(KNOWN_TAG)).map(tuple), st.booleans()),
        max_size=2,
    ),
)
def test_explicit_little_and_big_endian_are_each_other(tree, unknown) -> None:
    tree = (*tree, *unknown)
    little, big = written(tree, CANONICAL), written(tree, BIG)
    assert convert(little, CANONICAL, BIG) == big
    assert convert(big, BIG, CANONICAL) == little


@examples(150, derandomize=True)
@given(trees(leaves(KNOWN_TAG)))
def test_implicit_is_the_others_where_the_dictionary_knows(tree) -> None:
    for explicit in (CANONICAL, BIG):
        stream, implicit = written(tree, explicit), written(tree, IMPLICIT_LITTLE)
        assert convert(stream, explicit, IMPLICIT_LITTLE) == implicit
        assert convert(implicit, IMPLICIT_LITTLE, explicit) == stream


@examples(100, derandomize=True)
@given(trees(leaves(ANY_TAG)))
def test_walking_covers_every_byte(tree) -> None:
    for encoding in (CANONICAL, BIG, IMPLICIT_LITTLE):
        stream = written(tree, encoding)
        found = list(walk(stream, encoding))
        assert [each.tag for each in found] == [each.tag for each in tree]
        assert b"".join(stream[each.start : each.next] for each in found) == stream


def test_us_or_ss_goes_by_pixel_representation_and_reaches_into_items() -> None:
    padding, nested = element(0x00280120, "SS", b"\x01\x80"), element(0x00280106, "SS", b"\x02\x80")
    stream = element(0x00280103, "US", b"\1\0") + padding + sequence(0x00283000, [item(nested, True)], True)
    for encoding in (IMPLICIT_LITTLE, BIG):
        assert convert(convert(stream, CANONICAL, encoding), encoding, CANONICAL) == stream
    unsigned = stream.replace(b"US\2\0\1\0", b"US\2\0\0\0").replace(b"SS", b"US")
    assert convert(convert(unsigned, CANONICAL, IMPLICIT_LITTLE), IMPLICIT_LITTLE, CANONICAL) == unsigned


def test_group_lengths_are_made_anew() -> None:
    content = element(0x00080060, "CS", b"MR") + element(0x00420011, "OB", b"12")
    stream = element(0x00080000, "UL", struct.pack("<L", 10)) + content
    implicit = convert(stream, CANONICAL, IMPLICIT_LITTLE)
    assert next(iter(walk(implicit, IMPLICIT_LITTLE))).value == 8
    assert struct.unpack_from("<L", implicit, 8) == (10,)
    assert convert(implicit, IMPLICIT_LITTLE, CANONICAL) == stream
    longer = element(0x00420000, "UL", struct.pack("<L", 14)) + element(0x00420011, "OB", b"12")
    assert struct.unpack_from("<L", convert(longer, CANONICAL, IMPLICIT_LITTLE), 8) == (10,)
    assert convert(convert(longer, CANONICAL, IMPLICIT_LITTLE), IMPLICIT_LITTLE, CANONICAL) == longer
    assert convert(convert(longer, CANONICAL, BIG), BIG, CANONICAL) == longer


def test_what_follows_in_another_place_counts_in_the_group_length() -> None:
    stream = element(0x7FE00000, "UL", struct.pack("<L", 0))
    counted = convert(stream, CANONICAL, IMPLICIT_LITTLE, behind=(0x7FE0, 77))
    assert counted[-4:] == struct.pack("<L", 77)
    assert convert(stream, CANONICAL, IMPLICIT_LITTLE, behind=(0x7FE1, 77))[-4:] == bytes(4)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_odd_lengths_stay(size: int) -> None:
    stream = element(0x00080060, "CS", b"M" * size) + element(0x00280010, "US", b"1" * size)
    for encoding in (IMPLICIT_LITTLE, BIG):
        assert convert(convert(stream, CANONICAL, encoding), encoding, CANONICAL) == stream


def test_a_value_too_long_for_its_vr_becomes_un() -> None:
    value = b"A" * 0x10000
    implicit = element(0x00080060, "CS", value, encoding=IMPLICIT_LITTLE)
    explicit = convert(implicit, IMPLICIT_LITTLE, CANONICAL)
    assert explicit == element(0x00080060, "UN", value)
    assert convert(explicit, CANONICAL, IMPLICIT_LITTLE) == implicit


def test_a_length_that_does_not_fit_its_vr_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit VR CS"):
        element_header(0x00080060, b"CS", 0x10000, CANONICAL)


def test_private_elements() -> None:
    implicit = element(0x00090010, "", b"CREATOR ", encoding=IMPLICIT_LITTLE)
    implicit += element(0x00091001, "", b"\1\2\3\4", encoding=IMPLICIT_LITTLE)
    implicit += sequence(0x00091002, [item(b"", False, IMPLICIT_LITTLE)], False, "", IMPLICIT_LITTLE)
    explicit = convert(implicit, IMPLICIT_LITTLE, CANONICAL)
    assert [each.vr for each in walk(explicit, CANONICAL)] == [b"LO", b"UN", b"SQ"]
    assert convert(explicit, CANONICAL, IMPLICIT_LITTLE) == implicit


def test_an_icon_in_fragments_is_carried_through() -> None:
    fragments = item(b"", True) + item(b"\xff\xd8\xff\xd9", True)
    icon = element(0x7FE00010, "OB", fragments, UNDEFINED) + element(0xFFFEE0DD, "", b"")
    stream = sequence(0x00880200, [item(icon, False)], False)
    implicit = convert(stream, CANONICAL, IMPLICIT_LITTLE)
    assert fragments in implicit
    # What it was in explicit VR, implicit VR does not say.
    assert convert(implicit, IMPLICIT_LITTLE, CANONICAL) == stream.replace(b"OB", b"OW")


def test_stray_delimiters_are_carried_through() -> None:
    for tag in (0xFFFEE00D, 0xFFFEE0DD):
        stream = element(0x00080060, "CS", b"MR") + element(tag, "", b"") + element(0x00100020, "LO", b"ID")
        assert len(list(walk(stream, CANONICAL))) == 3
        assert convert(convert(stream, CANONICAL, IMPLICIT_LITTLE), IMPLICIT_LITTLE, CANONICAL) == stream


def small() -> bytes:
    """A little of everything that has a length."""
    inner = element(0x00080060, "CS", b"MR") + sequence(
        0x00081140, [item(element(0x00081155, "UI", b"1.2\0"), True)], True
    )
    unknown = item(element(0x00080060, "", b"MR", encoding=IMPLICIT_LITTLE), False, IMPLICIT_LITTLE)
    return (
        element(0x00080018, "UI", b"1.2.3\0")
        + sequence(0x00081115, [item(inner, True), item(inner, False)], True)
        + sequence(0x00081115, [item(inner, False), item(inner, True)], False)
        + sequence(0x00091001, [unknown], False, "UN")
        + element(0x00280010, "US", b"\1\0")
    )


@pytest.mark.parametrize("encoding", [CANONICAL, IMPLICIT_LITTLE, BIG], ids=["explicit", "implicit", "big"])
def test_cut_off_anywhere(encoding: Encoding) -> None:
    stream = convert(small(), CANONICAL, encoding)
    boundaries = {0, *(each.next for each in walk(stream, encoding))}
    for size in range(len(stream)):
        if size in boundaries:
            assert [each.next for each in walk(stream[:size], encoding)] == sorted(boundaries)[1:][
                : len([b for b in boundaries if 0 < b <= size])
            ]
            continue
        with pytest.raises(UnreadableDataset):
            list(walk(stream[:size], encoding))
        with pytest.raises(UnreadableDataset):
            convert(stream[:size], encoding, CANONICAL if encoding != CANONICAL else BIG)


def test_within_a_defined_length_nothing_may_be_missing_either() -> None:
    """What walking steps over, converting must not mend in silence: eight bytes were lost here once."""
    after = element(0x00100020, "LO", b"") + element(0x00100030, "DA", b"19700101")
    no_item_end = element(0xFFFEE000, "", element(0x00080060, "CS", b"MR"), UNDEFINED)
    no_sequence_end = element(0x00081140, "SQ", item(b"", True), UNDEFINED)
    for content in (no_item_end, item(no_sequence_end, True)):
        stream = element(0x00081115, "SQ", content) + after
        for encoding in (IMPLICIT_LITTLE, BIG):
            with pytest.raises(UnreadableDataset):
                convert(stream, CANONICAL, encoding)


@examples(300, derandomize=True)
@given(st.data())
def test_one_changed_byte_is_unreadable_or_read(data) -> None:
    stream = bytearray(small())
    stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    for encoding in (CANONICAL, IMPLICIT_LITTLE, BIG):
        try:
            list(walk(bytes(stream), encoding))
            for target in (CANONICAL, IMPLICIT_LITTLE, BIG):
                convert(bytes(stream), encoding, target)
        except (UnreadableDataset, ValueError):
            continue


@examples(200, derandomize=True)
@given(st.binary(max_size=200), st.sampled_from([CANONICAL, IMPLICIT_LITTLE, BIG]))
def test_garbage_is_unreadable_or_read(stream: bytes, encoding: Encoding) -> None:
    try:
        assert sum(each.next - each.start for each in walk(stream, encoding)) == len(stream)
    except UnreadableDataset:
        return


def nested(depth: int, defined: bool) -> bytes:
    content = b""
    for _ in range(depth):
        content = sequence(0x00081115, [item(content, defined)], defined)
    return content


@pytest.mark.parametrize("defined", [True, False])
def test_deep_nesting_has_a_limit(defined: bool) -> None:
    deep = nested(DEFAULTS.depth, defined)
    assert convert(convert(deep, CANONICAL, IMPLICIT_LITTLE), IMPLICIT_LITTLE, CANONICAL) == deep
    with pytest.raises(UnreadableDataset, match="nest deeper"):
        convert(nested(DEFAULTS.depth + 1, defined), CANONICAL, IMPLICIT_LITTLE)
    if not defined:
        with pytest.raises(UnreadableDataset, match="nest deeper"):
            list(walk(nested(20 * DEFAULTS.depth, defined), CANONICAL))


def test_edits_replace_remove_and_drop_stale_group_lengths() -> None:
    stream = element(0x00080000, "UL", bytes(4)) + element(0x00080060, "CS", b"MR")
    stream += (
        element(0x00280000, "UL", bytes(4))
        + element(0x00280004, "CS", b"RGB ")
        + element(0x00280006, "US", b"\1\0")
    )
    changed = Header(stream).edited({0x00280004: b"YBR_RCT ", 0x00280006: None, 0x00281050: b"not there"})
    assert changed == stream[: 12 + 10] + element(0x00280004, "CS", b"YBR_RCT ")
    assert Header(stream).edited({}) == stream
    assert Header(stream + stream).edited({0x00280006: None}) == (stream[:22] + stream[34:-10]) * 2


# Against others


def elements_of(dataset: Dataset) -> Iterator[tuple[str, object]]:
    for each in dataset:
        if each.tag.is_private or each.tag.element == 0:
            continue  # implicit VR loses what VR they had; group lengths differ
        if each.VR == "SQ":
            yield str(each.tag), [list(elements_of(entry)) for entry in each.value]
        elif isinstance(each.value, bytes):  # pydicom leaves the words of OW in the order of the stream
            yield str(each.tag), sorted(each.value)
        else:
            yield str(each.tag), each.value


NATIVE_FILES = [
    path
    for path in bundled()
    if lookup(part10.unpack(path.read_bytes()).transfer_syntax).content.value == "native"
]


def stream_of(path: Path) -> tuple[bytes, Encoding]:
    file = part10.unpack(path.read_bytes())
    syntax = lookup(file.transfer_syntax)
    return inflate(file.dataset) if syntax.deflated else file.dataset, encoding_of(syntax)


@pytest.mark.parametrize("path", NATIVE_FILES, ids=lambda path: path.name)
def test_pydicom_reads_the_same_from_all_encodings(path: Path) -> None:
    stream, source = stream_of(path)
    try:
        converted = {target: convert(stream, source, target) for target in (CANONICAL, IMPLICIT_LITTLE, BIG)}
    except UnreadableDataset:
        assert "truncated" in path.name
        return

    def read(data: bytes, encoding: Encoding) -> list[tuple[str, object]]:
        # Pixel data of more than 16 bits in OW is one word a sample: that is the dataset's business.
        dataset = read_dataset(
            BytesIO(data), not encoding.explicit, encoding.little, stop_when=lambda tag, *_: tag >= 0x7FE00000
        )
        return list(elements_of(dataset))

    original = read(stream, source)
    for target, data in converted.items():
        assert read(data, target) == original, target


@pytest.mark.parametrize("path", NATIVE_FILES, ids=lambda path: path.name)
def test_dcmtk_converts_to_the_same_values(path: Path, tmp_path: Path) -> None:
    if path.name in ("rtplan_truncated.dcm", "MR_truncated.dcm"):
        pytest.skip("cut off: the two mend it differently")
    stream, source = stream_of(path)
    for option, target in (("+ti", IMPLICIT_LITTLE), ("+te", CANONICAL), ("+tb", BIG)):
        out = tmp_path / option
        done = subprocess.run(
            ["dcmconv", option, "-q", str(path), str(out)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip(f"DCMTK cannot: {done.stderr.decode()[:200]}")
        theirs = dcmread(out, force=True, stop_before_pixels=True)
        data = convert(stream, source, target)
        ours = read_dataset(
            BytesIO(data), not target.explicit, target.little, stop_when=lambda tag, *_: tag >= 0x7FE00000
        )
        assert list(elements_of(ours)) == list(elements_of(theirs)), option


def test_received_files_are_walked_to_their_end() -> None:
    """Encapsulated ones too."""
    for path in bundled():
        object_ = received(path)
        syntax = lookup(object_.transfer_syntax)
        if syntax.deflated or "truncated" in path.name or path.name == "SC_rgb_jpeg.dcm":
            continue
        assert list(walk(object_.dataset, encoding_of(syntax)))[-1].next == len(object_.dataset), path.name
