"""An established association, and a request that came over it.

This module is the one that relies on pynetdicom's internals: version 3.0's ``Association`` with its
``_serve_request``, ``dimse.send_msg``, ``dimse.get_msg``, ``dimse.cancel_req``, ``_is_paused`` and
``_reactor_checkpoint``. tests/test_association.py fails when they change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import structlog
from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_CANCEL, C_STORE
from pynetdicom.presentation import PresentationContext

from scp import telemetry
from scp.dimse.status import comment_of, status_of

_MOST_QUEUED = 64  # parts of messages, two for each match of a C-FIND
_MEDIUM = 0x0000  # priority of sub-operations (PS3.7 9.3.1.1)


class Disconnected(Exception):
    """The peer aborted, or is gone; there is nobody to answer."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Sub-operations of a C-MOVE or C-GET (PS3.4 C.4.2.1.6 to 9).

    ``remaining`` is None where the response is final, which has no such number.
    """

    remaining: int | None
    completed: int
    failed: int
    warning: int


class Exchange:
    """One request being served: what was asked, under which context, and how to answer."""

    def __init__(self, association: ServedAssociation, request: Any, context: PresentationContext) -> None:
        self.association = association
        self.request = request
        self.abstract_syntax = str(context.abstract_syntax)
        self.transfer_syntax = str(context.transfer_syntax[0])
        self.context_id = context_id(context)

    @property
    def calling_aet(self) -> str:
        """AE title of the peer."""
        return str(self.association.requestor.ae_title).strip()

    @property
    def called_aet(self) -> str:
        """AE title that the peer called."""
        return self.association.called_aet

    @property
    def cancelled(self) -> bool:
        """Whether a C-CANCEL for this request has come in.

        Raises Disconnected when the peer is gone, so that nobody works for nobody.
        """
        if self.association.acse.is_aborted() or not self.association.dul.is_alive():
            raise Disconnected
        return self.request.MessageID in self.association.dimse.cancel_req

    def respond(
        self,
        status: int,
        *,
        dataset: bytes | None = None,
        comment: str = "",
        counts: Counts | None = None,
    ) -> None:
        """Send a response; ``dataset`` is the identifier, encoded."""
        response = type(self.request)()
        response.MessageIDBeingRespondedTo = self.request.MessageID
        response.AffectedSOPClassUID = self.request.AffectedSOPClassUID
        response.Status = status
        if isinstance(response, C_STORE):
            response.AffectedSOPInstanceUID = self.request.AffectedSOPInstanceUID
        if comment:
            response.ErrorComment = comment
        if dataset is not None:
            response.Identifier = BytesIO(dataset)
        if counts is not None:
            response.NumberOfRemainingSuboperations = counts.remaining
            response.NumberOfCompletedSuboperations = counts.completed
            response.NumberOfFailedSuboperations = counts.failed
            response.NumberOfWarningSuboperations = counts.warning
        self.association.dimse.send_msg(response, self.context_id)
        self.association.drain()

    def fail(self, error: Exception) -> int:
        """Answer with the status of an error; returns it."""
        status = status_of(error)
        self.respond(status, comment=comment_of(str(error) or type(error).__name__))
        return status


@dataclass(frozen=True, slots=True)
class Extended:
    """What SOP Class Extended Negotiation of a query or retrieve class agreed on (PS3.4 C.5.1.1)."""

    relational: bool = False
    combined_datetime: bool = False


def context_id(context: PresentationContext) -> int:
    """The number of a negotiated presentation context."""
    if context.context_id is None:
        raise ValueError("the presentation context was not negotiated")
    return context.context_id


Service = Callable[[Exchange, telemetry.RequestEvent], None]


class ServedAssociation(Association):
    """An association whose requests go to zscp's services (a class of request → its service)."""

    services: Mapping[type, tuple[str, Service]] = {}
    requests = 0
    busy = False

    def run_reactor(self) -> None:
        """Serve until the association ends, and log one event of how it went."""
        started = time.perf_counter()
        try:
            super().run_reactor()
        finally:
            structlog.get_logger("zscp").info(
                "association",
                **self._described(),
                requests=self.requests,
                outcome=self._outcome(),
                duration_ms=round((time.perf_counter() - started) * 1000, 1),
            )

    def extended(self, sop_class: str) -> Extended:
        """What was agreed on for a SOP class."""
        agreed = self.acceptor.sop_class_extended.get(UID(sop_class), b"")
        return Extended(agreed[:1] == b"\1", agreed[1:2] == b"\1")

    @property
    def called_aet(self) -> str:
        """AE title that the peer called; empty before it asked for anything."""
        asked = self.requestor.primitive
        return str(asked.called_ae_title).strip() if asked else ""

    def drain(self) -> None:
        """Wait for what is queued to be sent, once that is much.

        pynetdicom's thread reads nothing while it has something to send: a C-CANCEL would wait for the
        last of many matches, and all of them in memory for a peer that reads slowly.
        """
        queued = self.dul.to_provider_queue
        if queued.qsize() >= _MOST_QUEUED:
            while queued.qsize() and self.dul.is_alive():
                time.sleep(0.0005)

    def _described(self) -> dict[str, Any]:
        asked, address = self.requestor.primitive, self.requestor.address_info
        return {
            "association": self.name,
            "calling_aet": str(self.requestor.ae_title).strip() if asked else "",
            "called_aet": self.called_aet,
            "peer": address.address if address else "",
            "accepted": len(self._accepted_cx),
            "refused": len(self._rejected_cx),
        }

    def _outcome(self) -> str:
        if self.is_rejected:
            return "rejected"
        if self.is_released:
            return "released"
        return "aborted" if self.is_aborted or self.requestor.primitive else "no request"

    def _serve_request(self, msg: Any, context_id: int) -> None:
        """Hand a request to its service; what a service cannot answer ends the association."""
        context = self._accepted_cx.get(context_id)
        served = self.services.get(type(msg))
        if self._sent_release or not msg.is_valid_request or isinstance(msg, C_CANCEL):
            return  # a late C-CANCEL or response: there is nothing left that it could be about
        if context is None or served is None:
            structlog.get_logger("zscp").warning(
                "message refused",
                **self._described(),
                message=type(msg).__name__,
                reason="no accepted presentation context" if context is None else "no such service",
            )
            self.abort()
            return
        self._run(*served, Exchange(self, msg, context))

    def _run(self, name: str, service: Service, exchange: Exchange) -> None:
        self.requests += 1
        self._is_paused = self.busy = True
        bound = {"association": self.name, "calling_aet": exchange.calling_aet}
        try:
            with telemetry.request(name, **bound) as event:
                try:
                    service(exchange, event)
                except Disconnected:
                    event.add(outcome="disconnected")
                except Exception as error:  # whatever it was, the peer gets an answer  # noqa: BLE001
                    event.fail(error)
                    event.add(status=exchange.fail(error))
        finally:
            self._is_paused = self.busy = False
            self.dimse.cancel_req.clear()
            self.dul._idle_timer.restart()  # noqa: SLF001 - a long C-MOVE hears nothing of its peer meanwhile


