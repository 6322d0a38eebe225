"""The JSON of a header that is like one before: only elements whose values differ are written anew (0227).

The images of a series have the same elements, and most of these the same values. As for the layouts of
headers (0191), a template is a guess that is compared: runs of bytes that are always the same, with their
JSON, and between them *open* elements, of which tag and VR are compared.
"""

from __future__ import annotations

import struct
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import pairwise

from scp.encoding.elements import CANONICAL, PIXEL_REPRESENTATION, UNDEFINED, Element, ElementReader
from scp.encoding.scan import PIXEL_TAGS
from scp.errors import BeyondBounds, UnreadableDataset

Member = tuple[int, bytes]  # a tag, and its attribute object
written_member = b'"%08X":%b'.__mod__  # as JSON
# Value, VR, tag, whether samples are signed, and the character sets → the attribute object.
Write = Callable[[memoryview, bytes, int, bool, tuple[str, ...]], bytes]
# All of the header; where an element is that holds items; its tag, VR, and the position and the length of its
# value; the last two as above → the attribute object, and where it ends. Raises as the plain way does.
WriteNested = Callable[
    [memoryview, int, tuple[int, bytes, int, int], bool, tuple[str, ...]], tuple[bytes, int]
]

_CHARACTER_SET = 0x00080005
# What reads the length of an element, and how many bytes its header then has (PS3.5 7.1.2).
_SHORT_LENGTH, _LONG_LENGTH = struct.Struct("<H"), struct.Struct("<L")
_SHORT_HEADER, _LONG_HEADER = 8, 12
_DECIDES = (_CHARACTER_SET, PIXEL_REPRESENTATION)  # how others are read: they may not be open
# So many are held, of headers of up to so many bytes and elements, with JSON of up to so many bytes: 8 MB at
# most.
_MOST, _LARGEST, _MOST_ELEMENTS, _MOST_TOLD = 8, 128 << 10, 1024, 256 << 10


@dataclass(frozen=True, slots=True)
class _SameRun:
    """Bytes that are always the same, and what is told of them; tag and VR of an open element end them.

    ``length`` reads that of the open element. At the end of a header there is none, and its tag is 0.
    """

    same: bytes = field(repr=False)
    told: bytes = field(repr=False)  # members with commas between them
    tag: int = 0
    vr: bytes = b""
    length: struct.Struct = _LONG_LENGTH
    signed: bool = False
    terms: tuple[str, ...] = ()


_Runs = tuple[_SameRun, ...]


@dataclass(frozen=True, slots=True)
class _Learnt:
    """One header, and its template; ``open`` are the places of elements that were seen to differ.

    There are no ``runs`` where none was.
    """

    data: bytes = field(repr=False)
    elements: Sequence[Element] = field(repr=False)
    open: frozenset[int]
    runs: _Runs = field(repr=False)


