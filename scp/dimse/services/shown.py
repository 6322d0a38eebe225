"""What a peer asks for now, and what it sent: the node's page shows it while the association is under way."""

from __future__ import annotations

from scp.dimse.exchange import Exchange, Service
from scp.dimse.wire import messages
from scp.telemetry import RequestEvent


def shown(name: str, service: Service) -> tuple[str, Service]:
    """The same service under the same name, which tells the board when a request begins and ends."""

    def serve(exchange: Exchange, event: RequestEvent) -> None:
        board = exchange.association.shown
        board.begins(name)
        received = 0
        try:
            service(exchange, event)
            if exchange.request.number("CommandField") == messages.C_STORE_RQ:
                received = len(exchange.request.dataset or b"")
        finally:
            board.answered(received)

    return name, serve
