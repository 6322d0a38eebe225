"""A dataset stream taken apart around its pixel data, and put together again.

Everything here is canonical: explicit VR little endian, whatever the stream came in. Header and
trailer stay bytes; what they mean is read elsewhere (:mod:`scp.encoding.facts`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, takewhile

from scp.encoding.conversion import convert, implied_vr, word_size
from scp.encoding.elements import (
    CANONICAL,
    PIXEL_DATA,
    SEQUENCE_END,
    UNDEFINED,
    Element,
    Encoding,
    element_header,
    walk,
)
from scp.encoding.scan import Scan, scan
from scp.encoding.streams import Chunks, deflated, gathered, inflated, swapped_words
from scp.errors import BeyondBounds, MismatchedPixelData, UnreadableDataset
from scp.spool import Buffer, slices
from scp.syntaxes import Content, TransferSyntax

_BITS_ALLOCATED = 0x00280100


@dataclass(frozen=True, slots=True)
class PixelElement:
    """Pixel Data, Float Pixel Data or Double Float Pixel Data.

    ``value`` holds the native samples or, when ``encapsulated``, the items of PS3.5 A.4 without the
    delimiter that ends them. What is decoded as it is read is in chunks.
    """

    tag: int
    vr: str
    value: Buffer | Chunks
    encapsulated: bool

    def held(self) -> Buffer:
        """The value as one buffer; chunks are used up."""
        return gathered(self.value.pieces) if isinstance(self.value, Chunks) else self.value


@dataclass(frozen=True, slots=True)
class SplitDataset:
    """``header`` before the pixel data, the pixel data, and ``trailer`` behind it.

    A dataset without pixel data at its top level is all header. ``scanned`` is the header that a scan found
    something in, and that.
    """

    header: Buffer
    pixel: PixelElement | None = None
    trailer: Buffer = b""
    scanned: tuple[Buffer, Scan] | None = field(default=None, compare=False, repr=False)

    @property
    def found(self) -> Scan | None:
        """What a scan found in the header, if it is still the one that was scanned."""
        return self.scanned[1] if self.scanned is not None and self.scanned[0] is self.header else None


_WORDS = (2, 4, 8)  # bytes of numbers that machines have


def encoding_of(syntax: TransferSyntax) -> Encoding:
    """How the elements of a stream in this transfer syntax are written, once inflated."""
    return Encoding(syntax.explicit_vr, syntax.little_endian)


def inflate(stream: Buffer, proven: bool = False) -> Buffer:
    """A deflated dataset (PS3.5 A.5: RFC 1951, no zlib header) as it was.

    Raises UnreadableDataset, and BeyondBounds for more than ``[limits]`` allows, unless it was ``proven``.
    """
    plain, fault, beyond = inflated(stream, bounded=not proven)
    if fault:
        raise (BeyondBounds if beyond else UnreadableDataset)(fault)
    return plain


def split(stream: Buffer, syntax: TransferSyntax, proven: bool = False) -> SplitDataset:
    """Take apart a dataset stream that is encoded in ``syntax``.

    What was ``proven`` before ``[limits]`` were set has to come back, and is not held against them (invariant
    7). Raises UnreadableDataset when it cannot be followed to its end, or when it holds what only another
    transfer syntax allows (fragments in a native one); BeyondBounds for more than ``[limits]`` allows.
    """
    encoding = encoding_of(syntax)
    plain = memoryview(inflate(stream, proven) if syntax.deflated else stream)
    found = scan(plain, encoding, nested=False, counted=not proven)  # converting looks into what is nested
    if found.fault:
        raise (BeyondBounds if found.beyond else UnreadableDataset)(found.fault)
    pixel = found.pixel
    if pixel is None:
        return SplitDataset(convert(plain, encoding, CANONICAL))
    check_kind(pixel, syntax)
    vr = pixel.vr or _implied_pixel_vr(pixel, found, plain)
    trailer = convert(plain[pixel.next :], encoding, CANONICAL)
    size = len(element_header(pixel.tag, vr, 0, CANONICAL)) + pixel.end - pixel.value
    header = convert(plain[: pixel.start], encoding, CANONICAL, _behind(pixel.tag, size, trailer, CANONICAL))
    value: Buffer = plain[pixel.value : pixel.end]
    if not encoding.little:
        value = gathered(_pixels_swapped(slices(value), vr, header, encoding))
    scanned = (header, found) if encoding == CANONICAL else None  # else the elements have moved
    return SplitDataset(
        header, PixelElement(pixel.tag, vr.decode(), value, pixel.undefined), trailer, scanned
    )


def _implied_pixel_vr(pixel: Element, found: Scan, stream: Buffer) -> bytes:
    """The VR of pixel data that came in implicit VR.

    OW by PS3.5 A.1; but explicit VR takes OB for samples of 8 bits and less, and in big endian toolkits do
    not agree where two of them, or 16 single bits, in a word go.
    """
    _, at, end = found.elements.get(_BITS_ALLOCATED, (b"", 0, 0))
    if pixel.tag == PIXEL_DATA and 0 < int.from_bytes(stream[at:end], "little") <= 8:
        return b"OB"
    return implied_vr(pixel.tag, signed=False, length=pixel.end - pixel.value)


def check_kind(pixel: Element, syntax: TransferSyntax) -> None:
    """Raises MismatchedPixelData where the syntax does not allow the pixel data's kind."""
    if syntax.content is not Content.REFERENCED and pixel.undefined != syntax.encapsulated:
        found = "encapsulated" if pixel.undefined else "native"
        raise MismatchedPixelData(f"{found} pixels in {syntax.keyword}")


