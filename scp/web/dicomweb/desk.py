"""What the node lays before DICOMweb: all that its services may ask for, as one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scp.archive.archive import Archive
from scp.audit.trail import AuditTrail
from scp.config.settings import Settings


@dataclass(frozen=True, slots=True)
class DicomWebDesk:
    """``archive`` raises OutOfResources while the index cannot be opened; ``settings`` are those in force."""

    settings: Callable[[], Settings]
    archive: Callable[[], Archive]
    trail: AuditTrail
