"""A dataset stream taken apart around its pixel data, and put together again.

Everything here is canonical: explicit VR little endian, whatever the stream came in. Header and
trailer stay bytes; what they mean is read elsewhere (:mod:`scp.encoding.facts`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile

from scp.encoding.conversion import convert, implied_vr, swapped, swapped_words
from scp.encoding.elements import (
    CANONICAL,
    SEQUENCE_END,
    UNDEFINED,
    Element,
    Encoding,
    element_header,
    walk,
)
from scp.encoding.scan import scan
from scp.encoding.streams import deflated, inflated
from scp.errors import UnreadableDataset
from scp.spool import Buffer
from scp.syntaxes import Content, TransferSyntax

_BITS_ALLOCATED = 0x00280100


@dataclass(frozen=True, slots=True)
class PixelElement:
    """Pixel Data, Float Pixel Data or Double Float Pixel Data.

    ``value`` holds the native samples or, when ``encapsulated``, the items of PS3.5 A.4 without the
    delimiter that ends them.
    """

    tag: int
    vr: str
    value: Buffer
    encapsulated: bool


@dataclass(frozen=True, slots=True)
class SplitDataset:
    """``header`` before the pixel data, the pixel data, and ``trailer`` behind it.

    A dataset without pixel data at its top level is all header.
    """

    header: bytes
    pixel: PixelElement | None = None
    trailer: bytes = b""


def encoding_of(syntax: TransferSyntax) -> Encoding:
    """How the elements of a stream in this transfer syntax are written, once inflated."""
    return Encoding(syntax.explicit_vr, syntax.little_endian)


def inflate(stream: Buffer) -> Buffer:
    """A deflated dataset (PS3.5 A.5: RFC 1951, no zlib header) as plain bytes.

    Raises UnreadableDataset.
    """
    plain, fault = inflated(stream)
    if fault:
        raise UnreadableDataset(fault)
    return plain


def deflate(plain: Buffer, level: int = 6) -> bytes:
    """The reverse of :func:`inflate`, padded to an even length (PS3.5 A.5)."""
    return b"".join(deflated([plain], level))


def split(stream: Buffer, syntax: TransferSyntax) -> SplitDataset:
    """Take apart a dataset stream that is encoded in ``syntax``.

    Raises UnreadableDataset when it cannot be followed to its end, or when it holds what only another
    transfer syntax allows (fragments in a native one).
    """
    encoding = encoding_of(syntax)
    plain = memoryview(inflate(stream) if syntax.deflated else stream)
    found = scan(plain, encoding, nested=False)  # converting looks into what is nested
    if found.fault:
        raise UnreadableDataset(found.fault)
    pixel = found.pixel
    if pixel is None:
        return SplitDataset(convert(plain, encoding, CANONICAL))
    check_kind(pixel, syntax)
    vr = pixel.vr or implied_vr(pixel.tag, signed=False, length=pixel.end - pixel.value)
    trailer = convert(plain[pixel.next :], encoding, CANONICAL)
    size = len(element_header(pixel.tag, vr, 0, CANONICAL)) + pixel.end - pixel.value
    header = convert(plain[: pixel.start], encoding, CANONICAL, _behind(pixel.tag, size, trailer, CANONICAL))
    value = _pixels_swapped(plain[pixel.value : pixel.end], vr, header, encoding)
    return SplitDataset(header, PixelElement(pixel.tag, vr.decode(), value, pixel.undefined), trailer)


def check_kind(pixel: Element, syntax: TransferSyntax) -> None:
    """Raises UnreadableDataset where the syntax does not allow the pixel data's kind."""
    if syntax.content is not Content.REFERENCED and pixel.undefined != syntax.encapsulated:
        found = "encapsulated" if pixel.undefined else "native"
        raise UnreadableDataset(f"the pixel data is {found}, which {syntax.keyword} does not allow")


def join(parts: SplitDataset, syntax: TransferSyntax) -> bytes:
    """The dataset stream in ``syntax``; its pixel data must already be of that syntax's kind.

    Raises UnreadableDataset when header or trailer are not sound.
    """
    encoding = encoding_of(syntax)
    if parts.pixel is None:
        stream = convert(parts.header, CANONICAL, encoding)
    else:
        trailer = convert(parts.trailer, CANONICAL, encoding)
        pixel = _pixel_element(parts.pixel, parts.header, encoding)
        behind = _behind(parts.pixel.tag, sum(map(len, pixel)), trailer, encoding)
        stream = b"".join((convert(parts.header, CANONICAL, encoding, behind), *pixel, trailer))
    return deflate(stream) if syntax.deflated else stream


def _behind(tag: int, size: int, trailer: bytes, encoding: Encoding) -> tuple[int, int]:
    """What a header's group length counts of the pixel data's group: that element and those after it."""
    group = tag >> 16
    following = takewhile(lambda element: element.tag >> 16 == group, walk(trailer, encoding))
    return group, size + sum(element.next - element.start for element in following)


def _pixel_element(pixel: PixelElement, header: bytes, encoding: Encoding) -> list[Buffer]:
    vr = pixel.vr.encode()
    if pixel.encapsulated:
        end = element_header(SEQUENCE_END, b"", 0, encoding)
        return [element_header(pixel.tag, vr, UNDEFINED, encoding), pixel.value, end]
    value = _pixels_swapped(pixel.value, vr, header, encoding)
    return [element_header(pixel.tag, vr, len(value), encoding), value]


def _bits_allocated(header: bytes) -> int:
    for element in walk(header, CANONICAL):
        if element.tag == _BITS_ALLOCATED:
            return int.from_bytes(header[element.value : element.end], "little")
    return 0


def _pixels_swapped(value: Buffer, vr: bytes, header: bytes, encoding: Encoding) -> Buffer:
    """Native samples between little and big endian.

    OW says words of 16 bits; samples of 32 and 64 bits in it are nevertheless written and read as one
    word each (pydicom's big endian RT Dose, and what wrote it).
    """
    if encoding.little:
        return value
    size = _bits_allocated(header) // 8
    return swapped_words(value, size) if vr == b"OW" and size in (4, 8) else swapped(value, vr)
