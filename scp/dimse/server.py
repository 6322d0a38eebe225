"""The listener: who may associate, what is negotiated, and which service answers what."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

from pynetdicom import AE, _config, build_context, evt
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from scp.archive import Archive
from scp.config import Settings
from scp.dimse import echo, find, messages, retrieve, store
from scp.dimse.association import Exchange, ServedAssociation, Service
from scp.dimse.contexts import FIND, GET, MOVE, VERIFICATION, supported
from scp.objects.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from scp.telemetry import RequestEvent

# What of PS3.4 C.5.1.1 is agreed to, byte by byte: relational, combined date-time; not fuzzy names,
# time zone adjustment, or enhanced multi-frame conversion.
_FIND_EXTENDED = b"\1\1\0\0\0"
_RETRIEVE_EXTENDED = b"\1\0"
# How long a stopping node waits for requests that are under way.
_GRACE_SECONDS = 10.0

_numbers = count(1)
# pynetdicom formats every message for its debug log even where nobody reads that.
_config.LOG_HANDLER_LEVEL = "none"


class DimseServer:
    """Serves one archive under one AE title; settings may change while it runs."""

    def __init__(self, archive: Archive, settings: Callable[[], Settings], seats: object = None) -> None:
        self._archive = archive
        self._settings = settings
        self._ae = AE(settings().node.aet)
        self._ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        self._ae.implementation_version_name = IMPLEMENTATION_VERSION
        self._server: _Listener | None = None

    def start(self, listening: object = None) -> tuple[str, int]:
        """Listen; returns the address. Raises OSError when it cannot be bound."""
        node = self._settings().node
        self.apply_settings()
        self._server = _Listener(
            self._ae,
            (node.host, 0 if listening is not None else node.port),
            node.aet,
            contexts=[build_context(VERIFICATION)],  # a placeholder: see _negotiate
            evt_handlers=[
                (evt.EVT_REQUESTED, self._negotiate),
                (evt.EVT_SOP_EXTENDED, _agree_extended),
            ],
            request_handler=_handler(self._services()),
        )
        if listening is not None:
            self._server.socket.close()
            self._server.socket = listening
            self._server.server_address = listening.getsockname()
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="listener", daemon=True).start()
        host, port = self._server.server_address[:2]
        return host, port

    def stop(self) -> None:
        """Stop listening, let requests under way finish, and end all associations."""
        if self._server is None:
            return
        self._server.shutdown()
        until = time.monotonic() + _GRACE_SECONDS
        for association in self._server.active_associations:
            while association.is_alive() and getattr(association, "busy", False) and time.monotonic() < until:
                time.sleep(0.02)
            if association.is_alive():
                association.abort()

    def apply_settings(self) -> None:
        """Take over access and limits from the settings; running associations keep theirs."""
        settings = self._settings()
        limits, access, ae = settings.limits, settings.access, self._ae
        ae.maximum_associations = limits.associations
        ae.maximum_pdu_size = limits.pdu_bytes
        ae.network_timeout = limits.idle_seconds
        ae.acse_timeout = limits.acse_seconds
        ae.dimse_timeout = limits.dimse_seconds
        ae.connection_timeout = limits.connect_seconds
        ae.require_called_aet = access.check_called_aet
        known = [settings.node.aet, *(peer.aet for peer in settings.peer)]
        ae.require_calling_aet = known if access.allow == "known" else []

    def _negotiate(self, event: evt.Event) -> None:
        """Support what this peer proposes, as far as anybody may: cheaper than a copy of all contexts."""
        settings, association = self._settings(), event.assoc
        asked = association.requestor.primitive
        if asked is None:
            return
        wishes = retrieve.wishes_of(settings.peer_named(asked.calling_ae_title or ""))
        association.acceptor.supported_contexts = supported(
            asked.presentation_context_definition_list,
            settings.access.unknown_sop_classes,
            wishes.preferred,
        )

    def _services(self) -> dict[int, tuple[str, Service]]:
        """Command Field → name in the log, and service."""
        return {
            messages.C_ECHO_RQ: ("c-echo", echo.serve),
            messages.C_STORE_RQ: ("c-store", partial(store.serve, archive=self._archive)),
            messages.C_FIND_RQ: ("c-find", self._find),
            messages.C_MOVE_RQ: ("c-move", self._move),
            messages.C_GET_RQ: ("c-get", self._get),
        }

    def _find(self, exchange: Exchange, event: RequestEvent) -> None:
        find.serve(exchange, event, self._archive, self._settings())

    def _move(self, exchange: Exchange, event: RequestEvent) -> None:
        retrieve.serve_move(exchange, event, self._archive, self._settings())

    def _get(self, exchange: Exchange, event: RequestEvent) -> None:
        retrieve.serve_get(exchange, event, self._archive, self._settings())


def _agree_extended(event: evt.Event) -> dict[str, bytes]:
    """SOP Class Extended Negotiation: what is asked for and supported (PS3.4 C.5.1.1)."""
    agreed = {}
    requested: dict[str, bytes] = event.app_info  # type: ignore[attr-defined]  # set for this event
    for uid, asked in requested.items():
        supports = _FIND_EXTENDED if uid in FIND else _RETRIEVE_EXTENDED if uid in (MOVE | GET) else b""
        if supports:
            agreed[uid] = bytes(want & has for want, has in zip(asked, supports, strict=False))
    return agreed


class _Listener(ThreadedAssociationServer):
    """pynetdicom's server, with a backlog for many senders at once, that stops by itself."""

    request_queue_size = 128
    daemon_threads = True

    def shutdown(self) -> None:
        """Stop accepting; associations go on."""
        socketserver.BaseServer.shutdown(self)
        self.server_close()

    def shutdown_request(self, request: Any) -> None:
        """The association closes its own connection."""

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """A connection that is gone before it is served is nobody's fault."""
        request.close()


def _handler(services: dict[int, tuple[str, Service]]) -> type[RequestHandler]:
    class Handler(RequestHandler):
        """Makes a connection a ServedAssociation."""

        def _create_association(self) -> ServedAssociation:
            """As pynetdicom's own does, but for its class and its deep copy of every context."""
            server, ae = self.server, self.ae
            association = ServedAssociation(ae, self.request, services)
            association._server = server  # noqa: SLF001
            # pynetdicom finds a server's associations by this name.
            association.name = f"AcceptorThread@{next(_numbers)}"
            acceptor = association.acceptor
            acceptor.maximum_length = ae.maximum_pdu_size
            acceptor.ae_title = server.ae_title
            acceptor.address_info = self.local
            acceptor.implementation_class_uid = ae.implementation_class_uid
            acceptor.implementation_version_name = ae.implementation_version_name
            association.requestor.address_info = self.remote
            handlers: dict[Any, Any] = server._handlers  # noqa: SLF001
            for event, bound in handlers.items():
                for function, arguments in [bound] if event.is_intervention else bound:
                    association.bind(event, function, arguments)
            return association

    return Handler
