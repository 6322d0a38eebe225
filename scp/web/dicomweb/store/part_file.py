"""One part's content as a received object: its dataset is hashed, and spooled, while it arrives."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scp.archive import foreign
from scp.errors import ObjectDamaged, UnreadableDataset
from scp.objects import part10
from scp.objects.part10 import Part10
from scp.spool import Buffer, Spool

# Preamble, prefix, and the element that says how long the File Meta Information is (PS3.10 7.1).
_META = 132
_COUNTED = _META + 12
_LENGTH = b"\x02\0\0\0UL\x04\0"
_LONGEST_META = 1 << 20


@dataclass(frozen=True, slots=True)
class SentFile:
    """A DICOM file that was sent; ``sha256`` is that of its dataset, empty where it is not known."""

    file: Part10
    sha256: str


class PartFile:
    """Takes a DICOM file piece by piece. Raises OutOfResources where there is no room for it."""

    def __init__(self) -> None:
        self._begun = bytearray()
        self._file: Part10 | None = None  # what its File Meta Information says, once that is whole
        self._rest: Spool | None = None  # the dataset; of an odd file all of it
        self.size = 0

    def write(self, data: Buffer) -> None:
        """Append ``data``."""
        self.size += len(data)
        if self._rest is not None:
            self._rest.write(data)
            return
        self._begun += data
        end = _end_of_meta(self._begun)
        if end is not None and len(self._begun) < max(end, _COUNTED):
            return
        self._file = _head_of(self._begun, end)
        self._rest = Spool(hashing=self._file is not None)
        self._rest.write(self._begun[end:] if self._file is not None else self._begun)
        self._begun.clear()

    def read(self) -> SentFile:
        """The file, when all of it was written. Raises UnreadableDataset for what is no DICOM file.

        One without preamble, or with odd File Meta Information, is read as ``zscp import`` reads it. What a
        file says of its receipt is not believed.
        """
        spool = self._rest
        if spool is not None and self._file is not None:
            return SentFile(replace(self._file, dataset=spool.view()), spool.sha256)
        whole: Buffer = bytes(self._begun) if spool is None else spool.view()
        if part10.is_framed(whole):
            raise UnreadableDataset("it is compressed with zstd: a part is a DICOM file as it is")
        try:
            return SentFile(replace(foreign.read(whole)[0], provenance=None), "")
        except ObjectDamaged as error:
            raise UnreadableDataset(str(error)) from error


def _end_of_meta(begun: Buffer) -> int | None:
    """Where the File Meta Information ends, 0 where that is not known yet; None where it does not say."""
    if len(begun) < _COUNTED:
        return 0
    if bytes(begun[_META - 4 : _META + 8]) != b"DICM" + _LENGTH:
        return None
    end = _COUNTED + int.from_bytes(begun[_META + 8 : _COUNTED], "little")
    return end if end <= _LONGEST_META else None


def _head_of(begun: bytearray, end: int | None) -> Part10 | None:
    """What the beginning of a file says of it; None where it is not as PS3.10 has it."""
    if end is None:
        return None
    try:
        found = part10.taken_apart(bytes(begun[:end]))
    except ObjectDamaged:
        return None
    # What its elements leave of their announced length would be the dataset's: the file is odd.
    return None if len(found.dataset) else replace(found, provenance=None)
