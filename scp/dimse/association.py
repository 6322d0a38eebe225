"""An established association, event-driven: requests are read, handed to services, and answered."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import Any

import structlog
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.pdu_primitives import A_ASSOCIATE

from scp import telemetry
from scp.archive.behind import RELEASE_SECONDS, Unrecorded
from scp.config.tls import names_of
from scp.dimse.admission import Admit, Admitted
from scp.dimse.aside import Aside
from scp.dimse.auditing import AssociationAudit
from scp.dimse.exchange import UNRECOGNIZED, Exchange, Extended, Service
from scp.dimse.negotiation.association_pdus import Rejection
from scp.dimse.negotiation.association_request import Choose, Titles
from scp.dimse.negotiation.contexts import has_operation
from scp.dimse.negotiation.direct import NO_TIMEOUT, DirectAssociation
from scp.dimse.negotiation.remembered_answers import Answers
from scp.dimse.negotiation.strangers import shake_hands
from scp.dimse.negotiation.window import SYNCHRONOUS, Window
from scp.dimse.own_requests import OwnRequests
from scp.dimse.rights import NONE, Arrival, Rights
from scp.dimse.wire import messages
from scp.dimse.wire.messages import Message
from scp.dimse.wire.pdus import INVALID_VALUE
from scp.dimse.wire.upper_layer import Ended, Outcome
from scp.metrics.board import ShownAssociation

# The reading thread serves a window's request of up to so many bytes itself, where no other is on its way:
# handing it to another thread takes 0.1 ms CPU, as much as all else that a small object costs here.
_SMALL = 65_536


class ServedAssociation(DirectAssociation):
    """An association whose requests go to ``services``: Command Field → name in the log, service.

    ``admit`` says what a peer may do, or with what its association is rejected. ``window`` is how many
    requests the peer may have in flight, ``suboperations`` how many this side may.
    """

    def __init__(
        self,
        ae: ApplicationEntity,
        sock: socket.socket,
        services: Mapping[int, tuple[str, Service]],
        admit: Admit,
        answers: Answers | None = None,
    ) -> None:
        super().__init__(ae, "acceptor", sock, answers)
        self.services = services
        self._admit = admit
        self.admitted: Admitted | None = None
        self.negotiator.admit = self._admitted_by_titles
        self.stall_seconds: float | None = None
        self.refusal: Rejection | None = None  # where that shows only once the request is read
        self.requests = 0
        self.outcome: Outcome = "no request"
        self.window = self.suboperations = SYNCHRONOUS
        self.own, self.audit, self.shown = OwnRequests(), AssociationAudit(), ShownAssociation()
        self.unrecorded = Unrecorded()
        self._windowed: Window | None = None
        self._serving = self._stopping = False
        self._last_request = time.monotonic()
        self._aside = Aside(self.own)

    # ---- its life ----

    def run_reactor(self) -> None:
        """Serve until the association ends, and log one event of how it went."""
        started = time.perf_counter()
        try:
            self.outcome = self._negotiate()
            while self.is_established:
                waiting = self._aside.waiting
                self._dispatch(waiting.popleft() if waiting else self.upper_layer.receive())
        except Ended as ended:
            self.outcome = self._ended(ended)
        except Exception as error:  # noqa: BLE001 - a bug ends one association, and is logged
            self.outcome = "failed"
            structlog.get_logger("zscp").error("association failed", **self._described(), exc_info=error)
            self.abort()
        finally:
            self._leave()
            took = round((time.perf_counter() - started) * 1000, 1)
            told = {"requests": self.requests, "outcome": self.outcome, "duration_ms": took}
            structlog.get_logger("zscp").info("association", **self._described(), **told)

    def _ended(self, ended: Ended) -> Outcome:
        """Finish after the upper layer reported the end; returns what the log calls it."""
        if self.is_aborted:
            return "aborted"
        if ended.how == "released":
            if self._windowed is not None:
                self._windowed.drain()  # the release is answered when all responses are sent (PS3.8 7.2)
            if not self.unrecorded.wait(RELEASE_SECONDS):  # and when the index has what was stored
                self.upper_layer.abort()
                return "failed"
        if ended.how in ("idle", "stalled"):
            self.upper_layer.abort()
        if ended.limit or ended.how in ("protocol", "failed", "no TLS"):
            self._warn(f"association {ended.how}", str(ended), ended.limit)
        return ended.how

    def _leave(self) -> None:
        """Let go of everything: connection, threads, and then the seat."""
        self.is_established = False
        self.own.end()
        try:
            if self.layer is not None:
                self.layer.close()  # before the window: what its threads would still send ends at once
            if self._windowed is not None:
                self._windowed.close()
            self._socket.close()
        finally:
            if self.admitted is not None:
                self.admitted.give_back()

    def _negotiate(self) -> Outcome:
        """Answer the association request by pynetdicom's rules and this node's handlers (PS3.8 7.1)."""
        self.tls = shake_hands(self._socket, self.acse_timeout or NO_TIMEOUT)
        primitive = self.dul.receive_pdu(wait=True, timeout=self.acse_timeout)
        if not isinstance(primitive, A_ASSOCIATE):
            return self._unnegotiated()
        self.requestor.primitive = primitive
        evt.trigger(self, evt.EVT_REQUESTED, {})
        if self.refusal is not None:
            self.acse.send_reject(*self.refusal[:3])
            self._warn("association rejected", self.refusal.why, self.refusal.limit)
            return "rejected"
        self.acse.negotiate_association()
        if not self.is_established:
            return "rejected"
        if (answer := self.negotiator.answer) is not None:
            self._accepted_cx, self._rejected_cx = dict(answer.accepted), list(answer.refused)
        else:
            self.negotiator.learn(self._accepted_cx, self._rejected_cx)
        self.establish(self.requestor.maximum_length, self.stall_seconds)
        if self.window > SYNCHRONOUS:
            self._windowed = Window(self.window, self.name)
        return "ended"

    def _admitted_by_titles(self, titles: Titles) -> Choose | Rejection:
        """Take a seat, only now: a connection that sends nothing has none."""
        found = self._admit(Arrival(titles.calling, titles.called, self._address, names_of(self._socket)))
        if isinstance(found, Rejection):
            return found
        self.admitted = found
        return found.choose

    def _unnegotiated(self) -> Outcome:
        """The outcome where there was no association request to negotiate about. Raises Ended."""
        if self.negotiator.fault:
            raise Ended("protocol", self.negotiator.fault)
        if (rejection := self.negotiator.rejection) is None:
            return "no request"
        self._warn("association rejected", rejection.why, rejection.limit)
        return "rejected"

    def _warn(self, event: str, why: str, limit: str) -> None:
        described = {**self._described(), "reason": why}
        if limit:
            telemetry.limit_reached(limit, event, **described)
        else:
            structlog.get_logger("zscp").warning(event, **described)

    @property
    def seated(self) -> bool:
        """Whether it has a seat: a connection without an association request has none."""
        return self.admitted is not None

    @property
    def rights(self) -> Rights:
        """What the peer may do."""
        return self.admitted.rights if self.admitted is not None else NONE

    @property
    def busy(self) -> bool:
        """Whether a request is being served."""
        return self._serving or (self._windowed is not None and self._windowed.outstanding > 0)

    @property
    def stopping(self) -> bool:
        """Whether the node stops: the association ends with the request that is served."""
        return self._stopping

    @property
    def quiet_seconds(self) -> float:
        """Seconds since the peer's last request; 0 while there is one. Called from another thread."""
        if self.busy or self._aside.waiting or self.upper_layer.begun:
            return 0.0
        return time.monotonic() - self._last_request

    def finish(self) -> None:
        """End the association when its requests are answered; called from another thread."""
        self._stopping = True
        if not self.busy:
            self.abort()

    def _after_request(self, still: int = 0) -> None:
        """End the association where that was asked for, and no request is under way any more.

        ``still`` are the window's requests that count as under way although they are answered.
        """
        outstanding = self._windowed.outstanding if self._windowed is not None else 0
        if self._stopping and not self._serving and outstanding <= still:
            self.abort()

    # ---- what was agreed on ----

    def extended(self, sop_class: str) -> Extended:
        """What was agreed on for a SOP class."""
        agreed = self.acceptor.sop_class_extended.get(UID(sop_class), b"")
        return Extended(agreed[:1] == b"\1", agreed[1:2] == b"\1")

    @property
    def calling_aet(self) -> str:
        """AE title of the peer; empty before it asked for anything."""
        return self.negotiator.titles.calling

    @property
    def called_aet(self) -> str:
        """AE title that the peer called; empty before it asked for anything."""
        return self.negotiator.titles.called

    @property
    def _address(self) -> str:
        address = self.requestor.address_info
        return address.address if address else ""

    def _described(self) -> dict[str, Any]:
        odd = self.negotiator.request
        described: dict[str, Any] = {
            "association": self.name,
            "calling_aet": self.calling_aet,
            "called_aet": self.called_aet,
            "peer": self._address,
            "accepted": len(self._accepted_cx),
            "refused": len(self._rejected_cx) + (len(odd.refused) if odd else 0),
        }
        if self.admitted is not None and not self.rights.whole:
            described["may"] = sorted(self.rights.services)  # why contexts were refused
        if self.tls:
            described["tls"] = self.tls
        if self.window > SYNCHRONOUS:
            described["window"] = self.window
        if odd is not None and odd.ignored:
            described["ignored"] = odd.named
        return described

    # ---- messages beside the request that is served ----

    def has_cancelled(self, message_id: int) -> bool:
        """Whether the peer cancelled a request, by what has arrived: waits for nothing. Raises Ended."""
        self._look()
        return self._aside.has_cancelled(message_id)

    def responses(self, wait: bool) -> list[Message]:
        """What the peer answered to this side's C-STOREs; at least one where ``wait``. Raises Ended."""
        self._look()
        while not (found := self._aside.responses()) and wait:
            self._set_aside(self.upper_layer.receive(self.dimse_timeout))
        return found

    def _look(self) -> None:
        for message in self.upper_layer.poll():
            self._set_aside(message)

    def _set_aside(self, message: Message) -> None:
        """Keep a message that came while another one is served."""
        if not self._aside.take(message, self.window):
            self.upper_layer.abort()
            raise Ended("protocol", "more requests than there is a window to send them in")

    # ---- requests ----

    def _dispatch(self, request: Message) -> None:
        """Serve a request, in another thread where several may be in flight.

        A request that cannot be answered ends the association.
        """
        field = request.number("CommandField")
        if field & messages.RESPONSE or field == messages.C_CANCEL_RQ:
            self.own.take(request)  # or it is late: what it refers to is over
            return
        context = self._accepted_cx.get(request.context_id)
        if context is None:
            detail = f"presentation context {request.context_id} was not accepted"
            self.upper_layer.fail(INVALID_VALUE, detail)
        if "MessageID" not in request.command:
            self.upper_layer.fail(INVALID_VALUE, "a request without a Message ID cannot be answered")
        self.requests += 1
        exchange = Exchange(self, request, context)
        known = has_operation(exchange.abstract_syntax, field)
        served = self.services[field] if known else UNRECOGNIZED
        if self._windowed is None or field != messages.C_STORE_RQ:
            self._serve(*served, exchange)
        else:
            self._serve_in_window(self._windowed, served, exchange)

    def _serve(self, name: str, service: Service, exchange: Exchange) -> None:
        self._serving = True
        try:
            self._run(name, service, exchange)
        finally:
            self._serving = False
            self._aside.is_served()
        self._after_request()

    def _serve_in_window(self, window: Window, served: tuple[str, Service], exchange: Exchange) -> None:
        size = len(exchange.request.dataset or b"")
        if size <= _SMALL and not (self._aside.waiting or self.upper_layer.more_waits()):
            self._serve(*served, exchange)
            return
        window.wait_for_room()
        window.submit(lambda: self._beside(served, exchange))

    def _beside(self, served: tuple[str, Service], exchange: Exchange) -> None:
        """One request of the window, in a thread of its own."""
        try:
            self._run(*served, exchange)
        except Ended as ended:
            if ended.how == "idle":  # the peer does not read: the reading thread may wait for it in vain
                self.abort()
        except Exception as error:  # noqa: BLE001 - a bug ends one association, and is logged
            structlog.get_logger("zscp").error("association failed", **self._described(), exc_info=error)
            self.abort()
        self._after_request(still=1)

    def _run(self, name: str, service: Service, exchange: Exchange) -> None:
        bound = {"association": self.name, "calling_aet": self.calling_aet}
        with telemetry.request(name, **bound) as event:
            try:
                exchange.check_request()
                service(exchange, event)
            except Ended:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it was, the peer gets an answer
                event.fail(error)
                event.add(status=exchange.fail(error))
            finally:
                self._last_request = time.monotonic()
