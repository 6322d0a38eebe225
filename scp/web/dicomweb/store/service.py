"""STOW-RS (PS3.18 10.5): a body is read, and its parts are ingested, while it arrives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Protocol

import anyio
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from scp.resources.pressure import pressure
from scp.spool import Buffer
from scp.web.dicomweb.accept import ANYTHING, MULTIPART, accepted, accepted_by
from scp.web.dicomweb.asked import Asked, Route
from scp.web.dicomweb.faults import RETRY_SECONDS, Refused, fault
from scp.web.dicomweb.json_model import written
from scp.web.dicomweb.store.ingesting import Ingesting, Part
from scp.web.dicomweb.store.metadata_parts import METADATA, MetadataParts, MetadataReader
from scp.web.dicomweb.store.part_reader import MalformedBody, PartReader
from scp.web.dicomweb.store.parts import DICOM, ArrivingParts, BodyBeyondBounds
from scp.web.dicomweb.store.response import StoreOutcome
from scp.web.dicomweb.xml_model import MEDIA_TYPE as XML
from scp.web.dicomweb.xml_model import native_model

# So much of a body is given to a thread at a time: a turn of a thread costs as much as to hash 100 KB.
_TURN = 512 << 10
_LONGEST_REASON = 300
_ANSWERS = ("application/dicom+json", "application/json", XML)
_STATUSES = (200, 202)
# Media types of a body, without and with multipart; there, it may be left to the parts.
_MEDIA_TYPES = ((DICOM,), (DICOM, ANYTHING, METADATA))
_TAKEN = f'A body is {MULTIPART}; type="{DICOM}" or "{METADATA}", or one {DICOM}'


class BodyReader(Protocol):
    """Reads a body as it comes."""

    def feed(self, data: Buffer) -> None:
        """Read on. Raises MalformedBody, BodyBeyondBounds."""

    def close(self) -> None:
        """The body is over. Raises MalformedBody."""


class Arriving(Protocol):
    """What takes the parts of a body."""

    def taken(self) -> Sequence[Part]:
        """The objects that have come whole since the last call."""


class _OneFile:
    """A body that is one DICOM file."""

    def __init__(self, parts: ArrivingParts) -> None:
        self._parts, self._is_empty = parts, True
        self._parts.begin({})

    def feed(self, data: Buffer) -> None:
        """See BodyReader."""
        self._is_empty = self._is_empty and not len(data)
        self._parts.write(data)

    def close(self) -> None:
        """See BodyReader."""
        if self._is_empty:
            raise MalformedBody("it is empty")
        self._parts.end()


async def serve(asked: Asked) -> Response:
    """Answer a request once all that came with it is durable, or refused."""
    media_type = _answer_type(asked.request)
    reader, parts = _reader(asked.request)
    pressure().check()
    ingesting = await asked.threads.run(partial(Ingesting, asked))
    outcome = ingesting.outcome
    await _Arrival(asked, parts, reader, ingesting).run()
    asked.event.add(stored=len(outcome.stored), failed=len(outcome.failed))
    if outcome.broken:
        asked.event.warn(outcome.broken)
    return await asked.apart(partial(_answer, asked, outcome, media_type))  # 20,000 objects take a while


class _Arrival:
    """A body on its way in: while what came of it is ingested, more of it is read."""

    def __init__(self, asked: Asked, parts: Arriving, reader: BodyReader, ingesting: Ingesting) -> None:
        self._asked, self._parts, self._reader, self._ingesting = asked, parts, reader, ingesting

    async def run(self) -> None:
        """Read all of it, and store the parts that came whole: also where it ends too early."""
        handed, taken = anyio.create_memory_object_stream[list[Part]](0)  # so it waits for its turn
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._ingest, taken)
                async with handed:
                    await self._read(handed)
        finally:  # whatever broke it off: what was stored is recorded, and the audit trail has it
            with anyio.CancelScope(shield=True):
                await self._apart(self._ingesting.finish)

    async def _read(self, handed: ObjectSendStream[list[Part]]) -> None:
        outcome = self._ingesting.outcome
        try:
            async for turn in _turns(self._asked.request):
                await self._apart(partial(self._reader.feed, turn))
                await handed.send([*self._parts.taken()])
            await self._apart(self._reader.close)
        except (MalformedBody, BodyBeyondBounds) as error:
            outcome.broken = f"the body was not read to its end: {error}"
            outcome.beyond_bounds = isinstance(error, BodyBeyondBounds)
        except ClientDisconnect:
            outcome.broken = "the client went before the end of the body"
        await handed.send([*self._parts.taken()])

    async def _ingest(self, taken: ObjectReceiveStream[list[Part]]) -> None:
        async with taken:
            async for parts in taken:
                if parts:
                    await self._apart(partial(self._ingesting.take, parts))

    async def _apart(self, work: Callable[[], None]) -> None:
        await self._asked.threads.run(work)


async def _turns(request: Request) -> AsyncIterator[bytearray]:
    """The body, in pieces that are worth a turn of a thread. Raises ClientDisconnect."""
    held = bytearray()
    try:
        async for piece in request.stream():
            held += piece
            if len(held) >= _TURN:
                yield held
                held = bytearray()
    except ClientDisconnect:
        yield held  # parts in it may have come whole
        raise
    yield held


def _reader(request: Request) -> tuple[BodyReader, Arriving]:
    """What reads a body of the Content-Type, and what takes its parts. Raises Refused (400, 415)."""
    kind = request.headers.get("content-type", "")
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise Refused(415, f"The body has the Content-Encoding {coding[:20]}; send it as it is.")
    found = accepted(kind) if kind.strip() else ()
    if len(found) != 1 or found[0].media_type not in _MEDIA_TYPES[found[0].multipart]:
        raise Refused(415, f"{_TAKEN}; this one is {kind[:100] or 'of no Content-Type'}.")
    files, described = ArrivingParts(), MetadataParts()
    if not found[0].multipart:
        return _OneFile(files), files
    boundary = found[0].parameters.get("boundary", "")
    try:
        if found[0].media_type == METADATA:
            return MetadataReader(boundary, described), described
        return PartReader(boundary, files), files
    except MalformedBody as error:
        raise Refused(400, f"The body cannot be read: {error}.") from error


def _answer_type(request: Request) -> str:
    """The media type of the answer (PS3.18 10.5.3.3). Raises Refused (406), before anything is stored."""
    for one in accepted_by(request):
        for media_type in _ANSWERS:
            if not one.multipart and one.covers(media_type):
                return media_type
        if one.multipart and one.covers(XML):
            return XML
    raise Refused(406, f"What was stored is told as {', '.join(_ANSWERS)}.")


def _answer(asked: Asked, outcome: StoreOutcome, media_type: str) -> Response:
    """The module and its status; a text where there was no part."""
    reasons = ", ".join(f'299 {asked.base} "{_quotable(told)}"' for told in outcome.reasons)
    headers = {"Warning": reasons} if reasons else {}
    if not outcome.stored and not outcome.failed:
        return fault(outcome.status, f"Nothing was stored: {outcome.broken or 'there is no part'}.")
    if outcome.status == 503:
        headers["Retry-After"] = RETRY_SECONDS
    module = outcome.module(asked.desk.settings().node.aet)
    body = native_model(module) if media_type == XML else written([module])
    return Response(body, outcome.status, headers, media_type)


def _quotable(told: str) -> str:
    """A text that can stand in a quoted string of a header."""
    return "".join(c if " " <= c <= "~" and c not in '"\\' else " " for c in told)[:_LONGEST_REASON]


ROUTES = tuple(
    Route("POST", path, "store", "stow-rs request", serve, name, _ANSWERS, ("accept",), _STATUSES)
    for path, name in (("/studies", "StoreInstances"), ("/studies/{study}", "StoreStudyInstances"))
)
