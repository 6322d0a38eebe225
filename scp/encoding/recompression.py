"""JPEG codestreams as JPEG XL ones and back, to the byte (PS3.5 8.2.15, JPEG XL JPEG Recompression).

Nothing is decoded to pixels: libjxl codes the JPEG's own coefficients anew and keeps what else it takes to
write the same JPEG again. So this is open to what came lossy, too (invariant 2).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import accumulate

import numpy as np

from scp.encoding.cage.caged import Trust, recompress_jpeg, restore_jpeg
from scp.encoding.codecs.codec import told_as
from scp.encoding.codecs.lengths import check_length, least_of_jpeg
from scp.encoding.codecs.markers import check_jpeg, jpeg_precision
from scp.encoding.dataset import PixelElement, SplitDataset
from scp.encoding.decoding import restored_header
from scp.encoding.elements import PIXEL_DATA
from scp.encoding.encapsulating import restoration_of
from scp.encoding.fragments import (
    EXTENDED_OFFSETS,
    ITEM_HEADER,
    Fragments,
    Frames,
    encapsulate,
    exact_item,
    frames_within,
    offset_table,
    table_of,
)
from scp.encoding.headers import Header
from scp.encoding.icons import may_hold_fragments
from scp.encoding.pixels import PixelFormat
from scp.encoding.pool import in_order
from scp.encoding.streams import letting_go
from scp.errors import (
    CannotDecode,
    CannotEncode,
    CodecProcessFailed,
    DamagedCodestream,
)
from scp.model import JpegLayout, Restoration
from scp.spool import Buffer, Spool
from scp.syntaxes import JPEG_BASELINE, JPEG_EXTENDED, lookup

FORM = "jpegxl-recompression"
RECOMPRESSIBLE = (JPEG_BASELINE, JPEG_EXTENDED)
# What must be remembered of each lies in the File Meta Information; of fragments of 64 KB, this is 500 MB.
_MOST_FRAGMENTS = 8192


def recompressed(received: SplitDataset, transfer_syntax: str) -> tuple[SplitDataset, Restoration]:
    """A dataset of JPEG codestreams as one of JPEG XL codestreams, and what it takes to undo that.

    Raises CannotEncode, with the reason, for what could not be restored to the byte, and DamagedCodestream.
    """
    if transfer_syntax not in RECOMPRESSIBLE:
        raise CannotEncode(f"received as {lookup(transfer_syntax).keyword}, not as lossy JPEG")
    if received.pixel is None or not received.pixel.encapsulated:
        raise CannotEncode("no encapsulated pixel data")
    header = Header(received.header)
    if may_hold_fragments(header.data):
        raise CannotEncode("pixel data within a sequence is encapsulated too")
    form = header.format
    value = received.pixel.held()
    try:
        frames = frames_within(value, form.frames)
        _check_fragments(frames)
        layout = _layout(transfer_syntax, offset_table(value), frames)
        size = len(value) // form.frames
        coded = letting_go(in_order(_coder(form), frames, form.frames, size), value, size)
        with told_as(CannotEncode, lambda: "its JPEG codestream cannot be recompressed"):
            items = encapsulate(coded, form.frames)
    except (DamagedCodestream, CodecProcessFailed):
        raise
    except CannotDecode as error:
        raise CannotEncode(str(error)) from error
    edited = header.edited(dict.fromkeys((*EXTENDED_OFFSETS, PIXEL_DATA)))
    restoration = restoration_of(header.data, edited, received.pixel.vr, 0, b"")
    pixel = PixelElement(PIXEL_DATA, "OB", items, encapsulated=True)
    return SplitDataset(edited, pixel, received.trailer), replace(restoration, jpeg=layout)


def restored(stored: SplitDataset, restoration: Restoration, trust: Trust = Trust.ANYBODYS) -> SplitDataset:
    """The dataset that :func:`recompressed` took: codestreams, fragments, offset table and header.
    ``trust`` is that of the stored codestreams.

    Raises CannotDecode.
    """
    layout = restoration.jpeg
    if layout is None or stored.pixel is None or not stored.pixel.encapsulated:
        raise CannotDecode("the stored file does not say which JPEG codestreams it was made of")
    header = restored_header(bytes(stored.header), restoration)
    try:
        count = Header(header, proven=True).proven_format.frames
    except CannotEncode as error:
        raise CannotDecode(str(error)) from error
    frames = frames_within(stored.pixel.held(), count)
    size = len(stored.pixel.value) // count
    owner = object() if trust is Trust.ANYBODYS else None
    jpegs = in_order(lambda frame: restore_jpeg(frame.whole(), owner), frames, count, size)
    value = _reassembled(jpegs, count, layout)
    pixel = PixelElement(stored.pixel.tag, restoration.vr, value, encapsulated=True)
    return SplitDataset(header, pixel, stored.trailer)


def _check_fragments(frames: Frames) -> None:
    """Before they are gone through. Raises CannotEncode."""
    if not frames.fragments:
        raise CannotEncode("there is no fragment")
    if frames.fragments != len(frames) and frames.fragments > _MOST_FRAGMENTS:
        raise CannotEncode(f"{frames.fragments} fragments are too many to remember")


def _layout(transfer_syntax: str, table: memoryview, frames: Frames) -> JpegLayout:
    uneven = frames.fragments != len(frames)
    known = bytes(table[: 4 * len(frames) + 1]) == _table(frames)
    if not known and len(table) > 4 * _MOST_FRAGMENTS:
        raise CannotEncode(f"{len(table) // 4} offsets are too many to remember")
    sizes = tuple(tuple(map(len, frame)) for frame in frames) if uneven else ()
    return JpegLayout(transfer_syntax, None if known else bytes(table), sizes)


def _table(frames: Frames) -> bytes | None:
    """Their Basic Offset Table (PS3.5 A.4); none where an offset is too large."""
    offsets = frames.offsets
    return table_of(offsets) if int(offsets[-1]) < 1 << 32 else None


def _coder(form: PixelFormat) -> Callable[[Fragments], bytes]:
    owner = object()

    def code(frame: Fragments) -> bytes:
        jpeg = frame.whole()
        check_jpeg(jpeg, form)
        check_length(len(jpeg), form, least_of_jpeg(form))
        if (precision := jpeg_precision(jpeg)) != 8:
            raise CannotEncode(f"JPEG of {precision} bits; JPEG XL restores codestreams of 8 only")
        return recompress_jpeg(jpeg, form, owner)  # one that is not whole stays as it came

    return code


def _reassembled(jpegs: Iterable[bytes], count: int, layout: JpegLayout) -> Buffer:
    """The items that were received. Raises CannotDecode where their sizes are not the codestreams'."""
    spool, offsets = Spool(), array("Q")
    spool.write(exact_item(bytes(4 * count) if layout.table is None else layout.table))
    begun = spool.size
    for each, jpeg in enumerate(jpegs):
        offsets.append(spool.size - begun)
        sizes = layout.sizes[each] if each < len(layout.sizes) else (len(jpeg),)
        if sum(sizes) != len(jpeg):
            raise CannotDecode(f"fragments of {sum(sizes)} bytes for a JPEG codestream of {len(jpeg)}")
        for end, size in zip(accumulate(sizes), sizes, strict=True):
            spool.write(exact_item(jpeg[end - size : end]))
    if layout.table is None:
        spool.rewrite(ITEM_HEADER, table_of(np.frombuffer(offsets, np.uint64)))
    return spool.view()
