"""Metadata and bulk data (PS3.18 10.5.2): datasets of DICOM JSON, whose bulk values are parts of the body.

Any dataset may name any part, by its Content-Location: so nothing is stored before the body is over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scp.errors import UnreadableDataset
from scp.resources.bounds import bounds
from scp.spool import Buffer, Spool
from scp.web.dicomweb.store.json_object import BulkValue, file_of
from scp.web.dicomweb.store.part_file import SentFile
from scp.web.dicomweb.store.part_reader import MalformedBody, PartReader
from scp.web.dicomweb.store.parts import MOST_PARTS, BodyBeyondBounds, why_encoded

METADATA = "application/dicom+json"
# Headers of some thousand images; each byte becomes several while they are read.
MOST_METADATA = 16 << 20


@dataclass(frozen=True, slots=True)
class DescribedObject:
    """One dataset of the metadata, and the bulk values of the request."""

    dataset: Any
    bulk: Mapping[str, BulkValue]

    def content(self) -> SentFile:
        """A DICOM file of it. Raises UnreadableDataset, and what kept a bulk value from being read."""
        return file_of(self.dataset, self.bulk)


@dataclass(frozen=True, slots=True)
class _BulkPlace:
    """Where a bulk value lies among all of them, or why it cannot be used."""

    content_type: str
    begin: int
    end: int
    fault: Exception | None


class MetadataParts:
    """Takes the parts, as :class:`PartSink` has it: the metadata first, and bulk values behind it."""

    def __init__(self) -> None:
        self._metadata = bytearray()
        self._values = Spool()  # one for all: each large one is an open file
        self._fault: Exception | None = None
        self._places: dict[str, _BulkPlace] = {}  # by address
        self._headers: Mapping[str, str] = {}
        self._count = self._begun = self._size = 0
        self._arrived: list[DescribedObject] = []

    def taken(self) -> list[DescribedObject]:
        """The objects, once :meth:`resolve` was called; then none."""
        arrived, self._arrived = self._arrived, []
        return arrived

    def begin(self, headers: Mapping[str, str] | None) -> None:
        """See PartSink. Raises BodyBeyondBounds."""
        if self._count >= MOST_PARTS:
            raise BodyBeyondBounds(f"a request has {MOST_PARTS} parts at most; send the rest in another")
        self._count += 1
        self._headers, self._size, self._begun = headers or {}, 0, self._values.size

    def write(self, data: Buffer) -> None:
        """See PartSink. Raises BodyBeyondBounds."""
        self._size += len(data)
        most = MOST_METADATA if self._count == 1 else bounds().pixel_bytes
        if self._size > most:
            raise BodyBeyondBounds(f"a part has more than {most} bytes")
        if self._count == 1:
            self._metadata += data
        elif self._fault is None:
            try:
                self._values.write(data)
            except Exception as error:  # noqa: BLE001 - the fault of the objects that name a value
                self._fault = error

    def end(self) -> None:
        """See PartSink."""
        if self._count > 1:
            kind, told = self._headers.get("content-type", ""), why_encoded(self._headers)
            place = _BulkPlace(
                kind, self._begun, self._values.size, UnreadableDataset(told) if told else None
            )
            self._places[self._headers.get("content-location", "").strip()] = place

    def resolve(self) -> None:
        """Find the objects, when all parts are there. Raises MalformedBody, BodyBeyondBounds."""
        try:
            found = json.loads(self._metadata, parse_constant=_refused)
        except (ValueError, RecursionError) as error:
            raise MalformedBody("its first part is no JSON") from error
        if not isinstance(found, list) or not found:
            raise MalformedBody("its first part is no array of datasets")
        if len(found) > MOST_PARTS:
            raise BodyBeyondBounds(f"a request has {MOST_PARTS} objects at most; send the rest in another")
        self._metadata.clear()
        whole = memoryview(b"" if self._fault is not None else self._values.view())
        bulk = {
            address: BulkValue(one.content_type, whole[one.begin : one.end], self._fault or one.fault)
            for address, one in self._places.items()
        }
        self._arrived = [DescribedObject(one, bulk) for one in found]


def _refused(name: str) -> None:
    """NaN, and what is infinite, are no JSON (RFC 8259 6), and no value of DS."""
    raise ValueError(f"{name} is no number of JSON")


class MetadataReader:
    """Reads such a body. Raises MalformedBody for a boundary that is none."""

    def __init__(self, boundary: str, parts: MetadataParts) -> None:
        self._parts, self._reader = parts, PartReader(boundary, parts)

    def feed(self, data: Buffer) -> None:
        """See BodyReader."""
        self._reader.feed(data)

    def close(self) -> None:
        """See BodyReader."""
        self._reader.close()
        self._parts.resolve()
