"""UIDs that a dataset lacks, added when it is sent (PS3.4 B.4.1.3: coercion of data elements).

What is stored stays as it was received. All else of the stream goes out as it is, but for the length of the
group that an element is put into, where there is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Literal

from scp.encoding.dataset import encoding_of
from scp.encoding.elements import ElementReader, Encoding, element_header
from scp.encoding.streams import deflated, gathered, inflated
from scp.encoding.uids import uid_of
from scp.errors import UnreadableDataset
from scp.spool import Buffer, slices
from scp.syntaxes import TransferSyntax

# Elements ahead of the UIDs of study and series: what is larger is no header.
_MOST = 16 << 20
_BEHIND_ALL = 1 << 32  # greater than any tag


def with_uids(pieces: Iterable[Buffer], syntax: TransferSyntax, uids: Mapping[int, str]) -> Iterator[Buffer]:
    """A dataset stream in ``syntax`` with ``uids``, by tag, in the place of those that it lacks.

    A stream that cannot be followed as far as they go stays as it is.
    """
    encoding = encoding_of(syntax)
    if not syntax.deflated:
        return _edited(iter(pieces), encoding, uids)
    stream = gathered(pieces)
    plain, fault, _ = inflated(stream)
    return slices(stream) if fault else deflated(_edited(slices(plain), encoding, uids))


def _edited(pieces: Iterator[Buffer], encoding: Encoding, uids: Mapping[int, str]) -> Iterator[Buffer]:
    """The beginning is gathered until all UIDs have their places."""
    head, enough = bytearray(), 0
    for piece in pieces:
        head += piece
        if len(head) < enough:
            continue
        enough = 2 * len(head)  # as it is gone through again from its beginning
        edited = _Placing(bytes(head), encoding, uids).run(whole=False)
        if edited is not None:
            return chain(edited, pieces)
        if len(head) > _MOST:
            return chain((bytes(head),), pieces)
    return iter(_Placing(bytes(head), encoding, uids).run(whole=True) or (bytes(head),))


class _Placing:
    """The beginning of a stream with elements put into their places."""

    def __init__(self, data: bytes, encoding: Encoding, uids: Mapping[int, str]) -> None:
        self._data, self._encoding, self._uids = data, encoding, uids
        self._reader = ElementReader(data, encoding)
        self._order: Literal["little", "big"] = "little" if encoding.little else "big"
        self._left = sorted(uids)
        self._parts: list[bytes] = []
        self._lengths: dict[int, tuple[int, int]] = {}  # group → which part is its length, and the length

    def run(self, whole: bool) -> list[bytes] | None:
        """The stream in parts; None where ``data`` ends, or breaks off, before all places."""
        at, end = 0, len(self._data)
        try:
            while self._left and at + 4 <= end:
                at = self._step(at)
        except UnreadableDataset:
            return None
        if self._left and (at < end or not whole):
            return None
        self._insert_before(_BEHIND_ALL)
        return [*self._parts, self._data[at:]]

    def _step(self, at: int) -> int:
        """Look at the element at ``at``; returns where the next begins, or ``at`` if nothing is left."""
        group, number = self._number(at), self._number(at + 2)
        tag = group << 16 | number
        self._insert_before(tag)
        if not self._left:
            return at
        element = self._reader.element(at, len(self._data))
        value = self._data[element.value : element.end]
        if tag == self._left[0] and not uid_of(value.decode("latin-1")):
            self._insert(self._left.pop(0), element.next - at)
            return element.next
        if tag == self._left[0]:
            self._left.pop(0)
        if number == 0 and len(value) == 4:
            self._lengths[group] = len(self._parts), int.from_bytes(value, self._order)
        self._parts.append(self._data[at : element.next])
        return element.next

    def _number(self, at: int) -> int:
        return int.from_bytes(self._data[at : at + 2], self._order)

    def _insert_before(self, tag: int) -> None:
        while self._left and self._left[0] < tag:
            self._insert(self._left.pop(0))

    def _insert(self, tag: int, replaced: int = 0) -> None:
        """Put an element where ``replaced`` bytes stood, and count its group anew (PS3.5 7.2)."""
        value = self._uids[tag].encode("latin-1", "replace")
        value += b"\0" * (len(value) % 2)
        self._parts.append(element_header(tag, b"UI", len(value), self._encoding) + value)
        group = tag >> 16
        if group in self._lengths:
            place, length = self._lengths[group]
            length += len(self._parts[-1]) - replaced
            self._lengths[group] = place, length
            self._parts[place] = self._parts[place][:-4] + length.to_bytes(4, self._order)
