"""C-ECHO as SCU: is a node there, and does it answer?"""

from __future__ import annotations

import socket
import ssl

from pynetdicom import AE
from pynetdicom.association import Association

from scp.dimse.negotiation.contexts import VERIFICATION
from scp.errors import DestinationUnreachable


def echo(
    host: str,
    port: int,
    called_aet: str,
    calling_aet: str,
    seconds: float,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Send one C-ECHO, over TLS where a context for it is given (:func:`scp.config.tls.client_context`).

    Raises DestinationUnreachable when it is not answered with Success.
    """
    ae = AE(calling_aet)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = seconds
    ae.add_requested_context(VERIFICATION)
    association = ae.associate(host, port, ae_title=called_aet, tls_args=(tls, host) if tls else None)
    if not association.is_established:
        raise DestinationUnreachable(f"{called_aet} at {host}:{port} {_why(association, seconds)}")
    try:
        status = association.send_c_echo().get("Status")
    finally:
        association.release()
    if status != 0x0000:
        raise DestinationUnreachable(f"{called_aet} at {host}:{port} answered C-ECHO with {status}")


def _why(association: Association, seconds: float) -> str:
    """Why an association was not established.

    pynetdicom only logs why it could not connect, so that is tried once more.
    """
    if association.is_rejected:
        answer = association.acceptor.primitive
        return "refused the association" + (f": {answer.reason_str}" if answer is not None else "")
    called = association.acceptor.address_info
    try:
        if called is not None:
            socket.create_connection((called.address, called.port), seconds).close()
    except OSError as error:
        return f"does not answer: {error.strerror or error}"
    return "does not answer"
