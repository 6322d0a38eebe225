"""Objects to test with: phantoms made here, pydicom's bundled files, and a corpus where there is one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from scp.archive.encode import keep
from scp.archive.package import StoredForm
from scp.config.rules import PolicyRule, Stage
from scp.encoding.dataset import SplitDataset, encoding_of, inflate, join, split
from scp.encoding.elements import CANONICAL, UNDEFINED, Encoding, element_header
from scp.encoding.facts import survey
from scp.encoding.streams import deflated
from scp.encoding.transcode import transcoding
from scp.errors import ObjectDamaged
from scp.model import Received, Restoration
from scp.objects import part10
from scp.spool import Buffer
from scp.syntaxes import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, TransferSyntax, lookup

# For pytest -m corpus, tests/conftest.py reads only files that name what here uses it.
CORPUS = Path(os.environ.get("DICOM_CORPUS") or Path(__file__).parents[2] / "shared" / "corpus")
NATIVE = (EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED)
WHEN = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def corpus(folder: str) -> list[Path]:
    """The files of a folder of the corpus; skips the test where there is no corpus."""
    files = sorted((CORPUS / folder).glob("*.dcm"))
    if not files:
        pytest.skip(f"no corpus of real objects: DICOM_CORPUS names none with {folder}")
    return files


@cache
def bundled() -> tuple[Path, ...]:
    """The files that come inside pydicom's package, those that are Part 10 files; never a download."""
    data = Path(pydicom.__file__).parent / "data"
    files = sorted(path for kind in ("test_files", "charset_files") for path in (data / kind).glob("*.dcm"))
    return tuple(path for path in files if _is_part10(path))


def bundled_file(name: str) -> Path:
    """One of pydicom's files by its name."""
    return next(path for path in bundled() if path.name == name)


def all_files() -> list[Path]:
    """What is bundled, and of the corpus a few of each folder."""
    folders = sorted(path for path in CORPUS.glob("*") if path.is_dir())
    few = [
        path
        for folder in folders
        for path in sorted(folder.glob("*.dcm"))[: 70 if folder.name == "wg04" else 2]
    ]
    return [*bundled(), *few]


def _is_part10(path: Path) -> bool:
    try:
        part10.unpack(path.read_bytes())
    except ObjectDamaged:
        return False
    return True


def received(path: Path) -> Received:
    """A file as if a modality had just sent it."""
    file = part10.unpack(path.read_bytes())
    return as_received(file.dataset, file.transfer_syntax, file.sop_class_uid, file.sop_instance_uid)


def as_received(
    dataset: bytes, transfer_syntax: str, sop_class: str = SECONDARY_CAPTURE, sop_instance: str = "1.2.3"
) -> Received:
    """A dataset stream as it comes in."""
    return Received(sop_class, sop_instance, transfer_syntax, dataset, "MODALITY", "ZSCP", WHEN)


def deflate(plain: bytes) -> bytes:
    """A dataset stream deflated (PS3.5 A.5)."""
    return b"".join(deflated([plain]))


def parts_of(object_: Received) -> SplitDataset:
    """A received object split around its pixels."""
    return split(object_.dataset, lookup(object_.transfer_syntax))


def kept(object_: Received, stage: Stage) -> StoredForm:
    """A received object through all of :func:`scp.archive.encode.keep`."""
    return keep(object_, survey(object_), PolicyRule(name="test", stages=(stage,)))


@dataclass(frozen=True)
class Shape:
    """What a phantom is like. ``rubbish`` is put into the bits above Bits Stored; ``noise`` is in 0 to 1."""

    rows: int = 16
    columns: int = 16
    bits_allocated: int = 16
    bits_stored: int = 12
    signed: bool = False
    samples: int = 1
    planar: int = 0
    frames: int = 1
    photometric: str = "MONOCHROME2"
    high_bit: int | None = None
    noise: float = 0.1
    rubbish: bool = False
    tail: bytes = b""
    padded: bool = True
    group_lengths: bool = False
    seed: int = 0


