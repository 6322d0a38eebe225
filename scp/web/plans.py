"""What the policy would do to what is stored: what ``zscp plan --json`` prints, and the page shows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class PlanLoss:
    """What ``copies`` of a few objects lost, and why others would stay as they are, with their numbers.

    Errors are in sample values; ``psnr`` is the least, in dB, None where no sample was off.
    """

    copies: int
    max_error: int
    mean_error: float
    psnr: float | None
    reasons: dict[str, int]


@dataclass(frozen=True, slots=True)
class PlanMeasured:
    """What encoding a few objects gave: bytes, and seconds of one core; ``loss`` of a lossy stage."""

    objects: int
    received_size: int
    stored_size: int
    saved: int
    seconds: float
    loss: PlanLoss | None = None


@dataclass(frozen=True, slots=True)
class PlanGroup:
    """Objects of one modality in one ``form``, for which a ``stage`` of a rule is due; ``becomes`` in words.

    ``seconds`` of one core and bytes ``saved`` are estimates for all of them, None where nothing could be
    measured. ``stage`` has the keys of the configuration. With ``packs`` it was carried out, and only the
    zstd frame is made again.
    """

    rule: str
    modality: str
    form: str
    becomes: str
    objects: int
    received_size: int
    stored_size: int
    seconds: float | None
    saved: int | None
    stage: dict[str, Any]
    measured: PlanMeasured
    packs: bool = False


@dataclass(frozen=True, slots=True)
class PlanReport:
    """What is due ``at`` a moment, the groups with most bytes first; of ``looked_at`` objects in all.

    ``seconds`` is how long the node would take at its pace; None where no process of it carries out stages,
    or a group could not be measured.
    """

    at: datetime
    looked_at: int
    objects: int
    seconds: float | None
    groups: tuple[PlanGroup, ...]


@dataclass(frozen=True, slots=True)
class PlanLook:
    """The last look at what the policy would do; ``running`` while another one is under way.

    ``plan`` is None before the first, whose ``at`` says when that was. ``fault`` says why the last look
    failed. ``took_seconds`` is how long it took.
    """

    plan: PlanReport | None = None
    running: bool = False
    took_seconds: float = 0.0
    fault: str = ""
