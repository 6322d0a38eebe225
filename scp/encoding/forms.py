"""The forms of a policy: a received object is encoded in one, and proven to lose nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scp.encoding import recompression
from scp.encoding.cage.caged import Trust, library_of
from scp.encoding.codecs.codec import Codec
from scp.encoding.codecs.table import codec_named, decoder_of
from scp.encoding.dataset import SplitDataset, join, split
from scp.encoding.decoding import decoding, native
from scp.encoding.encapsulating import encapsulated
from scp.encoding.fragments import ITEM_HEADER
from scp.encoding.streams import digest, equal, gathered
from scp.errors import (
    CannotDecode,
    CannotEncode,
    CodecError,
    CodecProcessFailed,
    DamagedCodestream,
    DecoderFailed,
    NotReproduced,
    UnreadableDataset,
)
from scp.model import Provenance, Received, Restoration
from scp.spool import IN_MEMORY, Buffer, slices
from scp.syntaxes import AS_RECEIVED, BY_FORM, EXPLICIT, JPEGXL_RECOMPRESSION, Content, lookup

_LEAST_DENSE = 16 << 10  # bytes of a codestream
_MOST_BEHIND = 256  # bytes behind the pixel data, which are not compressed either


@dataclass(frozen=True, slots=True)
class Encoded:
    """A received object in one form: a dataset stream in a transfer syntax, not proven yet.

    Of its dataset, ``pixel_bytes`` are pixel data. The last ``dense`` bytes zstd makes no smaller; 0 where
    that is not known.
    """

    form: str
    transfer_syntax: str
    dataset: Buffer
    pixel_bytes: int = 0
    codec: str = ""
    restoration: Restoration | None = None
    native_sha256: str = ""
    dense: int = 0

    @property
    def is_image_form(self) -> bool:
        """Whether an image codec made it."""
        return is_image_form(self.form)


def is_image_form(form: str) -> bool:
    """Whether an image codec makes a form."""
    return codec_named(form) is not None or form == recompression.FORM


def target_of(form: str) -> str:
    """The transfer syntax that a form writes; empty if it keeps the received one or is unknown."""
    return BY_FORM[form].uid if form in BY_FORM else ""


def encoded(form: str, received: Received, parts: SplitDataset | None, effort: int = 0) -> Encoded:
    """``received`` in the named form; ``parts`` is what it splits into, None if unreadable.

    Raises CannotEncode, with the reason, when the object cannot take the form; DamagedCodestream where the
    received codestreams are not whole, so that it can take none but ``received`` and ``zstd``; DecoderFailed
    where a codec's process failed at decoding them, and CodecProcessFailed where one did at encoding.
    """
    if form in AS_RECEIVED:
        return _as_received(form, received, parts)
    codec, target = codec_named(form), target_of(form)
    if not target:
        raise CannotEncode("not available in this version")
    if target == received.transfer_syntax:
        return _as_received(form, received, parts)
    if parts is None:
        raise CannotEncode("the dataset cannot be read")
    try:
        if form == recompression.FORM:
            return _recompressed(received, parts)
        plain, reference = _decoded(received, parts)
        if codec is None and lookup(target).content is not Content.NATIVE:
            raise CannotEncode("no codec can encode it")
        if codec is None:
            return Encoded(form, target, gathered(join(plain, lookup(target))), native_sha256=reference)
        return _coded(codec, plain, reference, effort)
    except (DamagedCodestream, CodecProcessFailed):
        raise
    except (CannotDecode, UnreadableDataset, ValueError) as error:
        raise CannotEncode(str(error)) from error


def _decoded(received: Received, parts: SplitDataset) -> tuple[SplitDataset, str]:
    """Native pixel data, and the digest to prove by. Raises DecoderFailed."""
    try:
        plain = _native_of(received, parts)
        return plain, _native_digest(received, plain)
    except CodecProcessFailed as error:
        raise DecoderFailed(str(error)) from error


def _recompressed(received: Received, parts: SplitDataset) -> Encoded:
    stored, restoration = recompression.recompressed(parts, received.transfer_syntax)
    return Encoded(
        form=recompression.FORM,
        transfer_syntax=JPEGXL_RECOMPRESSION,
        dataset=gathered(join(stored, lookup(JPEGXL_RECOMPRESSION))),
        pixel_bytes=len(stored.pixel.value) if stored.pixel else 0,
        codec=library_of(recompression.FORM),
        restoration=restoration,
    )


def _as_received(form: str, received: Received, parts: SplitDataset | None) -> Encoded:
    pixels = len(parts.pixel.value) if parts is not None and parts.pixel is not None else 0
    return Encoded(form, received.transfer_syntax, received.dataset, pixels)


def _coded(codec: Codec, plain: SplitDataset, reference: str, effort: int) -> Encoded:
    stored, restoration = encapsulated(plain, codec, effort)
    return Encoded(
        form=codec.name,
        transfer_syntax=codec.writes,
        dataset=gathered(join(stored, lookup(codec.writes))),
        pixel_bytes=len(stored.pixel.value) if stored.pixel else 0,
        codec=f"{codec.library()} effort {effort}" if effort else codec.library(),
        restoration=restoration,
        native_sha256=reference,
        dense=_dense(stored, codec),
    )


def _dense(stored: SplitDataset, codec: Codec) -> int:
    """How many bytes at the end of a dataset zstd makes no smaller (docs/decisions/0229).

    Many short codestreams may be alike, and RLE has no entropy coder.
    """
    if stored.pixel is None or codec.keeps_all_bits:
        return 0
    value = stored.pixel.held()
    frames = int.from_bytes(value[4:8], "little") // 4  # of the Basic Offset Table
    if not frames or len(value) < _LEAST_DENSE * frames or len(stored.trailer) > _MOST_BEHIND:
        return 0
    return len(value) + ITEM_HEADER + len(stored.trailer)


def _native_of(received: Received, parts: SplitDataset) -> SplitDataset:
    """Native pixel data of a received object, its attributes unchanged; what came lossy keeps its codestream
    (invariant 2).
    """
    syntax = lookup(received.transfer_syntax)
    if syntax.content not in (Content.NATIVE, Content.LOSSLESS):
        raise CannotEncode(f"received as {syntax.keyword}, whose codestream is kept")
    return native(parts, syntax, exact=True)


def _native_digest(received: Received, plain: SplitDataset) -> str:
    """The digest to prove by where the received stream itself cannot be made again."""
    syntax = lookup(received.transfer_syntax)
    if syntax.content is Content.NATIVE and not syntax.deflated:
        return ""
    return digest(join(plain, lookup(EXPLICIT)))


def why_undecodable(dataset: Buffer, transfer_syntax: str) -> str:
    """Why the received codestreams cannot be decoded; empty if they can, or if zscp has no decoder.

    Raises CodecProcessFailed.
    """
    syntax = lookup(transfer_syntax)
    if decoder_of(syntax.uid) is None:
        return ""
    try:
        for _ in join(decoding(split(dataset, syntax), syntax), lookup(EXPLICIT)):
            pass
    except CodecProcessFailed:
        raise
    except CodecError as error:
        return str(error)
    except (UnreadableDataset, ValueError):
        return ""  # that is said of the dataset itself
    return ""


def prove(
    dataset: Buffer,
    transfer_syntax: str,
    provenance: Provenance,
    received: Buffer = b"",
    trust: Trust = Trust.ANYBODYS,
    held: bool = True,
) -> None:
    """Check that a stored dataset reproduces what was received (invariant 2).

    ``received`` is that, where it is at hand: then the bytes are compared instead of their digests. ``trust``
    is that of its codestreams. What is not ``held`` here has to keep ``[limits]``. Raises NotReproduced, and
    CodecProcessFailed, which says nothing of what would have come of it.
    """
    try:
        if not _reproduces(dataset, transfer_syntax, provenance, received, (trust, held)):
            raise NotReproduced("when decoded, it is not what was received")
    except (CodecError, UnreadableDataset, ValueError) as error:
        if isinstance(error, (NotReproduced, CodecProcessFailed)):
            raise
        raise NotReproduced(f"it cannot be decoded: {error}") from error


def _reproduces(
    dataset: Buffer, transfer_syntax: str, provenance: Provenance, received: Buffer, how: tuple[Trust, bool]
) -> bool:
    def is_received(pieces: Iterable[Buffer]) -> bool:
        if 0 < len(received) <= IN_MEMORY:  # what is larger is mapped, and hashing gives its pages back
            return equal(pieces, received)
        return digest(pieces) == provenance.sha256

    if transfer_syntax == provenance.transfer_syntax:
        return is_received(slices(dataset))
    target, syntax = lookup(provenance.transfer_syntax), lookup(transfer_syntax)
    restoration = provenance.restoration
    trust, held = how
    parts = split(dataset, syntax, proven=held)  # smaller limits may have come since (invariant 7)
    if restoration is not None and restoration.jpeg is not None:
        return is_received(join(recompression.restored(parts, restoration, trust), target))
    plain = decoding(parts, syntax, restoration, trust=trust)
    if provenance.native_sha256:
        return digest(join(plain, lookup(EXPLICIT))) == provenance.native_sha256
    return is_received(join(plain, target))
