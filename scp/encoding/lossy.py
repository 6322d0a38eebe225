"""Lossy copies of stored objects, for peers and stages whose rule asks for them: chosen, made, and proven.

:mod:`scp.encoding.loss_at_rest` asks more of those that a stage keeps. Nothing here is reached without a
:class:`~scp.loss.LossyRule` (invariant 4). A copy is used only if its codestreams were decoded again, every
sample is within the rule's bound, and padding can still be told from the image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from scp.encoding.codecs.lossy_codec import LossyCodec
from scp.encoding.codecs.lossy_table import LOSSY_CODECS, lossy_encoder_of
from scp.encoding.dataset import PixelElement, SplitDataset, join, split
from scp.encoding.derived import Derivation, Source, derived_header, derived_trailer, uid_of_copy
from scp.encoding.deviation import Deviation
from scp.encoding.elements import PIXEL_DATA
from scp.encoding.evenness import evened
from scp.encoding.fragments import encapsulate
from scp.encoding.headers import Header
from scp.encoding.lossy_frames import NO_PICTURES, CopyFrames, refuses_rule
from scp.encoding.padding import padding_of
from scp.encoding.pixels import PixelFormat, tail_of
from scp.encoding.streams import gathered, letting_go
from scp.encoding.transcode import transcoding, ways_out
from scp.errors import CannotDecode, CannotEncode, CodecError, UnreadableDataset
from scp.loss import LossyRule
from scp.model import Restoration, SyntaxPreference
from scp.spool import Buffer, slices
from scp.syntaxes import EXPLICIT, Content, lookup

_PHOTOMETRIC, _PLANAR, _BITS_STORED, _HIGH_BIT = 0x00280004, 0x00280006, 0x00280101, 0x00280102


@dataclass(frozen=True, slots=True)
class Way:
    """A transfer syntax that an object may go out in, as it is or as a lossy copy."""

    transfer_syntax: str
    lossy: bool = False


@dataclass(frozen=True, slots=True)
class Copy:
    """A lossy copy: a SOP instance of its own, its dataset stream in pieces."""

    sop_instance_uid: str
    chunks: Iterator[Buffer]


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored dataset, and what it takes to read it and to name it."""

    dataset: Buffer
    transfer_syntax: str
    restoration: Restoration | None
    source: Source


def ways(stored: str, received: str, accepted: Iterable[str], preference: SyntaxPreference) -> list[Way]:
    """All ways that an object may go out, best first; the lossless ones are those of :func:`ways_out`.

    With a lossy rule: what is stored in a syntax that may be lossy goes first, as it is. The preferred
    syntaxes follow, as far as the last lossy one among them. Where none of them is lossy, lossy copies are
    the last resort, in the order of :data:`~scp.encoding.codecs.lossy_table.LOSSY_CODECS`.
    """
    allowed = set(accepted)
    lossless = [Way(syntax) for syntax in ways_out(stored, received, allowed, preference)]
    if preference.lossy is None:
        return lossless
    preferred = [Way(syntax, lossy_encoder_of(syntax) is not None) for syntax in preference.preferred]
    while preferred and not preferred[-1].lossy:
        preferred.pop()
    exact = [way for way in lossless if _is_exact(way, stored, received)]
    first = [way for way in exact if _may_lose(way)] if _may_lose(Way(stored)) else []
    last = [] if preferred else [Way(codec.writes, lossy=True) for codec in LOSSY_CODECS]
    return [
        way for way in dict.fromkeys((*first, *preferred, *exact, *last)) if way.transfer_syntax in allowed
    ]


def _is_exact(way: Way, stored: str, received: str) -> bool:
    """Not so a preference for a lossy syntax: only what came or lies in one goes out in it without a loss."""
    return way.transfer_syntax in (stored, received) or lossy_encoder_of(way.transfer_syntax) is None


def _may_lose(way: Way) -> bool:
    return lookup(way.transfer_syntax).content is Content.EITHER


def copied(stored: Stored, target: str, rule: LossyRule, lossless: Iterable[str]) -> Copy:
    """A lossy copy of a stored object in the transfer syntax ``target``.

    ``lossless`` are the transfer syntaxes that it could go out in without loss, best first. Raises
    CannotEncode or CannotDecode, with the reason, where there is no copy, or where it would not be smaller
    than the first of those that can carry the object.
    """
    codec = lossy_encoder_of(target)
    if codec is None:
        raise CannotEncode(f"{lookup(target).keyword} is not encoded here")
    if what := NO_PICTURES.get(stored.source.sop_class_uid):
        raise CannotEncode(f"{what} is not coded with loss")
    plain, uid = plain_of(stored), uid_of_copy(stored.source, codec.library(), target, rule)
    stream = stream_of(coded(plain, codec, rule, stored.source, uid).dataset, target)
    _check_smaller(len(stream), plain, stored, lossless)
    return Copy(uid, slices(stream))


