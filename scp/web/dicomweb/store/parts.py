"""The parts of one request, on their way from the body to objects that can be ingested."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scp.errors import UnreadableDataset
from scp.resources.bounds import bounds
from scp.spool import Buffer
from scp.web.dicomweb.accept import accepted
from scp.web.dicomweb.store.part_file import PartFile, SentFile

DICOM = "application/dicom"
# Of each part its answer is held, some 500 bytes, until the request ends. The largest studies have 10,000.
MOST_PARTS = 20_000
# A part that is no DICOM file costs a millisecond, for its line in the log: 20,000 of them took 23 s. Nobody
# who sends so many sends anything else.
MOST_UNREAD = 1_000
_AS_IT_IS = ("", "binary", "8bit", "7bit")


class BodyBeyondBounds(Exception):
    """A body is, or has, more than is read of one request; says what."""


@dataclass(frozen=True, slots=True)
class ArrivedPart:
    """A part whose content has come: a DICOM file, or why there is none."""

    file: SentFile | None
    fault: Exception | None = None

    def content(self) -> SentFile:
        """The file. Raises what kept it from being one."""
        if self.file is None:
            raise self.fault or UnreadableDataset("the part has no content")
        return self.file


class ArrivingParts:
    """Takes the parts of a body, as :class:`PartSink` has it; those that have come whole wait in turn.

    Raises BodyBeyondBounds where no more of the body is read. Whatever else is wrong with a part is a fault
    of that part: the rest of it is thrown away.
    """

    def __init__(self) -> None:
        self._content: PartFile | None = None
        self._fault: Exception | None = None
        self._size = self._count = self._unread = 0
        self._arrived: list[ArrivedPart] = []

    def taken(self) -> list[ArrivedPart]:
        """Those that have come since the last call."""
        arrived, self._arrived = self._arrived, []
        return arrived

    def begin(self, headers: Mapping[str, str] | None) -> None:
        """See PartSink."""
        if self._count >= MOST_PARTS:
            raise BodyBeyondBounds(f"a request has {MOST_PARTS} parts at most; send the rest in another")
        self._count, self._size = self._count + 1, 0
        told = "its headers are longer than is read" if headers is None else _why_unread(headers)
        self._fault = UnreadableDataset(told) if told else None
        self._content = None if told else PartFile()

    def write(self, data: Buffer) -> None:
        """See PartSink."""
        self._size += len(data)
        if self._size > bounds().pixel_bytes + bounds().header_bytes:
            raise BodyBeyondBounds("a part is longer than any object may be (limits.pixel_bytes)")
        if self._content is not None:
            try:
                self._content.write(data)
            except Exception as error:  # noqa: BLE001 - its own fault, whatever it is
                self._content, self._fault = None, error

    def end(self) -> None:
        """See PartSink."""
        found, fault = None, self._fault
        if self._content is not None:
            try:
                found = self._content.read()
            except Exception as error:  # noqa: BLE001 - as above
                fault = error
        self._content = None
        self._arrived.append(ArrivedPart(found, fault))
        self._unread += isinstance(fault, UnreadableDataset)
        if self._unread > MOST_UNREAD:
            raise BodyBeyondBounds(f"more than {MOST_UNREAD} of its parts are no DICOM files")


def _why_unread(headers: Mapping[str, str]) -> str:
    """Why a part is not read, by its headers; empty where it is. Without Content-Type it is DICOM."""
    if told := why_encoded(headers):
        return told
    kind = headers.get("content-type", "").strip()
    ranges = accepted(kind) if kind else ()
    if kind and not (ranges and not ranges[0].multipart and ranges[0].media_type == DICOM):
        return f"its Content-Type is {kind[:60]}, not {DICOM}"
    return ""


def why_encoded(headers: Mapping[str, str]) -> str:
    """That a part, by its headers, would have to be decoded first; empty where it would not."""
    encoding = headers.get("content-transfer-encoding", "").strip().lower()
    if encoding in _AS_IT_IS:
        return ""
    return f"its Content-Transfer-Encoding is {encoding[:20]}; send it as it is"
