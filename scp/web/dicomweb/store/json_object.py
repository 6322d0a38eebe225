"""A dataset of DICOM JSON, and its bulk values, as a DICOM file (PS3.18 10.5.2, F.2).

It came without bytes of its own: those that it gets here, as Explicit VR Little Endian, are
what was received.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from scp.encoding.elements import CANONICAL, ITEM, SEQUENCE_END, UNDEFINED, element_header
from scp.errors import UnreadableDataset, ZscpError
from scp.objects.part10 import Part10
from scp.resources.bounds import bounds
from scp.spool import Buffer, Spool, slices
from scp.syntaxes import EXPLICIT, Content, lookup
from scp.web.dicomweb.accept import accepted
from scp.web.dicomweb.bulk_types import COMPRESSED, OCTETS, VIDEO
from scp.web.dicomweb.store.part_file import SentFile

_PIXELS = {"7FE00010": b"OW", "7FE00008": b"OF", "7FE00009": b"OD"}
# Groups that no dataset has, and that of its pixel data, which is written by itself.
_APART = ("0000", "0002", "7FE0")
_PIXEL_GROUP, _BEHIND_PIXELS = 0x7FE00000, 0x7FE10000


@dataclass(frozen=True, slots=True)
class BulkValue:
    """A part with a bulk value, of a Content-Type; or what kept it from being read."""

    content_type: str
    value: Buffer = field(repr=False)
    fault: Exception | None = None

    @property
    def transfer_syntax(self) -> str:
        """That of its pixels: of a media type without one the default (PS3.18 8.7.3).

        Raises UnreadableDataset for a media type that no bulk value has.
        """
        kind = accepted(self.content_type)[:1] if self.content_type else accepted(OCTETS)
        for one in kind:
            syntaxes = {OCTETS: (EXPLICIT,), **COMPRESSED, **VIDEO}.get(one.media_type, ())
            if syntaxes and not one.multipart:
                return one.transfer_syntax or syntaxes[0]
        raise UnreadableDataset(f"{self.content_type[:60]} is no media type of bulk data")


def file_of(described: Any, bulk: Mapping[str, BulkValue]) -> SentFile:
    """The DICOM file of a dataset; ``bulk`` are the values of the request by their addresses.

    Raises UnreadableDataset, and what kept a bulk value from being read.
    """
    room = bounds().header_bytes  # one value may be named often

    def value_of(address: str) -> bytes:
        nonlocal room
        value = _named(bulk, address).value
        room -= len(value)
        if room < 0:
            raise UnreadableDataset(f"more than {bounds().header_bytes} bytes in it (limits.header_bytes)")
        return bytes(value)

    try:
        _check_inline(described)
        # Tags are in upper case (F.2.2); pixel data that somebody writes otherwise is not left out.
        described = {tag.upper(): entry for tag, entry in described.items()}
        rest = {tag: entry for tag, entry in described.items() if tag[:4] not in _APART}
        one = Dataset.from_json(rest, value_of)
        one.SpecificCharacterSet = "ISO_IR 192"  # JSON is UTF-8
        syntax, pixel = _pixel_element(described, bulk, int(one.get("NumberOfFrames") or 1))
        spool = Spool(hashing=True)
        for piece in (_written(one[:_PIXEL_GROUP]), *pixel, _written(one[_BEHIND_PIXELS:])):
            for part in slices(piece):
                spool.write(part)
    except (ZscpError, OSError, MemoryError):
        raise
    except Exception as error:  # pydicom raises whatever it stumbles over
        raise UnreadableDataset(f"its metadata is no DICOM JSON: {type(error).__name__}") from error
    uids = (str(one.get("SOPClassUID") or ""), str(one.get("SOPInstanceUID") or ""))
    return SentFile(Part10(*uids, syntax, spool.view()), spool.sha256)


def _check_inline(described: Any) -> None:
    """Check the inline values, at all depths: what pydicom does not know as Base64 it leaves out.

    Raises ValueError, and what else a value that is none of DICOM JSON raises.
    """
    for entry in described.values():
        if "InlineBinary" in entry:
            _decoded(entry["InlineBinary"])
        if entry.get("vr") == "SQ":
            for item in entry.get("Value") or ():
                _check_inline(item)


def _decoded(inline: str) -> bytes:
    """The bytes of an inline value, which may be in lines. Raises ValueError."""
    return b64decode("".join(inline.split()), validate=True)


def _written(dataset: Dataset) -> bytes:
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = False, True
    write_dataset(out, dataset)
    return out.getvalue()


def _named(bulk: Mapping[str, BulkValue], address: Any) -> BulkValue:
    """The part that a BulkDataURI names."""
    found = bulk.get(address) if isinstance(address, str) else None
    if found is None:
        raise UnreadableDataset("no part has the Content-Location that a BulkDataURI of it names")
    if found.fault is not None:
        raise found.fault
    return found


def _pixel_element(
    described: Mapping[str, Any], bulk: Mapping[str, BulkValue], frames: int
) -> tuple[str, tuple[Buffer, ...]]:
    """The transfer syntax, and the element with the pixels; no bytes where there are none."""
    tag = next((one for one in _PIXELS if one in described), None)
    if tag is None:
        return EXPLICIT, ()
    entry, vr = described[tag], _PIXELS[tag]
    inline = entry.get("InlineBinary")
    found = _named(bulk, entry.get("BulkDataURI")) if inline is None else BulkValue("", _decoded(inline))
    syntax, size = found.transfer_syntax, len(found.value)
    padding = b"\0" * (size % 2)
    if syntax == EXPLICIT:
        vr = b"OB" if entry.get("vr") == "OB" else vr
        return syntax, (
            element_header(int(tag, 16), vr, size + len(padding), CANONICAL),
            found.value,
            padding,
        )
    if not lookup(syntax).encapsulated:
        raise UnreadableDataset(f"pixels are sent in {EXPLICIT}, or compressed, and not in {syntax[:64]}")
    if frames > 1 and lookup(syntax).content is not Content.VIDEO:
        raise UnreadableDataset("it has several compressed frames: send it as a DICOM file")
    begun = element_header(int(tag, 16), b"OB", UNDEFINED, CANONICAL)
    begun += element_header(ITEM, b"", 0, CANONICAL)  # an empty Basic Offset Table
    begun += element_header(ITEM, b"", size + len(padding), CANONICAL)
    return syntax, (begun, found.value, padding + element_header(SEQUENCE_END, b"", 0, CANONICAL))
