"""Loss by a rule: how much is allowed, and what was lost. Frozen values; see docs/decisions/0212."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class LossyRule:
    """An explicit rule for lossy copies (invariant 4), of a peer or a stage, with at least one of the three.

    ``quality`` is from 1 to 100, on the scale of JPEG's; without it, codecs that have one take the least that
    keeps ``max_error``. ``max_error`` is the most that any sample may be off; None: no bound. ``ratio`` is
    how many native bytes at least become one coded byte, frame by frame: the finest copy that reaches it.
    """

    quality: float | None = None
    max_error: int | None = None
    ratio: float | None = None

    @property
    def words(self) -> str:
        """What it asks for, in words."""
        asked = [f"quality {self.quality:g}"] if self.quality is not None else []
        asked += [f"ratio {self.ratio:g}"] if self.ratio is not None else []
        asked += [f"maximum error {self.max_error}"] if self.max_error is not None else []
        return ", ".join(asked)


@dataclass(frozen=True, slots=True)
class Loss:
    """What was lost where a stage kept a lossy copy in the place of an original.

    ``sop_instance_uid``, ``sha256`` and ``size`` (bytes) are those of the original's dataset as received,
    ``transfer_syntax`` the one it came in; the copy has the same SOP Instance UID or a new one. Errors are in
    sample values: of all samples the largest, the mean, and the PSNR in dB, of the largest value that Bits
    Stored can hold; None where no sample was off. ``ratio`` is native bytes to coded ones.
    """

    sop_instance_uid: str
    transfer_syntax: str
    sha256: str
    size: int
    rule: str  # in words: form, and what the stage asked for
    at: datetime  # when the copy was made, UTC
    ratio: float
    max_error: int
    mean_error: float
    psnr: float | None

    @property
    def words(self) -> str:
        """The loss in words."""
        psnr = "" if self.psnr is None else f", PSNR {self.psnr:.1f} dB"
        errors = f"largest error {self.max_error}, mean error {self.mean_error:.3g}{psnr}"
        return f"{self.rule}: ratio {self.ratio:.2f}, {errors}"
