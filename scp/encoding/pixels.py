"""The shape of pixel data (PS3.3 C.7.6.3), and its samples as arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scp.encoding.elements import PIXEL_DATA
from scp.errors import CannotDecode, CannotEncode, PixelsBeyondBounds
from scp.resources.bounds import bounds
from scp.spool import Buffer

Frame = NDArray[np.generic]

# What follows the last frame is kept beside the codestream; more than this is not padding.
_LONGEST_TAIL = 1024
_SHOWN = 40  # characters of a value that is told of


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """The Image Pixel module's numbers.

    A frame is an array of shape (rows, columns), or (rows, columns, samples) for more than one
    sample a pixel, of :attr:`dtype`. ``overlays``: bits above High Bit are overlay planes (retired).
    """

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str
    planar: int
    frames: int
    overlays: bool = False

    @property
    def bits_outside_stored(self) -> bool:
        """Whether the header places the sample elsewhere than in the lowest bits of its word, or others' bits
        beside it (PS3.5 8.1.1).
        """
        elsewhere = self.high_bit != self.bits_stored - 1 or self.overlays
        return elsewhere and self.bits_stored < self.bits_allocated  # else there is no other bit

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Little endian integers of Bits Allocated; a single bit is a byte of 0 or 1."""
        signed = self.signed and self.bits_allocated > 1
        return np.dtype(f"<{'i' if signed else 'u'}{max(self.bits_allocated // 8, 1)}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one frame."""
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)

    @property
    def frame_bits(self) -> int:
        """Bits of one native frame."""
        return self.rows * self.columns * self.samples * self.bits_allocated

    @property
    def frame_size(self) -> int:
        """Bytes of one native frame that stands by itself."""
        return -(-self.frame_bits // 8)

    @property
    def array_size(self) -> int:
        """Bytes of a frame as an array: a single bit takes one."""
        return self.rows * self.columns * self.samples * max(self.bits_allocated // 8, 1)

    @property
    def size(self) -> int:
        """Bytes of all native frames; single bits go on without a gap from frame to frame (PS3.5 8.1.1)."""
        return -(-self.frame_bits * self.frames // 8)


def pixel_format(attributes: Mapping[str, str]) -> PixelFormat:
    """Read the Image Pixel module.

    Raises CannotEncode for one that is incomplete or whose samples are no numbers of their own.
    """

    def number(keyword: str, default: int | None = None) -> int:
        text = attributes.get(keyword, "")
        try:
            return int(text) if text or default is None else default
        except ValueError:
            raise CannotEncode(f"{keyword} is {text[:_SHOWN]!r}, not a number") from None

    bits_allocated = number("BitsAllocated")
    bits_stored = number("BitsStored", bits_allocated)
    form = PixelFormat(
        rows=number("Rows"),
        columns=number("Columns"),
        samples=number("SamplesPerPixel", 1),
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        high_bit=number("HighBit", bits_stored - 1),
        signed=number("PixelRepresentation", 0) == 1,
        photometric=attributes.get("PhotometricInterpretation", ""),
        planar=number("PlanarConfiguration", 0),
        frames=number("NumberOfFrames", 1) or 1,
    )
    _check(form)
    return form


def _check(form: PixelFormat) -> None:
    if form.bits_allocated not in (1, 8, 16, 32, 64):
        raise CannotEncode(
            f"Bits Allocated is {form.bits_allocated}; samples of 1, 8, 16, 32 or 64 are needed"
        )
    if min(form.rows, form.columns, form.samples, form.frames) < 1 or form.planar not in (0, 1):
        raise CannotEncode("the Image Pixel module does not describe an image")
    if form.samples > 4:
        raise CannotEncode(f"{form.samples} samples a pixel")
    if not 1 <= form.bits_stored <= form.bits_allocated:
        raise CannotEncode(f"Bits Stored is {form.bits_stored} of {form.bits_allocated} allocated")


def check_within_bounds(form: PixelFormat) -> None:
    """Raises PixelsBeyondBounds where the header declares more pixels than ``[limits]`` allows.

    Whoever is to take memory or time by what the header says asks this first (invariant 8). Of frames there
    may be as many as of fragments, which they are or become.
    """
    most = bounds()
    declared = (
        (form.array_size, most.frame_bytes, "bytes in a frame", "frame_bytes"),
        (form.frames, most.fragments, "frames", "fragments"),
        (form.size, most.pixel_bytes, "bytes of pixels", "pixel_bytes"),
    )
    for count, limit, what, key in declared:
        if count > limit:
            size = f"{form.frames} frames of {form.rows} x {form.columns}"
            raise PixelsBeyondBounds(f"{count} {what} are declared ({size}), limits.{key} is {limit}")


def tail_of(value: Buffer, tag: int, form: PixelFormat) -> bytes:
    """The bytes behind the last frame of native pixel data.

    Raises CannotEncode when there are no frames of whole samples, or not as many as the format says.
    """
    if tag != PIXEL_DATA:
        raise CannotEncode("floating point pixel data")
    if form.photometric.endswith("_422") or form.photometric.endswith("_420"):
        raise CannotEncode(f"native {form.photometric} shares samples between pixels")
    total = form.size
    if not total <= len(value) <= total + _LONGEST_TAIL:
        raise CannotEncode(f"{len(value)} bytes of pixel data where {total} are described")
    return bytes(value[total:])


def frame_of(value: Buffer, each: int, form: PixelFormat) -> Frame:
    """One frame of native pixel data, numbered from 0; by pixel, whatever its Planar Configuration."""
    if form.bits_allocated == 1:
        samples = bits_of(value, each * form.frame_bits, form.frame_bits)
    else:
        samples = np.frombuffer(
            value, form.dtype, form.rows * form.columns * form.samples, offset=each * form.frame_size
        )
    if form.samples == 1 or form.planar == 0:
        return samples.reshape(form.shape)
    planes = samples.reshape(form.samples, form.rows, form.columns)
    return np.ascontiguousarray(np.moveaxis(planes, 0, -1))


def bits_of(value: Buffer, at: int, count: int) -> Frame:
    """Single bits from bit ``at`` on, a byte each; the first bit is the lowest (PS3.5 D.2)."""
    held = np.frombuffer(value, "u1", -(-(at + count) // 8) - at // 8, offset=at // 8)
    return np.unpackbits(held, bitorder="little")[at % 8 : at % 8 + count]


def native_bytes(frame: Frame, form: PixelFormat, planar: int) -> Buffer:
    """A frame as native pixel data, in the given Planar Configuration: mostly its own memory, uncopied.

    Raises CannotDecode.
    """
    size = form.frame_bits if form.bits_allocated == 1 else form.frame_size
    if frame.nbytes != size:
        raise CannotDecode(f"a frame of {frame.nbytes} bytes where {size} are described")
    ordered = np.moveaxis(frame, -1, 0) if planar and form.samples > 1 else frame
    if form.bits_allocated == 1:
        return np.packbits(ordered.astype("u1", copy=False), bitorder="little").tobytes()
    return np.ascontiguousarray(ordered).reshape(-1).view("u1").data.toreadonly()


def without_gaps(frames: Iterator[Buffer], form: PixelFormat) -> Iterator[Buffer]:
    """Native frames one after another: of single bits, the next begins within the last one's byte."""
    if form.frame_bits % 8 == 0:
        yield from frames
        return
    carried = np.empty(0, "u1")
    for frame in frames:
        bits = np.concatenate([carried, bits_of(frame, 0, form.frame_bits)])
        whole = len(bits) // 8 * 8
        yield np.packbits(bits[:whole], bitorder="little").tobytes()
        carried = bits[whole:]
    yield np.packbits(carried, bitorder="little").tobytes()


def unused_bits_are_empty(frame: Frame, form: PixelFormat) -> bool:
    """Whether every sample is what its Bits Stored alone say (sign extended where signed).

    Other bits may hold overlays (retired) or rubbish, which a codestream of Bits Stored would lose.
    """
    if form.bits_stored == form.bits_allocated:
        return True
    if form.high_bit != form.bits_stored - 1:
        return False
    low, high = (
        (-(1 << form.bits_stored - 1), (1 << form.bits_stored - 1) - 1)
        if form.signed
        else (0, (1 << form.bits_stored) - 1)
    )
    return int(frame.min()) >= low and int(frame.max()) <= high
