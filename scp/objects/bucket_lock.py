"""A lock in a bucket, for processes on several machines: an object that its holder renews.

The holder puts the object on the condition that there is none, and puts it again every few seconds. Whoever
waits watches its ETag. If that has not changed for long enough, by that process's own clock, the holder is
dead, and the object is replaced on the condition that it still has that ETag. So no two clocks are compared,
and of several that wait one wins.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import structlog

from scp.errors import ObjectChanged, ObjectMissing, OutOfResources, ZscpError
from scp.objects.bucket import Bucket

RENEWED, DEAD = (
    5.0,
    30.0,
)  # seconds: how often it is renewed, and after how long without that its holder is dead
_PATIENCE = 90.0  # how long to wait for it: longer than a dead holder keeps it
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0


class BucketLock:
    """The lock that is the object under ``key``. Threads of a process wait for each other first."""

    def __init__(self, bucket: Bucket, key: str, dead: float = DEAD) -> None:
        self._bucket, self._key, self._dead = bucket, key, dead
        self._here = threading.Lock()

    @contextmanager
    def held(self, patience: float = _PATIENCE) -> Iterator[None]:
        """Hold the lock. Raises OutOfResources if another holds it for longer than ``patience`` seconds."""
        if not self._here.acquire(timeout=patience):
            raise OutOfResources(f"{self._key} in {self._bucket.name} is locked by another thread; try again")
        try:
            holding = _Holding(self._bucket, self._key, self._taken(patience))
            try:
                yield
            finally:
                holding.end()
        finally:
            self._here.release()

    def _taken(self, patience: float) -> str:
        """Take the lock, and return its ETag."""
        until, pause = time.monotonic() + patience, _FIRST_PAUSE
        seen, since = "", time.monotonic()
        while True:
            with suppress(ObjectChanged):
                return self._bucket.put(self._key, _content(), only="new")
            with suppress(ObjectMissing, ObjectChanged):
                etag = self._bucket.look(self._key).etag
                if etag != seen:
                    seen, since = etag, time.monotonic()
                elif time.monotonic() - since > self._dead:
                    taken = self._bucket.put(self._key, _content(), only=seen)
                    structlog.get_logger("zscp").warning("lock taken over from a dead process", key=self._key)
                    return taken
            if time.monotonic() > until:
                told = f"{self._key} in {self._bucket.name} was locked for {patience:g} s by another process"
                raise OutOfResources(f"{told}; try again")
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


class _Holding:
    """Renews the lock until :meth:`end`."""

    def __init__(self, bucket: Bucket, key: str, etag: str) -> None:
        self._bucket, self._key, self._etag = bucket, key, etag
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lock", daemon=True)
        self._thread.start()

    def _renew(self) -> None:
        while not self._over.wait(RENEWED):
            try:
                self._etag = self._bucket.put(self._key, _content(), only=self._etag)
            except ZscpError as error:  # the next round tries again; what is done under the lock is bounded
                structlog.get_logger("zscp").warning("lock not renewed", key=self._key, reason=str(error))

    def end(self) -> None:
        """Give up the lock, unless another process took it over."""
        self._over.set()
        self._thread.join()
        try:
            if self._bucket.look(self._key).etag == self._etag:
                self._bucket.delete(self._key)
        except ObjectMissing:
            pass
        except ZscpError as error:  # it counts as a dead process's soon
            structlog.get_logger("zscp").warning("lock not given up", key=self._key, reason=str(error))


def _content() -> bytes:
    return uuid.uuid4().hex.encode()  # so that each renewal has another ETag
