"""Uploads before all else: what other nodes wait for, out of this node's landing log into the shared store.

A node that is asked for an object in another node's landing log writes a row, as
:class:`scp.archive.elsewhere.Elsewhere` says. This node looks for such rows often while there are other
nodes, and gives the objects files of their own, as they are there: the encoder encodes what is as received
from those files, which may take longer than a peer waits. The same rows say which records are over, as
another node has replaced their objects.

A node that stops uploads what is left in its landing log, if other nodes live: until its next start they
could not read it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog

from scp.archive.archive import Archive
from scp.background.back_off import BackOff
from scp.background.loop import Task
from scp.errors import OutOfResources, ZscpError
from scp.index.nodes import BEAT_SECONDS, Request

# A look is one SELECT of mostly no row; whoever waits for an object waits for half of it on average.
LOOK_SECONDS = 0.3
# How many at a time: mostly waiting for the store.
_THREADS = 8


class Uploader(Task):
    """Does what other nodes ask for; a node has one. It may go on for so many ``seconds`` when it stops."""

    name = "uploading"
    again = BackOff(1.0, 10.0)
    is_waited_for = True

    def __init__(self, archive: Archive, seconds: Callable[[], float] = lambda: 10.0) -> None:
        super().__init__()
        self._archive, self._seconds = archive, seconds
        self._pool = ThreadPoolExecutor(_THREADS, "upload")

    def turn(self) -> float:
        """See :class:`scp.background.loop.Task`. Raises OutOfResources; then the rows are there next time."""
        elsewhere = self._archive.elsewhere
        if not elsewhere.cluster.others():
            return BEAT_SECONDS
        if asked := elsewhere.asked():
            uploads = [one for one in asked if one.act == "upload"]
            elsewhere.done([one for one in self._pool.map(self._uploaded, uploads) if one is not None])
            if uploads:
                self._archive.wake_encoder()  # they are pending under other keys now
            self._archive.interrupted.settle_asked(asked)
        return LOOK_SECONDS

    def close(self) -> None:
        """See :class:`scp.background.loop.Task`."""
        try:
            self._upload_the_rest()
        except OutOfResources as error:
            structlog.get_logger("zscp").error("not uploaded before the end", reason=str(error))
        self._pool.shutdown()

    def _upload_the_rest(self) -> None:
        """Upload what is pending here, also what is received meanwhile. Raises OutOfResources."""
        elsewhere = self._archive.elsewhere
        if not elsewhere.cluster.living():
            return
        until, tried = time.monotonic() + self._seconds(), set[str]()

        def upload(key: str) -> None:
            if time.monotonic() < until:
                self._is_done(key)

        while time.monotonic() < until and (keys := set(elsewhere.pending_here()) - tried):
            list(self._pool.map(upload, keys))
            tried |= keys
        if left := len(elsewhere.pending_here()):
            told = "other nodes can read them when this one has started again"
            structlog.get_logger("zscp").warning("not all is uploaded", objects=left, reason=told)

    def _uploaded(self, request: Request) -> Request | None:
        """A request that is done, also where that failed: who waits asks again; None to try it again."""
        return request if not self.stopping.is_set() and self._is_done(request.key) else None

    def _is_done(self, key: str) -> bool:
        """Upload a record; False to try it again."""
        try:
            self._archive.upload(key)
        except OutOfResources as error:
            structlog.get_logger("zscp").error("not uploaded yet", key=key, reason=str(error))
            return False
        except (ZscpError, OSError) as error:
            structlog.get_logger("zscp").error("cannot be uploaded", key=key, reason=str(error))
        return True