def join(parts: SplitDataset, syntax: TransferSyntax) -> Iterator[Buffer]:
    """The dataset stream in ``syntax``, piece by piece; its pixel data must be of that syntax's kind.

    Raises UnreadableDataset when header or trailer are not sound, at once; going through the pieces
    raises what going through the pixel data raises.
    """
    encoding = encoding_of(syntax)
    if parts.pixel is None:
        pieces: Iterator[Buffer] = slices(convert(parts.header, CANONICAL, encoding))
    else:
        trailer = convert(parts.trailer, CANONICAL, encoding)
        head, value, end = _pixel_element(parts.pixel, parts.header, encoding)
        following = behind_header(parts.pixel, trailer, encoding)
        header = convert(parts.header, CANONICAL, encoding, following)
        pieces = chain((header, head), value, (end, trailer))
    return deflated(pieces) if syntax.deflated else pieces


def behind_header(pixel: PixelElement, trailer: Buffer, encoding: Encoding) -> tuple[int, int]:
    """The group of the pixel data, and the size of it and of what follows of its group, in an encoding."""
    head = element_header(pixel.tag, pixel.vr.encode(), 0, encoding)
    end = element_header(SEQUENCE_END, b"", 0, encoding) if pixel.encapsulated else b""
    return _behind(pixel.tag, len(head) + len(pixel.value) + len(end), trailer, encoding)


def _behind(tag: int, size: int, trailer: Buffer, encoding: Encoding) -> tuple[int, int]:
    """What a header's group length counts of the pixel data's group: that element and those after it."""
    group = tag >> 16
    following = takewhile(lambda element: element.tag >> 16 == group, walk(trailer, encoding))
    return group, size + sum(element.next - element.start for element in following)


def _pixel_element(
    pixel: PixelElement, header: Buffer, encoding: Encoding
) -> tuple[bytes, Iterator[Buffer], bytes]:
    """What begins the element, its value, and what ends it."""
    vr = pixel.vr.encode()
    value = pixel.value.pieces if isinstance(pixel.value, Chunks) else slices(pixel.value)
    if pixel.encapsulated:
        end = element_header(SEQUENCE_END, b"", 0, encoding)
        return element_header(pixel.tag, vr, UNDEFINED, encoding), value, end
    head = element_header(pixel.tag, vr, len(pixel.value), encoding)
    return head, _pixels_swapped(value, vr, header, encoding), b""


def _bits_allocated(header: Buffer) -> int:
    for element in walk(header, CANONICAL):
        if element.tag == _BITS_ALLOCATED:
            return int.from_bytes(header[element.value : element.end], "little")
    return 0


def _pixels_swapped(
    pieces: Iterator[Buffer], vr: bytes, header: Buffer, encoding: Encoding
) -> Iterator[Buffer]:
    """Native samples between little and big endian.

    OW says words of 16 bits; samples of 32 and 64 bits in it are nevertheless written and read as one
    word each (pydicom's big endian RT Dose, and what wrote it). So are samples of more than 8 bits in OB,
    which should be in OW (PS3.5 8.1.1). No machine has words of another size, such as 24 bits: then the VR
    says what is swapped.
    """
    if encoding.little:
        return pieces
    size = _bits_allocated(header) // 8
    return swapped_words(pieces, size if vr in (b"OB", b"OW") and size in _WORDS else word_size(vr))
