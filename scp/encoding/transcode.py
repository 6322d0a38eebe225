"""Pixel data between native and encapsulated, and a stored dataset to any transfer syntax."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import chain
from typing import TypeVar

import numpy as np

from scp.encoding.codecs.codec import Codec
from scp.encoding.codecs.table import CODECS, decoder_of, encoder_of
from scp.encoding.conversion import edited
from scp.encoding.dataset import PixelElement, SplitDataset, join, split
from scp.encoding.elements import PIXEL_DATA
from scp.encoding.facts import attributes_of
from scp.encoding.fragments import encapsulate, frames_within
from scp.encoding.pixels import (
    Frame,
    PixelFormat,
    frames_of,
    native_bytes,
    pixel_format,
    unused_bits_are_empty,
)
from scp.errors import CannotDecode, CannotEncode, CodecError, UnreadableDataset
from scp.model import Restoration, Wishes
from scp.syntaxes import (
    BIG_ENDIAN,
    DEFLATED,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT,
    IMPLICIT,
    Content,
    TransferSyntax,
    lookup,
)

_PHOTOMETRIC, _PLANAR = 0x00280004, 0x00280006
_EXTENDED_OFFSETS = (0x7FE00001, 0x7FE00002)  # of the fragments that were: they mean nothing to others
# More than this of changed header is no restoration but a second copy of it.
_LONGEST_MIDDLE = 2048
# Native ways out, cheapest first: a header to convert at most, then the deflating.
_NATIVE_ORDER = (EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED)

T = TypeVar("T")
R = TypeVar("R")


@cache
def _pool() -> ThreadPoolExecutor:
    """Frames are coded beside each other: the codecs release the GIL."""
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="codec")


def _each(work: Callable[[T], R], items: list[T]) -> list[R]:
    return [work(items[0])] if len(items) == 1 else list(_pool().map(work, items))


def format_of(header: bytes) -> PixelFormat:
    """The pixel format that a canonical header describes. Raises CannotEncode."""
    return pixel_format(attributes_of(header))


def encapsulated(native: SplitDataset, codec: Codec, effort: int = 0) -> tuple[SplitDataset, Restoration]:
    """Native pixel data as the codec's codestreams, and what it takes to undo that.

    Raises CannotEncode, with the reason, for what the codec cannot take.
    """
    if native.pixel is None:
        raise CannotEncode("no pixel data")
    form = format_of(native.header)
    if reason := codec.refuses(form):
        raise CannotEncode(reason)
    frames, tail = frames_of(native.pixel, form)
    if not unused_bits_are_empty(frames, form):
        raise CannotEncode("bits above Bits Stored are in use")
    streams = _encoded(codec, frames, form, effort)
    header = _encapsulated_header(native.header, form, codec)
    pixel = PixelElement(PIXEL_DATA, "OB", encapsulate(streams), encapsulated=True)
    restoration = _restoration(native.header, header, native.pixel.vr, form.planar, tail)
    return SplitDataset(header, pixel, native.trailer), restoration


def _encoded(codec: Codec, frames: list[Frame], form: PixelFormat, effort: int) -> list[bytes]:
    try:
        return _each(lambda frame: codec.encode(frame, form, effort), frames)
    except CodecError:
        raise
    except Exception as error:  # each library has its own kinds
        raise CannotEncode(f"{codec.library}: {error}") from error


def _encapsulated_header(header: bytes, form: PixelFormat, codec: Codec) -> bytes:
    edits: dict[int, bytes | None] = {PIXEL_DATA: None}  # for its group's length, which is stale now
    if (photometric := codec.photometric(form)) != form.photometric:
        edits[_PHOTOMETRIC] = _text(photometric)
    if form.samples > 1 and form.planar:
        edits[_PLANAR] = b"\0\0"
    return edited(header, edits)


def _text(value: str) -> bytes:
    return value.encode().ljust(len(value) + len(value) % 2)


def _restoration(received: bytes, stored: bytes, vr: str, planar: int, tail: bytes) -> Restoration:
    prefix = _common(received, stored)
    most = min(len(received), len(stored)) - prefix
    suffix = min(_common(received[::-1], stored[::-1]), most)
    middle = received[prefix : len(received) - suffix]
    if len(middle) > _LONGEST_MIDDLE:
        raise CannotEncode(f"{len(middle)} bytes of its header would change")
    return Restoration(prefix, suffix, middle, vr, planar, tail)


def _common(one: bytes, other: bytes) -> int:
    """Length of the common beginning."""
    size = min(len(one), len(other))
    if one[:size] == other[:size]:
        return size
    differs = np.frombuffer(one, "u1", size) != np.frombuffer(other, "u1", size)
    return int(differs.argmax())


def native(
    parts: SplitDataset, syntax: TransferSyntax, restoration: Restoration | None = None
) -> SplitDataset:
    """The dataset with native pixel data.

    With a ``restoration`` it is the one that was encapsulated, to the byte; without one, header and
    Planar Configuration describe what was decoded. Raises CannotDecode.
    """
    if parts.pixel is None or not parts.pixel.encapsulated:
        return parts
    codec = decoder_of(syntax.uid)
    if codec is None and syntax.uid != ENCAPSULATED_UNCOMPRESSED:
        raise CannotDecode(f"{syntax.keyword} is not decoded here")
    try:
        form = format_of(parts.header)
    except CannotEncode as error:
        raise CannotDecode(str(error)) from error
    streams = frames_within(parts.pixel.value, form.frames)
    if codec is None:
        return _unwrapped(parts, streams, form)
    frames = _decoded(codec, streams, form)
    if restoration is not None:
        return _restored(parts, frames, form, restoration)
    vr = "OB" if form.bits_allocated == 8 else "OW"
    value = native_bytes(frames, form, planar=0)
    value += b"\0" * (len(value) % 2)
    header = _native_header(parts.header, form, syntax)
    return SplitDataset(header, PixelElement(PIXEL_DATA, vr, value, encapsulated=False), parts.trailer)


def _decoded(codec: Codec, streams: list[bytes], form: PixelFormat) -> list[Frame]:
    try:
        return _each(lambda stream: codec.decode(stream, form), streams)
    except CodecError:
        raise
    except Exception as error:  # each library has its own kinds
        raise CannotDecode(f"{codec.library}: {error}") from error


def _unwrapped(parts: SplitDataset, streams: list[bytes], form: PixelFormat) -> SplitDataset:
    """Encapsulated Uncompressed (PS3.5 A.4.11): native frames in fragments."""
    value = b"".join(stream[: form.frame_size] for stream in streams)
    if len(value) != form.frame_size * form.frames:
        raise CannotDecode(
            f"{len(value)} bytes of pixel data where {form.frame_size * form.frames} are described"
        )
    vr = "OB" if form.bits_allocated == 8 else "OW"
    value += b"\0" * (len(value) % 2)
    header = edited(parts.header, dict.fromkeys((*_EXTENDED_OFFSETS, PIXEL_DATA)))
    return SplitDataset(header, PixelElement(PIXEL_DATA, vr, value, encapsulated=False), parts.trailer)


def _restored(
    parts: SplitDataset, frames: list[Frame], form: PixelFormat, restoration: Restoration
) -> SplitDataset:
    stored = parts.header
    header = (
        stored[: restoration.prefix] + restoration.middle + stored[len(stored) - restoration.suffix :]
        if restoration.suffix
        else stored[: restoration.prefix] + restoration.middle
    )
    value = native_bytes(frames, form, restoration.planar) + restoration.tail
    pixel = PixelElement(PIXEL_DATA, restoration.vr, value, encapsulated=False)
    return SplitDataset(header, pixel, parts.trailer)


def _native_header(header: bytes, form: PixelFormat, syntax: TransferSyntax) -> bytes:
    edits: dict[int, bytes | None] = dict.fromkeys((*_EXTENDED_OFFSETS, PIXEL_DATA))
    if form.samples == 3 and decoded_photometric(form.photometric, syntax) != form.photometric:
        edits[_PHOTOMETRIC] = _text("RGB")
    if form.samples > 1 and form.planar:
        edits[_PLANAR] = b"\0\0"
    return edited(header, edits)


def decoded_photometric(photometric: str, syntax: TransferSyntax) -> str:
    """The Photometric Interpretation of what a decoder gives out (PS3.5 8.2).

    JPEG 2000's colour transforms belong to the codestream and are undone with it; JPEG decoders here
    give RGB, as DCMTK's do by default, instead of subsampled YBR that few can show.
    """
    jpeg = syntax.keyword in ("JPEGBaseline8Bit", "JPEGExtended12Bit")
    if photometric in ("YBR_RCT", "YBR_ICT") or (jpeg and photometric.startswith("YBR_")):
        return "RGB"
    return photometric


def ways_out(stored: str, received: str, accepted: Iterable[str], wishes: Wishes) -> list[str]:
    """The accepted transfer syntaxes that may carry an object, best first.

    The stored one costs nothing, then come the peer's wishes (before it, if they say so), the received
    one where it is native, other native ones, encoders by their cost. Whether an object fits one of
    them shows only when it is tried.
    """
    encoders = [codec.writes for codec in sorted(CODECS, key=lambda codec: codec.rank) if codec.writes]
    natives = [received] if received in _NATIVE_ORDER else []
    first = [*wishes.preferred, stored] if wishes.before_stored else [stored, *wishes.preferred]
    allowed = set(accepted)
    order = dict.fromkeys(chain(first, natives, _NATIVE_ORDER, encoders))
    return [syntax for syntax in order if syntax in allowed]


def transcoded(dataset: bytes, stored: str, target: str, restoration: Restoration | None) -> bytes:
    """A stored dataset stream in another transfer syntax, without loss.

    In the received native transfer syntax it is the received stream to the byte. Raises CannotDecode
    or CannotEncode, with the reason, when there is no way.
    """
    if target == stored:
        return dataset
    source, wanted = lookup(stored), lookup(target)
    if Content.REFERENCED in (source.content, wanted.content):
        raise CannotDecode(f"{source.keyword} has no pixel data that {wanted.keyword} could carry")
    try:
        plain = native(split(dataset, source), source, restoration)
        if not wanted.encapsulated:
            return join(plain, wanted)
        codec = encoder_of(target)
        if codec is None:
            raise CannotEncode(f"{wanted.keyword} is not encoded here")
        return join(encapsulated(plain, codec)[0], wanted)
    except (UnreadableDataset, ValueError) as error:
        raise CannotDecode(str(error)) from error
