"""What the node lays before DICOMweb: all that its services may ask for, as one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from scp.archive.archive import Archive
from scp.audit.trail import AuditTrail
from scp.config.settings import Settings
from scp.model import Instance, Kept


@dataclass(frozen=True, slots=True)
class PictureWish:
    """How a frame is to be rendered: at most ``width`` by ``height`` pixels, and never larger than it is.

    ``window`` is center, width and function; None: as the object says. ``quality`` is from 1 to 100, of JPEG.
    """

    kind: Literal["png", "jpeg"]
    width: int
    height: int
    window: tuple[float, float, Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]] | None
    quality: int


# The frame of a number from 1 on, as a file of an image. Raises NoPicture, and what reading it raises.
Render = Callable[[Instance, int, PictureWish], bytes]


@dataclass(frozen=True, slots=True)
class StoreRules:
    """What is the same for STOW-RS as for C-STORE.

    ``check`` is given SOP class, transfer syntax, and whether unknown ones are taken; raises DatasetError for
    those that are not. ``status_of`` is the status by which an error is answered, ``of_kept`` that of an
    object that was taken, with a comment.
    """

    check: Callable[[str, str, bool], None]
    status_of: Callable[[Exception], int]
    of_kept: Callable[[Kept], tuple[int, str]]


@dataclass(frozen=True, slots=True)
class DicomWebDesk:
    """``archive`` raises OutOfResources while the index cannot be opened; ``settings`` are those in force."""

    settings: Callable[[], Settings]
    archive: Callable[[], Archive]
    trail: AuditTrail
    render: Render
    storing: StoreRules
