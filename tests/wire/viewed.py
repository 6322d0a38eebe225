"""What a viewer shows, compared with what was sent: objects whose pixels cannot be taken for others'."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset

from .peers import CT_IMAGE, MR_IMAGE, Sent, image

if TYPE_CHECKING:
    from playwright.sync_api import Page

MULTIFRAME = "1.2.840.10008.5.1.4.1.1.7.3"  # Multi-frame Grayscale Word Secondary Capture
ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"
ROWS, COLUMNS, TILE = 96, 80, 8
# The viewer's first viewport: which image, where the middles of its first and last pixel are, and its canvas.
_LOOK = """() => {
  const shown = window.cornerstone?.getRenderingEngines()[0]?.getViewports()[0];
  const data = shown?.getCurrentImageId?.() && shown.getImageData();
  if (!data) return null;
  const [columns, rows] = data.dimensions, to = data.direction;
  const at = (i, j) => shown.worldToCanvas(
    [0, 1, 2].map((k) => data.origin[k] + i * data.spacing[0] * to[k] + j * data.spacing[1] * to[3 + k]));
  return {
    image: shown.getCurrentImageId(), columns, rows,
    first: at(0, 0), last: at(columns - 1, rows - 1), canvas: shown.canvas.toDataURL(),
  };
}"""


@dataclass(frozen=True)
class Truth:
    """What an image is: rows × columns × RGB, and the window by which it is seen."""

    values: np.ndarray
    center: float
    width: float

    def windowed(self, values: np.ndarray) -> np.ndarray:
        """PS3.3 C.11.2.1.2.1, from 0 to 255."""
        return np.clip(((values - (self.center - 0.5)) / (self.width - 1) + 0.5) * 255, 0, 255)


@dataclass(frozen=True)
class Shown:
    """A viewport of the viewer: ``canvas`` is rows × columns × RGB, the rest its pixels' places on it."""

    image: str
    size: tuple[int, int]
    first: tuple[float, float]
    last: tuple[float, float]
    canvas: np.ndarray

    def difference(self, truth: Truth) -> float:
        """The mean difference to a picture on all pixels of the image, in grey levels of 256."""
        if truth.values.shape[:2] != self.size:
            return 256.0
        (rows, ys), (columns, xs) = (self._places(axis) for axis in (1, 0))
        assert len(rows) >= self.size[0], "the image is shown smaller than it is"
        expected = truth.windowed(_between(_between(truth.values, ys, 0), xs, 1))
        seen = self.canvas[rows.start : rows.stop, columns.start : columns.stop]
        return float(np.abs(seen - expected).mean())

    def likeness(self, values: np.ndarray) -> float:
        """The correlation with rows × columns × RGB, from −1 to 1: of what is seen, by whatever window."""
        (rows, ys), (columns, xs) = (self._nearest(axis) for axis in (1, 0))
        seen = self.canvas[rows.start : rows.stop, columns.start : columns.stop]
        expected = values[np.ix_(ys, xs)]
        return float(np.corrcoef(seen.ravel(), expected.ravel())[0, 1])

    def _on_canvas(self, axis: int) -> range:
        """The pixels of the canvas between the middles of the first and the last one."""
        first, last = self.first[axis], self.last[axis]
        assert first < last, "the image is mirrored"
        return range(max(0, int(np.ceil(first - 0.5))), min(self.canvas.shape[1 - axis], int(last - 0.5) + 1))

    def _places(self, axis: int) -> tuple[range, np.ndarray]:
        """The pixels of the canvas, and where they lie between those of the image."""
        on_canvas, first, last = self._on_canvas(axis), self.first[axis], self.last[axis]
        return on_canvas, (np.array(on_canvas) + 0.5 - first) / (last - first) * (self.size[1 - axis] - 1)

    def _nearest(self, axis: int) -> tuple[range, np.ndarray]:
        on_canvas, places = self._places(axis)
        return on_canvas, places.round().astype(int)


def _between(values: np.ndarray, places: np.ndarray, axis: int) -> np.ndarray:
    """Values at places between those of an axis."""
    low = np.minimum(places.astype(int), values.shape[axis] - 2)
    part = (places - low).reshape([-1 if one == axis else 1 for one in range(values.ndim)])
    return values.take(low, axis) * (1 - part) + values.take(low + 1, axis) * part


