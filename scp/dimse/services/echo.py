"""Verification service (PS3.4 Annex A)."""

from __future__ import annotations

from scp.dimse.exchange import Exchange
from scp.dimse.status import SUCCESS
from scp.telemetry import RequestEvent


def serve(exchange: Exchange, event: RequestEvent) -> None:
    """Answer a C-ECHO."""
    exchange.respond(SUCCESS)
    event.add(status=SUCCESS)
