"""All codecs as they are: their work is done in the process that asks.

A new lossless one is a file in :mod:`scp.encoding.codecs.lossless` and a row of :mod:`scp.syntaxes`; a new
lossy one is a file and a row here.

Only codec processes use these rows (:mod:`scp.encoding.cage`), and tests of a codec itself; all others use
those of :mod:`scp.encoding.codecs.table` and :mod:`scp.encoding.codecs.lossy_table`.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from scp.encoding.codecs import lossless
from scp.encoding.codecs.codec import Codec
from scp.encoding.codecs.lossy.jpeg import LOSSY_JPEG_BASELINE, LOSSY_JPEG_EXTENDED
from scp.encoding.codecs.lossy.jpeg2000 import LOSSY_HTJ2K, LOSSY_JPEG2000
from scp.encoding.codecs.lossy.jpegls import LOSSY_JPEGLS
from scp.encoding.codecs.lossy.jpegxl import LOSSY_JPEGXL
from scp.encoding.codecs.lossy_codec import LossyCodec


def _codecs() -> Iterator[Codec]:
    """Those that each file in lossless/ lists as its ``CODECS``."""
    for file in iter_modules(lossless.__path__, f"{lossless.__name__}."):
        yield from import_module(file.name).CODECS


CODECS: tuple[Codec, ...] = tuple(_codecs())

# In the order of :mod:`scp.encoding.codecs.lossy_table`.
LOSSY_CODECS: tuple[LossyCodec, ...] = (
    LOSSY_JPEGLS,
    LOSSY_JPEG2000,
    LOSSY_HTJ2K,
    LOSSY_JPEG_EXTENDED,
    LOSSY_JPEG_BASELINE,
    LOSSY_JPEGXL,
)