def store_over(
    association: Association,
    context: int,
    instance_uids: tuple[str, str],
    dataset: bytes,
    message_id: int,
    originator: tuple[str, int] | None = None,
) -> int | None:
    """Send one C-STORE request with an encoded dataset, and wait for its status.

    ``instance_uids`` are SOP Class and Instance UID, ``originator`` the AE title and message id of the
    C-MOVE. Returns None when the peer aborted or did not answer within the DIMSE time-out.
    """
    request = C_STORE()
    request.MessageID = message_id
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = instance_uids
    request.Priority = _MEDIUM
    request.DataSet = BytesIO(dataset)
    if originator is not None:
        request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID = originator
    association.dimse.send_msg(request, context)
    while True:
        _, response = association.dimse.get_msg(block=True)
        if response is None:
            return None
        if isinstance(response, C_STORE) and response.MessageIDBeingRespondedTo == message_id:
            return response.Status


class PausedReactor:
    """Keeps pynetdicom's reactor of an association that zscp opened from taking our responses."""

    def __init__(self, association: Association) -> None:
        self._association = association

    def __enter__(self) -> None:
        self._association._reactor_checkpoint.clear()  # noqa: SLF001
        while not self._association._is_paused and self._association.is_alive():  # noqa: SLF001
            time.sleep(0.0001)

    def __exit__(self, *_: object) -> None:
        self._association._reactor_checkpoint.set()  # noqa: SLF001
