"""A dataset stream taken apart around its pixel data, and put together again.

Everything here is canonical: explicit VR little endian, whatever the stream came in. Header and
trailer stay bytes; what they mean is read elsewhere (:mod:`scp.encoding.facts`).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from scp.encoding.elements import (
    CANONICAL,
    SEQUENCE_END,
    UNDEFINED,
    Buffer,
    Element,
    Encoding,
    convert,
    element_header,
    swapped,
    walk,
)
from scp.errors import UnreadableDataset
from scp.syntaxes import TransferSyntax

PIXEL_DATA = 0x7FE00010
_PIXEL_TAGS = (0x7FE00008, 0x7FE00009, PIXEL_DATA)  # Float, Double Float, Pixel Data
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


def inflate(stream: bytes) -> bytes:
    """A deflated dataset (PS3.5 A.5: RFC 1951, no zlib header) as plain bytes.

    Raises UnreadableDataset.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = inflater.decompress(stream) + inflater.flush()
    except zlib.error as error:
        raise UnreadableDataset(f"the deflated dataset does not inflate: {error}") from None
    if not inflater.eof:
        raise UnreadableDataset("the deflated dataset ends before its end marker")
    return plain


def deflate(plain: bytes, level: int = 6) -> bytes:
    """The reverse of :func:`inflate`, padded to an even length (PS3.5 A.5)."""
    deflater = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    stream = deflater.compress(plain) + deflater.flush()
    return stream + b"\0" * (len(stream) % 2)


def split(stream: bytes, syntax: TransferSyntax) -> SplitDataset:
    """Take apart a dataset stream that is encoded in ``syntax``.

    Raises UnreadableDataset when it cannot be followed to its end, or when it holds what only another
    transfer syntax allows (fragments in a native one).
    """
    encoding = encoding_of(syntax)
    plain = memoryview(inflate(stream) if syntax.deflated else stream)
    bits_allocated = 0
    pixel: Element | None = None
    for element in walk(plain, encoding):
        if element.tag == _BITS_ALLOCATED and element.end - element.value == 2:
            order = "little" if encoding.little else "big"
            bits_allocated = int.from_bytes(plain[element.value : element.end], order)  # type: ignore[arg-type]
        elif element.tag in _PIXEL_TAGS and pixel is None:
            pixel = element
    if pixel is None:
        return SplitDataset(convert(plain, encoding, CANONICAL))
    if pixel.undefined != syntax.encapsulated:
        found = "encapsulated" if pixel.undefined else "native"
        raise UnreadableDataset(f"the pixel data is {found}, which {syntax.keyword} does not allow")
    vr = pixel.vr or b"OW"
    value = _pixels_swapped(plain[pixel.value : pixel.end], vr, bits_allocated, encoding)
    return SplitDataset(
        header=convert(plain[: pixel.start], encoding, CANONICAL),
        pixel=PixelElement(pixel.tag, vr.decode(), value, pixel.undefined),
        trailer=convert(plain[pixel.next :], encoding, CANONICAL),
    )


def join(parts: SplitDataset, syntax: TransferSyntax) -> bytes:
    """The dataset stream in ``syntax``; its pixel data must already be of that syntax's kind.

    Raises UnreadableDataset when header or trailer are not sound.
    """
    encoding = encoding_of(syntax)
    out: list[Buffer] = [convert(parts.header, CANONICAL, encoding)]
    if parts.pixel is not None:
        out += _pixel_element(parts.pixel, _bits_allocated(parts.header), encoding)
        out.append(convert(parts.trailer, CANONICAL, encoding))
    stream = b"".join(out)
    return deflate(stream) if syntax.deflated else stream


def _pixel_element(pixel: PixelElement, bits_allocated: int, encoding: Encoding) -> list[Buffer]:
    vr = pixel.vr.encode()
    if pixel.encapsulated:
        end = element_header(SEQUENCE_END, b"", 0, encoding)
        return [element_header(pixel.tag, vr, UNDEFINED, encoding), pixel.value, end]
    value = _pixels_swapped(pixel.value, vr, bits_allocated, encoding)
    return [element_header(pixel.tag, vr, len(value), encoding), value]


def _bits_allocated(header: bytes) -> int:
    for element in walk(header, CANONICAL):
        if element.tag == _BITS_ALLOCATED:
            return int.from_bytes(header[element.value : element.end], "little")
    return 0


def _pixels_swapped(value: Buffer, vr: bytes, bits_allocated: int, encoding: Encoding) -> Buffer:
    """Native samples between little and big endian.

    OW says words of 16 bits; samples of 32 and 64 bits in it are nevertheless written and read as one
    word each (pydicom's big endian RT Dose, and what wrote it).
    """
    if encoding.little:
        return value
    size = bits_allocated // 8
    if vr == b"OW" and size in (4, 8) and len(value) % size == 0:
        return np.frombuffer(value, f"u{size}").byteswap().tobytes()
    return swapped(value, vr)
