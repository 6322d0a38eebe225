"""What a header has in common with that of its series' object before: guessed, and verified.

The objects of a series have the same elements, and most of them the same values. A layout remembers those
as runs of bytes, each of which is compared at once, and between them the elements that are ``open``: whose
values differ from object to object. Of these tag and VR are compared, and the length is read. Nothing is
believed that was not compared: where a byte differs, or the stream ends before, there is no guess, and the
header is gone through element by element (docs/decisions/0191).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from scp.encoding.conversion import SEQUENCE_TAGS
from scp.encoding.elements import Encoding
from scp.spool import Buffer

Span = tuple[bytes, int, int]  # of an element: VR (empty where implied), position of its value, and its end

_SERIES_INSTANCE_UID = 0x0020000E
# A header of fewer elements is gone through as soon; one of more takes too much to remember.
_FEWEST, _MOST, _LARGEST = 16, 1024, 128 << 10
_MOST_OPEN = 64  # elements; of a header with more, what is common is not worth the comparison
_LONGER = 4096  # bytes by which the values of open elements may be longer, all together
_BEGINNING = 128  # bytes that rule out most layouts of other series
# So many take 2 MB of common headers, and 8 MB of the largest.
_LAYOUTS = 8
_PLACES = 4  # of a run that are remembered: it lies elsewhere where an open value before it is longer


@dataclass(frozen=True, slots=True)
class _Run:
    """Elements that are always the same, and behind them the beginning of an ``open`` one, whose tag and VR
    these are: as bytes, ``content``.

    ``length`` reads the length of the open one. ``same`` are the others, where they lie if the run begins at
    ``origin``.
    """

    content: bytes
    same: tuple[tuple[int, Span], ...]
    origin: int
    open: tuple[int, bytes]
    length: struct.Struct
    _placed: dict[int, Mapping[int, Span]] = field(default_factory=dict)

    def placed(self, begin: int) -> Mapping[int, Span]:
        """Those that are always the same, where the run begins here."""
        found = self._placed.get(begin)
        if found is None:
            if len(self._placed) >= _PLACES:
                self._placed.clear()
            by = begin - self.origin
            found = {tag: (vr, value + by, end + by) for tag, (vr, value, end) in self.same}
            self._placed[begin] = found
        return found


@dataclass(frozen=True, slots=True)
class Layout:
    """Headers of one ``series`` with the same ``tags``; one of them is ``header``, and ``spans`` are in it.

    ``open`` are the tags of those whose values differ, ``sequences`` those of sequences. Without ``runs``
    it was seen but once. ``texts`` is kept for :class:`scp.encoding.facts.Attributes`: for the keywords that
    were asked for at once, the texts that all of these headers have, and which keywords have others.
    """

    series: bytes
    tags: tuple[int, ...]
    spans: tuple[Span, ...]
    header: bytes = field(repr=False)
    open: frozenset[int] = frozenset()
    sequences: tuple[int, ...] = ()
    runs: tuple[_Run, ...] = ()
    texts: dict[tuple[str, ...], tuple[dict[str, str], tuple[str, ...]]] = field(
        default_factory=dict, repr=False
    )

    def elements_of(self, data: Buffer) -> tuple[dict[int, Span], int] | None:
        """The elements with which a stream begins if it has this layout, and where they end."""
        header, at, elements = bytes(data[: len(self.header) + _LONGER]), 0, dict[int, Span]()
        try:
            for run in self.runs:
                if not header.startswith(run.content, at):
                    return None
                if run.same:
                    elements.update(run.placed(at))
                told_at = at + len(run.content)
                value = told_at + run.length.size
                at = value + run.length.unpack_from(header, told_at)[0]
                tag, vr = run.open
                elements[tag] = vr, value, at
        except struct.error:  # it ends before
            return None
        return (elements, at) if at <= len(header) else None

    def differing_from(self, other: Layout) -> frozenset[int]:
        """The tags of those elements whose values differ in another header with these tags."""
        mine, others = self.header, other.header
        spans = zip(self.tags, self.spans, other.spans, strict=True)
        return frozenset(tag for tag, (_, a, b), (_, c, d) in spans if mine[a:b] != others[c:d])


class Layouts:
    """Those of the headers that came last in one encoding; all threads of a process share them."""

    def __init__(self, encoding: Encoding) -> None:
        self._explicit, self._order = encoding.explicit, "<" if encoding.little else ">"
        self._known: tuple[Layout, ...] = ()  # the last one first; it is replaced as a whole

    def find(self, data: Buffer) -> tuple[Layout, dict[int, Span], int] | None:
        """The layout with which a stream begins, the elements, and where they end."""
        beginning = bytes(data[:_BEGINNING])
        for layout in self._known:
            if layout.runs and beginning.startswith(layout.runs[0].content[:_BEGINNING]):
                found = layout.elements_of(data)
                if found is not None:
                    self._put_first(layout)
                    return layout, *found
        return None

    def learn(self, data: Buffer, elements: Mapping[int, Span], end: int) -> None:
        """Remember the header of a stream: ``elements`` of defined lengths and known VRs, up to ``end``."""
        if not _FEWEST <= len(elements) <= _MOST or end > _LARGEST:
            return
        header, tags = bytes(data[:end]), tuple(elements)
        _, begin, stop = elements.get(_SERIES_INSTANCE_UID, (b"", 0, 0))
        new = Layout(header[begin:stop], tags, tuple(elements.values()), header)
        before = next((each for each in self._known if each.series == new.series and each.tags == tags), None)
        alike = before or next((each for each in self._known if each.tags == tags), None)
        if before is not None:
            differing = before.differing_from(new)
            if before.runs and differing <= before.open:  # it is something else that differs: a VR
                return
            new = self._with_runs(new, before.open | differing)
        elif alike is not None and alike.runs:  # the series before: what differs there does so here
            new = self._with_runs(new, alike.open)
        self._put_first(new, before)

    def _put_first(self, layout: Layout, instead: Layout | None = None) -> None:
        known = self._known
        if not known or known[0] is not layout:
            others = (each for each in known if each is not layout and each is not instead)
            self._known = (layout, *others)[:_LAYOUTS]

    def _with_runs(self, layout: Layout, tags: frozenset[int]) -> Layout:
        """The layout with those tags open; without runs if they are too many, or a tag comes twice."""
        opened = tags | {layout.tags[-1]}  # so that each run ends with one
        ends = (0, *(end for _, _, end in layout.spans))
        # Of a tag that comes twice, the last place is known alone, and where the first was is a gap.
        whole = all(value - at in (8, 12) for at, (_, value, _) in zip(ends, layout.spans, strict=False))
        if not whole or len(opened) > _MOST_OPEN:
            return layout
        elements = tuple(zip(layout.tags, layout.spans, strict=True))
        runs, first = list[_Run](), 0
        for last, (tag, (vr, value, _)) in enumerate(elements):
            if tag in opened:
                short = self._explicit and value - ends[last] == 8
                length = struct.Struct(self._order + ("H" if short else "L"))
                content = layout.header[ends[first] : value - length.size]
                runs.append(_Run(content, elements[first:last], ends[first], (tag, vr), length))
                first = last + 1
        sequences = tuple(t for t, (vr, _, _) in elements if vr == b"SQ" or (not vr and t in SEQUENCE_TAGS))
        return replace(layout, open=opened, runs=tuple(runs), sequences=sequences)
