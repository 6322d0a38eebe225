"""A canonical header, read and changed.

Walking all of its elements to change two cost 0.4 ms of the 2.2 ms that a small MR object took in all,
so what is changed is found by the scan; walked is only where a tag might come twice.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from scp.encoding.elements import CANONICAL, LONG, SHORT, element_header, walk
from scp.encoding.facts import Attributes
from scp.encoding.pixels import PixelFormat, check_within_bounds, pixel_format
from scp.encoding.scan import Scan, scan
from scp.errors import CannotEncode
from scp.resources.bounds import bounds
from scp.spool import Buffer


class Header:
    """The dataset before the pixel data, as explicit VR little endian. It is scanned once."""

    def __init__(self, data: Buffer, proven: bool = False) -> None:
        """Raises CannotEncode for what is longer than ``[limits]`` allows, unless it was ``proven`` before.

        It is held in memory, and so are those that are made of it.
        """
        most = bounds().header_bytes
        if len(data) > most and not proven:
            raise CannotEncode(f"{len(data)} bytes outside its pixel data, over {most} (limits.header_bytes)")
        self.data = bytes(data)

    @cached_property
    def _found(self) -> Scan:
        return scan(self.data, CANONICAL, counted=False)

    @property
    def format(self) -> PixelFormat:
        """Its Image Pixel module. Raises CannotEncode; PixelsBeyondBounds beyond ``[limits]``."""
        check_within_bounds(self.proven_format)
        return self.proven_format

    @cached_property
    def proven_format(self) -> PixelFormat:
        """The same of what was encoded here, and proven: smaller limits came later, and it has to come back
        (invariant 7). Raises CannotEncode.
        """
        form = pixel_format(Attributes(self.data, CANONICAL, self._found))
        return replace(form, overlays=True) if self._has_overlay_above(form.high_bit) else form

    def _has_overlay_above(self, high_bit: int) -> bool:
        """Whether an overlay plane lies in the unused bits of the samples (PS3.3 C.9.2, retired)."""
        found = (self._found.elements.get(group << 16 | 0x0102) for group in range(0x6000, 0x6020, 2))
        return any(
            int.from_bytes(self.data[at:end], "little") > high_bit for _, at, end in filter(None, found)
        )

    def value(self, tag: int) -> bytes:
        """The value of an element of defined length; empty where it is not there."""
        _, at, end = self._found.elements.get(tag, (b"", 0, 0))
        return self.data[at:end]

    def edited(self, edits: dict[int, bytes | None]) -> bytes:
        """The header with some elements replaced or, for None, removed.

        A group length (gggg,0000) of a group that changes is removed: it is retired, and would be wrong.
        Elements that are not there are not added; those of undefined length are left alone.
        """
        gone = {tag & 0xFFFF0000: None for tag in edits}
        changes = {tag: value for tag, value in (gone | edits).items() if tag in self._found.elements}
        if not changes:
            return self.data
        found = [self._element(tag) for tag in changes]
        if all(self.data.count(self.data[start : start + 6]) == 1 for start, _, _ in found):
            return self._with(found, changes)
        elements = [each for each in walk(self.data, CANONICAL) if each.tag in changes and not each.undefined]
        return self._with([(each.start, each.next, each.tag) for each in elements], changes)

    def _element(self, tag: int) -> tuple[int, int, int]:
        """Where the last element of a tag begins and ends; the tag."""
        vr, value, end = self._found.elements[tag]
        start = value - 12
        if vr in SHORT or (vr not in LONG and self.data[start : start + 6] != _begun(tag, vr)):
            start = value - 8  # an unknown VR has been written either way
        return start, end, tag

    def _with(self, elements: list[tuple[int, int, int]], changes: dict[int, bytes | None]) -> bytes:
        out, at = [], 0
        for start, end, tag in sorted(elements):
            out.append(self.data[at:start])
            if (value := changes[tag]) is not None:
                vr = self.data[start + 4 : start + 6]
                out += [element_header(tag, vr, len(value), CANONICAL), value]
            at = end
        return b"".join((*out, self.data[at:]))


def _begun(tag: int, vr: bytes) -> bytes:
    return element_header(tag, vr, 0, CANONICAL)[:6]
