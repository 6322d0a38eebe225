"""All lossy codecs, in the order in which a peer's rule tries them. A new one is a file and a row here.

JPEG-LS comes first: with a bound it is the smallest (CT of 16 bits within 10: 7 % of native, JPEG 2000 9,
HTJ2K 10), and without one it is passed over. Of the others, at quality 90, two kinds of CT and one of MR come
to 7, 4 and 60 % by JPEG 2000, 8, 5 and 58 by HTJ2K; 10 and 61 by JPEG Extended, which takes no sign; 16 and
65 by JPEG XL, whose VarDCT is not made for errors this small.
"""

from __future__ import annotations

from scp.encoding.cage.caged import caged_lossy
from scp.encoding.codecs import native
from scp.encoding.codecs.lossy_codec import LossyCodec

LOSSY_CODECS: tuple[LossyCodec, ...] = tuple(map(caged_lossy, native.LOSSY_CODECS))


def lossy_encoder_of(transfer_syntax: str) -> LossyCodec | None:
    """The lossy codec that writes a transfer syntax."""
    return next((codec for codec in LOSSY_CODECS if codec.writes == transfer_syntax), None)
