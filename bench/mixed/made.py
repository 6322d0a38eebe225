"""The objects of the mixed soak: made of a kind, a UID and a seed, the same each time, so that none is kept.

Each kind has a SOP class of its own and one transfer syntax, so a peer that takes a class in that syntax is
sent back the very bytes that came in.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from io import BytesIO

import imagecodecs
import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filewriter import dcmwrite, write_file_meta_info
from pydicom.uid import UID

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
BIG_ENDIAN, DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
JPEGLS, JPEG2000 = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
_STORAGE = "1.2.840.10008.5.1.4.1.1"
_ROOT = "1.2.826.0.1.3680043.10.1.99"
_STUDY, _INSTANCE = f"{_ROOT}.100.1000000", f"{_ROOT}.100.1000000.1.1000000"  # in the templates
_IMPLEMENTATION = "1.2.826.0.1.3680043.10.1.98"


@dataclass(frozen=True)
class Kind:
    """``other`` is a transfer syntax that a second retrieve asks for, which zscp converts to."""

    name: str
    sop_class: str
    syntax: str
    other: str
    modality: str
    shape: tuple[int, ...]  # frames, rows, columns, samples; empty: no pixels
    weight: int  # how often it is sent


KINDS = {
    kind.name: kind
    for kind in (
        Kind("ct", f"{_STORAGE}.2", EXPLICIT, IMPLICIT, "CT", (1, 512, 512, 1), 5),
        Kind("mr", f"{_STORAGE}.4", EXPLICIT, DEFLATED, "MR", (1, 96, 96, 1), 8),
        Kind("implicit", f"{_STORAGE}.1", IMPLICIT, EXPLICIT, "CR", (1, 300, 200, 1), 4),
        Kind("big", f"{_STORAGE}.20", BIG_ENDIAN, EXPLICIT, "NM", (3, 64, 64, 1), 2),
        Kind("colour", f"{_STORAGE}.7", EXPLICIT, IMPLICIT, "OT", (1, 200, 320, 3), 3),
        Kind("mammogram", f"{_STORAGE}.1.2", EXPLICIT, IMPLICIT, "MG", (1, 2000, 1600, 1), 1),
        Kind("frames", f"{_STORAGE}.7.3", EXPLICIT, IMPLICIT, "OT", (40, 128, 128, 1), 1),
        Kind("jpegls", f"{_STORAGE}.6.1", JPEGLS, EXPLICIT, "US", (1, 240, 320, 1), 2),
        Kind("jpeg2000", f"{_STORAGE}.12.1", JPEG2000, EXPLICIT, "XA", (2, 256, 256, 1), 2),
        Kind("deflated", f"{_STORAGE}.88.11", DEFLATED, EXPLICIT, "SR", (), 3),
        Kind("report", f"{_STORAGE}.88.22", EXPLICIT, IMPLICIT, "SR", (), 4),
    )
}
BY_CLASS = {kind.sop_class: kind for kind in KINDS.values()}


def study_uid(peer: int, number: int) -> str:
    """All UIDs are as long as those in the templates."""
    return f"{_ROOT}.{100 + peer}.{1_000_000 + number}"


def instance_uid(study: str, number: int) -> str:
    return f"{study}.1.{1_000_000 + number}"


@dataclass(frozen=True)
class Made:
    """What a ledger has of an object; its bytes are made again from that."""

    kind: str
    instance: str
    seed: int

    @property
    def study(self) -> str:
        return self.instance.rpartition(".")[0].rpartition(".")[0]

    def data(self) -> bytes:
        """The dataset, in its kind's transfer syntax."""
        kind, draw = KINDS[self.kind], np.random.default_rng(self.seed)
        head, pixels, tail = _template(self.kind)
        plain = head.replace(_INSTANCE.encode(), self.instance.encode())
        plain = plain.replace(_STUDY.encode(), self.study.encode())
        plain = plain.replace(b"SEED00000000", b"SEED%08d" % (self.seed % 10**8))
        if kind.syntax in _ENCODERS:
            return plain + _encapsulated(_ENCODERS[kind.syntax], _noisy(pixels, draw), kind) + tail
        whole = plain + _noisy(pixels, draw).tobytes() + tail
        if kind.syntax != DEFLATED:
            return whole
        packed = zlib.compressobj(wbits=-15)
        data = packed.compress(whole) + packed.flush()
        return data + b"\0" * (len(data) % 2)

    def digest(self) -> str:
        return sha256(self.data()).hexdigest()


