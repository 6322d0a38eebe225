"""Decoded samples compared with the header: no value is cut, and none gets another meaning.

A codestream has a precision P of its own (:mod:`scp.encoding.codecs.precision`). That may not be Bits Stored,
and the codestream may have a sign where Pixel Representation has none, or the reverse. This is the one answer
for all codecs that carry a precision; docs/decisions/0093 says why. It goes by the samples, because many
encoders write P = 16 for samples that fit into 12 bits:

- Samples that Bits Stored and Pixel Representation can describe stay what they are, and so does the header.
- Where P is larger than Bits Stored and a sample needs it, the header has to say P (BeyondBitsStored).
- Where codestream and header disagree on the sign, the header reads words of P bits as two's complement. If
  P is smaller than Bits Stored and that would change a value, nothing tells which is right: CannotDecode.
- Where the header places the sample higher in its word, or an overlay beside it, the word stays whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from scp.encoding.codecs.codec import Codec
from scp.encoding.codecs.precision import Precision, precision_of
from scp.encoding.pixels import Frame, PixelFormat, unused_bits_are_empty
from scp.errors import BeyondBitsStored, CannotDecode

Decode = Callable[[bytes, PixelFormat], Frame]


def most_bits(codec: Codec, beginnings: Iterable[bytes], form: PixelFormat) -> int:
    """How many bits a sample may need, by the beginnings of the codestreams; Bits Stored at least."""
    if codec.keeps_all_bits or form.bits_outside_stored:
        return form.bits_stored
    return max([form.bits_stored, *(_most(each, form) for each in beginnings)])


def _most(beginning: bytes, form: PixelFormat) -> int:
    try:
        return _precision(beginning, form).bits
    except CannotDecode:
        return form.bits_allocated


def widened(form: PixelFormat, bits: int) -> PixelFormat:
    """The format that describes samples of ``bits`` bits. Raises CannotDecode where none of its kind does."""
    if bits > form.bits_allocated:
        raise CannotDecode(f"samples of {bits} bits, and Bits Allocated is {form.bits_allocated}")
    return replace(form, bits_stored=bits, high_bit=bits - 1)


def described_frame(codec: Codec, codestream: bytes, form: PixelFormat, strictly: bool) -> Frame:
    """A frame whose samples are what ``form`` says; ``strictly``: of a codestream that is whole.

    Raises BeyondBitsStored where only a larger Bits Stored describes them, CannotDecode where nothing does,
    DamagedCodestream, and what the codec's library raises.
    """
    decode = codec.strictly if strictly else codec.decode
    if codec.keeps_all_bits:  # its frames are native words, whatever is in them
        return decode(codestream, form)
    coded = _precision(codestream, form)
    if form.bits_outside_stored:
        return _whole_words(decode, codestream, form, coded)
    try:
        frame = _as_described(decode, codestream, form, coded)
    except BeyondBitsStored:
        raise BeyondBitsStored(form.bits_stored, coded.bits) from None
    beyond_single = form.bits_allocated == 1 and int(frame.max()) > 1
    if beyond_single or not unused_bits_are_empty(frame, form):
        raise BeyondBitsStored(form.bits_stored, coded.bits)
    return frame


def _precision(codestream: bytes, form: PixelFormat) -> Precision:
    return precision_of(codestream) or Precision(form.bits_allocated)


def _as_described(decode: Decode, codestream: bytes, form: PixelFormat, coded: Precision) -> Frame:
    if coded.signed == form.signed or coded.bits == form.bits_stored:
        return decode(codestream, form)
    if coded.bits > form.bits_stored:
        if form.signed:  # with the sign extended, or cut off at Bits Stored
            return decode(codestream, form)
        frame = decode(codestream, replace(form, signed=True))
        if int(frame.min()) < 0:
            raise BeyondBitsStored(form.bits_stored, coded.bits)
        return frame.astype(form.dtype)
    frame = decode(codestream, replace(form, signed=coded.signed))
    if not _same_either_way(frame, coded):
        raise CannotDecode(
            f"samples of {coded.bits} bits {'with' if coded.signed else 'without'} a sign, "
            f"where Pixel Representation is {int(form.signed)} and Bits Stored {form.bits_stored}"
        )
    return frame.astype(form.dtype)


def _same_either_way(frame: Frame, coded: Precision) -> bool:
    """Whether every sample is the same number with a sign and without."""
    return int(frame.min()) >= 0 and int(frame.max()) < 1 << coded.bits - 1


def _whole_words(decode: Decode, codestream: bytes, form: PixelFormat, coded: Precision) -> Frame:
    """Words as a native object has them: what lies in which of their bits, the header says."""
    if coded.bits <= form.high_bit or (coded.signed and coded.bits < form.bits_allocated):
        raise CannotDecode(f"samples of {coded.bits} bits, and High Bit is {form.high_bit}")
    bits = form.bits_allocated
    words = replace(form, signed=coded.signed, bits_stored=bits, high_bit=bits - 1, overlays=False)
    return np.ascontiguousarray(decode(codestream, words)).view(form.dtype)
