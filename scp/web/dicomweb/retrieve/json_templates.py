"""The JSON of a header that is like one before: only elements whose values differ are written anew (0227).

The images of a series have the same elements, and most of these the same values. As for the layouts of
headers (0191), a template is a guess that is compared: runs of bytes that are always the same, with their
JSON, and between them *open* elements, of which tag and VR are compared.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from scp.encoding.elements import CANONICAL, PIXEL_REPRESENTATION, UNDEFINED, Element, ElementReader, walk
from scp.errors import UnreadableDataset

Member = tuple[int, bytes]  # a tag, and its attribute object
# Value, VR, tag, whether samples are signed, and the character sets → the attribute object.
Write = Callable[[memoryview, bytes, int, bool, tuple[str, ...]], bytes]

_CHARACTER_SET = 0x00080005
# What decides how others are read: it may not be open. Nor may sequences, which are not taken apart here.
_DECIDES = (_CHARACTER_SET, PIXEL_REPRESENTATION)
# So many are held, of headers up to this size: with their JSON some 2 MB at most.
_MOST, _LARGEST = 8, 64 << 10


@dataclass(frozen=True, slots=True)
class _SameRun:
    """Bytes that are always the same, and what is told of them; then an open element, or tag 0 at the end."""

    same: bytes = field(repr=False)
    told: tuple[Member, ...] = field(repr=False)
    tag: int = 0
    vr: bytes = b""
    signed: bool = False
    terms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Learnt:
    """One header, with what was told of it; ``open`` are the places of elements that were seen to differ."""

    data: bytes = field(repr=False)
    elements: Sequence[Element] = field(repr=False)
    told: Mapping[int, bytes] = field(repr=False)
    open: frozenset[int] = frozenset()


class Templates:
    """Those of the headers that were written last. For several threads."""

    def __init__(self, write: Write, terms_in: Callable[[bytes], tuple[str, ...]]) -> None:
        """``terms_in`` reads a Specific Character Set."""
        self._write, self._terms_in = write, terms_in
        self._learnt: OrderedDict[tuple[int, ...], _Learnt] = OrderedDict()  # by the tags of a header
        self._runs: tuple[tuple[_SameRun, ...], ...] = ()  # the newest first
        self._changes = threading.Lock()

    def members(self, header: bytes) -> list[Member] | None:
        """What is told of an explicit VR little endian header, in the order of its tags; None: not known."""
        for runs in self._runs:
            if (found := self._by(runs, header)) is not None:
                return found
        return None

    def _by(self, runs: tuple[_SameRun, ...], header: bytes) -> list[Member] | None:
        found, at, end = list[Member](), 0, len(header)
        view, read = memoryview(header), ElementReader(header, CANONICAL).header
        for run in runs:
            if not header.startswith(run.same, at):
                return None
            at += len(run.same)
            found += run.told
            if not run.tag:
                break
            try:
                tag, vr, value, length = read(at, end)
            except UnreadableDataset:
                return None
            if tag != run.tag or vr != run.vr or length == UNDEFINED:
                return None
            at = value + length
            if tag & 0xFFFF:  # no length of a group
                found.append((tag, self._write(view[value:at], vr, tag, run.signed, run.terms)))
        return found if at == end else None

    def learn(self, header: bytes, members: Sequence[Member]) -> None:
        """Take a header for the next ones, which has been written element by element."""
        if len(header) > _LARGEST:
            return
        elements = list(walk(header, CANONICAL))
        tags = tuple(one.tag for one in elements)
        if any(one >= following for one, following in pairwise(tags)):
            return
        told = dict(members)
        with self._changes:
            before = self._learnt.pop(tags, None)
            opened = before.open if before is not None else frozenset[int]()
            if before is not None:
                both = enumerate(zip(before.elements, elements, strict=True))
                opened |= {at for at, (old, new) in both if _bytes(before.data, old) != _bytes(header, new)}
            self._learnt[tags] = _Learnt(header, elements, told, opened)
            while len(self._learnt) > _MOST:
                self._learnt.popitem(last=False)
            made = (self._template(one) for one in reversed(self._learnt.values()) if one.open)
            self._runs = tuple(filter(None, made))

    def _template(self, learnt: _Learnt) -> tuple[_SameRun, ...]:
        """The runs of a header; none where an element is open that may not be."""
        runs, begun, told = list[_SameRun](), 0, list[Member]()
        signed, terms = False, tuple[str, ...]()
        for at, one in enumerate(learnt.elements):
            if at not in learnt.open:
                value = learnt.data[one.value : one.end]
                signed = value.strip(b"\0") != b"" if one.tag == PIXEL_REPRESENTATION else signed
                terms = self._terms_in(value) if one.tag == _CHARACTER_SET else terms
                told += [(one.tag, learnt.told[one.tag])] if one.tag in learnt.told else []
                continue
            if one.undefined or one.vr == b"SQ" or one.tag in _DECIDES:
                return ()
            same = learnt.data[begun : one.start]
            runs.append(_SameRun(same, tuple(told), one.tag, one.vr, signed, terms))
            begun, told = one.next, []
        return (*runs, _SameRun(learnt.data[begun:], tuple(told)))


def _bytes(data: bytes, one: Element) -> bytes:
    return data[one.start : one.next]
