"""Parts of an open page that change by themselves: server-sent events, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import structlog
from fastapi import HTTPException, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from scp.errors import ZscpError
from scp.web.page.gatekeeper import PageAsked

EVERY_SECONDS = 2.0
# Each open page is one. A browser comes again by itself, so that nothing lasts for ever.
_MOST, _LONGEST_SECONDS = 32, 600.0
_FAILED = "event: fault\ndata: what is shown may be old\n\n"


class Streams:
    """Counts the streams of an application."""

    def __init__(self) -> None:
        self._open = 0

    def stream(self, request: Request, event: str, part: Callable[[], str]) -> StreamingResponse:
        """Send ``part``, HTML made in a thread, every 2 s as long as it differs, while the visitor stays.

        Raises HTTPException (503) where too many pages are open.
        """
        if self._open >= _MOST:
            raise HTTPException(503, "Too many pages are open; load this one again later.")
        return StreamingResponse(self._events(request, event, part), media_type="text/event-stream")

    async def _events(self, request: Request, event: str, part: Callable[[], str]) -> AsyncIterator[str]:
        asked: PageAsked = request.state.asked
        loop, before = asyncio.get_running_loop(), ""
        until = loop.time() + _LONGEST_SECONDS
        self._open += 1
        try:
            while loop.time() < until and await run_in_threadpool(asked.stays):
                try:
                    now = await run_in_threadpool(part)
                except ZscpError as error:
                    structlog.get_logger("zscp").warning(
                        "page not renewed", path=request.url.path, reason=error
                    )
                    yield _FAILED
                else:
                    yield _written(event, now) if now != before else ": the same\n\n"
                    before = now
                await asyncio.sleep(EVERY_SECONDS)
        finally:
            self._open -= 1


def streams_of(request: Request) -> Streams:
    """The streams of the application that a request came to."""
    found: Streams = request.app.state.streams
    return found


def _written(event: str, html: str) -> str:
    data = "".join(f"data: {line}\n" for line in html.splitlines())
    return f"event: {event}\n{data}\n"