def plain_of(stored: Stored) -> SplitDataset:
    """The stored dataset as explicit VR little endian. Raises CannotDecode."""
    try:
        chunks = transcoding(stored.dataset, stored.transfer_syntax, EXPLICIT, stored.restoration)
        return split(gathered(chunks), lookup(EXPLICIT))
    except (UnreadableDataset, ValueError) as error:
        raise CannotDecode(str(error)) from error


def stream_of(copy: SplitDataset, target: str) -> Buffer:
    """The dataset stream of a copy in the transfer syntax ``target``. Raises CannotDecode."""
    try:
        return gathered(join(evened(copy), lookup(target)))
    except (UnreadableDataset, ValueError) as error:
        raise CannotDecode(str(error)) from error


def _check_smaller(size: int, plain: SplitDataset, stored: Stored, lossless: Iterable[str]) -> None:
    for syntax in lossless:
        try:
            exact = _size_in(syntax, plain, stored)
        except CodecError:
            continue
        if size >= exact:
            raise CannotEncode(f"{size} bytes, where {lookup(syntax).keyword} has {exact}")
        return


def _size_in(syntax: str, plain: SplitDataset, stored: Stored) -> int:
    """How large the object is in a transfer syntax without loss; of native ones about that."""
    if syntax == stored.transfer_syntax:
        return len(stored.dataset)
    row = lookup(syntax)
    if row.content is Content.NATIVE and not row.deflated:
        pixels = len(plain.pixel.value) if plain.pixel else 0
        return len(plain.header) + pixels + len(plain.trailer)
    chunks = transcoding(stored.dataset, stored.transfer_syntax, syntax, stored.restoration)
    return sum(len(chunk) for chunk in chunks)


@dataclass(frozen=True, slots=True)
class CodedCopy:
    """A dataset with lossy codestreams; ``ratio`` is native bytes to theirs."""

    dataset: SplitDataset
    ratio: float


def coded(
    plain: SplitDataset,
    codec: LossyCodec,
    rule: LossyRule,
    source: Source,
    uid: str,
    deviation: Deviation | None = None,
) -> CodedCopy:
    """A copy with the SOP Instance UID ``uid``, its codestreams decoded again and found within the rule.

    All errors are added to a ``deviation``, where it is given; then no sample of the image may be as close
    to padding as its largest. Raises CannotEncode, CannotDecode.
    """
    if plain.pixel is None:
        raise CannotEncode("no pixel data")
    header = Header(plain.header)
    form = header.format
    if reason := codec.refuses(form) or refuses_rule(codec, form, rule):
        raise CannotEncode(reason)
    value = plain.pixel.held()
    tail_of(value, plain.pixel.tag, form)
    padding = padding_of(header.data, form)
    frames = CopyFrames(codec, form, rule, padding, deviation)
    size = 0

    def measured() -> Iterator[bytes]:
        nonlocal size
        for stream in letting_go(frames.encoded(value), value, form.frame_size):
            size += len(stream)
            yield stream

    items = encapsulate(measured(), form.frames)
    if deviation is not None:
        padding.check_apart(max(rule.max_error or 0, deviation.largest))
    ratio = form.frame_size * form.frames / size
    done = Derivation(uid, codec.method, ratio, _description(codec, rule, ratio))
    pixels = _pixel_changes(form, codec.described(form)) | padding.changes(form)
    try:
        copy = SplitDataset(
            derived_header(header.data, source, done, pixels),
            PixelElement(PIXEL_DATA, "OB", items, encapsulated=True),
            derived_trailer(plain.trailer),
        )
    except (UnreadableDataset, ValueError) as error:
        raise CannotDecode(str(error)) from error
    return CodedCopy(copy, ratio)


def _description(codec: LossyCodec, rule: LossyRule, ratio: float) -> str:
    asked = replace(rule, quality=None) if codec.bounded else rule
    return f"Lossy compression, {codec.name}, {asked.words}, ratio {ratio:.2f}"


def _pixel_changes(form: PixelFormat, told: PixelFormat) -> dict[int, tuple[bytes, bytes] | None]:
    photometric = told.photometric.encode()
    changes: dict[int, tuple[bytes, bytes] | None] = {
        _PHOTOMETRIC: (b"CS", photometric + b" " * (len(photometric) % 2)),
        _BITS_STORED: (b"US", told.bits_stored.to_bytes(2, "little")),
        _HIGH_BIT: (b"US", told.high_bit.to_bytes(2, "little")),
    }
    if form.samples > 1:
        changes[_PLANAR] = (b"US", b"\0\0")
    return changes
