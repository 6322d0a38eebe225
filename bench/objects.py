"""The objects that are sent: copies of real ones where the corpus is, generated ones of the same kinds else.

Copies get new UIDs and instance numbers and are written once; their pixels stay untouched. All are Explicit
VR Little Endian, which dcmsend proposes and every receiver takes, so nothing is converted on the way. A set
is one study of 16 series, so that 1, 4 or 16 clients can each take a part of the same size. As of a real
modality, all objects say the same of patient and study, and those of a series of that: each that tells it
otherwise has an index rewrite all three, which took half of a small object's time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from scp.index.attributes import HELD_BY_LEVEL

SERIES = 16
CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
MR_CLASS = "1.2.840.10008.5.1.4.1.1.4"
MULTIFRAME_CLASS = "1.2.840.10008.5.1.4.1.1.7.3"  # Multi-frame Grayscale Word Secondary Capture
LARGE_FRAMES = 200  # of 0.5 MB


@dataclass(frozen=True)
class Kind:
    """What a set is made of, and how many objects it has at scale 1."""

    name: str
    count: int
    folders: tuple[str, ...]  # of the corpus
    series: int = SERIES


KINDS = {
    "ct": Kind("ct", 448, ("ct-ge", "ct-philips")),
    "ct3": Kind("ct3", 3 * 448, ("ct-ge", "ct-philips")),
    "small": Kind("small", 600, ("mr-small",)),
    "small-nagle": Kind("small-nagle", 300, ("mr-small",)),  # at 88 ms an object, 600 would take a minute
    "large": Kind("large", 4, ("ct-ge",), 1),
    "warm": Kind("warm", 16, ("ct-ge",)),  # sent before each timed run, one object for each association
    "ct-series": Kind("ct-series", 500, ("ct-ge",), 1),
}


@dataclass(frozen=True)
class ObjectSet:
    """Files of one study, one folder a series."""

    kind: Kind
    study: str
    series: tuple[str, ...]
    folders: tuple[Path, ...]
    count: int
    size: int

    def parts(self, number: int) -> list[tuple[Path, ...]]:
        """The series' folders dealt out to ``number`` clients."""
        return [self.folders[i::number] for i in range(number)]

    def files(self) -> list[Path]:
        return [path for folder in self.folders for path in sorted(folder.iterdir())]


class Objects:
    """Makes sets when they are first asked for, below ``folder``."""

    def __init__(self, folder: Path, corpus: Path | None, scale: float) -> None:
        self.folder, self.corpus, self.scale = folder, corpus, scale
        self._made: dict[str, ObjectSet] = {}

    def __getitem__(self, name: str) -> ObjectSet:
        if name not in self._made:
            self._made[name] = self._make(KINDS[name])
        return self._made[name]

    def _make(self, kind: Kind) -> ObjectSet:
        count = kind.count if kind.name in ("warm", "large") else max(SERIES, round(kind.count * self.scale))
        number = kind.series
        root = f"2.25.{1000000000 + 1000000 * list(KINDS).index(kind.name)}"
        series = tuple(f"{root}.{100 + i}" for i in range(number))
        folders = tuple(self.folder / kind.name / f"series{i:02}" for i in range(number))
        for folder in folders:
            folder.mkdir(parents=True)
        first: list[Dataset] = []
        for index, dataset in enumerate(islice(self._originals(kind), count)):
            part = index % number
            if part == len(first):
                first.append(dataset)
            _agree(dataset, first[0], "PATIENT", "STUDY")
            _agree(dataset, first[part], "SERIES")
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID = root, series[part]
            dataset.SeriesNumber, dataset.InstanceNumber = part + 1, index // number + 1
            dataset.PatientID, dataset.StudyID = f"BENCH-{kind.name}", kind.name
            # Of a fixed length, so that the soak can put other UIDs into the bytes.
            dataset.SOPInstanceUID = f"{series[part]}.{1000000 + index}"
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            dataset.save_as(folders[part] / f"{index:06}.dcm", enforce_file_format=True)
        files = [path for folder in folders for path in folder.iterdir()]
        return ObjectSet(kind, root, series, folders, count, sum(path.stat().st_size for path in files))

    def _originals(self, kind: Kind) -> Iterator[Dataset]:
        """Datasets without end, to be given new UIDs."""
        if kind.name == "large":
            return self._large()
        found = self._of_corpus(kind)
        if found:
            return (pydicom.dcmread(path) for path in cycle(found))
        make: Callable[[int], Dataset] = small_like if kind.name.startswith("small") else ct_like
        return (make(seed) for seed in cycle(range(56)))

    def _of_corpus(self, kind: Kind) -> list[Path]:
        if self.corpus is None:
            return []
        # One of each folder in turn, so that half of the series are of each.
        listed = [sorted((self.corpus / name).glob("*.dcm")) for name in kind.folders]
        return [path for together in zip(*listed, strict=False) for path in together]

    def _large(self) -> Iterator[Dataset]:
        frames = [pydicom.dcmread(path).PixelData for path in self["ct"].files()[:56]]
        for shift in cycle(range(len(frames))):
            pixels = b"".join(islice(cycle(frames), shift, shift + LARGE_FRAMES))
            yield _image(MULTIFRAME_CLASS, "OT", (512, 512), pixels, NumberOfFrames=LARGE_FRAMES)


