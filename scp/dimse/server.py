"""The DIMSE server: who may associate, what is negotiated, and which service answers what."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count

import structlog
from pydicom import config as pydicom_config
from pynetdicom import AE, _config, evt
from pynetdicom.transport import AddressInformation

from scp.archive.archive import Archive
from scp.audit.repeats import Repeats
from scp.audit.trail import NO_TRAIL, AuditTrail
from scp.background.doorbell import Doorbell
from scp.config.credentials import credentials_of
from scp.config.networks import is_among, origin
from scp.config.settings import Settings
from scp.dimse.admission import Admitted, refused_by_limit
from scp.dimse.association import ServedAssociation
from scp.dimse.associations import Associations
from scp.dimse.auditing import AssociationAudit
from scp.dimse.exchange import Exchange, Service
from scp.dimse.negotiation.association_pdus import Rejection
from scp.dimse.negotiation.association_request import Choose
from scp.dimse.negotiation.contexts import FIND, GET, MOVE, chosen, supported
from scp.dimse.negotiation.listener import MOST_OF_ONE_ADDRESS, MOST_UNASSOCIATED, Listener
from scp.dimse.negotiation.ports import Port, bound_ports
from scp.dimse.negotiation.proxied import announced_peer
from scp.dimse.negotiation.remembered_answers import Answers
from scp.dimse.negotiation.window import SYNCHRONOUS, granted, window_item
from scp.dimse.patience import PAUSES, Pauses
from scp.dimse.rights import Arrival, Rights, rights_of
from scp.dimse.seats import Holder, OwnSeats, Seats, seat_limits
from scp.dimse.services import commitment, echo, find, retrieve, store
from scp.dimse.services.commitment_report import AssociationReporter
from scp.dimse.services.shown import shown
from scp.dimse.user_identity import answer_to, name_of, refused_by_identity
from scp.dimse.wire import messages
from scp.errors import MalformedAssociation
from scp.metrics import counting
from scp.objects.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from scp.policy.preference import preference_of
from scp.telemetry import RequestEvent

# What of PS3.4 C.5.1.1 is agreed to, byte by byte: relational, combined date-time; not fuzzy names,
# time zone adjustment, or enhanced multi-frame conversion.
_FIND_EXTENDED = b"\1\1\0\0\0"
_RETRIEVE_EXTENDED = b"\1\0"
# How long a stopping node waits for the threads of associations, once their connections are gone.
_ABORT_SECONDS = 5.0

_numbers = count(1)
_OPEN = "zscp_associations_open"
# pynetdicom formats every message for its debug log even where nobody reads that.
_config.LOG_HANDLER_LEVEL = "none"
# pydicom would check each UID again, and warn: for an association with 118 contexts that took 6 of 18 ms.
# zscp handles invalid values itself, and would drop the warnings, as they quote values (scp.telemetry).
pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE


class DimseServer:
    """Serves one archive under one AE title; settings may change while it runs.

    ``seats`` count associations where several processes serve; without them, this server counts its own.
    ``report_bell`` wakes the task that reports results of storage commitment on separate associations.
    """

    def __init__(
        self,
        archive: Archive,
        settings: Callable[[], Settings],
        seats: Seats | None = None,
        report_bell: Doorbell | None = None,
        pauses: Pauses = PAUSES,
        trail: AuditTrail = NO_TRAIL,
    ) -> None:
        self._trail, self._repeats = trail, Repeats()
        self._archive = archive
        self._settings = settings
        self._pauses = pauses
        self._seats = seats or OwnSeats(lambda: seat_limits(self._settings().limits))
        self._ae = AE(settings().node.aet)
        self._ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        self._ae.implementation_version_name = IMPLEMENTATION_VERSION
        self.ports: tuple[Port, ...] = ()
        self._listeners: tuple[Listener, ...] = ()
        self._reporter = AssociationReporter(archive, settings, report_bell or Doorbell())
        self._served = self._services()
        self._answers = Answers()
        self.associations = Associations()

    def start(self, ports: Sequence[Port] = ()) -> tuple[str, int]:
        """Listen; returns the address of node.port. Raises OSError, and ValueError for a bad certificate.

        ``ports`` are bound, and may be shared with other processes; they are closed, in this process, at
        the end.
        """
        self.apply_settings()
        credentials_of(self._settings().tls)  # a file that cannot be used shows now
        self.ports = tuple(ports) or bound_ports(self._settings())
        for port in self.ports:
            port.listen()
        address = self.ports[0].address
        busy = self.associations.count if ports and self._settings().node.workers != 1 else lambda: 0
        self._listeners = tuple(
            Listener(port.socket, partial(self._connected, port), busy) for port in self.ports
        )
        return address

    def turns(self) -> bool:
        """Whether all accept loops have turned since this was last true."""
        turned = bool(self._listeners) and all(listener.turned.is_set() for listener in self._listeners)
        if turned:
            for listener in self._listeners:
                listener.turned.clear()
        return turned

    def stop(self) -> None:
        """Stop listening, let what is under way finish for ``limits.stop_seconds``, end all associations."""
        if not self._listeners:
            return
        for listener in self._listeners:
            listener.stop()
        self._listeners = ()
        for association in self.associations.close():
            association.finish()
        if not self.associations.wait_for_none(self._settings().limits.stop_seconds):
            for association in self.associations.all():
                association.abort()
            self.associations.wait_for_none(_ABORT_SECONDS)
        self._reporter.stop()

    def apply_settings(self) -> None:
        """Take over access and limits from the settings.

        Running associations keep theirs; those of peers that may not associate any more end.
        """
        settings, ae = self._settings(), self._ae
        limits = settings.limits
        ae.maximum_pdu_size = limits.pdu_bytes
        ae.network_timeout = limits.idle_seconds
        ae.acse_timeout = limits.acse_seconds
        ae.dimse_timeout = limits.dimse_seconds
        ae.connection_timeout = limits.connect_seconds
        counting.know_peers(peer.aet for peer in settings.peer)
        self._answers = Answers()  # an association with the former ones may remember what no longer holds
        for association in self.associations.all():
            self._end_if_not_admitted(association)

    def _end_if_not_admitted(self, association: ServedAssociation) -> None:
        """End an association, once its requests are answered, if its peer may not associate any more."""
        if (admitted := association.admitted) is None:
            return
        found = rights_of(self._settings(), admitted.arrival)
        if isinstance(found, Rejection):
            told = {"association": association.name, "calling_aet": admitted.arrival.calling}
            structlog.get_logger("zscp").warning("association ended", **told, reason=found.why)
            association.finish()

    def _connected(self, port: Port, sock: socket.socket, address: tuple[str, int]) -> None:
        """Serve one connection, in a thread of its own, to its end."""
        try:
            address = self._peer_behind(sock, address)
        except (MalformedAssociation, OSError) as error:
            _turn_away(sock, address, str(error), refused=isinstance(error, MalformedAssociation))
            return
        if self._crowded(address[0]):
            _turn_away(sock, address, "too many")
            return
        try:
            local = sock.getsockname()[:2]
            if port.secure:
                sock = self._secured(sock)
            association = self._association(sock, local, address)
        except OSError as error:  # gone before it was served: nobody's fault
            _turn_away(sock, address, str(error), refused=False)
            return
        if not self.associations.add(association):
            _turn_away(sock, address, "it came as the node stopped", refused=False)
            return
        try:
            association.run_reactor()
        finally:
            association.shown.end()
            _record_end(association)
            self.associations.discard(association)

    def _peer_behind(self, sock: socket.socket, address: tuple[str, int]) -> tuple[str, int]:
        """The peer's address, also behind a load balancer. Raises MalformedAssociation, OSError."""
        settings = self._settings()
        if not is_among(address[0], settings.node.proxies):
            return address
        return announced_peer(sock, address, settings.limits.acse_seconds)

    def _crowded(self, address: str) -> bool:
        """Whether too many connections have not associated, in all or from one address."""
        of_all, of_one = self.associations.unseated(address)
        most = max(MOST_OF_ONE_ADDRESS, self._settings().limits.associations_by_address)
        return of_all >= MOST_UNASSOCIATED or of_one >= most

    def _secured(self, sock: socket.socket) -> socket.socket:
        """A connection on which TLS is yet to shake hands."""
        context = credentials_of(self._settings().tls).server
        if context is None:
            raise OSError("there is no certificate")
        return context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)

    def _association(
        self, sock: socket.socket, local: tuple[str, int], address: tuple[str, int]
    ) -> ServedAssociation:
        """Make one as pynetdicom's request handler does, but of this class, without copies of contexts."""
        ae = self._ae
        association = ServedAssociation(ae, sock, self._served, self._admit, self._answers)
        association.stall_seconds = self._settings().limits.stall_seconds
        association.name = f"{os.getpid()}-{next(_numbers)}"  # unique among worker processes
        acceptor = association.acceptor
        acceptor.maximum_length = ae.maximum_pdu_size
        acceptor.ae_title = ae.ae_title
        acceptor.address_info = AddressInformation.from_tuple(local)
        acceptor.implementation_class_uid = ae.implementation_class_uid
        acceptor.implementation_version_name = ae.implementation_version_name
        association.requestor.address_info = AddressInformation.from_tuple(address)
        titled = partial(getattr, association.negotiator, "titles")
        association.audit = AssociationAudit(self._trail, titled, address[0], self._repeats)
        association.bind(evt.EVT_REQUESTED, self._negotiate)
        association.bind(evt.EVT_SOP_EXTENDED, _agree_extended)
        return association

    def _admit(self, arrival: Arrival) -> Admitted | Rejection:
        """Let a peer associate by its AE titles, before anything else of its request is looked at."""
        settings, holder = self._settings(), Holder(arrival.calling, origin(arrival.address))
        rights = rights_of(settings, arrival)
        if isinstance(rights, Rejection):
            return rights
        if (refused := refused_by_limit(self._seats, holder)) is not None:
            return refused
        counting.count(_OPEN)
        return Admitted(arrival, rights, _chooser(settings, rights), partial(self._left, holder))

    def _left(self, holder: Holder) -> None:
        """An association has ended."""
        counting.count(_OPEN, amount=-1.0)
        self._seats.give_back(holder)

    def _negotiate(self, event: evt.Event) -> None:
        """Support the proposed contexts that any peer may use: cheaper than a copy of all contexts."""
        settings, association = self._settings(), event.assoc
        asked = association.requestor.primitive
        if asked is None or not isinstance(association, ServedAssociation):
            return
        if association.negotiator.answer is None:
            preference = preference_of(settings.peer_named(asked.calling_ae_title or ""))
            association.acceptor.supported_contexts = supported(
                (
                    context
                    for context in asked.presentation_context_definition_list
                    if association.rights.accepts(str(context.abstract_syntax))
                ),
                settings.access.unknown_sop_classes,
                preference.preferred,
            )
        _agree_window(association, settings.limits.operations)
        asked_user = association.requestor.user_identity
        association.refusal = refused_by_identity(settings, asked_user)
        if settings.access.users == "required":
            refused = association.refusal.why if association.refusal is not None else ""
            association.audit.identified(name_of(asked_user), refused)
        if (answer := answer_to(asked_user)) is not None:
            association.acceptor.add_negotiation_item(answer)
        if association.refusal is None:
            address = association.requestor.address_info
            board, titles = counting.current().board, association.negotiator.titles
            told = (titles.calling, titles.called, address.address if address else "")
            association.shown = board.show(association.name, *told)

    def _services(self) -> dict[int, tuple[str, Service]]:
        """Command Field → name in the log, and service."""
        return {
            messages.C_ECHO_RQ: shown("c-echo", echo.serve),
            messages.C_STORE_RQ: shown("c-store", partial(store.serve, archive=self._archive)),
            messages.C_FIND_RQ: shown("c-find", self._find),
            messages.C_MOVE_RQ: shown("c-move", self._move),
            messages.C_GET_RQ: shown("c-get", self._get),
            messages.N_ACTION_RQ: shown("n-action", self._action),
        }

    def _find(self, exchange: Exchange, event: RequestEvent) -> None:
        identifier = exchange.request.dataset or b""
        exchange.association.audit.queried(exchange.abstract_syntax, identifier, exchange.transfer_syntax)
        find.serve(exchange, event, self._archive, self._settings())

    def _move(self, exchange: Exchange, event: RequestEvent) -> None:
        retrieve.serve_move(exchange, event, self._archive, self._settings(), self._pauses)

    def _action(self, exchange: Exchange, event: RequestEvent) -> None:
        commitment.serve(exchange, event, self._archive.commitments, self._reporter)

    def _get(self, exchange: Exchange, event: RequestEvent) -> None:
        retrieve.serve_get(exchange, event, self._archive, self._settings())


