"""All codecs as they are: their work is done in the process that asks. A new one is a file and a row here.

Only codec processes use these rows (:mod:`scp.encoding.cage`), and tests of a codec itself; all others use
those of :mod:`scp.encoding.codecs.table` and :mod:`scp.encoding.codecs.lossy_table`.
"""

from __future__ import annotations

from scp.encoding.codecs.codec import Codec
from scp.encoding.codecs.lossless.deflate import DEFLATE_CODEC
from scp.encoding.codecs.lossless.jpeg import JPEG_CODEC, JPEG_LOSSLESS_CODEC
from scp.encoding.codecs.lossless.jpeg2000 import (
    HTJ2K_CODEC,
    HTJ2K_EITHER_CODEC,
    HTJ2K_RPCL_CODEC,
    JPEG2000_CODEC,
)
from scp.encoding.codecs.lossless.jpegls import JPEGLS_CODEC
from scp.encoding.codecs.lossless.jpegxl import JPEGXL_CODEC, RECOMPRESSED_CODEC
from scp.encoding.codecs.lossless.rle import RLE_CODEC
from scp.encoding.codecs.lossy.jpeg import LOSSY_JPEG_BASELINE, LOSSY_JPEG_EXTENDED
from scp.encoding.codecs.lossy.jpeg2000 import LOSSY_HTJ2K, LOSSY_JPEG2000
from scp.encoding.codecs.lossy.jpegls import LOSSY_JPEGLS
from scp.encoding.codecs.lossy.jpegxl import LOSSY_JPEGXL
from scp.encoding.codecs.lossy_codec import LossyCodec

CODECS: tuple[Codec, ...] = (
    HTJ2K_CODEC,
    HTJ2K_RPCL_CODEC,
    RLE_CODEC,
    JPEGLS_CODEC,
    JPEG_LOSSLESS_CODEC,
    JPEGXL_CODEC,
    JPEG2000_CODEC,
    DEFLATE_CODEC,
    HTJ2K_EITHER_CODEC,
    JPEG_CODEC,
    RECOMPRESSED_CODEC,
)

# In the order of :mod:`scp.encoding.codecs.lossy_table`.
LOSSY_CODECS: tuple[LossyCodec, ...] = (
    LOSSY_JPEGLS,
    LOSSY_JPEG2000,
    LOSSY_HTJ2K,
    LOSSY_JPEG_EXTENDED,
    LOSSY_JPEG_BASELINE,
    LOSSY_JPEGXL,
)
