"""How far the samples of a lossy copy are from those that it was made of, over all frames."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field

import numpy as np

from scp.encoding.pixels import Frame


@dataclass(slots=True)
class Deviation:
    """Errors in sample values, summed up. Frames may be added by several threads."""

    samples: int = 0
    largest: int = 0
    _total: int = 0
    _squares: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, frame: Frame, back: Frame) -> None:
        """Compare a frame with what was decoded from its copy, of the same shape."""
        errors = errors_of(frame, back)
        # Whole numbers: the sum of the squares of 2^31 errors of 16 bits has 63 bits.
        total, squares = int(errors.sum()), int(np.square(errors).sum())
        with self._lock:
            self.samples += errors.size
            self.largest = max(self.largest, int(errors.max(initial=0)))
            self._total += total
            self._squares += squares

    @property
    def mean(self) -> float:
        """The mean error."""
        return self._total / max(self.samples, 1)

    def psnr(self, bits: int) -> float | None:
        """The PSNR in dB, of the largest value that so many ``bits`` hold; None where no sample is off."""
        if not self._squares:
            return None
        return 20 * math.log10((1 << bits) - 1) - 10 * math.log10(self._squares / self.samples)


def errors_of(frame: Frame, back: Frame) -> Frame:
    """How far each sample is off, as 64-bit integers."""
    errors: Frame = np.abs(back.astype("<i8") - frame.astype("<i8"))
    return errors
