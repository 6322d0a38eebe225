"""The header of a stored object as it goes out in Explicit VR Little Endian; its pixels are not read.

Of a large file only the beginning is read, which is compared with no digest (docs/decisions/0196, 0206).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from scp.archive.elsewhere import Elsewhere
from scp.archive.reader import Reader
from scp.archive.records import provenance_of
from scp.archive.trials import Trials
from scp.encoding.coercion import with_uids
from scp.encoding.conversion import convert
from scp.encoding.dataset import encoding_of, split
from scp.encoding.decoding import described_as_decoded, restored_header
from scp.encoding.elements import CANONICAL, PIXEL_DATA, ElementReader
from scp.encoding.scan import Scan, pixels_at, scan
from scp.errors import NoLosslessWay, UnreadableDataset
from scp.model import Instance, Restoration
from scp.objects.beginning import Beginning
from scp.objects.part10 import Part10
from scp.syntaxes import EXPLICIT, TransferSyntax, lookup

_UIDS = (0x00080016, 0x00080018, 0x0020000D, 0x0020000E)  # of SOP class, SOP instance, study, series
_BITS_ALLOCATED = 0x00280100
_LONGEST = 1 << 32  # bytes that a value may claim to have
_FLOATS = {0x7FE00008: "OF", 0x7FE00009: "OD"}


@dataclass(frozen=True, slots=True)
class NativeHeader:
    """A dataset without its pixel data, as explicit VR little endian.

    ``header`` is what stands before the pixel data, and describes it as it is decoded. ``pixel_tag`` is 0
    where there is none, ``pixel_vr`` as in that transfer syntax. ``trailer`` stands behind it, and is empty
    where that was not read.
    """

    header: bytes = field(repr=False)
    pixel_tag: int = 0
    pixel_vr: str = ""
    trailer: bytes = field(default=b"", repr=False)


class HeaderReader:
    """Reads headers of stored objects."""

    def __init__(self, reader: Reader, trials: Trials, elsewhere: Elsewhere) -> None:
        self._reader, self._trials, self._elsewhere = reader, trials, elsewhere

    def __call__(self, instance: Instance) -> NativeHeader:
        """With the UIDs that the dataset lacks (invariant 7).

        Raises NoLosslessWay where the dataset cannot be followed; ObjectMissing, ObjectDamaged,
        ObjectUnavailable, OutOfResources.
        """
        instance = self._elsewhere.brought(instance)
        try:
            with self._trials.of(instance, "read"):
                return self._reader.from_beginning(instance, _header)[1]
        except UnreadableDataset as error:
            raise NoLosslessWay(
                f"{instance.sop_instance_uid}: its dataset cannot be followed: {error}"
            ) from error


def _header(instance: Instance, begun: Beginning) -> NativeHeader | None:
    file = begun.file
    syntax, known = lookup(file.transfer_syntax), provenance_of(file)
    trailer, scanned = b"", None
    if begun.unread:
        found = _before_pixels(file, syntax, begun.size)
        if found is None:
            return None
        header, tag, vr = found
    else:
        try:
            parts = split(file.dataset, syntax, proven=known.restoration is not None)
        except UnreadableDataset:
            # It may have come with pixel data that is cut off: what stands before that is whole.
            found = _before_pixels(file, syntax, begun.size + _LONGEST)
            if found is None:
                raise
            header, tag, vr = found
        else:
            tag, vr = (parts.pixel.tag, parts.pixel.vr) if parts.pixel is not None else (0, "")
            header, trailer, scanned = bytes(parts.header), bytes(parts.trailer), parts.found
    stored = header
    if tag and syntax.encapsulated:
        header, vr = _as_decoded(header, syntax, known.restoration)
    if scanned is not None and header != stored and not _are_uids_alike(header, stored, scanned):
        scanned = None
    return NativeHeader(_identified(header, instance, scanned), tag, vr, trailer)


def _before_pixels(file: Part10, syntax: TransferSyntax, size: int) -> tuple[bytes, int, str] | None:
    """The header, and tag and VR of the pixel data; None where the beginning does not tell."""
    encoding = encoding_of(syntax)
    end = pixels_at(file.dataset, encoding, size)
    if end is None or end + 12 > len(file.dataset):
        return None
    header = bytes(convert(memoryview(file.dataset)[:end], encoding, CANONICAL))
    tag, vr, _, _ = ElementReader(file.dataset, encoding).header(end, size)
    return header, tag, vr.decode() or _implied_vr(header, tag)


def _implied_vr(header: bytes, tag: int) -> str:
    return _FLOATS.get(tag) or ("OB" if 0 < _bits_allocated(header) <= 8 else "OW")


def _bits_allocated(header: bytes) -> int:
    _, at, end = scan(header, CANONICAL, counted=False).elements.get(_BITS_ALLOCATED, (b"", 0, 0))
    return int.from_bytes(header[at:end], "little")


def _as_decoded(header: bytes, syntax: TransferSyntax, restoration: Restoration | None) -> tuple[bytes, str]:
    """The header that describes decoded pixel data, and the VR of that."""
    if restoration is not None:
        header = restored_header(header, restoration)
        if restoration.jpeg is None:
            return header, restoration.vr
        syntax = lookup(restoration.jpeg.transfer_syntax)
    return described_as_decoded(header, syntax), _implied_vr(header, PIXEL_DATA)


def _are_uids_alike(header: bytes, stored: bytes, found: Scan) -> bool:
    """Whether all UIDs that identify an object stand in its header where they stand in the stored one.

    What differs is mostly behind them, in group 0028: a second scan would take 20 µs.
    """
    ends = [found.elements[tag][2] for tag in _UIDS if tag in found.elements]
    return len(ends) == len(_UIDS) and header[: max(ends)] == stored[: max(ends)]


def _identified(header: bytes, instance: Instance, found: Scan | None) -> bytes:
    """With the UIDs under which the object is found, where it has none itself; ``found`` in a scan of it."""
    known = (
        instance.sop_class_uid,
        instance.sop_instance_uid,
        instance.study_instance_uid,
        instance.series_instance_uid,
    )
    elements = (found or scan(header, CANONICAL, counted=False)).elements
    lacking = {
        tag: uid for tag, uid in zip(_UIDS, known, strict=True) if uid and not _has(header, elements.get(tag))
    }
    return b"".join(with_uids([header], lookup(EXPLICIT), lacking)) if lacking else header


def _has(header: bytes, span: tuple[bytes, int, int] | None) -> bool:
    return span is not None and header[span[1] : span[2]].strip(b" \0") != b""