def _turn_away(sock: socket.socket, address: tuple[str, int], reason: str, *, refused: bool = True) -> None:
    """Close a connection that no association serves; those that are served have their line at their end."""
    log = structlog.get_logger("zscp")
    (log.warning if refused else log.info)("connection refused", peer=address[0], reason=reason)
    sock.close()


def _record_end(association: ServedAssociation) -> None:
    """Tell the audit trail what an association that is over did, or why it never came to be."""
    if (rejection := association.negotiator.rejection) is not None:
        association.audit.refused(rejection.why)
    elif association.outcome == "no TLS":
        association.audit.refused("the TLS handshake failed; the log says how")
    association.audit.end()


def _chooser(settings: Settings, rights: Rights) -> Choose:
    """What takes one transfer syntax of each context that a peer proposes."""
    preferred = preference_of(settings.peer_named(rights.aet)).preferred
    return partial(chosen, unknown_too=settings.access.unknown_sop_classes, preferred=preferred)


def _agree_extended(event: evt.Event) -> dict[str, bytes]:
    """SOP Class Extended Negotiation: what is asked for and supported (PS3.4 C.5.1.1)."""
    agreed = {}
    requested: dict[str, bytes] = event.app_info  # type: ignore[attr-defined]  # set for this event
    for uid, asked in requested.items():
        supports = _FIND_EXTENDED if uid in FIND else _RETRIEVE_EXTENDED if uid in (MOVE | GET) else b""
        if supports:
            agreed[uid] = bytes(want & has for want, has in zip(asked, supports, strict=False))
    return agreed


def _agree_window(association: ServedAssociation, limit: int) -> None:
    """Asynchronous operations, where they are asked for: never more than the limit (PS3.7 D.3.3.3).

    pynetdicom omits the item as long as nothing is bound to its event for it.
    """
    invoked, performed = association.requestor.asynchronous_operations
    if limit == SYNCHRONOUS or (invoked, performed) == (SYNCHRONOUS, SYNCHRONOUS):
        return
    association.window, association.suboperations = granted(invoked, limit), granted(performed, limit)
    association.acceptor.add_negotiation_item(window_item(association.window, association.suboperations))