def _agree(dataset: Dataset, first: Dataset, *levels: str) -> None:
    """Have a dataset say of its patient, study or series what the first one says."""
    for level in levels:
        for attribute in HELD_BY_LEVEL[level]:
            if attribute.keyword in first:
                dataset.add(first[attribute.keyword])
            elif attribute.keyword in dataset:
                delattr(dataset, attribute.keyword)


def batch(sent: ObjectSet, number: int, folder: Path) -> list[Path]:
    """A copy of the set with other UIDs of the same length, put into the bytes; one study a batch.

    Nothing is parsed: making a batch takes a fraction of the time of storing it.
    """
    study = f"{sent.study[:-6]}{number:06}"
    made = []
    for source in sent.folders:
        target = folder / source.name
        target.mkdir(parents=True)
        made.append(target)
        for path in source.iterdir():
            data = path.read_bytes().replace(sent.study.encode(), study.encode())
            (target / path.name).write_bytes(data)
    return made


def ct_like(seed: int) -> Dataset:
    """A 512×512 slice of signed 16 bit: air, an oval body, organs, and noise as reconstruction leaves it."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:512j, -1:1:512j]
    picture = np.full((512, 512), -1000.0)
    body = (x / 0.8) ** 2 + (y / 0.6) ** 2 < 1
    picture[body] = 40
    for _ in range(12):
        cx, cy, radius, value = random.uniform((-0.6, -0.4, 0.03, -800), (0.6, 0.4, 0.2, 900))
        picture[((x - cx) ** 2 + (y - cy) ** 2 < radius**2) & body] = value
    noise = random.normal(0, 12, (512, 512))
    noise = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1)) / 1.7  # neighbours are alike
    pixels = np.where((x**2 + y**2) < 1, picture + noise, -2000).astype("<i2")
    return _image(CT_CLASS, "CT", (512, 512), pixels.tobytes(), PixelRepresentation=1)


def small_like(seed: int) -> Dataset:
    """A 64×64 slice whose header is two thirds of its 25 KB, most of it private."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    pixels = (900 * np.exp(-2 * (x**2 + y**2)) + random.normal(0, 10, (64, 64))).clip(0, 4095)
    dataset = _image(MR_CLASS, "MR", (64, 64), pixels.astype("<u2").tobytes(), PixelRepresentation=0)
    block = dataset.private_block(0x0029, "BENCH HEADER", create=True)
    lines = (f"sSliceArray.asSlice[{i}].dPosition = {random.uniform(-99, 99):.12f}\n" for i in range(300))
    block.add_new(0x10, "OB", "".join(lines).encode().ljust(16384, b"\0")[:16384])
    return dataset


def _image(sop_class: str, modality: str, shape: tuple[int, int], pixels: bytes, **more: int) -> Dataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = sop_class, ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.Modality = sop_class, modality
    dataset.PatientName, dataset.StudyDate, dataset.StudyTime = "Bench^Object", "20260101", "120000"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = shape
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    dataset.add_new(0x7FE00010, "OW", pixels)
    return dataset