class Templates:
    """Those of the headers that were written last. For several threads."""

    def __init__(
        self, write: Write, nested: WriteNested, terms_in: Callable[[bytes], tuple[str, ...]]
    ) -> None:
        """``terms_in`` reads a Specific Character Set."""
        self._write, self._nested, self._terms_in = write, nested, terms_in
        self._learnt: OrderedDict[tuple[int, ...], _Learnt] = OrderedDict()  # by the tags of a header
        self._runs: tuple[_Runs, ...] = ()  # the newest first
        self._changes = threading.Lock()

    def members(self, header: bytes) -> list[bytes] | None:
        """What is told of an explicit VR little endian header: members of an object, some of them joined.

        They are in the order of their tags, and those of pixel data come behind them. None: it is not known.
        """
        for runs in self._runs:
            if (found := self._by(runs, header)) is not None:
                return found
        return None

    def _by(self, runs: _Runs, header: bytes) -> list[bytes] | None:
        found, at, end, view = list[bytes](), 0, len(header), memoryview(header)
        try:
            for run in runs:
                if not header.startswith(run.same, at):
                    return None
                at += len(run.same)
                if run.told:
                    found.append(run.told)
                if not run.tag:
                    break
                (length,) = run.length.unpack_from(header, at)
                value = at + run.length.size
                if nested := run.vr == b"SQ" or length == UNDEFINED:
                    header_of = run.tag, run.vr, value, length
                    told, at = self._nested(view, value - _LONG_HEADER, header_of, run.signed, run.terms)
                else:
                    at = value + length
                    told = self._write(view[value:at], run.vr, run.tag, run.signed, run.terms)
                if nested or run.tag & 0xFFFF:  # it is no length of a group
                    found.append(written_member((run.tag, told)))
        except (UnreadableDataset, BeyondBounds, struct.error):  # the plain way tells
            return None
        return found if at == end else None

    def learn(self, header: bytes, members: Sequence[Member]) -> None:
        """Take a header for the next ones, which has been written element by element."""
        told = dict(members)
        if len(header) > _LARGEST or sum(map(len, told.values())) > _MOST_TOLD:
            return
        elements = _certain(header)
        tags = tuple(one.tag for one in elements)
        if not tags or any(one >= following for one, following in pairwise((*tags, PIXEL_TAGS[0]))):
            return
        with self._changes:
            before = self._learnt.pop(tags, None)
            opened = before.open if before is not None else frozenset[int]()
            if before is not None:
                both = enumerate(zip(before.elements, elements, strict=True))
                opened |= {at for at, (old, new) in both if _bytes(before.data, old) != _bytes(header, new)}
                # Where one of these differs, it is another series: what comes next has that of the newest.
                opened -= {at for at in opened if tags[at] in _DECIDES}
            runs = self._template(header, elements, told, opened) if opened else ()
            self._learnt[tags] = _Learnt(header, elements, opened, runs)
            while len(self._learnt) > _MOST:
                self._learnt.popitem(last=False)
            self._runs = tuple(one.runs for one in reversed(self._learnt.values()) if one.runs)

    def _template(
        self, header: bytes, elements: Sequence[Element], told: Mapping[int, bytes], opened: Set[int]
    ) -> _Runs:
        runs, begun, same = list[_SameRun](), 0, list[Member]()
        signed, terms = False, tuple[str, ...]()
        for at, one in enumerate(elements):
            if at not in opened:
                value = header[one.value : one.end]
                signed = value.strip(b"\0") != b"" if one.tag == PIXEL_REPRESENTATION else signed
                terms = self._terms_in(value) if one.tag == _CHARACTER_SET else terms
                same += [(one.tag, told[one.tag])] if one.tag in told else []
                continue
            length = _SHORT_LENGTH if one.value - one.start == _SHORT_HEADER else _LONG_LENGTH
            alike = header[begun : one.value - length.size]
            runs.append(_SameRun(alike, _joined(same), one.tag, one.vr, length, signed, terms))
            begun, same = one.next, []
        return (*runs, _SameRun(header[begun:], _joined(same)))


class _CertainReader(ElementReader):
    """Reads elements whose VR says where they end: of an unknown one, what is behind it says that, too."""

    def _is_short(self, at: int, end: int, length: int) -> bool:  # noqa: ARG002 - refused, however long
        raise UnreadableDataset(f"an unknown VR at byte {at}")


def _certain(header: bytes) -> list[Element]:
    """The elements of a header; none of one with unknown VRs, or of more elements than are remembered."""
    reader, at, end, found = _CertainReader(header, CANONICAL), 0, len(header), list[Element]()
    try:
        while at < end:
            found.append(reader.element(at, end))
            at = found[-1].next
            if not found[-1].vr or len(found) > _MOST_ELEMENTS:
                return []
    except (UnreadableDataset, BeyondBounds):
        return []
    return found


def _joined(members: Sequence[Member]) -> bytes:
    return b",".join(map(written_member, members))


def _bytes(data: bytes, one: Element) -> bytes:
    return data[one.start : one.next]
