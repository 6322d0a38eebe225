"""Bodies of STOW-RS, made of DICOM files, and what is told of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from objects import written
from pydicom.dataset import Dataset

from scp.objects import part10
from scp.objects.part10 import Part10
from scp.syntaxes import EXPLICIT

DICOM = "application/dicom"
BOUNDARY = "between-parts"
CONTENT_TYPE = f'multipart/related; type="{DICOM}"; boundary={BOUNDARY}'
_REFERENCED, _FAILED, _OTHERS = "00081199", "00081198", "0008119A"


def file_of(one: Dataset, sop_instance: str | None = None, syntax: str = EXPLICIT) -> bytes:
    """A DICOM file; its File Meta Information may name another SOP instance than its dataset."""
    stream = written(one, explicit=True, little=True)
    uid = str(one.SOPInstanceUID) if sop_instance is None else sop_instance
    return bytes(part10.pack(Part10(str(one.SOPClassUID), uid, syntax, stream)))


def part(content: bytes, headers: str = f"Content-Type: {DICOM}\r\n") -> bytes:
    """One part, with the delimiter before it."""
    return f"\r\n--{BOUNDARY}\r\n{headers}\r\n".encode("latin-1") + content


END = f"\r\n--{BOUNDARY}--\r\n".encode()


def body(files: Iterable[bytes]) -> bytes:
    """A whole body."""
    return b"".join(map(part, files)) + END


def stored(module: Any) -> dict[str, int]:
    """The SOP instances that were stored, with their Warning Reasons, or 0."""
    items = module.get(_REFERENCED, {}).get("Value", ())
    return {_value(one, "00081155"): _value(one, "00081196", 0) for one in items}


def refused(module: Any) -> dict[str, int]:
    """The SOP instances that failed, with their Failure Reasons."""
    items = module.get(_FAILED, {}).get("Value", ())
    return {_value(one, "00081155"): _value(one, "00081197") for one in items}


def others(module: Any) -> list[int]:
    """Failure Reasons of what is no SOP instance."""
    return [_value(one, "00081197") for one in module.get(_OTHERS, {}).get("Value", ())]


def _value(item: Any, tag: str, without: Any = None) -> Any:
    return item[tag]["Value"][0] if tag in item else without
