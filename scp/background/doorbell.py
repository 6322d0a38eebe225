"""One process or thread tells another that there is something to do, without a queue and without polling."""

from __future__ import annotations

import contextlib
import os
import select
import weakref


class Doorbell:
    """Any thread of this process, or of one that was forked from it, may ring; one thread waits.

    Its descriptors are closed only when nothing refers to it any more, as a thread may ring late.
    """

    def __init__(self) -> None:
        self._listens, self._rings = os.pipe()
        os.set_blocking(self._listens, False)
        os.set_blocking(self._rings, False)
        weakref.finalize(self, _close, self._listens, self._rings).atexit = False
        self._poll = select.poll()  # not select: that one knows no descriptor above 1023
        self._poll.register(self._listens, select.POLLIN)

    def ring(self) -> None:
        """Wake the thread that waits, now or when it next waits."""
        with contextlib.suppress(BlockingIOError):  # full: it has been rung enough
            os.write(self._rings, b"!")

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it is rung; False when the time is up first."""
        ready = self._poll.poll(None if seconds is None else seconds * 1000)
        with contextlib.suppress(BlockingIOError):
            while os.read(self._listens, 65_536):
                pass
        return bool(ready)


def _close(*descriptors: int) -> None:
    for each in descriptors:
        os.close(each)
