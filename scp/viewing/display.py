"""What a header says of how its samples are to be shown: read element by element, of one frame.

Only the few elements that say so are read, and none that is longer than a table of 65,536 entries: a header
may hold millions of others (invariant 8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from math import isfinite
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from scp.encoding.element_paths import item_at
from scp.encoding.elements import CANONICAL, ElementReader, walk
from scp.encoding.scan import Scan, scan
from scp.errors import NoPicture, UnreadableDataset, message_of

WindowFunction = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
_FUNCTIONS: tuple[WindowFunction, ...] = ("LINEAR", "LINEAR_EXACT", "SIGMOID")

_WINDOW = (0x00281050, 0x00281051, 0x00281056)  # center, width, function
_RESCALE = (0x00281052, 0x00281053)
_LUT = (0x00283002, 0x00283006)
_MODALITY_LUT, _VOI_LUT = 0x00283000, 0x00283010
_PADDING = (0x00280103, 0x00280120, 0x00280121)
_PALETTE = (*range(0x00281101, 0x00281104), *range(0x00281201, 0x00281204), *range(0x00281221, 0x00281224))
_SHARED, _PER_FRAME = 0x52009229, 0x52009230
# Functional groups: Frame VOI LUT, Pixel Value Transformation (PS3.3 C.7.6.16.2.10, C.7.6.16.2.9).
_GROUPS = (0x00289132, 0x00289145)
_LONGEST = 1 << 18  # bytes: a table of 65,536 entries of 16 bits, with what is around it

Samples = NDArray[Any]
Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class VoiWindow:
    """A VOI window (PS3.3 C.11.2.1.2), in units of the samples after the modality LUT."""

    center: float
    width: float
    function: WindowFunction = "LINEAR"


@dataclass(frozen=True, slots=True)
class LookupTable:
    """A LUT: ``entries`` for the values from ``first`` on, of ``bits`` each; others take the nearest."""

    entries: Samples = field(repr=False)
    first: int
    bits: int

    def of(self, values: Samples) -> Samples:
        """The entry of each value."""
        places = np.clip(values.astype("i8") - self.first, 0, len(self.entries) - 1)
        found: Samples = self.entries[places]
        return found


@dataclass(frozen=True, slots=True)
class Display:
    """How one frame is to be shown, as far as its header says.

    Of the modality LUT either ``modality`` is a table, or samples are multiplied by ``slope``, and
    ``intercept`` added. ``padding`` are the first and last of the values that stand for no sample. Colours of
    a palette are in ``palette``, as pydicom reads them.
    """

    slope: float = 1.0
    intercept: float = 0.0
    modality: LookupTable | None = None
    window: VoiWindow | None = None
    voi: LookupTable | None = None
    padding: tuple[int, int] | None = None
    palette: Dataset = field(default_factory=Dataset, repr=False)

    @property
    def transforms(self) -> bool:
        """Whether the modality LUT changes a value."""
        return self.modality is not None or (self.slope, self.intercept) != (1.0, 0.0)


def display_of(header: bytes, frame: int) -> Display:
    """What a canonical header says of the frame of a number from 0 on.

    What the frame says by itself counts before what all frames share, and that before the top level. Raises
    NoPicture where what it says cannot be read.
    """
    try:
        return _display(header, frame)
    except UnreadableDataset as error:
        raise NoPicture(f"its header cannot be read: {error}") from error
    except Exception as error:  # pydicom raises whatever a malformed value makes it raise
        raise NoPicture(f"its header does not say how to show it: {message_of(error)}") from error


def _display(header: bytes, frame: int) -> Display:
    found = scan(header, CANONICAL, counted=False)
    wanted = (*_WINDOW, *_RESCALE, *_PADDING, *_PALETTE, _MODALITY_LUT, _VOI_LUT)
    top = _dataset(header, _spans(header, found, wanted))
    levels = [_group(header, found, _PER_FRAME, frame), _group(header, found, _SHARED, 0), top]
    slope, intercept = _first(levels, _rescale) or (1.0, 0.0)
    modality = next(iter(top.get("ModalityLUTSequence") or ()), None)
    voi = next(iter(top.get("VOILUTSequence") or ()), None)
    return Display(
        slope,
        intercept,
        None if modality is None else _table(modality),
        _first(levels, _window),
        None if voi is None else _table(voi),
        _padding(top),
        top,
    )


def _spans(header: bytes, found: Scan, wanted: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Where those elements begin and end, which are not too long, in the order of their tags."""
    for tag in sorted(wanted):
        span = found.elements.get(tag) or found.undefined.get(tag)
        if span is not None and span[2] - span[1] <= _LONGEST:
            start = header.rfind(_begun(tag), 0, span[1])
            yield start, span[2] + 8 * (tag in found.undefined)


