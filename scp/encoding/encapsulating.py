"""Native pixel data is encoded to codestreams, with what it takes to undo that."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from scp.encoding.codecs.codec import Codec, Encode, told_as
from scp.encoding.dataset import PixelElement, SplitDataset
from scp.encoding.elements import PIXEL_DATA
from scp.encoding.fragments import EXTENDED_OFFSETS, encapsulate
from scp.encoding.headers import Header
from scp.encoding.pixels import Frame, PixelFormat, frame_of, tail_of, unused_bits_are_empty
from scp.encoding.pool import in_order
from scp.encoding.streams import letting_go
from scp.errors import CannotEncode
from scp.model import Restoration
from scp.spool import Buffer

_PHOTOMETRIC, _PLANAR = 0x00280004, 0x00280006
# More than this of changed header is no restoration but a second copy of it.
_LONGEST_MIDDLE = 2048
_STEP = 1 << 20


def encapsulated(native: SplitDataset, codec: Codec, effort: int = 0) -> tuple[SplitDataset, Restoration]:
    """Native pixel data as the codec's codestreams, and what it takes to undo that.

    Raises CannotEncode, with the reason, for what the codec cannot take.
    """
    if native.pixel is None:
        raise CannotEncode("no pixel data")
    if codec.encode is None:
        raise CannotEncode(f"{codec.name} can only be decoded")
    received = Header.of(native)
    form = received.format
    if reason := codec.refuses(form):
        raise CannotEncode(reason)
    value = native.pixel.held()
    tail = tail_of(value, native.pixel.tag, form)
    items = encapsulate(_encoded(codec, codec.encode, value, form, effort), form.frames)
    header = _encapsulated_header(received, form, codec)
    restoration = restoration_of(received.data, header, native.pixel.vr, form.planar, tail)
    pixel = PixelElement(PIXEL_DATA, "OB", items, encapsulated=True)
    return SplitDataset(header, pixel, native.trailer), restoration


def _encoded(codec: Codec, encode: Encode, value: Buffer, form: PixelFormat, effort: int) -> Iterator[bytes]:
    def encoded(each: int) -> bytes:
        return _frame_encoded(frame_of(value, each, form), form, codec, encode, effort)

    with told_as(CannotEncode, codec.library):
        streams = in_order(encoded, range(form.frames), form.frames, form.array_size)
        yield from letting_go(streams, value, form.frame_size)


def _frame_encoded(frame: Frame, form: PixelFormat, codec: Codec, encode: Encode, effort: int) -> bytes:
    if not codec.keeps_all_bits and not unused_bits_are_empty(frame, form):
        raise CannotEncode("bits above Bits Stored are in use")
    return encode(frame, form, effort)


def encoded_frame(frame: Frame, form: PixelFormat, codec: Codec) -> bytes:
    """One frame, by pixel, as the codec's codestream. Raises CannotEncode, as :func:`encapsulated` does."""
    if codec.encode is None:
        raise CannotEncode(f"{codec.name} can only be decoded")
    if reason := codec.refuses(form):
        raise CannotEncode(reason)
    with told_as(CannotEncode, codec.library):
        return _frame_encoded(frame, form, codec, codec.encode, 0)


def _encapsulated_header(header: Header, form: PixelFormat, codec: Codec) -> bytes:
    # Pixel Data's group length is stale now, and so is a table of offsets that another decoder left there.
    edits: dict[int, bytes | None] = dict.fromkeys((*EXTENDED_OFFSETS, PIXEL_DATA))
    if (photometric := codec.photometric(form)) != form.photometric:
        edits[_PHOTOMETRIC] = photometric.encode().ljust(len(photometric) + len(photometric) % 2)
    if form.samples > 1 and form.planar:
        edits[_PLANAR] = b"\0\0"
    return header.edited(edits)


def restoration_of(received: bytes, stored: bytes, vr: str, planar: int, tail: bytes) -> Restoration:
    """What it takes to make the received header of the stored one, and what came of its pixel data.

    Raises CannotEncode where that would be too much.
    """
    if received == stored:
        return Restoration(len(received), 0, b"", vr, planar, tail)
    prefix = _common(received, stored)
    most = min(len(received), len(stored)) - prefix
    suffix = min(_common_end(received, stored), most)
    middle = received[prefix : len(received) - suffix]
    if len(middle) > _LONGEST_MIDDLE:
        raise CannotEncode(f"{len(middle)} bytes of its header would change")
    return Restoration(prefix, suffix, middle, vr, planar, tail)


def _common(one: bytes, other: bytes) -> int:
    """Length of the common beginning."""
    size = min(len(one), len(other))
    for at in range(0, size, _STEP):
        part, its = one[at : min(at + _STEP, size)], other[at : min(at + _STEP, size)]
        if part != its:
            return at + int((np.frombuffer(part, "u1") != np.frombuffer(its, "u1")).argmax())
    return size


def _common_end(one: bytes, other: bytes) -> int:
    """Length of the common end."""
    size = min(len(one), len(other))
    for at in range(0, size, _STEP):
        step = min(_STEP, size - at)
        part, its = (each[len(each) - at - step : len(each) - at] for each in (one, other))
        if part != its:
            return at + _common(part[::-1], its[::-1])
    return size
