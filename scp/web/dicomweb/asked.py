"""One request as a service gets it, and what a row of the table of routes is made of."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from scp.config.dicomweb import WebService
from scp.errors import OutOfResources
from scp.telemetry import RequestEvent
from scp.web.dicomweb.callers import Caller
from scp.web.dicomweb.desk import DicomWebDesk

T = TypeVar("T")


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
    threads: anyio.CapacityLimiter
    gone: threading.Event

    def check(self) -> None:
        """Raises OutOfResources where nobody waits for the answer any more."""
        if self.gone.is_set():
            raise OutOfResources("the client has closed the connection")

    async def apart(self, work: Callable[[], T]) -> T:
        """What ``work`` returns, made in a thread; :meth:`check` fails meanwhile once the client has gone.

        What is left of the request's body is thrown away: read it before.
        """
        outcome: list[T] = []
        fault: list[Exception] = []

        def tried() -> None:
            try:
                outcome.append(work())
            except Exception as error:  # noqa: BLE001 - it is raised again, outside of the task group
                fault.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(self._listen)
            await anyio.to_thread.run_sync(tried, limiter=self.threads)
            group.cancel_scope.cancel()
        if fault:
            raise fault[0]
        return outcome[0]

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
