"""pynetdicom's association, with messages that go straight to and from the socket once it is established."""

from __future__ import annotations

import contextlib
import socket

from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from scp.dimse.negotiation.negotiation import Negotiator
from scp.dimse.negotiation.remembered_answers import Answers
from scp.dimse.wire.upper_layer import Ended, UpperLayer

# Where the configuration sets no time-out: pynetdicom's None.
NO_TIMEOUT = 86_400.0


def context_id(context: PresentationContext) -> int:
    """The number of a negotiated presentation context."""
    if context.context_id is None:
        raise ValueError("the presentation context was not negotiated")
    return context.context_id


class DirectAssociation(Association):
    """pynetdicom's association up to its negotiation; then messages go straight to and from the socket.

    ``layer`` is None until it is established. ``answers`` are those to earlier proposals of peers.
    """

    def __init__(
        self, ae: ApplicationEntity, mode: str, sock: socket.socket, answers: Answers | None = None
    ) -> None:
        super().__init__(ae, mode)
        self.negotiator = Negotiator(sock, ae.acse_timeout or NO_TIMEOUT, answers, mode)
        self.dul = self.negotiator  # type: ignore[assignment]  # pynetdicom expects its own, with threads
        self.layer: UpperLayer | None = None
        self.tls = ""  # its version, where there is TLS
        self._socket = sock

    def establish(self, longest_sent: int | None, stall_seconds: float | None = None) -> UpperLayer:
        """Put the upper layer in the negotiation's place; ``longest_sent`` is what the peer announced."""
        own = self.acceptor if self.is_acceptor else self.requestor
        idle = self.network_timeout or NO_TIMEOUT
        self.layer = UpperLayer(self._socket, own.maximum_length or 0, longest_sent or 0, idle, stall_seconds)
        return self.layer

    @property
    def upper_layer(self) -> UpperLayer:
        """The established association's upper layer. Raises Ended when there is none."""
        if self.layer is None:
            raise Ended("lost", "the association is not established")
        return self.layer

    def _abort_blocking(self, block: bool = True) -> None:  # noqa: ARG002 - pynetdicom's signature
        """End the association at once, from whichever thread; pynetdicom calls it ``abort``."""
        self.is_established, self.is_aborted = False, True
        if self.layer is not None:
            self.layer.break_off()
            return
        if self.is_requestor:
            self.acse.send_abort(0)
        # Not TLS's own: see scp.dimse.wire.transport.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _abort_nonblocking(self, block: bool = False) -> None:
        self._abort_blocking(block)
