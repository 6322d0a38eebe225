"""Whole instances (PS3.18 10.4.1.1.1): each as a DICOM file, in the best transfer syntax that is accepted."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby

from starlette.responses import Response

from scp.archive.archive import Archive
from scp.archive.deliver import Outgoing, identified
from scp.errors import NoLosslessWay, ZscpError, message_of
from scp.model import Instance, SyntaxPreference
from scp.objects import part10
from scp.objects.part10 import Part10
from scp.spool import Buffer
from scp.web.dicomweb.accept import accepted_by
from scp.web.dicomweb.addresses import of_instance
from scp.web.dicomweb.asked import Asked
from scp.web.dicomweb.faults import Refused
from scp.web.dicomweb.multipart import Multipart, joined
from scp.web.dicomweb.pieces import Pieces
from scp.web.dicomweb.retrieve.conditions import headers_of, tag_of, unchanged
from scp.web.dicomweb.retrieve.media_types import DICOM, Acceptance, Offer, instance_offers
from scp.web.dicomweb.retrieve.named import Named, named_with_digest
from scp.web.dicomweb.retrieve.shortfall import Shortfall, failed_lately
from scp.web.dicomweb.retrieve.told import Transfer


@dataclass(frozen=True, slots=True)
class _OnItsWay:
    """An instance on its way out, and how it goes."""

    outgoing: Outgoing
    offer: Offer

    @property
    def instance(self) -> Instance:
        return self.outgoing.instance


class _AskedFor:
    """The instances of one request."""

    def __init__(self, asked: Asked, named: Named, acceptance: Acceptance) -> None:
        self._asked, self._archive = asked, asked.desk.archive()
        self.named, self._acceptance = named, acceptance
        self._single = "instance" in asked.named
        self.short = Shortfall(asked.check)
        self._transfer = Transfer(asked)
        self._incomplete: ZscpError | None = None  # what failed while the others were sent
        self._first = self._looked_for()

    @property
    def multipart(self) -> bool:
        """Whether they go as parts."""
        return self._first.offer.multipart or self.named.count > 1

    @property
    def content_type(self) -> str:
        """Of the one instance that goes without multipart."""
        return self._first.offer.content_type

    def _looked_for(self) -> _OnItsWay:
        """Find out, before anything is sent, what will not go; returns the first that does.

        Raises what keeps all of them; Refused (406) where that is what is accepted.
        """
        for page in self.named.pages():
            for one in page:
                self._asked.check()
                if not self._offers(one):
                    self.short.add(one, NoLosslessWay("none of the accepted transfer syntaxes carries it"))
        self.short.look(self.named.pages(), self._found)
        try:
            return self.short.first(self.named.pages(), self._found)[1]
        except NoLosslessWay as error:
            raise Refused(406, f"Nothing that is accepted can be sent: {message_of(error)}.") from error

    def _found(self, instance: Instance) -> _OnItsWay:
        return found(self._archive, instance, self._offers(instance), self._acceptance.preference)

    def _offers(self, instance: Instance) -> Sequence[Offer]:
        stored, received = instance.transfer_syntax, instance.received_transfer_syntax
        return instance_offers(self._acceptance, stored, received, self._single)

    def single(self) -> Generator[bytes, None, None]:
        """The one DICOM file."""
        try:
            yield from joined(file_of(self._first.outgoing))
            self._transfer.sent(self._first.instance)
            self._archive.record_access([self._first.instance])
        finally:
            self._transfer.end()

    def parts(self, body: Multipart) -> Generator[bytes, None, None]:
        """All of them. Where one fails that was not known to, the body ends without its end.

        The others follow before that; but not behind a half part, which would be taken for a whole one.
        """
        try:
            for page in self.named.pages():
                yield from self._parts_of(page, body)
            if self._incomplete is not None:
                raise self._incomplete
            yield body.end()
        finally:
            self._transfer.end()

    def _parts_of(self, page: Iterable[Instance], body: Multipart) -> Iterator[bytes]:
        sent: list[Instance] = []
        for one in page:
            if (each := self._next(one)) is not None:
                yield from self._part(each, body)
                sent.append(one)
        self._archive.record_access(sent)

    def _next(self, instance: Instance) -> _OnItsWay | None:
        """An instance on its way; None for one that is left out, or fails now."""
        if (error := self.short.keys.get(instance.key)) is not None:
            self._transfer.left_out(instance, message_of(error))
            return None
        if instance.key == self._first.instance.key:
            return self._first
        try:
            return self._found(instance)
        except ZscpError as unforeseen:
            self._incomplete = self._unforeseen(instance, unforeseen)
            return None

    def _unforeseen(self, instance: Instance, error: ZscpError) -> ZscpError:
        failed_lately.add(instance)
        self._transfer.left_out(instance, message_of(error))
        return error

    def _part(self, each: _OnItsWay, body: Multipart) -> Iterator[bytes]:
        location = of_instance(self._asked.base, each.instance)
        head = body.head({"Content-Type": each.offer.content_type, "Content-Location": location})
        try:
            yield from joined(chain((head,), file_of(each.outgoing)))
        except ZscpError as error:
            self._unforeseen(each.instance, error)
            raise
        self._transfer.sent(each.instance)


async def serve(asked: Asked) -> Response:
    """Answer a request for instances: those of a study, of a series, or one."""
    acceptance = acceptance_of(asked)
    named, digest = await asked.apart(lambda: named_with_digest(asked))
    tag = tag_of((digest, asked.base, str(acceptance)), weak=True)  # a boundary differs each time
    if (answer := unchanged(asked.request.headers, tag)) is not None:
        return answer
    sending = await asked.apart(lambda: _AskedFor(asked, named, acceptance))
    count = named.count
    headers = sending.short.headers(asked.base, count) if len(sending.short) else headers_of(tag)
    asked.event.add(instances=count, **({"left_out": len(sending.short)} if len(sending.short) else {}))
    status = 206 if len(sending.short) else 200
    if not sending.multipart:
        return Pieces(asked, sending.single(), sending.content_type, headers, status)
    body = Multipart(DICOM)
    return Pieces(asked, sending.parts(body), body.content_type, headers, status)


def acceptance_of(asked: Asked) -> Acceptance:
    """What the sender of a request accepts, with what their entry says."""
    return Acceptance(accepted_by(asked.request), asked.caller.preference, asked.caller.prefers)


def found(
    archive: Archive, instance: Instance, offers: Sequence[Offer], preference: SyntaxPreference
) -> _OnItsWay:
    """An instance by the first of the offers by which it can go. Raises NoLosslessWay, and as fetch does."""
    fault: NoLosslessWay | None = None
    for _, equal in groupby(offers, key=lambda one: one.quality):
        by_syntax = {one.transfer_syntax: one for one in equal}
        try:
            outgoing = archive.fetch(instance, by_syntax, preference)
            return _OnItsWay(identified(outgoing), by_syntax[outgoing.transfer_syntax])
        except NoLosslessWay as error:
            fault = fault or error
    raise fault or NoLosslessWay("none of the accepted transfer syntaxes carries it")


def file_of(outgoing: Outgoing) -> Iterator[Buffer]:
    """The DICOM file of an object (PS3.10 7.1), piece by piece."""
    instance = outgoing.instance
    uids = (instance.sop_class_uid, instance.sop_instance_uid)
    yield part10.head(Part10(*uids, outgoing.transfer_syntax, b"", source_aet=instance.calling_aet))
    yield from outgoing.chunks
