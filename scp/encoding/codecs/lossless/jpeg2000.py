"""JPEG 2000 (OpenJPEG) and High-Throughput JPEG 2000 (OpenJPH), reversible."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace

import imagecodecs
import numpy as np

from scp.encoding.codecs.codec import Codec, fitted, refuse_unless, version_of
from scp.encoding.codecs.jpeg2000_packets import check_packets
from scp.encoding.codecs.jpeg2000_structure import codestream_of, without_pointers
from scp.encoding.codecs.lengths import any_length
from scp.encoding.codecs.markers import START_OF_J2K, check_jpeg2000
from scp.encoding.codecs.openjpeg import decode_without_complaint
from scp.encoding.codecs.progressive import is_reversible, levels_for, why_not_progressive
from scp.encoding.pixels import Frame, PixelFormat
from scp.errors import CannotDecode, CannotEncode
from scp.syntaxes import HTJ2K, HTJ2K_EITHER, HTJ2K_RPCL, JPEG2000

_MOST_BITS = 23
_PRECISION = 42  # where Ssiz of the first component is (ISO/IEC 15444-1 A.5.1)
_unraised = threading.local()
_next_hook = sys.unraisablehook


def _note_unraised(fault: sys.UnraisableHookArgs) -> None:
    """Keep what imagecodecs 2026.3.6 drops: where OpenJPH gives up within a damaged codestream, the
    decoder "ignores" its error and returns a frame with memory of whatever in the missing lines.
    """
    if "imagecodecs._htj2k" in str(fault.object):
        _unraised.error = fault.exc_value
    else:
        _next_hook(fault)


def _watch() -> None:
    """Have the hook in its place, whoever has put another there since."""
    global _next_hook
    if sys.unraisablehook is not _note_unraised:
        _next_hook, sys.unraisablehook = sys.unraisablehook, _note_unraised


def _refuses_htj2k(form: PixelFormat) -> str:
    return refuse_unless(form, bits=(8, 16, 32), samples=(1, 3, 4))


def _refuses_jpeg2000(form: PixelFormat) -> str:
    # OpenJPEG 2.5.4 counts in 32 bits: noise of 24 bits and more comes back wrong without an error (in 2 of
    # 49 images at 24, signed; in 11 at 25, in all at 31), and a colour transform takes one bit.
    if form.bits_stored > _MOST_BITS - _colour_transform(form):
        return f"Bits Stored is {form.bits_stored}"
    return refuse_unless(form, bits=(8, 16, 32), samples=(1, 3, 4))


def _colour_transform(form: PixelFormat) -> bool:
    """The reversible colour transform halves RGB (18 % against 40 % of a colour ultrasound image)."""
    return form.photometric == "RGB" and form.samples == 3


def _photometric(form: PixelFormat) -> str:
    return "YBR_RCT" if _colour_transform(form) else form.photometric


def _encode_htj2k(frame: Frame, form: PixelFormat, _effort: int) -> bytes:
    return bytes(
        imagecodecs.htj2k_encode(frame, rgb=_colour_transform(form), planar=False, reversible=True)
        if form.samples > 1
        else imagecodecs.htj2k_encode(frame, reversible=True)
    )


def _encode_progressive(frame: Frame, form: PixelFormat, _effort: int) -> bytes:
    """HTJ2K whose resolutions can be read one after another (PS3.5 10.18), each in a tile-part.

    Raises CannotEncode where the library has written anything else.
    """
    codestream = bytes(
        imagecodecs.htj2k_encode(
            frame,
            rgb=_colour_transform(form) if form.samples > 1 else None,
            planar=False if form.samples > 1 else None,
            reversible=True,
            resolutions=levels_for(form.rows, form.columns),
            tlm=True,
            tilepart=True,
        )
    )
    if reason := why_not_progressive(codestream):
        raise CannotEncode(reason)
    return codestream


def _decode_htj2k(codestream: bytes, form: PixelFormat) -> Frame:
    check_jpeg2000(codestream, form)
    _watch()
    _unraised.error = None
    samples = imagecodecs.htj2k_decode(codestream, planar=False if form.samples > 1 else None)
    if _unraised.error is not None:
        raise CannotDecode(f"{_unraised.error}")
    return fitted(np.asarray(samples), form)


def _decode_either(codestream: bytes, form: PixelFormat) -> Frame:
    """HTJ2K that may be lossy. What is goes by OpenJPEG: imagecodecs 2026.3.6 hands out OpenJPH's samples
    without clipping, so that a bright colour that is coded a little brighter comes back as black (an error
    of 254 where OpenJPEG has 9).
    """
    check_jpeg2000(codestream, form)
    bare = codestream[codestream.find(START_OF_J2K) :]
    return (_decode_htj2k if is_reversible(bare) else _decode_jpeg2000)(bare, form)


def _encode_jpeg2000(frame: Frame, form: PixelFormat, _effort: int) -> bytes:
    if form.bits_allocated == 32 and form.bits_stored <= 16:  # as 32 bits, half of such came back wrong
        frame = frame.astype("<i2" if form.signed else "<u2")
    return bytes(
        imagecodecs.jpeg2k_encode(
            frame,
            0,
            codecformat="j2k",
            reversible=True,
            mct=_colour_transform(form),
            bitspersample=form.bits_stored,
            numthreads=1,
        )
    )


def _decode_jpeg2000(codestream: bytes, form: PixelFormat) -> Frame:
    check_jpeg2000(codestream, form)
    return fitted(np.asarray(imagecodecs.jpeg2k_decode(codestream, numthreads=1)), form)


def _whole(codestream: bytes, form: PixelFormat) -> bytes:
    """The bare codestream. Raises CannotDecode, DamagedCodestream."""
    check_jpeg2000(codestream, form)
    bare = codestream[codestream.find(START_OF_J2K) :]
    check_packets(bare, codestream_of(bare))
    return without_pointers(bare)


def _strictly(codestream: bytes, form: PixelFormat) -> Frame:
    """What others encoded, HTJ2K too: OpenJPEG says what it does not like, OpenJPH crashes on some."""
    bare = _whole(codestream, form)
    return fitted(decode_without_complaint(bare), form)


def _strictly_htj2k(codestream: bytes, form: PixelFormat) -> Frame:
    """OpenJPEG counts in 32 bits: what has too many for it goes by OpenJPH."""
    bare = _whole(codestream, form)
    bits = (bare[_PRECISION] & 0x7F) + 1
    if bits > _MOST_BITS - (form.samples > 1):
        return _decode_htj2k(bare, form)
    return fitted(decode_without_complaint(bare), form)


HTJ2K_CODEC = Codec(
    name="htj2k",
    library=version_of("htj2k"),
    writes=HTJ2K,
    reads=(HTJ2K,),
    refuses=_refuses_htj2k,
    encode=_encode_htj2k,
    decode=_decode_htj2k,
    strictly=_strictly_htj2k,
    photometric=_photometric,
    least=any_length,
)

HTJ2K_RPCL_CODEC = replace(
    HTJ2K_CODEC,
    name="htj2k-rpcl",
    writes=HTJ2K_RPCL,
    reads=(HTJ2K_RPCL,),
    encode=_encode_progressive,
)

HTJ2K_EITHER_CODEC = replace(
    HTJ2K_CODEC, name="htj2k-either", reads=(HTJ2K_EITHER,), writes="", encode=None, decode=_decode_either
)

JPEG2000_CODEC = Codec(
    name="jpeg2000",
    library=version_of("jpeg2k"),
    writes=JPEG2000,
    reads=(JPEG2000, "1.2.840.10008.1.2.4.91"),
    refuses=_refuses_jpeg2000,
    encode=_encode_jpeg2000,
    decode=_decode_jpeg2000,
    strictly=_strictly,
    photometric=_photometric,
    least=any_length,
)

CODECS = (HTJ2K_CODEC, HTJ2K_RPCL_CODEC, HTJ2K_EITHER_CODEC, JPEG2000_CODEC)
