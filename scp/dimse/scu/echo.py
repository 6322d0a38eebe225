"""C-ECHO as SCU: is a node there, and does it answer?"""

from __future__ import annotations

import time
from dataclasses import dataclass

from scp import syntaxes
from scp.config.peers import Peer
from scp.config.settings import Settings
from scp.dimse.negotiation.contexts import VERIFICATION
from scp.dimse.scu.associate import associated
from scp.dimse.wire.messages import C_ECHO_RQ, Value
from scp.dimse.wire.upper_layer import Ended
from scp.errors import DestinationUnreachable


@dataclass(frozen=True, slots=True)
class Echoed:
    """Whether a peer answered a C-ECHO with Success, after how long; else its ``fault`` in words."""

    aet: str
    address: str
    answered: bool
    fault: str
    seconds: float


def try_echo(peer: Peer, settings: Settings, seconds: float) -> Echoed:
    """Send one C-ECHO; to connect, to associate, and to answer may each take so many ``seconds``."""
    waits = dict.fromkeys(("connect_seconds", "acse_seconds", "dimse_seconds"), seconds)
    limits = settings.limits.model_copy(update=waits)
    begun, fault = time.monotonic(), ""
    try:
        echo(peer, settings.model_copy(update={"limits": limits}))
    except DestinationUnreachable as error:
        fault = str(error)
    return Echoed(peer.aet, f"{peer.host}:{peer.port}", not fault, fault, time.monotonic() - begun)


def echo(peer: Peer, settings: Settings) -> None:
    """Send one C-ECHO. Raises DestinationUnreachable when it is not answered with Success."""
    destination = associated(peer, [(VERIFICATION, syntaxes.IMPLICIT)], settings)
    layer, context = destination.layer, destination.accepted(VERIFICATION)[syntaxes.IMPLICIT]
    request: dict[str, Value] = {
        "CommandField": C_ECHO_RQ,
        "MessageID": 1,
        "AffectedSOPClassUID": VERIFICATION,
    }
    where = f"{peer.aet} at {peer.host}:{peer.port}"
    try:
        layer.send(context, request)
        status = layer.receive(settings.limits.dimse_seconds).number("Status")
    except Ended as error:
        destination.ended = error
        raise DestinationUnreachable(f"{where} does not answer C-ECHO: {error}") from error
    finally:
        destination.close()
    if status != 0x0000:
        raise DestinationUnreachable(f"{where} answered C-ECHO with 0x{status:04X}")
