"""Pixel padding in lossy copies: one value becomes a range of values, which the header then names.

PS3.3 C.7.5.1.1.2: Pixel Padding Value, with Pixel Padding Range Limit, says which samples are no part of the
image, and none of the image's may be among them.
"""

from __future__ import annotations

import struct
import threading
from dataclasses import dataclass, field

import numpy as np

from scp.encoding.elements import CANONICAL, walk
from scp.encoding.pixels import Frame, PixelFormat
from scp.errors import CannotEncode

_VALUE, _LIMIT = 0x00280120, 0x00280121


@dataclass(slots=True)
class _Extent:
    """The smallest and the largest of some samples; the other way round where there were none."""

    low: int = 1 << 32
    high: int = -(1 << 32)

    def take(self, samples: Frame) -> None:
        if samples.size:
            self.low, self.high = min(self.low, int(samples.min())), max(self.high, int(samples.max()))

    @property
    def empty(self) -> bool:
        return self.low > self.high


@dataclass(slots=True)
class Padding:
    """Which samples are padding, ``low`` to ``high``, and what they and the others became.

    None of it where the header names no padding. Frames may be looked at by several threads.
    """

    low: int | None = None
    high: int = 0
    _padding: _Extent = field(default_factory=_Extent)
    _image: _Extent = field(default_factory=_Extent)
    _nearest: int = 1 << 32  # how far from padding the closest sample of the image was
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def look(self, frame: Frame, back: Frame) -> None:
        """Compare a frame with what was decoded from its copy."""
        if self.low is None:
            return
        is_padding = np.greater_equal(frame, self.low) & np.less_equal(frame, self.high)
        image = frame[~is_padding].astype("<i8")
        apart = np.maximum(self.low - image, image - self.high).min(initial=self._nearest)
        with self._lock:
            self._padding.take(back[is_padding])
            self._image.take(back[~is_padding])
            self._nearest = min(self._nearest, int(apart))

    def check_apart(self, error: int) -> None:
        """Raises CannotEncode where a sample of the image was within ``error`` of padding."""
        if self._nearest <= error:
            raise CannotEncode(
                f"a sample of the image is {self._nearest} from padding, within the error of {error}"
            )

    def changes(self, form: PixelFormat) -> dict[int, tuple[bytes, bytes] | None]:
        """The elements that describe the padding now. Raises CannotEncode where it mixes with the image."""
        if self.low is None:
            return {}
        low, high = self._padding.low, self._padding.high
        if self._padding.empty:  # what is not there must not be found where a sample became that value
            return {_VALUE: None, _LIMIT: None}
        if not self._image.empty and low <= self._image.high and self._image.low <= high:
            raise CannotEncode("its padding values would mix with image values")
        vr, layout = (b"SS", "<h") if form.signed else (b"US", "<H")
        # From the end of black on (C.7.5.1.1.2).
        first, last = (high, low) if form.photometric == "MONOCHROME1" else (low, high)
        limit = (vr, struct.pack(layout, last)) if first != last else None
        return {_VALUE: (vr, struct.pack(layout, first)), _LIMIT: limit}


def padding_of(header: bytes, form: PixelFormat) -> Padding:
    """The padding that a canonical header names."""
    layout = "<h" if form.signed else "<H"
    named = {
        element.tag: struct.unpack_from(layout, header, element.value)[0]
        for element in walk(header, CANONICAL)
        if element.tag in (_VALUE, _LIMIT) and element.end - element.value == 2
    }
    if _VALUE not in named or form.samples > 1:
        return Padding()
    low, high = sorted((named[_VALUE], named.get(_LIMIT, named[_VALUE])))
    return Padding(low, high)
