"""An answer whose body is made piece by piece in threads, as fast as the client takes it."""

from __future__ import annotations

from collections.abc import Generator, Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from scp.web.dicomweb.asked import Asked


class Pieces(Response):
    """Sends what a generator of bytes gives; while it waits for the client, no thread waits with it.

    Where the generator fails, the connection ends without the end of the body, so that the client sees that
    it has not all.
    """

    def __init__(
        self,
        asked: Asked,
        pieces: Generator[bytes, None, None],
        media_type: str,
        headers: Mapping[str, str] | None = None,
        status: int = 200,
    ) -> None:
        super().__init__(status_code=status, headers=headers, media_type=media_type)
        if not any(name.lower() == "content-length" for name in headers or ()):
            del self.headers["content-length"]  # Response counts the body that it was given: none
        self._asked, self._pieces = asked, pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - see ASGI
        """See ASGI."""
        asked = self._asked
        try:
            start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            await send(start)
            if scope["method"] != "HEAD":
                async with asked.listening():
                    while (piece := await asked.threads.run(self._next)) and not asked.gone.is_set():
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await asked.threads.run(self._pieces.close)

    def _next(self) -> bytes:
        """The next piece that is not empty; an empty one at the end."""
        return next((piece for piece in self._pieces if piece), b"")
