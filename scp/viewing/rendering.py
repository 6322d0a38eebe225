"""Samples to grey levels and colours of 8 bits, scaled down: PS3.3 C.7.6.3 and C.11, row by row.

Rows are shown in bands, so that a frame of a gigabyte takes some megabytes beside itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_windowing, convert_color_space

from scp.encoding.one_frame import DecodedFrame
from scp.encoding.pixels import PixelFormat
from scp.errors import NoPicture, message_of
from scp.viewing.display import Display, Samples, VoiWindow

Shades = NDArray[np.uint8]
Chosen = Literal["given", "object", "table", "percentiles", "all values", "colours"]

_BAND = 1 << 20  # samples
_LOOKED_AT = 1 << 20  # samples that percentiles are taken of
_PERCENTILES = (0.5, 99.5)
_LARGEST = 3.4e38  # of a float of 32 bits, in place of infinity


@dataclass(frozen=True, slots=True)
class Shown:
    """A frame as grey levels (rows, columns) or as RGB (rows, columns, 3), and how they were ``chosen``.

    ``window`` is the one that was applied; None where there was none.
    """

    shades: Shades
    chosen: Chosen
    window: VoiWindow | None = None


def shown(frame: DecodedFrame, display: Display, most: int, window: VoiWindow | None = None) -> Shown:
    """A frame of at most ``most`` pixels on its longer side; a ``window`` replaces what the header says.

    Raises NoPicture for what has no shades: a Photometric Interpretation that nobody uses any more.
    """
    form = frame.form
    if form.photometric in ("MONOCHROME1", "MONOCHROME2") and form.samples == 1:
        return _grey(frame, display, most, window)
    return Shown(_scaled(frame.samples, most, _colours(form, display)), "colours")


# -- grey ------------------------------------------------------------------------------------------------


def _grey(frame: DecodedFrame, display: Display, most: int, given: VoiWindow | None) -> Shown:
    form, samples = frame.form, frame.samples

    def values(band: Samples) -> Samples:
        return _values(_within_bits(band, form), display)

    chosen, window = _chosen(frame, display, given)

    def shades(band: Samples) -> Shades:
        if window is None and display.voi is not None:
            grey = display.voi.of(np.rint(values(band))) * (255.0 / ((1 << display.voi.bits) - 1))
        else:
            grey = _windowed(values(band), window or _all_values(form))
        return _inverted(np.rint(grey).astype("u1"), form)

    return Shown(_scaled(samples, most, _tabled(samples, shades)), chosen, window)


def _tabled(samples: Samples, shades: Callable[[Samples], Shades]) -> Callable[[Samples], Shades]:
    """The same shades, looked up by the value of a sample: half the time, where there are many."""
    size = samples.dtype.itemsize
    if samples.dtype.kind == "f" or size > 2 or samples.size <= 1 << 8 * size:
        return shades
    unsigned = np.dtype(f"<u{size}")
    table = shades(np.arange(1 << 8 * size).astype(unsigned).view(samples.dtype))
    return lambda band: table[band.view(unsigned)]


def _chosen(
    frame: DecodedFrame, display: Display, given: VoiWindow | None
) -> tuple[Chosen, VoiWindow | None]:
    """What gives the shades. A VOI LUT goes before a window, as in pydicom: it was made for this image."""
    if given is not None:
        return "given", given
    if display.voi is not None:
        return "table", None
    if display.window is not None:
        return "object", display.window
    if not display.transforms and frame.samples.dtype.kind == "u" and frame.form.bits_stored <= 8:
        return "all values", _all_values(frame.form)
    return "percentiles", _percentiles(frame.samples, frame.form, display)


def _inverted(shades: Shades, form: PixelFormat) -> Shades:
    return 255 - shades if form.photometric == "MONOCHROME1" else shades


def _within_bits(samples: Samples, form: PixelFormat) -> Samples:
    """The sample of each word: Bits Stored of them, below High Bit; others may hold overlays, or rubbish."""
    unused = form.bits_allocated - form.bits_stored
    if samples.dtype.kind == "f" or not unused:
        return samples
    high = (
        form.high_bit if form.bits_stored - 1 <= form.high_bit < form.bits_allocated else form.bits_stored - 1
    )
    placed: Samples = samples << (form.bits_allocated - 1 - high)
    return placed >> unused  # a sign goes on to the right


def _values(samples: Samples, display: Display) -> Samples:
    """Samples after the modality LUT; what is no number counts as 0."""
    if display.modality is not None:
        samples = display.modality.of(samples)
        return np.asarray(samples, "f8")
    values = samples.astype("f8")
    if values.size and samples.dtype.kind == "f":
        np.nan_to_num(values, copy=False, posinf=_LARGEST, neginf=-_LARGEST)
    values *= display.slope
    values += display.intercept
    return values


def _windowed(values: Samples, window: VoiWindow) -> Samples:
    """Grey levels from 0 to 255 (PS3.3 C.11.2.1.2)."""
    told = Dataset()
    told.PhotometricInterpretation, told.PixelRepresentation, told.BitsStored = "MONOCHROME2", 0, 8
    told.WindowCenter, told.WindowWidth = f"{window.center:.8g}", f"{window.width:.8g}"
    told.VOILUTFunction = window.function
    with np.errstate(over="ignore"):  # a sigmoid far from its center
        return np.asarray(np.clip(apply_windowing(values, told), 0, 255))


def _all_values(form: PixelFormat) -> VoiWindow:
    """All that Bits Stored can say, from black to white."""
    span = (1 << form.bits_stored) - 1
    return VoiWindow(span / 2, float(span), "LINEAR_EXACT")


def _percentiles(samples: Samples, form: PixelFormat, display: Display) -> VoiWindow:
    """From where half a percent of the values is darker to where half a percent is brighter."""
    step = max(int((samples.size / _LOOKED_AT) ** 0.5), 1)
    some = _within_bits(samples[::step, ::step], form)
    if display.padding is not None:
        first, last = display.padding
        inside = some[(some < first) | (some > last)]
        some = inside if inside.size else some
    values, counts = _counted(some)
    low, high = _ends(_values(values, display), counts)
    return VoiWindow((low + high) / 2, high - low or 1.0, "LINEAR_EXACT")


def _counted(samples: Samples) -> tuple[Samples, NDArray[np.intp]]:
    """The values that there are, and how often; of 8 and 16 bits counted, which is faster than to sort."""
    size = samples.dtype.itemsize
    if samples.dtype.kind == "f" or size > 2:
        return samples.ravel(), np.ones(samples.size, np.intp)
    counts = np.bincount(np.ascontiguousarray(samples).view(f"<u{size}").ravel(), minlength=1 << 8 * size)
    (there,) = counts.nonzero()
    return there.astype(f"<u{size}").view(samples.dtype), counts[there]


def _ends(values: Samples, counts: NDArray[np.intp]) -> tuple[float, float]:
    """The percentiles of values that come so often; the ends, where nearly all of it is one value: a mask."""
    order = np.argsort(values)
    values, last = values[order], np.cumsum(counts[order])
    places = [share / 100 * (int(last[-1]) - 1) for share in _PERCENTILES]
    low, high = (_between(values, last, place) for place in places)
    return (low, high) if low != high else (float(values[0]), float(values[-1]))


def _between(values: Samples, last: NDArray[np.intp], place: float) -> float:
    """The value at a place of all, counted from 0 on; between two it is in proportion."""
    whole = int(place)
    one, following = (float(values[np.searchsorted(last, at, "right")]) for at in (whole, math.ceil(place)))
    return one + (following - one) * (place - whole)


# -- colours ---------------------------------------------------------------------------------------------


def _colours(form: PixelFormat, display: Display) -> Callable[[Samples], Shades]:
    def palette(band: Samples) -> Shades:
        try:
            found = apply_color_lut(np.ascontiguousarray(_within_bits(band, form)), display.palette)
        except Exception as error:  # pydicom raises whatever a malformed palette makes it raise
            raise NoPicture(f"its palette cannot be used: {message_of(error)}") from error
        return np.asarray(found[..., :3] >> (8 * (found.dtype.itemsize - 1)), "u1")

    def ybr(band: Samples) -> Shades:
        return np.asarray(convert_color_space(_eight_bits(band, form), "YBR_FULL", "RGB"), "u1")

    if form.samples == 1 and form.photometric == "PALETTE COLOR":
        return palette
    if form.samples == 3 and form.photometric == "RGB":
        return lambda band: _eight_bits(band, form)
    if form.samples == 3 and form.photometric == "YBR_FULL":
        return ybr
    named = f"Photometric Interpretation {form.photometric[:16]!r}"
    raise NoPicture(f"{form.samples} samples a pixel in {named} are not shown")


def _eight_bits(band: Samples, form: PixelFormat) -> Shades:
    values = _within_bits(band, form)
    if form.signed or form.bits_allocated > 16:
        raise NoPicture(f"{form.bits_allocated}-bit {'signed ' * form.signed}colour samples are not shown")
    if form.bits_stored >= 8:
        return np.asarray(values >> (form.bits_stored - 8), "u1")
    return np.asarray(values.astype("u2") * 255 // ((1 << form.bits_stored) - 1), "u1")


# -- scaling ---------------------------------------------------------------------------------------------


def _scaled(samples: Samples, most: int, shades: Callable[[Samples], Shades]) -> Shades:
    """The shades of a frame, each the mean of those that it stands for."""
    rows, columns = samples.shape[:2]
    ratio = max(rows, columns) / most
    if ratio <= 1:
        return np.concatenate([shades(samples[at:end]) for at, end in _bands(np.arange(rows + 1), columns)])
    across = _edges(columns, ratio)
    down = _edges(rows, ratio)
    made = []
    for at, end in _bands(down, columns):
        starts = down[(down >= at) & (down < end)]
        made.append(_means(shades(samples[at:end]), starts - at, across[:-1]))
    return np.concatenate(made)


def _edges(length: int, ratio: float) -> NDArray[np.intp]:
    """Where the pixels begin that become one; the last edge is the length."""
    count = max(int(length / ratio), 1)
    return np.arange(count + 1) * length // count


def _bands(edges: NDArray[np.intp], columns: int) -> Iterator[tuple[int, int]]:
    """Rows that are shown together: whole pixels of the picture, and no more samples than a band has."""
    rows, at = max(_BAND // columns, 1), 0
    while at < len(edges) - 1:
        until = max(int(np.searchsorted(edges, edges[at] + rows, "right")) - 1, at + 1)
        yield int(edges[at]), int(edges[until])
        at = until


def _means(shades: Shades, down: NDArray[np.intp], across: NDArray[np.intp]) -> Shades:
    sums = _sums(_sums(shades, down, 0), across, 1)
    rows, columns = shades.shape[:2]
    areas = np.outer(np.diff(np.append(down, rows)), np.diff(np.append(across, columns)))
    areas = areas.reshape(*areas.shape, *[1] * (sums.ndim - 2))
    return np.asarray((sums + areas // 2) // areas, "u1")


def _sums(values: Samples, starts: NDArray[np.intp], axis: int) -> Samples:
    """The sums of what lies between ``starts``: of equal distances in a tenth of the time of ``reduceat``."""
    each, rest = divmod(values.shape[axis], len(starts))
    if rest or np.any(np.diff(starts) != each):
        return np.asarray(np.add.reduceat(values, starts, axis=axis, dtype="u4"))
    sums = np.zeros((*values.shape[:axis], len(starts), *values.shape[axis + 1 :]), "u4")
    for at in range(each):
        sums += values[(slice(None),) * axis + (slice(at, None, each),)]
    return sums
