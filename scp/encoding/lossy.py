"""Lossy copies of stored objects, for peers whose rule asks for them: chosen, made, and proven.

Nothing here is reached without a :class:`~scp.model.LossyRule` (invariant 4). A copy goes out only if its
codestreams were decoded again, every sample is within the rule's bound, and padding can still be told from
the image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from scp.encoding.codecs.codec import told_as
from scp.encoding.codecs.lossy_codec import LossyCodec, quality_of
from scp.encoding.codecs.lossy_table import LOSSY_CODECS, lossy_encoder_of
from scp.encoding.dataset import PixelElement, SplitDataset, join, split
from scp.encoding.derived import Derivation, Source, derived_header, derived_trailer, uid_of_copy
from scp.encoding.elements import PIXEL_DATA
from scp.encoding.evenness import evened
from scp.encoding.fragments import encapsulate
from scp.encoding.headers import Header
from scp.encoding.padding import Padding, padding_of
from scp.encoding.pixels import Frame, PixelFormat, frame_of, native_bytes, tail_of, unused_bits_are_empty
from scp.encoding.pool import in_order
from scp.encoding.streams import gathered, letting_go
from scp.encoding.transcode import transcoding, ways_out
from scp.errors import CannotDecode, CannotEncode, CodecError, UnreadableDataset
from scp.model import LossyRule, Restoration, SyntaxPreference
from scp.spool import Buffer, slices
from scp.syntaxes import EXPLICIT, Content, lookup

_PHOTOMETRIC, _PLANAR, _BITS_STORED, _HIGH_BIT = 0x00280004, 0x00280006, 0x00280101, 0x00280102
# How much smaller than the bound the root mean square error has to be, tried in turn: among 200 000 samples
# of noise the worst is off by 4 to 5 times that.
_SHARES = (2, 3, 4.5, 7, 10, 15, 23)
# Their samples are measures or labels: not what anybody looks at, and nothing that may be about right.
_NO_PICTURES = {
    "1.2.840.10008.5.1.4.1.1.30": "a parametric map",
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "a label map",
    "1.2.840.10008.5.1.4.1.1.481.2": "a dose",
}


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
    if what := _NO_PICTURES.get(stored.source.sop_class_uid):
        raise CannotEncode(f"{what} is not coded with loss")
    try:
        chunks = transcoding(stored.dataset, stored.transfer_syntax, EXPLICIT, stored.restoration)
        plain = split(gathered(chunks), lookup(EXPLICIT))
        uid = uid_of_copy(stored.source, codec.library(), target, rule)
        copy = evened(_coded(plain, codec, rule, stored.source, uid))
        stream = gathered(join(copy, lookup(target)))
    except (UnreadableDataset, ValueError) as error:
        raise CannotDecode(str(error)) from error
    _check_smaller(len(stream), plain, stored, lossless)
    return Copy(uid, slices(stream))


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


def _coded(plain: SplitDataset, codec: LossyCodec, rule: LossyRule, source: Source, uid: str) -> SplitDataset:
    if plain.pixel is None:
        raise CannotEncode("no pixel data")
    header = Header(plain.header)
    form = header.format
    if reason := codec.refuses(form) or _refuses_rule(codec, form, rule):
        raise CannotEncode(reason)
    value = plain.pixel.held()
    tail_of(value, plain.pixel.tag, form)
    told = codec.described(form)
    padding = padding_of(header.data, form)
    size = 0

    def measured() -> Iterator[bytes]:
        nonlocal size
        for stream in letting_go(_encoded(codec, value, form, rule, padding), value, form.frame_size):
            size += len(stream)
            yield stream

    items = encapsulate(measured(), form.frames)
    ratio = form.frame_size * form.frames / size
    done = Derivation(uid, codec.method, ratio, _description(codec, rule, ratio))
    pixels = _pixel_changes(form, told) | padding.changes(form)
    return SplitDataset(
        derived_header(header.data, source, done, pixels),
        PixelElement(PIXEL_DATA, "OB", items, encapsulated=True),
        derived_trailer(plain.trailer),
    )


def _refuses_rule(codec: LossyCodec, form: PixelFormat, rule: LossyRule) -> str:
    if codec.bounded and rule.max_error is None:
        return "it has no quality, and the rule names no max_error"
    converted = form.photometric == "YBR_FULL" != codec.described(form).photometric
    if converted and rule.max_error is not None:  # a decoder makes RGB of it
        return "no bound can be told through its colour conversion"
    return ""


def _settings(codec: LossyCodec, rule: LossyRule) -> tuple[float, ...]:
    """What to give the codec, the smallest result first."""
    if codec.bounded and rule.max_error is not None:
        return (rule.max_error,)
    if rule.quality is not None or rule.max_error is None:
        return (rule.quality or 0,)
    return tuple(quality_of(rule.max_error / share) for share in _SHARES)


def _encoded(
    codec: LossyCodec, value: Buffer, form: PixelFormat, rule: LossyRule, padding: Padding
) -> Iterator[bytes]:
    told, settings = codec.described(form), _settings(codec, rule)

    def encode(each: int) -> bytes:
        frame = frame_of(value, each, form)
        if not unused_bits_are_empty(frame, form):
            raise CannotEncode("bits above Bits Stored are in use")
        for setting in settings:
            stream = codec.encode(frame, form, setting)
            back = codec.decode(stream, told)
            if _holds(frame, back, told, rule.max_error):
                padding.look(frame, back)
                return stream
        raise CannotEncode(f"no quality keeps every sample within {rule.max_error}")

    with told_as(CannotEncode, codec.library):
        yield from in_order(encode, range(form.frames), form.frames, form.array_size)


def _holds(frame: Frame, back: Frame, told: PixelFormat, max_error: int | None) -> bool:
    """Whether a codestream gives an image of the described kind, within the bound."""
    if not unused_bits_are_empty(back, told):
        return False
    if max_error is None:
        return True
    wide = f"<i{2 * frame.dtype.itemsize}"
    return int(abs(back.astype(wide) - frame.astype(wide)).max()) <= max_error


def _description(codec: LossyCodec, rule: LossyRule, ratio: float) -> str:
    asked = [f"quality {rule.quality:g}"] if rule.quality is not None and not codec.bounded else []
    asked += [f"maximum error {rule.max_error}"] if rule.max_error is not None else []
    return f"Lossy compression, {codec.name}, {', '.join(asked)}, ratio {ratio:.2f}"


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


def frame_with_loss(
    frame: Frame, form: PixelFormat, padding: Padding, target: str, rule: LossyRule, sop_class_uid: str
) -> bytes:
    """One frame in the transfer syntax ``target``, for those who have the header of the object itself.

    So that has to describe what comes of the frame. Raises CannotEncode, with the reason, where it would not.
    """
    codec = lossy_encoder_of(target)
    if codec is None:
        raise CannotEncode(f"{lookup(target).keyword} is not encoded here")
    if not may_lose(sop_class_uid):
        raise CannotEncode(f"{_NO_PICTURES[sop_class_uid]} is not coded with loss")
    if reason := codec.refuses(form) or _refuses_rule(codec, form, rule):
        raise CannotEncode(reason)
    form = replace(form, frames=1, planar=0)
    (stream,) = _encoded(codec, native_bytes(frame, form, 0), form, rule, Padding())
    back = codec.decode(stream, codec.described(form))
    if not unused_bits_are_empty(back, form):
        raise CannotEncode("its samples would need more bits than are stored")
    if padding.low is not None:
        was, is_now = (
            np.greater_equal(each, padding.low) & np.less_equal(each, padding.high) for each in (frame, back)
        )
        if not np.array_equal(was, is_now):
            raise CannotEncode("its padding values would mix with image values")
    return stream


def may_lose(sop_class_uid: str) -> bool:
    """Whether objects of a class are coded with loss where a rule asks for it."""
    return sop_class_uid not in _NO_PICTURES
