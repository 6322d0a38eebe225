"""A request under way: what comes and goes of it, and whether it is to go on."""

from __future__ import annotations

import threading
from collections.abc import Callable

from starlette.types import Message, Receive, Send

from scp.config.settings import Settings
from scp.telemetry import RequestEvent
from scp.web.access.standing import Standing
from scp.web.dicomweb.callers import Caller

_CLIENT = "the client has closed the connection"
_REVOKED = "what let its sender in was taken out of the configuration, or changed"


class Revoked(Exception):
    """An answer that is not sent to its end, as its sender may not have it any more."""


class Watched:
    """Notices that a client goes, or that a reload takes away what let it in: then :attr:`gone` is set.

    Answers may take hours. What was sent of a body by then is treated as when its client goes.
    """

    def __init__(self, caller: Caller, settings: Callable[[], Settings], event: RequestEvent) -> None:
        self._stands, self._event = Standing(settings, caller.stays), event
        self._sent = 0
        self.gone = threading.Event()
        self.why = ""

    def receiving(self, receive: Receive) -> Receive:
        """The same, but the client has gone where it may not go on."""

        async def received() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                self._end(_CLIENT)
            elif not self._stands():
                self._end(_REVOKED)
                return {"type": "http.disconnect"}
            return message

        return received

    def sending(self, send: Send) -> Send:
        """The same, with bytes added up for the event. It raises Revoked before more of a body is sent."""

        async def sent(message: Message) -> None:
            if message.get("more_body") and not self._stands():
                self._end(_REVOKED)
                raise Revoked(_REVOKED)
            await send(message)
            if message["type"] == "http.response.body":
                self._sent += len(message.get("body", b""))
                self._event.add(bytes_sent=self._sent)

        return sent

    def _end(self, why: str) -> None:
        self.why = self.why or why
        self.gone.set()
