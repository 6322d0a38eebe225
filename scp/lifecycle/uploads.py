"""Uploads before all else: what other nodes wait for, out of this node's landing log into the shared store.

A node that is asked for an object in another node's landing log writes a row, as
:class:`scp.archive.elsewhere.Elsewhere` says. This node looks for such rows often while there are other
nodes, and gives the objects files of their own, as received: the encoder encodes them from there, which may
take longer than a peer waits. The same rows say which records are over, as another node has replaced their
objects.
"""

from __future__ import annotations

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
    """Does what other nodes ask for; a node has one."""

    name = "uploading"
    again = BackOff(1.0, 10.0)

    def __init__(self, archive: Archive) -> None:
        super().__init__()
        self._archive = archive
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
        self._pool.shutdown()

    def _uploaded(self, request: Request) -> Request | None:
        """A request that is done, also where that failed: who waits asks again; None to try it again."""
        if self.stopping.is_set():
            return None
        try:
            self._archive.upload(request.key)
        except OutOfResources as error:
            structlog.get_logger("zscp").error("not uploaded yet", key=request.key, reason=str(error))
            return None
        except (ZscpError, OSError) as error:
            structlog.get_logger("zscp").error("cannot be uploaded", key=request.key, reason=str(error))
        return request
