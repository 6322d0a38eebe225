"""All image codecs. A new one is a file beside this and a row here."""

from __future__ import annotations

from scp.encoding.codecs.codec import Codec
from scp.encoding.codecs.deflate import DEFLATE_CODEC
from scp.encoding.codecs.jpeg import JPEG_CODEC, JPEG_LOSSLESS_CODEC
from scp.encoding.codecs.jpeg2000 import HTJ2K_CODEC, HTJ2K_EITHER_CODEC, HTJ2K_RPCL_CODEC, JPEG2000_CODEC
from scp.encoding.codecs.jpegls import JPEGLS_CODEC
from scp.encoding.codecs.jpegxl import JPEGXL_CODEC, RECOMPRESSED_CODEC
from scp.encoding.codecs.rle import RLE_CODEC

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


def codec_named(name: str) -> Codec | None:
    """The codec of a policy's form."""
    return next((codec for codec in CODECS if codec.name == name and codec.writes), None)


def decoder_of(transfer_syntax: str) -> Codec | None:
    """The codec that reads a transfer syntax."""
    return next((codec for codec in CODECS if transfer_syntax in codec.reads), None)


def encoder_of(transfer_syntax: str) -> Codec | None:
    """The codec that writes a transfer syntax."""
    return next((codec for codec in CODECS if codec.writes == transfer_syntax), None)
