"""Associations that zscp opens, to peers that end the connection at once."""

from __future__ import annotations

import select
import socket
import struct

import pytest

from scp.config.peers import Peer
from scp.config.settings import Settings
from scp.dimse.scu import associate
from scp.dimse.scu.echo import echo
from scp.errors import DestinationUnreachable

pytestmark = pytest.mark.quick


def test_a_peer_that_resets_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one does that refuses this node's certificate in TLS 1.3: it does not answer, and that is all."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
        sock = socket.create_connection(address, 10)
        accepted, _ = listening.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()
        answer = select.poll()  # not select: that one knows no descriptor above 1023
        answer.register(sock, select.POLLIN)
        answer.poll(10_000)
        monkeypatch.setattr(associate, "_connected", lambda *_: sock)
        peer = Peer(aet="PEER", host="127.0.0.1", port=address[1])
        with pytest.raises(DestinationUnreachable, match="does not answer"):
            echo(peer, Settings())
