"""The codecs that ``zscp advise`` compares: zscp's own forms, and others for comparison only.

Image codecs code frame after frame, byte codecs the whole uncompressed file; nothing here uses a second
thread. zscp's own image codecs are the rows of :mod:`scp.encoding.codecs.table`, so a new one is compared
as soon as it has a row.
"""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from scp.encoding.cage.caged import caged_bytes, caged_compared
from scp.encoding.codecs.codec import Codec, Encode
from scp.encoding.codecs.compared import BROTLI, COMPARED, Compared
from scp.encoding.codecs.lossy_codec import LossyCodec
from scp.encoding.codecs.lossy_table import LOSSY_CODECS
from scp.encoding.codecs.table import CODECS
from scp.encoding.dataset import inflate
from scp.encoding.pixels import Frame, PixelFormat
from scp.encoding.streams import deflated
from scp.objects import part10
from scp.spool import Buffer
from scp.syntaxes import HTJ2K

WITH_DICTIONARY = "+dict"

# JPEG XL's default, and the effort above which the time grows faster than the gain.
_EFFORTS = {"jpegxl": (3, 7)}
# What lossy codecs are asked for: errors of a sample that are allowed, where they are bounded, or qualities.
_BOUNDS, _QUALITIES = (1, 2, 4, 10), (90, 75)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One codec with its parameters, by the name it has in tables.

    ``form`` is the policy's form that stores objects so, with ``effort`` and ``level`` as in a stage; it is
    empty for codecs that no DICOM archive can use. What a ``lossy`` candidate decodes to need not equal the
    frame: its error is measured. ``on_line``: a peer is sent the coded result. ``dictionary``: its zstd frame
    uses a dictionary, trained on other objects of the group.
    """

    name: str
    form: str = ""
    effort: int = 0
    level: int = 0
    lossy: bool = False
    on_line: bool = True
    dictionary: bool = False

    @property
    def storable(self) -> bool:
        """Whether a policy can ask for it."""
        return bool(self.form)


@dataclass(frozen=True, slots=True)
class ImageCandidate(Candidate):
    """Codes frames. ``refuses``, ``encode`` and ``decode`` are as those of :class:`Codec`."""

    library: str = ""
    transfer_syntax: str = ""
    refuses: Callable[[PixelFormat], str] = lambda _: ""
    encode: Callable[[Frame, PixelFormat], bytes] = lambda frame, _: frame.tobytes()
    decode: Callable[[bytes, PixelFormat], Frame] = lambda data, form: np.frombuffer(data, form.dtype)


@dataclass(frozen=True, slots=True)
class ByteCandidate(Candidate):
    """Codes bytes: the Part 10 file or, with ``dataset_only``, the dataset behind its meta information."""

    dataset_only: bool = False
    encode: Callable[[Buffer], Buffer] = bytes
    decode: Callable[[Buffer], Buffer] = bytes


def candidates(lossy: bool = False) -> tuple[Candidate, ...]:
    """All that are compared; lossy ones only when asked for."""
    return (*_own_images(), *_BYTES, *_others(), *(_lossy() if lossy else ()))


def _own_images() -> Iterator[Candidate]:
    for codec in CODECS:
        if codec.encode is None:
            continue
        for effort in _EFFORTS.get(codec.name, (0,)):
            yield _own(codec, codec.encode, effort)
        if codec.writes == HTJ2K:  # one codec is enough to show what a dictionary saves: it codes no pixels
            own = _own(codec, codec.encode, 0)
            yield replace(own, name=f"{codec.name} {WITH_DICTIONARY}", dictionary=True)


def _own(codec: Codec, encode: Encode, effort: int) -> ImageCandidate:
    def with_effort(frame: Frame, form: PixelFormat) -> bytes:
        return encode(frame, form, effort)

    return ImageCandidate(
        name=f"{codec.name} {effort}" if effort else codec.name,
        form=codec.name,
        effort=effort,
        library=codec.library(),
        transfer_syntax=codec.writes,
        refuses=codec.refuses,
        encode=with_effort,
        decode=codec.decode,
    )


def _deflate(data: Buffer) -> Buffer:
    return b"".join(deflated([data]))


def _zstd(level: int) -> Candidate:
    # The form keeps the received stream: a peer is sent that, as zstd is no transfer syntax.
    encode = partial(part10.wrap, level=level)
    return ByteCandidate(
        f"zstd {level}", "zstd", level=level, on_line=False, encode=encode, decode=part10.unwrap
    )


_BROTLI = caged_bytes(BROTLI)


def _brotli(data: Buffer) -> Buffer:
    return _BROTLI.encode(bytes(data))


def _unbrotli(data: Buffer) -> Buffer:
    return _BROTLI.decode(bytes(data))


_BYTES: tuple[Candidate, ...] = (
    _zstd(1),
    _zstd(3),
    replace(_zstd(3), name=f"zstd 3 {WITH_DICTIONARY}", dictionary=True),
    _zstd(19),
    ByteCandidate("deflate", "deflate", dataset_only=True, encode=_deflate, decode=inflate),
    ByteCandidate("native", "native", on_line=False, encode=bytearray, decode=bytearray),
    ByteCandidate("gzip 6", encode=partial(gzip.compress, compresslevel=6, mtime=0), decode=gzip.decompress),
    ByteCandidate(BROTLI.name, encode=_brotli, decode=_unbrotli),
    ByteCandidate("xz 6", encode=partial(lzma.compress, preset=6), decode=lzma.decompress),
)


def _others() -> Iterator[Candidate]:
    for codec in COMPARED:
        yield _other(caged_compared(codec))


def _lossy() -> Iterator[Candidate]:
    """What a rule may have a peer sent (docs/decisions/0053), as strict as these rules are."""
    for codec in LOSSY_CODECS:
        for setting in _BOUNDS if codec.bounded else _QUALITIES:
            yield _with_loss(codec, setting)


def _with_loss(codec: LossyCodec, setting: int) -> ImageCandidate:
    return ImageCandidate(
        f"{codec.name} ±{setting}" if codec.bounded else f"{codec.name} q{setting}",
        lossy=True,
        library=codec.library(),
        transfer_syntax=codec.writes,
        refuses=codec.refuses,
        encode=lambda frame, form: codec.encode(frame, form, setting),
        decode=lambda data, form: codec.decode(data, codec.described(form)),
    )


def _other(codec: Compared) -> Candidate:
    return ImageCandidate(codec.name, refuses=codec.refuses, encode=codec.encode, decode=codec.decode)
