"""Requests that this side sends on an association which the peer opened, beside those that it serves.

C-STORE sub-operations of a C-GET are not among them: they belong to the request that is served
(:mod:`scp.dimse.scu.carrier`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from itertools import count

from scp.dimse.wire.messages import RESPONSE, Message, Value
from scp.dimse.wire.upper_layer import Ended, UpperLayer
from scp.spool import Buffer

# The side that invokes numbers its messages (PS3.7 9.1); sub-operations of a C-GET are numbered from 1.
_FIRST, _IDS = 0x8000, 0x4000


class OwnRequests:
    """Any thread sends a request and waits for its response, which the association's own thread delivers."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._numbers = count()
        self._awaited: dict[int, Message | None] = {}
        self._over = threading.Event()

    @property
    def over(self) -> bool:
        """Whether the association has ended."""
        return self._over.is_set()

    def wait_for_end(self, seconds: float) -> bool:
        """Wait so long for the association to end; returns whether it has."""
        return self._over.wait(seconds)

    def send(
        self,
        layer: UpperLayer,
        context_id: int,
        command: Mapping[str, Value],
        dataset: Iterable[Buffer],
        seconds: float,
    ) -> Message:
        """Send a request, and wait for its response. Raises Ended, also when none comes in time."""
        with self._changed:
            if self.over:
                raise Ended("lost", "the association has ended")
            number = _FIRST + next(self._numbers) % _IDS
            self._awaited[number] = None
        try:
            layer.send(context_id, {**command, "MessageID": number}, dataset)
            with self._changed:
                self._changed.wait_for(lambda: self._awaited[number] is not None or self.over, seconds)
                found = self._awaited[number]
        finally:
            with self._changed:
                del self._awaited[number]
        if found is None:
            raise Ended("lost", "the association ended") if self.over else Ended("idle", "no response")
        return found

    def take(self, message: Message) -> None:
        """Deliver a message that may be the response to one of these requests; ignore any other."""
        if not message.number("CommandField") & RESPONSE:
            return
        with self._changed:
            number = message.number("MessageIDBeingRespondedTo")
            if number in self._awaited:
                self._awaited[number] = message
                self._changed.notify_all()

    def end(self) -> None:
        """The association is over: wake all threads that wait."""
        with self._changed:
            self._over.set()
            self._changed.notify_all()
