"""Makes a mammography study: ``python -m bench.mammography FOLDER``. Tables have to say that it is made.

Four views, 3300 × 4090 pixels of 12 to 14 bits, for presentation: a breast on a black background that is 0,
with no text in it. The same seed makes the same pixels. What they are like was measured on two public images
(docs/benchmarks.md): how the structure of tissue grows with its size on a digitised film, MG1 of NEMA's
compression samples, and noise on a radiograph among these that had never been compressed, RG3.
"""

from __future__ import annotations

import argparse
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

Plane = NDArray[np.float32]

PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.2"  # Digital Mammography X-Ray Image Storage - For Presentation
ROWS, COLUMNS, BITS = 4090, 3300, 12
SPACING = 0.07  # mm
# In values of 12 bits. RG3's noise, of 10 bits, is 1.0 where most rays came through and 3.0 where fewest did.
_LEAST_NOISE, _MOST_NOISE = 4.0, 12.0
# Structure of so many pixels has half the variance of that of twice as many, as MG1 has it: 1/f³.
_SIZES, _STRUCTURE = (4, 8, 16, 32, 64, 128, 256, 512), 14.0
_SKIN, _FAT, _GLAND, _MUSCLE = 700.0, 1500.0, 900.0, 700.0
_NAMESPACE = uuid.UUID("0d7a4c5e-6d0b-5e43-8f2e-7a1b9c3d5e60")


@dataclass(frozen=True)
class View:
    """One of the four: ``laterality`` R or L, ``position`` CC or MLO, and that one's code (SNOMED CT)."""

    laterality: str
    position: str
    code: str
    meaning: str

    @property
    def name(self) -> str:
        return f"{self.laterality}-{self.position}"


VIEWS = tuple(
    View(laterality, *position)
    for position in (("CC", "399162004", "cranio-caudal"), ("MLO", "399368009", "medio-lateral oblique"))
    for laterality in "RL"
)


def pixels(view: View, rows: int, columns: int, bits: int, seed: int) -> NDArray[np.uint16]:
    """The samples of a view. Only sums, products and square roots are taken, which are the same anywhere."""
    random = np.random.default_rng([seed, VIEWS.index(view)])
    depth, gland, muscle = _anatomy(view, rows, columns)
    values = _SKIN + _FAT * depth + _GLAND * gland + _MUSCLE * muscle
    values += _texture(random, rows, columns, rows / ROWS) * (np.float32(0.4) + gland) * depth
    noise = _LEAST_NOISE + (_MOST_NOISE - _LEAST_NOISE) * depth
    values += noise * random.standard_normal((rows, columns), dtype=np.float32)
    scaled = np.rint(values * np.float32(2.0 ** (bits - BITS))).clip(1, 2**bits - 1)
    found = np.where(depth > 0, scaled, 0).astype("<u2")
    return found if view.laterality == "L" else np.ascontiguousarray(found[:, ::-1])


def _anatomy(view: View, rows: int, columns: int) -> tuple[Plane, Plane, Plane]:
    """Of a left breast, whose chest wall is at the left: how thick it is, how dense, and where the muscle is.

    All from 0 to 1. The skin line is half an ellipse, which hangs lower in an MLO view.
    """
    y = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
    x = np.linspace(0, 1, columns, dtype=np.float32)[None, :]
    oblique = view.position == "MLO"
    middle, half, reach = (0.15, 0.8, 0.72) if oblique else (0.0, 0.72, 0.68)
    v, u = (y - np.float32(middle)) / np.float32(half), x / np.float32(reach)
    inside = (1 - (u * u + v * v)).clip(0, None)
    # Compressed between two plates, a breast is equally thick but near its rim.
    depth = np.sqrt((inside * np.float32(4)).clip(None, 1))
    du, dv = (u - np.float32(0.5)) / np.float32(0.42), v / np.float32(0.55)
    gland = (1 - (du * du + dv * dv)).clip(0, None)
    muscle = np.zeros_like(depth)
    if oblique:
        edge = np.float32(0.42) * (1 - (y + 1) / np.float32(1.3)) - x
        muscle = ((edge * np.float32(40)).clip(0, 1) * (depth > 0)).astype(np.float32)
    return depth, gland, muscle


def _texture(random: np.random.Generator, rows: int, columns: int, scale: float) -> Plane:
    """Structure of all sizes, in values of 12 bits; ``scale`` is that of the image to a whole one."""
    found = np.zeros((rows, columns), np.float32)
    for size in _SIZES:
        step = max(size * scale, 1.0)
        grid = random.standard_normal((int(rows / step) + 2, int(columns / step) + 2), dtype=np.float32)
        found += np.float32(_STRUCTURE * (size / 8) ** 0.5) * _stretched(grid, rows, columns, step)
    return found


def _stretched(grid: Plane, rows: int, columns: int, step: float) -> Plane:
    """A grid interpolated to an image, along each side in turn."""
    for axis, count in ((0, rows), (1, columns)):
        at = np.arange(count, dtype=np.float32) / np.float32(step)
        first = at.astype(np.intp)
        part = (at - first)[:, None] if axis == 0 else (at - first)[None, :]
        grid = np.take(grid, first, axis) * (1 - part) + np.take(grid, first + 1, axis) * part
    return grid


