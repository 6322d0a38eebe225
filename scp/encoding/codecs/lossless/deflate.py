"""Deflated Image Frame Compression (PS3.5 8.2.16, A.4.13): native frames, each deflated by itself.

It codes bytes, so it takes whatever Pixel Data holds: single bits, 32 and 64 bits, bits above Bits Stored.
"""

from __future__ import annotations

import zlib

import numpy as np

from scp.encoding.codecs.codec import Codec
from scp.encoding.codecs.lengths import least_of_deflated
from scp.encoding.pixels import Frame, PixelFormat, frame_of, native_bytes
from scp.errors import CannotDecode, DamagedCodestream
from scp.syntaxes import DEFLATED_FRAMES

_DEFAULT_LEVEL = 6


def _encode(frame: Frame, form: PixelFormat, effort: int) -> bytes:
    """Raw RFC 1951; ``effort`` is zlib's level. Single bits of each frame begin in a byte of their own."""
    deflater = zlib.compressobj(effort or _DEFAULT_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(native_bytes(frame, form, planar=0)) + deflater.flush()


def inflated_frame(codestream: bytes, most: int) -> bytes:
    """The bytes of a frame, ``most`` at most; what follows the deflated stream is padding.

    Raises DamagedCodestream for what does not inflate or ends early, CannotDecode for what is longer.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = inflater.decompress(codestream, most + 1)
    except zlib.error as error:
        raise DamagedCodestream(f"a deflated frame does not inflate: {error}") from None
    if not inflater.eof and len(plain) <= most:
        raise DamagedCodestream(f"a deflated frame ends after {len(plain)} bytes")
    if inflater.unused_data.strip(b"\0"):
        raise CannotDecode("bytes that are not padding follow a deflated frame")
    if not inflater.eof or len(plain) > most:
        raise CannotDecode(
            f"a deflated frame of {len(plain)} bytes or more, where the header says {most} at most"
        )
    return plain


def _decode(codestream: bytes, form: PixelFormat) -> Frame:
    """One byte behind the frame is padding."""
    size = form.frame_size
    plain = inflated_frame(codestream, size + size % 2)
    if len(plain) not in (size, size + size % 2):
        raise CannotDecode(f"a deflated frame of {len(plain)} bytes, where the header says {size}")
    # The header says in which order the samples lie: nothing rearranges them on their way.
    return np.asarray(frame_of(plain, 0, form))


DEFLATE_CODEC = Codec(
    name="deflated-frames",
    library=lambda: f"zlib {zlib.ZLIB_RUNTIME_VERSION}",
    writes=DEFLATED_FRAMES,
    reads=(DEFLATED_FRAMES,),
    encode=_encode,
    decode=_decode,
    strictly=_decode,
    least=least_of_deflated,
    keeps_all_bits=True,
)

CODECS = (DEFLATE_CODEC,)