def look(page: Page) -> Shown | None:
    """What the viewer shows first; None while that is nothing."""
    told: Any = page.evaluate(_LOOK)
    if told is None:
        return None
    canvas = Image.open(io.BytesIO(base64.b64decode(told["canvas"].partition(",")[2]))).convert("RGB")
    size = (told["rows"], told["columns"])
    return Shown(told["image"], size, told["first"], told["last"], np.asarray(canvas, float))


def truth(dataset: Dataset, frame: int = 0) -> Truth:
    """A frame of what was sent, decoded by pydicom, and the window that the object has."""
    values = dataset.pixel_array
    if "NumberOfFrames" in dataset:
        values = values[frame]
    if dataset.SamplesPerPixel > 1:
        return Truth(values.astype(float), 127.5 + 0.5, 256)
    values = values * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))
    grey = values[..., None].repeat(3, axis=2)
    return Truth(grey, float(dataset.WindowCenter), float(dataset.WindowWidth))


def tiles(seed: int, low: int, high: int, samples: int = 1) -> np.ndarray:
    """Squares of any value, and a slope within each: rows × columns, × samples where there are several."""
    chance = np.random.default_rng(seed)
    shape = (ROWS // TILE, COLUMNS // TILE, samples)
    squares = chance.integers(low, high, shape).repeat(TILE, 0).repeat(TILE, 1)
    slope = np.add.outer(np.arange(ROWS) % TILE, np.arange(COLUMNS) % TILE)[..., None]
    return np.clip(squares + slope * (high - low) // 200, low, high).squeeze()


def _grey(number: int, values: np.ndarray, **more: Any) -> dict[str, Any]:
    return {
        "Rows": ROWS,
        "Columns": COLUMNS,
        "InstanceNumber": number,
        "SeriesNumber": 1,
        "StudyDate": "20260102",
        "StudyTime": "030405",
        "PixelData": values.astype("<i2" if values.min() < 0 else "<u2").tobytes(),
        **more,
    }


def _placed(number: int) -> dict[str, Any]:
    return {
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": [0, 0, -3 * number],
        "PixelSpacing": [0.5, 0.5],
        "SliceThickness": 3,
        "FrameOfReferenceUID": "1.2.3.99",
    }


def ct(study: str, signed: bool = True) -> list[Sent]:
    """Three slices with values of −400 to 400 HU, seen by a window of 400; ``signed`` samples or not."""
    seen: dict[str, Any] = {"Modality": "CT", "WindowCenter": 40, "WindowWidth": 400, "RescaleType": "HU"}
    kind: dict[str, Any] = {"BitsStored": 16, "HighBit": 15, "PixelRepresentation": int(signed)}
    low = -50 if signed else 0
    scaled: dict[str, Any] = {"RescaleSlope": 2, "RescaleIntercept": -300 if signed else -400}
    return [
        image(
            sop_class=CT_IMAGE,
            study=study,
            instance=f"{study}.1.{number}",
            **_grey(number, tiles(number, low, low + 400), **seen, **kind, **scaled, **_placed(number)),
        )
        for number in (1, 2, 3)
    ]


def mr(study: str) -> list[Sent]:
    """Two slices of 12 bits."""
    seen: dict[str, Any] = {"Modality": "MR", "WindowCenter": 600, "WindowWidth": 1400}
    return [
        image(
            sop_class=MR_IMAGE,
            study=study,
            instance=f"{study}.1.{number}",
            **_grey(number, tiles(10 + number, 0, 1500), **seen, **_placed(number)),
        )
        for number in (1, 2)
    ]


def multiframe(study: str) -> list[Sent]:
    """One instance of three frames."""
    frames = np.stack([tiles(20 + number, 0, 4000) for number in range(3)])
    seen: dict[str, Any] = {"Modality": "OT", "WindowCenter": 2000, "WindowWidth": 3000, "NumberOfFrames": 3}
    scaled: dict[str, Any] = {"RescaleSlope": 1, "RescaleIntercept": 0}
    made = _grey(1, frames, **seen, **scaled)
    return [image(sop_class=MULTIFRAME, study=study, instance=f"{study}.1.1", **made)]


def colour(study: str) -> list[Sent]:
    """One ultrasound image, RGB by pixel."""
    values = tiles(30, 0, 256, 3).astype(np.uint8)
    bits: dict[str, Any] = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    kind: dict[str, Any] = {
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "RGB",
        "PlanarConfiguration": 0,
    }
    made = _grey(1, values, Modality="US", **bits, **kind) | {"PixelData": values.tobytes()}
    return [image(sop_class=ULTRASOUND, study=study, instance=f"{study}.1.1", **made)]
