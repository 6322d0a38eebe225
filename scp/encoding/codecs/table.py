"""All lossless image codecs; their work is done in codec processes. How to add one: docs/decisions/0130."""

from __future__ import annotations

from scp.encoding.cage.caged import caged
from scp.encoding.codecs import native
from scp.encoding.codecs.codec import Codec
from scp.encoding.codecs.lossless.deflate import DEFLATE_CODEC

# zlib stays here: it is what reads a deflated dataset, too, and what it makes is bounded as it is made.
CODECS: tuple[Codec, ...] = tuple(row if row is DEFLATE_CODEC else caged(row) for row in native.CODECS)


def codec_named(name: str) -> Codec | None:
    """The codec of a policy's form."""
    return next((codec for codec in CODECS if codec.name == name and codec.encode), None)


def decoder_of(transfer_syntax: str) -> Codec | None:
    """The codec that reads a transfer syntax."""
    return next((codec for codec in CODECS if transfer_syntax in codec.reads), None)


def encoder_of(transfer_syntax: str) -> Codec | None:
    """The codec that writes a transfer syntax."""
    return next((codec for codec in CODECS if codec.writes == transfer_syntax), None)