def image(view: View, rows: int = ROWS, columns: int = COLUMNS, bits: int = BITS, seed: int = 0) -> Dataset:
    """A view as a DICOM object, as PS3.3 A.26.2 has it; explicit VR little endian."""
    found = _with_meta(PRESENTATION, _uid(seed, bits, view.name))
    found.ImageType = ["ORIGINAL", "PRIMARY", ""]
    found.InstanceCreationDate = found.StudyDate = found.SeriesDate = found.AcquisitionDate = "20260101"
    found.ContentDate, found.StudyTime, found.ContentTime = "20260101", "120000", "120000"
    found.InstanceCreationTime = found.AcquisitionTime = found.SeriesTime = "120000"
    found.AccessionNumber, found.Modality, found.PresentationIntentType = "", "MG", "FOR PRESENTATION"
    found.Manufacturer, found.ManufacturerModelName = "zscp", "bench.mammography"
    found.DeviceSerialNumber, found.SoftwareVersions = "0", "1"
    found.ReferringPhysicianName, found.StudyDescription = "", "Screening mammography, made"
    found.PatientName, found.PatientID = "Made^Mammography", f"MADE-MG-{seed}"
    found.PatientBirthDate, found.PatientSex, found.PatientAge = "", "F", "055Y"
    found.BodyPartExamined, found.KVP, found.ViewPosition = "BREAST", "29", view.position
    found.ExposureTime, found.XRayTubeCurrent, found.Exposure = "800", "100", "80"
    found.BodyPartThickness, found.CompressionForce = "55", "90"
    found.DetectorType, found.DetectorID, found.DetectorTemperature = "DIRECT", "0", "25"
    found.ImagerPixelSpacing, found.OrganExposed = [SPACING, SPACING], "BREAST"
    found.PositionerType, found.PositionerPrimaryAngle = (
        "MAMMOGRAPHIC",
        "45" if view.position == "MLO" else "0",
    )
    found.StudyInstanceUID, found.SeriesInstanceUID = _uid(seed, bits, "study"), _uid(seed, bits, "series")
    found.StudyID, found.SeriesNumber, found.InstanceNumber = "1", "1", str(VIEWS.index(view) + 1)
    found.PatientOrientation = ["A", "F"] if view.laterality == "L" else ["P", "F"]
    found.ImageLaterality, found.BurnedInAnnotation, found.LossyImageCompression = view.laterality, "NO", "00"
    found.AnatomicRegionSequence = [_code("76752008", "SCT", "Breast")]
    found.ViewCodeSequence = [_code(view.code, "SCT", view.meaning)]
    found.ViewCodeSequence[0].ViewModifierCodeSequence = []
    found.AcquisitionContextSequence = []
    found.PixelIntensityRelationship, found.PixelIntensityRelationshipSign = "LOG", 1
    found.RescaleIntercept, found.RescaleSlope, found.RescaleType = "0", "1", "US"
    found.PresentationLUTShape = "IDENTITY"
    found.WindowCenter, found.WindowWidth = str(2 ** (bits - 1)), str(2**bits)
    _set_pixels(found, pixels(view, rows, columns, bits, seed), bits)
    return found


def _with_meta(sop_class: str, sop_instance: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, sop_instance
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    found.SOPClassUID, found.SOPInstanceUID = sop_class, sop_instance
    return found


def _set_pixels(found: Dataset, samples: NDArray[np.uint16], bits: int) -> None:
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.Rows, found.Columns = samples.shape
    found.BitsAllocated, found.BitsStored, found.HighBit, found.PixelRepresentation = 16, bits, bits - 1, 0
    found.add_new(0x7FE00010, "OW", samples.tobytes())


def _uid(seed: int, bits: int, what: str) -> str:
    return f"2.25.{uuid.uuid5(_NAMESPACE, f'{seed} {bits} {what}').int}"


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    found = Dataset()
    found.CodeValue, found.CodingSchemeDesignator, found.CodeMeaning = value, scheme, meaning
    return found


def film(path: Path) -> Dataset:
    """A public mammogram beside it: decoded, and as if it had come uncompressed. What it lost is lost."""
    found = pydicom.dcmread(path)
    found.decompress(generate_instance_uid=False)
    return found


def study(bits: int = BITS, seed: int = 0) -> Iterator[tuple[str, Dataset]]:
    """The four views, by their names."""
    return ((view.name, image(view, bits=bits, seed=seed)) for view in VIEWS)


def main(arguments: list[str]) -> int:
    """Write the study; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.mammography", description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bits", type=int, choices=(12, 13, 14), default=BITS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--film", type=Path, help="write this real one instead, uncompressed")
    chosen = parser.parse_args(arguments)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    made = [("film", film(chosen.film))] if chosen.film else study(chosen.bits, chosen.seed)
    for name, one in made:
        one.save_as(chosen.folder / f"{name}.dcm", enforce_file_format=True)
        print(f"{name}: {one.Rows} × {one.Columns}, {one.BitsStored} bits")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
