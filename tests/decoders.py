"""What others make of a stream that zscp wrote: attributes by pydicom, pixels by other decoders than zscp's.

Native and RLE: pydicom with numpy. JPEG-LS and JPEG: DCMTK. JPEG 2000 and HTJ2K: OpenJPEG, by pylibjpeg.
JPEG XL: libjxl's djxl. Deflated frames: zlib.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import warnings
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import openjpeg
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder  # type: ignore[attr-defined]
from pydicom.uid import UID
from wire.peers import Sent, as_file, dcmtk, of_file, read

from scp.model import Received
from scp.spool import Buffer
from scp.syntaxes import BIG_ENDIAN, HTJ2K, HTJ2K_RPCL, JPEG2000, JPEGXL, RLE, lookup

_DCMTK = {
    "1.2.840.10008.1.2.4.50": "dcmdjpeg",
    "1.2.840.10008.1.2.4.51": "dcmdjpeg",
    "1.2.840.10008.1.2.4.57": "dcmdjpeg",
    "1.2.840.10008.1.2.4.70": "dcmdjpeg",
    "1.2.840.10008.1.2.4.80": "dcmdjpls",
    "1.2.840.10008.1.2.4.81": "dcmdjpls",
}
_OPENJPEG = (JPEG2000, "1.2.840.10008.1.2.4.91", HTJ2K, HTJ2K_RPCL, "1.2.840.10008.1.2.4.203")
_LIBJXL = (JPEGXL, "1.2.840.10008.1.2.4.111", "1.2.840.10008.1.2.4.112")
_DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
# What changes with the codestream, and is checked with the pixels.
_OF_ENCODING = (0x00280004, 0x00280006, 0x7FE00001, 0x7FE00002)


def tool(name: str) -> str:
    """The path of a command-line tool; skips the test where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (scripts/install-tools.sh)")
    return found


def sent(object_: Received, stream: Buffer | None = None, syntax: str = "") -> Sent:
    """An object as it goes over the wire, as it came or in another transfer syntax."""
    data = bytes(object_.dataset if stream is None else stream)
    return Sent(object_.sop_class_uid, object_.sop_instance_uid, syntax or object_.transfer_syntax, data)


def attributes(one: Sent, encoding_too: bool = True) -> list[Any]:
    """All elements but group lengths and pixel data, in order, sequences within.

    Without ``encoding_too`` those are left out that go with the codestream.
    """
    found = _attributes(one)
    return found if encoding_too else [each for each in found if each[0] not in _OF_ENCODING]


@lru_cache(32)  # what was received is asked for again for each form and each transfer syntax
def _attributes(one: Sent) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = _dataset(one)
        return _elements(dataset, dataset.file_meta.TransferSyntaxUID == BIG_ENDIAN)


@lru_cache(8)  # for its attributes, and then for its pixels
def _dataset(one: Sent) -> Dataset:
    """As pydicom reads it; what it cannot, as DCMTK makes it explicit VR little endian.

    pydicom 3.0 looks for a big endian delimiter behind UN of undefined length, which is little endian.
    """
    try:
        return read(one.data, one.syntax)
    except OSError:
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder) / "plain.dcm"
            dcmtk("dcmconv", "+te", as_file(one, Path(folder) / "received.dcm"), plain)
            return of_file(plain).dataset


def _elements(dataset: Dataset, big: bool) -> list[Any]:
    found: list[Any] = []
    for each in dataset:
        if each.tag.element == 0 or each.tag in PIXELS:
            continue
        value: Any = each.value
        if each.VR == "SQ":
            value = [_elements(entry, big) for entry in value]
        elif isinstance(value, bytes) and big and each.VR in ("OW", "OV"):
            value = np.frombuffer(value, "u2" if each.VR == "OW" else "u8").byteswap().tobytes()
        found.append((int(each.tag), value))
    return found


