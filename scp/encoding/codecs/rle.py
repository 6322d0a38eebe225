"""DICOM RLE (PS3.5 Annex G): PackBits over byte planes, each row by itself."""

from __future__ import annotations

import struct

import imagecodecs
import numpy as np

from scp.encoding.codecs.codec import Codec, fitted, same_photometric
from scp.encoding.pixels import Frame, PixelFormat
from scp.syntaxes import RLE

_MOST_SEGMENTS = 15  # PS3.5 G.3.1


def _refuses(form: PixelFormat) -> str:
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
    header = struct.pack("<16L", len(segments), *offsets, *[0] * (_MOST_SEGMENTS - len(offsets)))
    return header + b"".join(segments)


def _packed(plane: Frame) -> bytes:
    packed = bytes(imagecodecs.packbits_encode(np.ascontiguousarray(plane), axis=-1))  # row by row (G.3)
    return packed + b"\0" * (len(packed) % 2)


def _decode(codestream: bytes, form: PixelFormat) -> Frame:
    flat = np.frombuffer(imagecodecs.dicomrle_decode(codestream, form.dtype), form.dtype)
    planes = flat[: form.rows * form.columns * form.samples].reshape(form.samples, form.rows, form.columns)
    return fitted(planes[0] if form.samples == 1 else np.moveaxis(planes, 0, -1), form)


RLE_CODEC = Codec(
    name="rle",
    library=f"imagecodecs {imagecodecs.__version__}",
    writes=RLE,
    reads=(RLE,),
    refuses=_refuses,
    encode=_encode,
    decode=_decode,
    photometric=same_photometric,
    rank=2,
)
