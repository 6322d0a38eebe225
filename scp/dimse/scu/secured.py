"""TLS on a connection that zscp opened to a peer."""

from __future__ import annotations

import socket
import ssl

from scp.config.credentials import credentials_of
from scp.config.peers import Peer
from scp.config.settings import TlsSettings
from scp.config.tls import names_of
from scp.dimse.negotiation.strangers import handshake_fault
from scp.errors import DestinationUnreachable

# X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH.
_OTHER_NAME = (62, 64)


def secured(sock: socket.socket, peer: Peer, tls: TlsSettings, where: str) -> ssl.SSLSocket:
    """Shake hands, within the connection's time-out. Raises DestinationUnreachable.

    The certificate must be of the peer's ``certificate_name``; without one, of its host or address.
    """
    try:
        credentials = credentials_of(tls)
        context = credentials.to_name if peer.certificate_name else credentials.to_host
        if context is None:
            raise ValueError("tls.ca is not set")
        secure = context.wrap_socket(sock, server_hostname=peer.host.partition("%")[0])
        names = names_of(secure)
        if peer.certificate_name and peer.certificate_name.casefold() not in names:
            secure.close()
            raise ValueError(f"its certificate is of {', '.join(sorted(names))}, not {peer.certificate_name}")
        return secure
    except (OSError, ValueError) as error:
        sock.close()
        raise DestinationUnreachable(f"{where} does not agree on TLS: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if not isinstance(error, ssl.SSLCertVerificationError):
        return (handshake_fault(error) if isinstance(error, ssl.SSLError) else "") or str(error)
    if error.verify_code in _OTHER_NAME:
        return f"{error.verify_message} If it is the peer's own, write a name in it as certificate_name"
    return f"its certificate is not accepted: {error.verify_message}"
