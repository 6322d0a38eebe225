"""Files of other software, read tolerantly: also without preamble, or without File Meta Information.

If a file does not name its transfer syntax, it is guessed from the first element of the dataset, as DCMTK's
dcmdump does (DcmItem::checkTransferSyntax). A guess counts only if the dataset can then be parsed to its end
and names its SOP instance: anything else is no DICOM file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pydicom._dicom_dict import DicomDictionary

from scp.encoding.dataset import encoding_of
from scp.encoding.elements import IMPLICIT_LITTLE, VRS, ElementReader, Encoding
from scp.encoding.facts import survey
from scp.errors import DictionaryMissing, ObjectDamaged, UnreadableDataset
from scp.model import Received
from scp.objects import file_meta, part10
from scp.objects.journal import is_store
from scp.objects.names import DICTIONARIES
from scp.objects.part10 import Lookup, Part10
from scp.objects.sealed import HEADER, is_sealed
from scp.spool import Buffer
from scp.syntaxes import BIG_ENDIAN, EXPLICIT, IMPLICIT, lookup

_PREFIX_AT = 128
_CLASS, _INSTANCE, _SYNTAX, _SOURCE = 0x0002, 0x0003, 0x0010, 0x0016


def read(data: Buffer, dictionaries: Lookup | None = None) -> tuple[Part10, str]:
    """A file taken apart, and what had to be assumed about it; empty for a correct Part 10 file.

    Raises ObjectDamaged if it is no DICOM file, DictionaryMissing.
    """
    if is_sealed(bytes(data[:HEADER])):
        raise ObjectDamaged("it is an encrypted file of a zscp store; zscp export writes it as a DICOM file")
    file = memoryview(part10.unwrap(data, dictionaries))
    try:
        return part10.unpack(file), ""
    except DictionaryMissing:
        raise
    except ObjectDamaged as error:
        fault = error
    at = _PREFIX_AT + 4 if bytes(file[_PREFIX_AT : _PREFIX_AT + 4]) == b"DICM" else 0
    values, end = _meta(file, at)
    if not values and not _guess(file[end:]):
        raise fault
    found = Part10(
        _text(values, _CLASS),
        _text(values, _INSTANCE),
        _text(values, _SYNTAX),
        file[end:],
        source_aet=_text(values, _SOURCE),
    )
    if found.transfer_syntax:
        return found, str(fault) if at else ""
    return _guessed(found)


def _meta(file: memoryview, at: int) -> tuple[dict[int, bytes], int]:
    """The values of the File Meta Information at ``at``, if there is one, and where it ends.

    Some writers encode it in the transfer syntax of the dataset. Raises ObjectDamaged.
    """
    syntax = _guess(file[at:])
    if bytes(file[at : at + 2]) == b"\2\0" and syntax != IMPLICIT:
        meta = file_meta.read(file, at)
        if _SYNTAX not in meta.values:  # its length may be wrong
            meta = file_meta.uncounted(file, at)
        return meta.values, meta.end
    encoding = IMPLICIT_LITTLE if syntax == IMPLICIT else encoding_of(lookup(BIG_ENDIAN))
    return _by_reader(file, at, encoding)


def _by_reader(file: memoryview, at: int, encoding: Encoding) -> tuple[dict[int, bytes], int]:
    reader, values, last = ElementReader(file, encoding), dict[int, bytes](), -1
    try:
        while at < len(file):
            tag, _, value, length = reader.header(at, len(file))
            if tag >> 16 != 2 or tag <= last:
                break
            values[tag & 0xFFFF], last, at = bytes(file[value : value + length]), tag, value + length
    except UnreadableDataset:
        pass  # what follows is no element of this encoding
    return values, at


def _text(values: Mapping[int, bytes], number: int) -> str:
    return values.get(number, b"").decode("ascii", "replace").strip(" \0")


def _guess(data: memoryview) -> str:
    """The transfer syntax that a dataset seems to be in, by its first element; empty if it fits none."""
    if len(data) < 8:
        return ""
    first, second = int.from_bytes(data[:2], "little"), int.from_bytes(data[2:4], "little")
    swapped = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")
    little, big = _is_known(first, second), _is_known(*swapped)
    explicit = bytes(data[4:6]) in VRS
    if not (little or big):
        return EXPLICIT if explicit else ""
    # If the group number is small only when read as big endian, the dataset is big endian.
    if not little or (big and first > 0xFF >= swapped[0]):
        return BIG_ENDIAN if explicit else ""
    return EXPLICIT if explicit else IMPLICIT


def _is_known(group: int, number: int) -> bool:
    """Whether PS3.6 has a tag; group lengths, and private creators, count as known in all groups."""
    creator = group % 2 and 0x10 <= number <= 0xFF
    return bool(number == 0 or creator or group << 16 | number in DicomDictionary)


def _guessed(file: Part10) -> tuple[Part10, str]:
    """A file that does not name its transfer syntax, with the guessed one. Raises ObjectDamaged."""
    syntax = _guess(memoryview(file.dataset))
    if not syntax:
        raise ObjectDamaged("it is not a DICOM file: it has no File Meta Information, and begins no dataset")
    keyword = lookup(syntax).keyword
    facts = survey(Received("", "", syntax, file.dataset, "", "", datetime.now(UTC), sha256="-"))
    if not facts.readable:
        raise ObjectDamaged(f"nothing says its transfer syntax, and {keyword} is not it: {facts.fault}")
    sop_class, sop_instance = map(facts.attributes.get, ("SOPClassUID", "SOPInstanceUID"))
    if not (sop_class and sop_instance):
        raise ObjectDamaged(
            f"nothing says its transfer syntax; as {keyword} it has no SOP Class or Instance UID"
        )
    found = replace(file, sop_class_uid=sop_class, sop_instance_uid=sop_instance, transfer_syntax=syntax)
    return found, f"nothing says its transfer syntax; {keyword} was guessed"


def files_below(paths: Iterable[Path]) -> Iterator[Path]:
    """The files that ``paths`` name or contain, in order; of an archive's folder, those of objects.

    The archive's journal, trash and dictionaries are left out. Segments of the landing log are included:
    objects in them may have no file of their own yet.
    """
    for path in paths:
        if path.is_dir():
            found = (entry for entry in sorted(path.rglob("*")) if entry.is_file())
            yield from (entry for entry in found if not _is_housekeeping(entry, path))
        else:
            yield path


def _is_housekeeping(file: Path, root: Path) -> bool:
    """Whether a file below ``root`` is an archive's, but no object (docs/format.md, section 1)."""
    if file.suffix == ".log":
        return False
    for folder in file.parents:
        name = file.relative_to(folder).parts[0]
        if (name.startswith(".") or name == DICTIONARIES) and is_store(folder):
            return True
        if folder == root:
            break
    return False