def _begun(tag: int) -> bytes:
    return (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")


def _dataset(header: bytes, spans: Iterable[tuple[int, int]]) -> Dataset:
    stream = b"".join(header[start:end] for start, end in spans)
    return read_dataset(BytesIO(stream), is_implicit_VR=False, is_little_endian=True)


def _group(header: bytes, found: Scan, sequence: int, number: int) -> Dataset:
    """The functional groups of an item, as one dataset; empty where there is no such item."""
    _, at, end = found.elements.get(sequence) or found.undefined.get(sequence) or (b"", 0, 0)
    item = item_at(ElementReader(header, CANONICAL), at, end, number) or (0, 0)
    spans = [
        (item[0] + each.start, item[0] + each.next)
        for each in walk(memoryview(header)[item[0] : item[1]], CANONICAL)
        if each.tag in _GROUPS and each.next - each.start <= _LONGEST
    ]
    merged = Dataset()
    for sequence_ in _dataset(header, spans):
        for inner in list(sequence_.value)[:1]:
            merged.update(inner)
    return merged


def _first(levels: Iterable[Dataset], read: Callable[[Dataset], Read | None]) -> Read | None:
    return next((found for level in levels if (found := read(level)) is not None), None)


def _number(dataset: Dataset, keyword: str) -> float | None:
    """The first value of an element as a number; None where there is none."""
    value = dataset.get(keyword)
    if value is not None and not isinstance(value, (str, bytes, int, float)):
        value = next(iter(value), None)
    number = None if value in (None, "", b"") else float(value)
    return number if number is not None and isfinite(number) else None


def _rescale(dataset: Dataset) -> tuple[float, float] | None:
    slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
    if slope is None and intercept is None:
        return None
    return slope or 1.0, intercept or 0.0  # a slope of 0 would leave nothing to see


def _window(dataset: Dataset) -> VoiWindow | None:
    center, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    if center is None or width is None:
        return None
    told = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    function = next((one for one in _FUNCTIONS if one == told), _FUNCTIONS[0])
    return usable(VoiWindow(center, width, function))


def usable(window: VoiWindow) -> VoiWindow | None:
    """A window; None where its width is none that its function has (PS3.3 C.11.2.1.2, C.11.2.1.3)."""
    least = 1.0 if window.function == "LINEAR" else 0.0
    return window if window.width > 0.0 and window.width >= least else None


def _table(item: Dataset) -> LookupTable | None:
    descriptor, data = item.get("LUTDescriptor"), item.get("LUTData")
    if descriptor is None or data is None or len(descriptor) != 3:
        return None
    count, first, bits = (int(one) for one in descriptor)
    count = count or 1 << 16
    if isinstance(data, bytes):
        kind = "u1" if len(data) < 2 * count else "<u2"
        entries: Samples = np.frombuffer(data, kind, min(count, len(data) // np.dtype(kind).itemsize))
    else:
        entries = np.asarray(data, "i8").reshape(-1)[:count].astype("u2")
    if not len(entries):
        return None
    return LookupTable(entries, first, max(min(bits, 16), int(entries.max()).bit_length(), 1))


def _padding(dataset: Dataset) -> tuple[int, int] | None:
    value, limit = _number(dataset, "PixelPaddingValue"), _number(dataset, "PixelPaddingRangeLimit")
    if value is None:
        return None
    ends = sorted((int(value), int(value if limit is None else limit)))
    return ends[0], ends[1]
