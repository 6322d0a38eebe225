"""C-ECHO as SCU: is a node there, and does it answer?"""

from __future__ import annotations

from scp import syntaxes
from scp.config.peers import Peer
from scp.config.settings import Settings
from scp.dimse.negotiation.contexts import VERIFICATION
from scp.dimse.scu.associate import associated
from scp.dimse.wire.messages import C_ECHO_RQ, Value
from scp.dimse.wire.upper_layer import Ended
from scp.errors import DestinationUnreachable


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