def _noisy(pixels: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """The template's pixels with some rows of this object's own."""
    if not pixels.size:
        return pixels
    changed = pixels.copy()
    at = int(draw.integers(0, changed.shape[1] - 8))
    rows = changed[:, at : at + 8]
    rows[...] = draw.integers(0, 250, rows.shape, dtype=np.uint8)
    return changed


def _encoded(encode: Callable[[np.ndarray], bytes], pixels: np.ndarray) -> list[bytes]:
    return [encode(np.ascontiguousarray(frame.squeeze())) for frame in pixels]


_ENCODERS: dict[str, Callable[[np.ndarray], bytes]] = {
    JPEGLS: imagecodecs.jpegls_encode,
    JPEG2000: lambda frame: imagecodecs.jpeg2k_encode(frame, level=0, codecformat="j2k", reversible=True),
}
_DECODERS = {JPEGLS: imagecodecs.jpegls_decode, JPEG2000: imagecodecs.jpeg2k_decode}


def _encapsulated(encode: Callable[[np.ndarray], bytes], pixels: np.ndarray, kind: Kind) -> bytes:
    items = encapsulate(_encoded(encode, pixels), has_bot=kind.shape[0] > 1)
    header = b"\xe0\x7f\x10\x00OB\x00\x00\xff\xff\xff\xff"
    return header + items + b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"


@cache
def _template(name: str) -> tuple[bytes, np.ndarray, bytes]:
    """The bytes before the pixels, the pixels, and those behind them."""
    kind = KINDS[name]
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind.sop_class, _INSTANCE
    dataset.StudyDate, dataset.StudyTime, dataset.Modality = "20240131", "101530", kind.modality
    dataset.AccessionNumber, dataset.PatientName, dataset.PatientID = "SOAK", "Soak^Test", "SOAK1"
    dataset.StudyDescription, dataset.SeriesDescription = "mixed soak", kind.name
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = _STUDY, f"{_STUDY}.1"
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", 1, 1
    dataset.ImageComments = "SEED00000000"
    pixels = _pixels(dataset, kind)
    encapsulated = kind.syntax in _ENCODERS
    syntax = EXPLICIT if encapsulated or kind.syntax == DEFLATED else kind.syntax
    if pixels.size and not encapsulated:
        dataset.add_new(0x7FE00010, "OW" if pixels.itemsize == 2 else "OB", pixels.tobytes())
    whole = _written(dataset, syntax)
    size = pixels.nbytes if pixels.size and not encapsulated else 0
    return whole[: len(whole) - size], pixels, b""


def _pixels(dataset: Dataset, kind: Kind) -> np.ndarray:
    """Something smooth, as images are; and what describes it."""
    if not kind.shape:
        dataset.TextValue = "a finding " * 200
        return np.zeros(0, np.uint8)
    frames, rows, columns, samples = kind.shape
    wide = kind.name in ("ct", "mr", "implicit", "big", "mammogram", "frames", "jpeg2000")
    dataset.SamplesPerPixel = samples
    dataset.PhotometricInterpretation = "RGB" if samples == 3 else "MONOCHROME2"
    if samples == 3:
        dataset.PlanarConfiguration = 0
    if frames > 1:
        dataset.NumberOfFrames = frames
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated = 16 if wide else 8
    dataset.BitsStored = 12 if wide else 8
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    ramp = np.add.outer(np.arange(rows) * 3, np.arange(columns) * 2) % (2000 if wide else 250)
    noise = np.random.default_rng(1).integers(0, 5, (frames, rows, columns, samples))
    order = ">u2" if kind.syntax == BIG_ENDIAN else "<u2"
    return (ramp[None, :, :, None] + noise).astype(order if wide else np.uint8)


def _written(dataset: Dataset, syntax: str) -> bytes:
    uid, out = UID(syntax), BytesIO()
    dcmwrite(out, dataset, implicit_vr=uid.is_implicit_VR, little_endian=uid.is_little_endian)
    return out.getvalue()


# ---- Compared without zscp's code ----


def difference(made: Made, data: bytes, syntax: str) -> str:
    """What pydicom finds different between an object and what came back; empty if nothing is.

    Attributes are compared as values, pixels as arrays: by bytes they differ where the syntaxes do.
    """
    sent, came = read(made.data(), KINDS[made.kind].syntax), read(data, syntax)
    pixels = [_array(one) for one in (sent, came)]
    for one in (sent, came):
        if "PixelData" in one:
            del one.PixelData
    if sent != came:
        tags = {*sent.keys(), *came.keys()}
        return f"attributes {[str(tag) for tag in sorted(tags) if sent.get(tag) != came.get(tag)]}"
    one, other = pixels
    if one.shape != other.shape or not np.array_equal(one, other):
        return f"pixels: {one.shape} and {other.shape}"
    return ""


def read(data: bytes, syntax: str) -> Dataset:
    """A dataset stream as pydicom reads it."""
    meta, out = FileMetaDataset(), BytesIO()
    meta.TransferSyntaxUID, meta.ImplementationClassUID = UID(syntax), UID(_IMPLEMENTATION)
    meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = UID(_IMPLEMENTATION)
    out.write(b"\0" * 128 + b"DICM")
    write_file_meta_info(out, meta, enforce_standard=True)
    out.write(data)
    out.seek(0)
    return dcmread(out)


def _array(dataset: Dataset) -> np.ndarray:
    if "PixelData" not in dataset:
        return np.zeros(0)
    decode = _DECODERS.get(str(dataset.file_meta.TransferSyntaxUID))
    if decode is None:
        return np.squeeze(dataset.pixel_array)
    count = int(dataset.get("NumberOfFrames", 1))
    frames = generate_frames(dataset.PixelData, number_of_frames=count)
    return np.squeeze(np.stack([decode(frame) for frame in frames]))
