"""Frames (PS3.18 10.4.1.1.6): as they are stored where the client takes that, else without loss."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from scp.archive.access import is_stale
from scp.archive.ahead import Course
from scp.archive.archive import Archive
from scp.archive.frames import OpenFrames
from scp.encoding.codecs.resolutions import resolutions_of
from scp.errors import NoLosslessWay
from scp.loss import LossyRule
from scp.model import Instance
from scp.spool import Buffer, slices
from scp.web.dicomweb.addresses import of_instance
from scp.web.dicomweb.asked import Asked
from scp.web.dicomweb.faults import Refused
from scp.web.dicomweb.multipart import Multipart, joined
from scp.web.dicomweb.pieces import Pieces
from scp.web.dicomweb.retrieve import loss
from scp.web.dicomweb.retrieve.conditions import headers_of, same, span_of, tag_of, unchanged
from scp.web.dicomweb.retrieve.instances import acceptance_of
from scp.web.dicomweb.retrieve.media_types import WAVELETS, Acceptance, Offer, frame_offers
from scp.web.dicomweb.retrieve.named import Named
from scp.web.dicomweb.retrieve.told import looks

_LONGEST = 10  # digits of a frame's number
# Bytes that are sent in one piece: each more takes the turn of a thread.
_AT_ONCE = 1 << 20
# Of how many bytes which smaller image is made: a list of integers with parameters (RFC 9651).
RESOLUTIONS = "Image-Resolutions"


@dataclass(frozen=True, slots=True)
class _Frames:
    """Frames that were asked for, the ways in which they may go out, and the first of them, by the first way.

    ``opened`` is None where the first is the only one. ``lossy`` is the rule of the client's entry
    (invariant 4).
    """

    instance: Instance
    opened: OpenFrames | None
    numbers: Sequence[int]
    offers: Sequence[Offer]
    first: Buffer
    headers: dict[str, str]
    lossy: LossyRule | None

    @property
    def offer(self) -> Offer:
        """How the first goes out."""
        return self.offers[0]


def numbers_of(text: str) -> list[int]:
    """The frame numbers of a path, from 1 on, in the order of the path. Raises Refused (400)."""
    parts = text.split(",")
    if not all(part.isascii() and part.isdecimal() and len(part) <= _LONGEST and int(part) for part in parts):
        raise Refused(400, "Frames are numbers from 1 on, with commas between them.")
    return [int(part) for part in parts]


async def serve(asked: Asked) -> Response:
    """Answer a request for frames of one instance."""
    numbers = numbers_of(asked.named["frames"])
    found = _at_once(asked, numbers)
    if found is None:
        found = await asked.apart(lambda: _found(asked, numbers))
    _look_ahead(asked, found)
    offer = found.offer
    asked.event.add(frames=len(numbers), transfer_syntax=offer.transfer_syntax)
    told = (*same([found.instance]), offer.content_type, asked.named["frames"], str(offer.multipart))
    told += (str(found.lossy),) if offer.lossy else ()
    tag = tag_of(told, weak=offer.multipart)
    if (answer := unchanged(asked.request.headers, tag)) is not None:
        return answer
    headers = headers_of(tag) | found.headers
    if offer.multipart:
        body = Multipart(offer.media_type)
        if len(numbers) == 1 and len(found.first) <= _AT_ONCE:
            whole = b"".join(
                (_head(asked, found, body, numbers[0], offer, found.first), found.first, body.end())
            )
            return Response(whole, media_type=body.content_type, headers=headers)
        return Pieces(asked, _parts(asked, found, body), body.content_type, headers)
    return sent(asked, found.first, tag, offer.content_type, headers)


def sent(asked: Asked, value: Buffer, tag: str, content_type: str, headers: dict[str, str]) -> Response:
    """A body of known size, or the range of it that is asked for."""
    # Ranges are of GET alone (RFC 9110 14.2).
    span = span_of(asked.request.headers, tag, len(value)) if asked.request.method == "GET" else None
    headers = headers | {"Accept-Ranges": "bytes"}
    part = memoryview(value)
    if span is not None:
        part = part[span.start : span.end]
        headers["Content-Range"] = span.content_range
    status = 200 if span is None else 206
    if len(part) <= _AT_ONCE:
        return Response(bytes(part), status, headers, content_type)
    headers["Content-Length"] = str(len(part))
    return Pieces(asked, _pieces(part), content_type, headers, status)


def _pieces(value: memoryview) -> Generator[bytes, None, None]:
    yield from map(bytes, slices(value))


def _at_once(asked: Asked, numbers: Sequence[int]) -> _Frames | None:
    """A frame that was got ready, where nothing is to be waited for; None for all others."""
    named, archive = asked.named, asked.desk.archive()
    if numbers != [1] or asked.caller.seen:
        return None
    ready = archive.ahead.at_once(named["study"], named["series"], named["instance"])
    if ready is None or looks.is_due(asked, ready.instance):
        return None
    if is_stale(archive.policy, ready.instance, time.time()):
        return None
    return _as_it_lies(asked, ready.instance, ready.frame)


def _as_it_lies(asked: Asked, instance: Instance, frame: bytes) -> _Frames | None:
    """The one frame of an instance as it is stored, where that is what the client gets."""
    acceptance = acceptance_of(asked)
    offers = _offers(acceptance, instance, single=True)
    if not offers or offers[0].lossy or offers[0].transfer_syntax != instance.transfer_syntax:
        return None
    headers = _resolutions(asked, offers[0], frame)
    return _Frames(instance, None, [1], offers[:1], frame, headers, acceptance.preference.lossy)


def _look_ahead(asked: Asked, found: _Frames) -> None:
    """Have the next frames got ready for one who goes through a series frame by frame."""
    single = found.opened is None or found.opened.count == 1
    as_stored = found.offer.transfer_syntax == found.instance.transfer_syntax and not found.offer.lossy
    if asked.caller.seen or not (single and as_stored):
        return
    caller, instance = asked.caller, found.instance
    who = (caller.kind, caller.name or caller.address)
    course = Course(who, instance.study_instance_uid, instance.series_instance_uid)
    work = asked.desk.archive().ahead.asked(course, instance.sop_instance_uid)
    if work is not None:
        asked.threads.begin(work)


def _found(asked: Asked, numbers: Sequence[int]) -> _Frames:
    """Raises Refused (404, 406), and what keeps the first frame."""
    archive, instance = asked.desk.archive(), Named(asked).first
    acceptance, single = acceptance_of(asked), len(numbers) == 1
    if numbers == [1] and (frame := archive.ahead.of(instance)) is not None:
        ready = _as_it_lies(asked, instance, frame)
        if ready is not None:
            looks.note(asked, instance)
            archive.record_access([instance])
            return ready
    best = next(iter(_offers(acceptance, instance, single)), None)
    as_stored = best is not None and not best.lossy and best.transfer_syntax == instance.transfer_syntax
    opened = archive.frames.open(instance, as_stored)
    if (beyond := max(numbers)) > opened.count:
        raise Refused(404, f"There is no frame {beyond}: the instance has {opened.count}.")
    offers = _offers(acceptance, opened.instance, single)
    at, first = _frame(archive, opened, numbers[0], offers, acceptance.preference.lossy)
    looks.note(asked, opened.instance)
    archive.record_access([instance])
    # A small one is read here, in a thread: a map may have to wait for the disk.
    first = bytes(first) if len(first) <= _AT_ONCE else first
    headers = _resolutions(asked, offers[at], first)
    if offers[at].lossy and acceptance.preference.lossy is not None:
        headers |= loss.warning(asked.base, acceptance.preference.lossy)
    ways = list(_goes_with(offers[at:]))
    return _Frames(opened.instance, opened, numbers, ways, first, headers, acceptance.preference.lossy)


def _offers(acceptance: Acceptance, instance: Instance, single: bool) -> Sequence[Offer]:
    return frame_offers(acceptance, instance.transfer_syntax, instance.received_transfer_syntax, single)


def _goes_with(offers: Sequence[Offer]) -> Iterator[Offer]:
    """The first of the offers, and those that other parts may have: its media type, and no loss but its."""
    for one in offers:
        if one.media_type == offers[0].media_type and one.lossy <= offers[0].lossy:
            yield one


def _frame(
    archive: Archive, opened: OpenFrames, number: int, offers: Sequence[Offer], rule: LossyRule | None
) -> tuple[int, Buffer]:
    """By which of the offers a frame can go first, and as what. Raises NoLosslessWay."""
    fault = NoLosslessWay("none of the accepted media types carries these frames")
    for at, offer in enumerate(offers):
        try:
            lossy = rule if offer.lossy else None
            return at, archive.frames.frame(opened, number, offer.transfer_syntax, lossy)
        except NoLosslessWay as error:
            fault = error
    raise fault


def _resolutions(asked: Asked, offer: Offer, codestream: Buffer) -> dict[str, str]:
    """Where the resolutions of a frame end, for those who read by ranges: nobody else has to wait for it."""
    by_ranges = asked.request.method == "HEAD" or "range" in asked.request.headers
    if offer.multipart or offer.transfer_syntax not in WAVELETS or not by_ranges:
        return {}
    found = resolutions_of(bytes(codestream))
    told = ", ".join(f"{one.size};rows={one.rows};columns={one.columns}" for one in found)
    return {RESOLUTIONS: told} if told else {}


def _parts(asked: Asked, found: _Frames, body: Multipart) -> Generator[bytes, None, None]:
    archive = asked.desk.archive()
    for at, number in enumerate(found.numbers):
        chosen, value = 0, found.first
        if at and found.opened is not None:
            chosen, value = _frame(archive, found.opened, number, found.offers, found.lossy)
        yield from joined(iter((_head(asked, found, body, number, found.offers[chosen], value), value)))
    yield body.end()


def _head(asked: Asked, found: _Frames, body: Multipart, number: int, offer: Offer, value: Buffer) -> bytes:
    """What goes before a frame, which goes out as ``value``."""
    return body.head(
        {
            "Content-Type": offer.content_type,
            "Content-Location": f"{of_instance(asked.base, found.instance)}/frames/{number}",
            "Content-Length": str(len(value)),
        }
    )