def samples_of(shape: Shape) -> np.ndarray:
    """A gradient over all values of Bits Stored with noise on it: frames, rows, columns, samples."""
    random = np.random.default_rng(shape.seed)
    size = (shape.frames, shape.rows, shape.columns, shape.samples)
    span = 1 << shape.bits_stored
    smooth = np.linspace(0, 1, int(np.prod(size))).reshape(size)
    mixed = smooth * (1 - shape.noise) + random.random(size) * shape.noise
    values = np.minimum((mixed * span).astype("u8"), span - 1)
    if shape.signed:  # two's complement of Bits Stored, extended to Bits Allocated
        values = (values.astype("i8") - span // 2).astype("u8")
    if shape.rubbish and shape.bits_stored < shape.bits_allocated:
        values ^= random.integers(0, 1 << 32, size, dtype="u8") << np.uint64(shape.bits_stored)
    mask = np.uint64((1 << shape.bits_allocated) - 1)
    return (values & mask).astype(f"<u{max(shape.bits_allocated // 8, 1)}")


def phantom(shape: Shape, transfer_syntax: str = EXPLICIT) -> Received:
    """An image of this shape as it is received in a native transfer syntax."""
    syntax = lookup(transfer_syntax)
    values = samples_of(shape)
    if shape.samples > 1 and shape.planar:
        values = np.moveaxis(values, -1, 1)
    order = ">" if not syntax.little_endian else "<"
    if shape.bits_allocated == 1:  # eight of them a byte, on and on from frame to frame (PS3.5 D.2)
        values = np.packbits(values.reshape(-1), bitorder="little")
    pixels = values.astype(values.dtype.newbyteorder(order)).tobytes() + shape.tail
    pixels += b"\0" * (shape.padded and len(pixels) % 2)
    instance = f"1.2.826.0.1.{shape.seed}.{shape.rows}.{shape.columns}"
    dataset = described(shape, instance)
    # A word is 16 bits to OW, whatever is in it: 8-bit samples would change places in big endian.
    vr = b"OB" if shape.bits_allocated <= 8 else b"OW"
    stream = written(dataset, syntax.explicit_vr, syntax.little_endian)
    stream += element_header(0x7FE00010, vr, len(pixels), encoding_of(syntax)) + pixels
    if shape.group_lengths:
        stream = _with_group_length(stream, len(pixels), syntax.explicit_vr, syntax.little_endian)
    return as_received(
        deflate(stream) if syntax.deflated else stream, transfer_syntax, SECONDARY_CAPTURE, instance
    )


def described(shape: Shape, instance: str) -> Dataset:
    """The header of a phantom."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = SECONDARY_CAPTURE
    dataset.SOPInstanceUID = instance
    dataset.Modality = "OT"
    dataset.PatientName = "Phantom^Ünïcode"
    dataset.PatientID = "P1"
    dataset.StudyInstanceUID = "1.2.826.0.1.1"
    dataset.SeriesInstanceUID = "1.2.826.0.1.2"
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3.4"
    dataset.ReferencedImageSequence = Sequence([item])
    dataset.SamplesPerPixel = shape.samples
    dataset.PhotometricInterpretation = shape.photometric
    if shape.samples > 1:
        dataset.PlanarConfiguration = shape.planar
    if shape.frames > 1:
        dataset.NumberOfFrames = shape.frames
    dataset.Rows, dataset.Columns = shape.rows, shape.columns
    dataset.BitsAllocated, dataset.BitsStored = shape.bits_allocated, shape.bits_stored
    dataset.HighBit = shape.bits_stored - 1 if shape.high_bit is None else shape.high_bit
    dataset.PixelRepresentation = int(shape.signed)
    return dataset


def written(dataset: Dataset, explicit: bool, little: bool) -> bytes:
    """A dataset stream as pydicom writes it."""
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = not explicit, little
    write_dataset(out, dataset)
    return out.getvalue()


def _with_group_length(stream: bytes, size: int, explicit: bool, little: bool) -> bytes:
    """Before the pixel data, which ends the stream, the length of its group."""
    order = "little" if little else "big"

    def number(value: int, width: int) -> bytes:
        return value.to_bytes(width, order)  # type: ignore[arg-type]

    element = size + (12 if explicit else 8)
    length = number(4, 2) if explicit else number(4, 4)
    head = number(0x7FE0, 2) + number(0, 2) + (b"UL" if explicit else b"") + length + number(element, 4)
    at = len(stream) - element
    return stream[:at] + head + stream[at:]


def restored(file: part10.Part10) -> bytes:
    """What a peer gets that accepts only the transfer syntax that the object came in."""
    provenance = file.provenance
    return transcoded(file.dataset, file.transfer_syntax, provenance.transfer_syntax, provenance.restoration)


def transcoded(dataset: Buffer, stored: str, target: str, restoration: Restoration | None) -> bytes:
    """All of what a peer gets, at once."""
    return b"".join(transcoding(dataset, stored, target, restoration))


def joined(parts: SplitDataset, syntax: TransferSyntax) -> bytes:
    """All of a dataset stream, at once."""
    return b"".join(join(parts, syntax))


def assert_restored(object_: Received, data: bytes) -> None:
    """A stored file gives back what was received, to the byte; deflated, to the byte once inflated."""
    found = restored(part10.unpack(data))
    if lookup(object_.transfer_syntax).deflated:
        assert inflate(found) == inflate(object_.dataset)
    else:
        assert found == object_.dataset


# Bytes made by hand


def element(
    tag: int, vr: str, value: bytes, length: int | None = None, encoding: Encoding = CANONICAL
) -> bytes:
    """One element, its length told truly or not."""
    return element_header(tag, vr.encode(), len(value) if length is None else length, encoding) + value


def item(value: bytes, defined: bool, encoding: Encoding = CANONICAL) -> bytes:
    if defined:
        return element(0xFFFEE000, "", value, encoding=encoding)
    return element(0xFFFEE000, "", value, UNDEFINED, encoding) + element(
        0xFFFEE00D, "", b"", encoding=encoding
    )


def sequence(
    tag: int, items: list[bytes], defined: bool, vr: str = "SQ", encoding: Encoding = CANONICAL
) -> bytes:
    value = b"".join(items)
    if defined:
        return element(tag, vr, value, encoding=encoding)
    return element(tag, vr, value, UNDEFINED, encoding) + element(0xFFFEE0DD, "", b"", encoding=encoding)
