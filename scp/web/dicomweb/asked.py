"""One request as a service gets it, and what a row of the table of routes is made of."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from scp.config.dicomweb import WebService
from scp.errors import OutOfResources
from scp.telemetry import RequestEvent
from scp.web.dicomweb.callers import Caller
from scp.web.dicomweb.desk import DicomWebDesk
from scp.web.dicomweb.threads import Threads

T = TypeVar("T")

# Work that takes less is done though its client has gone.
_UNHEARD_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Asked:
    """A request whose sender may make it. ``named`` are the named parts of its path: study → its UID.

    ``base`` is the address of the service, with its scheme and host. What works on it runs :meth:`apart`, in
    one of few threads; it looks at :meth:`check` now and then.
    """

    request: Request
    desk: DicomWebDesk
    caller: Caller
    named: Mapping[str, str]
    base: str
    event: RequestEvent
    threads: Threads
    gone: threading.Event

    def check(self) -> None:
        """Raises OutOfResources where nobody waits for the answer any more."""
        if self.gone.is_set():
            raise OutOfResources("the client has closed the connection")

    async def apart(self, work: Callable[[], T]) -> T:
        """What ``work`` returns, made in a thread; :meth:`check` fails meanwhile once the client has gone.

        What is left of the request's body may be thrown away: read it before.
        """
        async with self.listening():
            return await self.threads.run(work)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Notice that the client goes, unless the block ends very soon: most do before they had listened."""
        loop, tasks = asyncio.get_running_loop(), list[asyncio.Task[None]]()
        later = loop.call_later(_UNHEARD_SECONDS, lambda: tasks.append(loop.create_task(self._listen())))
        try:
            yield
        finally:
            later.cancel()
            for one in tasks:
                one.cancel()
            if tasks:
                await asyncio.wait(tasks)

    async def _listen(self) -> None:
        while (await self.request.receive())["type"] != "http.disconnect":
            pass
        self.gone.set()


Serve = Callable[[Asked], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """One resource and what is done with it: ``{study}`` in its ``path`` is any text without a slash.

    ``may`` is what its sender must be allowed; None: whoever is known. ``service`` is what the log and the
    metrics call it. The rest describes it (PS3.18 8.9): the ``name`` of
    the transaction, media types that it ``answers`` with, query ``parameters``, its ``statuses`` of success.
    """

    method: str
    path: str
    may: WebService | None
    service: str
    serve: Serve
    name: str = ""
    answers: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    statuses: tuple[int, ...] = (200,)