def raw_pixels(one: Sent) -> bytes:
    """Native pixel data as little endian bytes, whatever the header says of it."""
    dataset = _dataset(one)
    element = next(dataset[tag] for tag in PIXELS if tag in dataset)
    bits = int(dataset.BitsAllocated)
    size = 2 if bits == 8 and element.VR == "OW" else max(bits // 8, 1)
    value = bytes(element.value)
    if one.syntax != BIG_ENDIAN or size == 1:
        return value
    whole = len(value) // size * size
    return np.frombuffer(value[:whole], f"u{size}").byteswap().tobytes() + value[whole:]


@lru_cache(32)
def pixels(one: Sent) -> np.ndarray:  # noqa: PLR0911 - one for each decoder
    """The samples as stored, by pixel: frames, rows, columns, samples, where there are more than one."""
    dataset = _dataset(one)
    if dataset.get("SamplesPerPixel", 1) == 4:
        return _four(one, dataset)
    if one.syntax in _DCMTK:
        one = _by_dcmtk(one)
        dataset = one.dataset
    if one.syntax in _LIBJXL:
        return np.squeeze(np.stack([_by_djxl(frame, dataset) for frame in _frames(dataset)]))
    if one.syntax == _DEFLATED_FRAMES:
        return np.squeeze(np.stack([_inflated(frame, dataset) for frame in _frames(dataset)]))
    if one.syntax in (HTJ2K, HTJ2K_RPCL) and dataset.BitsAllocated == 32:
        # OpenJPEG takes no HTJ2K of 32 bits; nothing that Debian or PyPI has does but OpenJPH.
        return np.squeeze(np.stack([imagecodecs.htj2k_decode(frame) for frame in _frames(dataset)]))
    if one.syntax in _OPENJPEG:
        decoder = get_decoder(UID(one.syntax))
        if "pylibjpeg" not in decoder.available_plugins:
            pytest.skip("pylibjpeg-openjpeg is not installed")
        return np.squeeze(decoder.as_array(dataset, raw=True, decoding_plugin="pylibjpeg")[0])
    if one.syntax == RLE:
        return np.squeeze(
            get_decoder(UID(RLE)).as_array(
                dataset, raw=True, correct_unused_bits=False, decoding_plugin="pydicom"
            )[0]
        )
    # Bits above those stored, too: pydicom would clear them.
    return np.squeeze(pydicom.pixels.pixel_array(dataset, raw=True, correct_unused_bits=False))  # type: ignore[attr-defined]


def jpeg2000(codestream: Buffer) -> np.ndarray:
    """The samples of a codestream of JPEG 2000 or HTJ2K, by OpenJPEG."""
    return np.asarray(openjpeg.decode(codestream))  # type: ignore[attr-defined]


def _four(one: Sent, dataset: Dataset) -> np.ndarray:
    """Four samples a pixel, which pydicom does not take; of compressed ones only what OpenJPEG does."""
    shape = (dataset.Rows, dataset.Columns, 4)
    if one.syntax in _OPENJPEG:
        return jpeg2000(_frames(dataset)[0])
    if lookup(one.syntax).encapsulated:
        pytest.skip(f"no other decoder of four samples in {one.syntax}")
    value = np.frombuffer(raw_pixels(one), "u1", int(np.prod(shape)))
    if dataset.PlanarConfiguration:
        return np.moveaxis(value.reshape(4, *shape[:2]), 0, -1)
    return value.reshape(shape)


def is_known(syntax: str) -> bool:
    """Whether :func:`pixels` has a decoder for it."""
    known = {*_DCMTK, *_OPENJPEG, *_LIBJXL, _DEFLATED_FRAMES, RLE}
    return syntax in known or not lookup(syntax).encapsulated


def _frames(dataset: Dataset) -> list[bytes]:
    count = int(dataset.get("NumberOfFrames", 1) or 1)
    return list(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=count))


def _by_dcmtk(one: Sent) -> Sent:
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.dcm"
        options = ["+cn"] if _DCMTK[one.syntax] == "dcmdjpeg" else []  # colour as it is coded
        dcmtk(_DCMTK[one.syntax], *options, as_file(one, Path(folder) / "compressed.dcm"), plain)
        return of_file(plain)


def _by_djxl(codestream: bytes, dataset: Dataset) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        kind = "ppm" if dataset.SamplesPerPixel == 3 else "pgm"
        source, target = Path(folder) / "frame.jxl", Path(folder) / f"frame.{kind}"
        source.write_bytes(codestream)
        # Of 12 bits, djxl 0.7 writes samples of 16 under a header that says 12; of 5 bits, of 8.
        command = [tool("djxl"), source, target, "--num_threads=0"]
        command.append(f"--bits_per_sample={8 if dataset.BitsStored <= 8 else 16}")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        samples = _pnm(target.read_bytes(), int(dataset.BitsStored))
    kind = "i" if dataset.PixelRepresentation else "u"
    return samples.astype(f"<{kind}{dataset.BitsAllocated // 8}")


def _pnm(data: bytes, bits: int) -> np.ndarray:
    """Netpbm's P5 and P6, whose samples djxl scales to the largest value."""
    magic, columns, rows, largest, rest = _pnm_header(data)
    samples = 3 if magic == b"P6" else 1
    kind = ">u2" if largest > 255 else "u1"
    values = np.frombuffer(rest, kind, rows * columns * samples).astype("u4")
    scaled = (values * ((1 << bits) - 1) + largest // 2) // largest
    return scaled.reshape((rows, columns, samples) if samples > 1 else (rows, columns))


def _pnm_header(data: bytes) -> tuple[bytes, int, int, int, bytes]:
    magic, columns, rows, rest = data.split(maxsplit=3)
    largest, rest = rest.split(b"\n", 1)
    return magic, int(columns), int(rows), int(largest), rest


def _inflated(frame: bytes, dataset: Dataset) -> np.ndarray:
    plain = zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame)
    if dataset.BitsAllocated == 1:
        bits = np.unpackbits(np.frombuffer(plain, "u1"), bitorder="little")
        return bits[: dataset.Rows * dataset.Columns].reshape(dataset.Rows, dataset.Columns)
    kind = "i" if dataset.PixelRepresentation else "u"
    shape = (dataset.Rows, dataset.Columns, dataset.SamplesPerPixel)
    dtype = f"<{kind}{dataset.BitsAllocated // 8}"
    if dataset.get("PlanarConfiguration"):
        planes = np.frombuffer(plain, dtype, int(np.prod(shape))).reshape(shape[2], *shape[:2])
        return np.moveaxis(planes, 0, -1)
    return np.frombuffer(plain, dtype, int(np.prod(shape))).reshape(shape)
