"""Messages that come while a request is served: kept until it is their turn."""

from __future__ import annotations

from collections import deque

from scp.dimse.own_requests import OwnRequests
from scp.dimse.wire import messages
from scp.dimse.wire.messages import Message

# Requests that are kept while another one is served, though a peer without a window may not send any then.
_MOST_WAITING = 16


class Aside:
    """What a peer sent beside the request that is served: cancels, responses and further requests.

    ``own`` gets responses to this side's own requests. One thread at a time uses it.
    """

    def __init__(self, own: OwnRequests) -> None:
        self.waiting: deque[Message] = deque()
        self._own = own
        self._cancelled: set[int] = set()
        self._responses: list[Message] = []

    def take(self, message: Message, window: int) -> bool:
        """Keep a message; False for a request where more wait than the ``window`` allows."""
        field = message.number("CommandField")
        if field == messages.C_CANCEL_RQ:
            self._cancelled.add(message.number("MessageIDBeingRespondedTo"))
        elif field == messages.C_STORE_RSP:
            self._responses.append(message)
        elif field & messages.RESPONSE:
            self._own.take(message)
        elif len(self.waiting) < max(_MOST_WAITING, window):
            self.waiting.append(message)
        else:
            return False
        return True

    def has_cancelled(self, message_id: int) -> bool:
        """Whether a C-CANCEL of a request has come."""
        return message_id in self._cancelled

    def responses(self) -> list[Message]:
        """The responses to this side's C-STOREs that have come since the last time."""
        found, self._responses = self._responses, []
        return found

    def is_served(self) -> None:
        """The request is answered: what referred to it is forgotten.

        A C-CANCEL refers to the request before it, or to one that still waits.
        """
        if self._cancelled:
            self._cancelled &= {message.number("MessageID") for message in self.waiting}
        self._responses.clear()
