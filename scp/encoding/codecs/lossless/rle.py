"""DICOM RLE (PS3.5 Annex G): PackBits over byte planes, each row by itself."""

from __future__ import annotations

import struct

import imagecodecs
import numpy as np

from scp.encoding.codecs.codec import Codec, fitted
from scp.encoding.codecs.lengths import least_of_plane, least_of_rle
from scp.encoding.pixels import Frame, PixelFormat
from scp.errors import CannotDecode, DamagedCodestream
from scp.syntaxes import RLE

_MOST_SEGMENTS = 15  # PS3.5 G.3.1
_MOST_PADDING = 128  # what one more packet, read into it, may make
_HEADER = struct.Struct("<16L")


def _refuses(form: PixelFormat) -> str:
    if form.bits_allocated % 8:
        return f"Bits Allocated is {form.bits_allocated}"
    segments = form.samples * form.bits_allocated // 8
    return f"{segments} byte planes, RLE has room for 15" if segments > _MOST_SEGMENTS else ""


def _encode(frame: Frame, form: PixelFormat, _effort: int) -> bytes:
    size = form.bits_allocated // 8
    planes = np.ascontiguousarray(frame).view("u1").reshape(form.rows, form.columns, form.samples, size)
    # Most significant byte first, sample by sample (G.2).
    segments = [
        _packed(planes[:, :, sample, byte])
        for sample in range(form.samples)
        for byte in reversed(range(size))
    ]
    offsets, at = [], 64
    for segment in segments:
        offsets.append(at)
        at += len(segment)
    header = _HEADER.pack(len(segments), *offsets, *[0] * (_MOST_SEGMENTS - len(offsets)))
    return header + b"".join(segments)


def _packed(plane: Frame) -> bytes:
    packed = bytes(imagecodecs.packbits_encode(plane.copy(order="C"), axis=-1))  # row by row (G.3)
    return packed + b"\0" * (len(packed) % 2)


def _decode(codestream: bytes, form: PixelFormat) -> Frame:
    """Segment by segment: imagecodecs' own decoder of whole frames crashes on damaged ones."""
    size = form.bits_allocated // 8
    if len(codestream) < _HEADER.size:
        raise DamagedCodestream(f"{len(codestream)} bytes are no RLE frame")
    count, *offsets = _HEADER.unpack_from(codestream)
    if count != form.samples * size:
        raise CannotDecode(f"{count} byte planes where {form.samples * size} are described")
    bounds = [*offsets[:count], len(codestream)]
    if bounds[0] < _HEADER.size or bounds != sorted(bounds):  # else segments may hold the same bytes
        raise DamagedCodestream("the segments of the RLE frame do not follow one another")
    pixels = form.rows * form.columns
    samples = np.empty((pixels, form.samples, size), "u1")
    for each in range(count):
        sample, byte = divmod(each, size)
        samples[:, sample, size - 1 - byte] = _unpacked(codestream[bounds[each] : bounds[each + 1]], pixels)
    return fitted(samples.reshape(-1).view(form.dtype).reshape(form.shape), form)


def _unpacked(segment: bytes, pixels: int) -> Frame:
    """One byte plane; what follows it in its segment is padding."""
    if len(segment) < least_of_plane(pixels):
        raise DamagedCodestream(f"{len(segment)} bytes for a byte plane of {pixels}")
    room = bytearray(pixels + _MOST_PADDING)
    plane = np.frombuffer(imagecodecs.packbits_decode(segment, out=room), "u1")
    if len(plane) < pixels:
        raise DamagedCodestream(f"a byte plane of {len(plane)} bytes where {pixels} are described")
    more = len(plane) - pixels
    if more and any(segment[-2 * more :]):  # pairs of zeros, read as packets, are padding; other ones a row
        raise CannotDecode(f"a byte plane of more than the {pixels} bytes that are described")
    return plane[:pixels]


RLE_CODEC = Codec(
    name="rle",
    library=lambda: f"imagecodecs {imagecodecs.__version__}",
    writes=RLE,
    reads=(RLE,),
    refuses=_refuses,
    encode=_encode,
    decode=_decode,
    strictly=_decode,
    least=least_of_rle,
    keeps_all_bits=True,
)

CODECS = (RLE_CODEC,)
