"""Codestreams are decoded to native pixel data, frame by frame while that is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from scp.encoding.cage.caged import Trust, of_one_object
from scp.encoding.codecs.codec import Codec, told_as
from scp.encoding.codecs.lengths import check_length, check_lengths
from scp.encoding.codecs.table import decoder_of
from scp.encoding.dataset import PixelElement, SplitDataset
from scp.encoding.described import described_frame, most_bits, widened
from scp.encoding.elements import PIXEL_DATA
from scp.encoding.fragments import EXTENDED_OFFSETS, Fragments, Frames, frames_within, only_fragment
from scp.encoding.headers import Header
from scp.encoding.held_frames import at_once, waiting
from scp.encoding.icons import native_icons
from scp.encoding.native_frames import NativeFrames, holds_native_frames, native_frames
from scp.encoding.pixels import PixelFormat, native_bytes, without_gaps
from scp.encoding.pool import in_order
from scp.encoding.streams import Chunks, letting_go
from scp.errors import (
    BeyondBitsStored,
    CannotDecode,
    CannotEncode,
    CodecProcessFailed,
    DamagedCodestream,
    PixelsBeyondBounds,
)
from scp.model import Restoration
from scp.resources.bounds import bounds
from scp.spool import IN_MEMORY, Buffer, Spool
from scp.syntaxes import ENCAPSULATED_UNCOMPRESSED, TransferSyntax

Edits = dict[int, bytes | None]

_PHOTOMETRIC, _PLANAR, _BITS_STORED, _HIGH_BIT = 0x00280004, 0x00280006, 0x00280101, 0x00280102
# Up to here, all frames are decoded before the first is given out: what fails then fails cleanly, and
# the next way can be tried. It holds single images; a mammogram has 26 MB.
_AT_ONCE = 32 << 20
_HEAD = 1 << 16  # bytes of a codestream in which its frame header is looked for


@dataclass(frozen=True, slots=True)
class _MadeNative:
    """The bytes of native frames, how many these are, and what the header has to say of them."""

    pieces: Iterator[Buffer]
    size: int
    edits: Edits


@dataclass(frozen=True, slots=True)
class _How:
    """What is known of codestreams that were made here, whether their samples are described as they are, how
    far they are trusted, and whose they are.
    """

    restoration: Restoration | None
    exact: bool
    trust: Trust
    owner: object


@dataclass(frozen=True, slots=True)
class _Coded:
    """Encoded frames, the Planar Configuration that they get, and whether they are decoded ``strictly``.

    What was encoded here is not: it was proven then, and its file is read by its digest.
    """

    codec: Codec
    frames: Sequence[Fragments]
    planar: int
    strictly: bool


@dataclass(slots=True)
class _Icons:
    """Pixel data within the items of one object: it goes into the header, of which ``left`` bytes are left.

    Each is small; only together they are not. The codec processes of their object decode them, too.
    """

    owner: object
    left: int

    def native(self, icon: SplitDataset, syntax: TransferSyntax, exact: bool) -> SplitDataset:
        """As :func:`native`. Raises CannotDecode that says what it was."""
        try:
            made = _held_whole(decoding(icon, syntax, exact=exact, icons=self))
        except CannotDecode as error:
            kept = (DamagedCodestream, CodecProcessFailed)
            kind = next((each for each in kept if isinstance(error, each)), CannotDecode)
            raise kind(f"pixel data within a sequence: {error.args[0]}") from error
        self.left -= len(made.pixel.value) if made.pixel else 0
        return made

    def check(self, form: PixelFormat) -> None:
        """Raises PixelsBeyondBounds where all together would be too large, before the next is decoded."""
        if form.size > self.left:
            raise PixelsBeyondBounds(
                f"{form.size} bytes, {self.left} are left for all of them together (limits.header_bytes)"
            )


def decoding(
    parts: SplitDataset,
    syntax: TransferSyntax,
    restoration: Restoration | None = None,
    exact: bool = False,
    trust: Trust = Trust.ANYBODYS,
    icons: _Icons | None = None,
) -> SplitDataset:
    """The dataset with native pixel data, in chunks: frames are decoded as these are gone through.

    With a ``restoration`` it is the one that was encapsulated here, to the byte; without one, header and
    Planar Configuration describe what was decoded, and its codestreams have to be whole: DamagedCodestream
    says which is not. ``exact`` raises BeyondBitsStored instead of describing samples by another Bits Stored.
    ``trust`` says where its codestreams are decoded; without a ``restoration`` they are anybody's. Raises
    CannotDecode where that shows at once, by what is declared or in the first frame; for more than 32 MB of
    pixels, going through the chunks may raise it. ``icons`` are those of an object that this one is within.
    """
    if parts.pixel is None or not parts.pixel.encapsulated:
        return parts
    if decoder_of(syntax.uid) is None and syntax.uid != ENCAPSULATED_UNCOMPRESSED:
        raise CannotDecode(f"{syntax.keyword} is not decoded here")
    try:
        stored = Header.of(parts, proven=restoration is not None)
        form = stored.format if restoration is None else stored.proven_format
    except CannotEncode as error:
        raise CannotDecode(str(error)) from error
    if icons is not None:
        icons.check(form)
    icons = icons or _Icons(object(), bounds().header_bytes)
    trust = trust if restoration else Trust.ANYBODYS
    how = _How(restoration, exact or restoration is not None, trust, icons.owner)
    made = _made_native(parts.pixel.held(), form, syntax, how)
    if restoration is None:
        vr, tail = ("OB" if form.bits_allocated <= 8 else "OW"), b"\0" * (made.size % 2)
        header = native_icons(stored.edited(made.edits), lambda icon: icons.native(icon, syntax, exact))
    else:
        vr, tail = restoration.vr, restoration.tail
        header = restored_header(stored.data, restoration)
    chunks = _chunks(made, tail)
    return SplitDataset(header, PixelElement(PIXEL_DATA, vr, chunks, encapsulated=False), parts.trailer)


def native(
    parts: SplitDataset,
    syntax: TransferSyntax,
    restoration: Restoration | None = None,
    exact: bool = False,
) -> SplitDataset:
    """As :func:`decoding`, but all decoded when it returns: the pixel data is a buffer."""
    return _held_whole(decoding(parts, syntax, restoration, exact))


def _held_whole(plain: SplitDataset) -> SplitDataset:
    if plain.pixel is None or not isinstance(plain.pixel.value, Chunks):
        return plain
    pixel = PixelElement(plain.pixel.tag, plain.pixel.vr, plain.pixel.held(), encapsulated=False)
    return SplitDataset(plain.header, pixel, plain.trailer)


def _made_native(value: Buffer, form: PixelFormat, syntax: TransferSyntax, how: _How) -> _MadeNative:
    codec = decoder_of(syntax.uid)
    if (made := _only_frame(value, form, codec, syntax, how)) is not None:
        return made
    frames = frames_within(value, form.frames)
    if how.restoration is None and codec is not None:
        _check_lengths(frames, codec, form)
    if codec is None or holds_native_frames(syntax.uid, form):
        found = native_frames(syntax.uid, frames, form)
        native, edits = found.frames, _edits_of_native(form, found, syntax)
        if found.shared:
            return _MadeNative(letting_go(native, value, found.size), found.size * form.frames, edits)
    else:
        coded = _Coded(
            of_one_object(codec, how.trust, how.owner),
            frames,
            how.restoration.planar if how.restoration else 0,
            strictly=how.restoration is None,
        )
        native, told = _described(coded, form, how.exact)
        edits = _edits_of_decoded(form, told, syntax)
    return _MadeNative(without_gaps(letting_go(native, value, form.frame_size), form), form.size, edits)


def _only_frame(
    value: Buffer, form: PixelFormat, codec: Codec | None, syntax: TransferSyntax, how: _How
) -> _MadeNative | None:
    """The one frame of what was encoded here, without what several frames need; None of all else."""
    if codec is None or how.restoration is None or form.frames > 1 or len(value) > IN_MEMORY:
        return None
    codestream = only_fragment(value)
    if codestream is None or form.frame_bits % 8 or holds_native_frames(syntax.uid, form):
        return None
    own = of_one_object(codec, how.trust, how.owner)
    coded = _Coded(own, (), how.restoration.planar, strictly=False)
    return _MadeNative(waiting(_one_decoded(coded, bytes(codestream), form)), form.size, {})


def _one_decoded(coded: _Coded, codestream: bytes, form: PixelFormat) -> Iterator[Buffer]:
    yield from in_order(lambda each: _native_frame(coded, each, form), (codestream,), 1, form.array_size)


def _check_lengths(frames: Frames, codec: Codec, form: PixelFormat) -> None:
    """Of all codestreams, before the first is decoded. Raises DamagedCodestream, PixelsBeyondBounds."""
    least, sizes = codec.least(form), frames.sizes
    for at in (int(sizes.argmin()), int(sizes.argmax())):
        try:
            check_length(int(sizes[at]), form, least)
        except DamagedCodestream as error:
            raise error.of_frame(at + 1, form.frames) from error
    check_lengths(int(sizes.sum()), form)


def _chunks(made: _MadeNative, tail: bytes) -> Chunks:
    size = made.size + len(tail)
    pieces: Iterator[Buffer] = chain(made.pieces, [tail] if tail else [])
    if size <= _AT_ONCE:
        return Chunks(size, at_once(pieces, size))
    ready = list(islice(pieces, 1))  # a single large frame fails before anything is given out, too
    return Chunks(size, chain(iter(ready), pieces), late=sum(map(len, ready)) < made.size)


def _described(coded: _Coded, form: PixelFormat, exact: bool) -> tuple[Iterator[Buffer], PixelFormat]:
    """Native frames, and the format that describes them.

    Where a codestream's precision is larger than Bits Stored, all frames are decoded before the header can
    go: one sample may be beyond it.
    """
    native = _decoded(coded, form)
    if exact:
        return native, form
    bits = most_bits(coded.codec, (bytes(frame[0][:_HEAD]) for frame in coded.frames if frame), form)
    if bits == form.bits_stored:
        return native, form
    try:
        return _held(native, form), form
    except BeyondBitsStored:
        told = widened(form, bits)
        return _decoded(coded, told), told


def _held(native: Iterable[Buffer], form: PixelFormat) -> Iterator[Buffer]:
    """All frames decoded when it returns."""
    spool = Spool()
    for frame in native:
        spool.write(frame)
    view, size = spool.view(), form.frame_size
    return (view[size * each : size * (each + 1)] for each in range(form.frames))


def _decoded(coded: _Coded, form: PixelFormat) -> Iterator[Buffer]:
    def decode(numbered: tuple[int, Fragments]) -> Buffer:
        number, frame = numbered
        try:
            return _native_frame(coded, frame.whole(), form)
        except DamagedCodestream as error:
            raise error.of_frame(number, form.frames) from error

    yield from waiting(in_order(decode, enumerate(coded.frames, 1), form.frames, form.array_size))


def _native_frame(coded: _Coded, codestream: bytes, form: PixelFormat) -> Buffer:
    with told_as(DamagedCodestream if coded.strictly else CannotDecode, coded.codec.library):
        samples = described_frame(coded.codec, codestream, form, coded.strictly)
        return native_bytes(samples, form, coded.planar)


def restored_header(stored: bytes, restoration: Restoration) -> bytes:
    """The received header, in explicit VR little endian."""
    suffix = stored[len(stored) - restoration.suffix :]
    return stored[: restoration.prefix] + restoration.middle + suffix


def described_as_decoded(header: bytes, syntax: TransferSyntax) -> bytes:
    """The header of an encapsulated dataset as of its decoded pixel data, as far as the header tells.

    Only a codestream tells whether its samples need more bits than Bits Stored: that stays as it is. What
    cannot be decoded is described as it is.
    """
    if decoder_of(syntax.uid) is None:
        return header
    try:
        stored = Header(header)
        return stored.edited(_edits_of_decoded(stored.format, stored.format, syntax))
    except (CannotEncode, CannotDecode):
        return header


def _edits_of_decoded(form: PixelFormat, told: PixelFormat, syntax: TransferSyntax) -> Edits:
    """What the header has to say of decoded samples, which ``told`` describes and which are by pixel."""
    edits: Edits = dict.fromkeys((*EXTENDED_OFFSETS, PIXEL_DATA))
    if form.samples == 3:
        edits |= _renamed(form, syntax)
    if form.samples > 1 and form.planar:
        edits[_PLANAR] = b"\0\0"
    if told.bits_stored != form.bits_stored:
        edits[_BITS_STORED] = told.bits_stored.to_bytes(2, "little")
        edits[_HIGH_BIT] = told.high_bit.to_bytes(2, "little")
    return edits


def _edits_of_native(form: PixelFormat, found: NativeFrames, syntax: TransferSyntax) -> Edits:
    """What the header has to say of frames that were native already, whose bytes nothing rearranged."""
    edits: Edits = dict.fromkeys((*EXTENDED_OFFSETS, PIXEL_DATA))
    return edits if form.samples != 3 or found.shared else edits | _renamed(form, syntax)


def _renamed(form: PixelFormat, syntax: TransferSyntax) -> Edits:
    photometric = decoded_photometric(form.photometric, syntax)
    if photometric == form.photometric:
        return {}
    return {_PHOTOMETRIC: photometric.encode().ljust(len(photometric) + len(photometric) % 2)}


def decoded_photometric(photometric: str, syntax: TransferSyntax) -> str:
    """The Photometric Interpretation of what a decoder gives out, of three samples a pixel (PS3.5 8.2).

    The colour transforms of JPEG 2000 and JPEG XL belong to the codestream and are undone with it; JPEG
    decoders here give RGB, as DCMTK's do by default, instead of subsampled YBR that few can show.
    Raises CannotDecode for a subsampled one that has no other name once it is not.
    """
    jpeg = syntax.keyword in ("JPEGBaseline8Bit", "JPEGExtended12Bit", "JPEGXLJPEGRecompression")
    if jpeg or photometric in ("YBR_RCT", "YBR_ICT", "XYB"):
        return "RGB"
    if photometric == "YBR_FULL_422":  # in a codestream of whole components; native, it shares samples
        return "YBR_FULL"
    if photometric.endswith(("_422", "_420")):
        raise CannotDecode(f"decoded {photometric} has no Photometric Interpretation")
    return photometric
