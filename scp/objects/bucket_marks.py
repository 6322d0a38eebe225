"""The marks of an archive in a bucket: ``.zscp/archive`` in the first store, ``.zscp/store`` in others.

As the files of these names (:mod:`scp.objects.mark`, :mod:`scp.objects.tiers`). But several nodes share a
bucket, so a mark is written on the condition that it still is what the writer has read.
"""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager, nullcontext

from scp.errors import ObjectDamaged, ObjectMissing, ObjectUnavailable, OutOfResources
from scp.objects.bucket import Bucket
from scp.objects.mark import Mark, mark_in, text_of

_ARCHIVE, _STORE = ".zscp/archive", ".zscp/store"
_RECENT_SECONDS = 5.0
# How long it counts as known that a bucket answers, and that it does not.
_THERE_SECONDS, _AWAY_SECONDS = 10.0, 2.0


class BucketMark:
    """The mark of the first store (:class:`scp.objects.mark.StoreMark`); threads may share it."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._seen = threading.local()  # the ETag of what this thread has read last
        self._last: tuple[float, Mark | None] | None = None

    def read(self) -> Mark | None:
        """See StoreMark. Raises OutOfResources if the bucket does not answer: it may have a mark."""
        try:
            text, self._seen.etag = self._read()
        except ObjectMissing:
            text, self._seen.etag = "", ""
        except ObjectUnavailable as error:
            raise OutOfResources(str(error)) from error
        found = mark_in(text)
        self._last = time.monotonic(), found
        return found

    def _read(self) -> tuple[str, str]:
        """The text of the mark, which is empty if it is none, and its ETag."""
        try:
            return self._bucket.note(_ARCHIVE)
        except ObjectDamaged:
            return "", self._bucket.look(_ARCHIVE).etag

    def recent(self) -> Mark | None:
        """See StoreMark."""
        last = self._last
        return last[1] if last and time.monotonic() < last[0] + _RECENT_SECONDS else self.read()

    def write(self, mark: Mark) -> None:
        """See StoreMark. Raises ObjectChanged if it is not what this thread has read."""
        etag = getattr(self._seen, "etag", "")
        self._seen.etag = self._bucket.put(_ARCHIVE, text_of(mark).encode(), only=etag or "new")
        self._last = time.monotonic(), mark

    def lock(self) -> AbstractContextManager[None]:
        """See StoreMark: a bucket has none. The index gives one, and the mark is written on a condition."""
        return nullcontext()


class BucketMedium:
    """The mark of a bucket beside the first store (:class:`scp.objects.tiers.Medium`)."""

    def __init__(self, bucket: Bucket, name: str) -> None:
        self._bucket = bucket
        self._name = name
        self._known: tuple[float, bool] = (0.0, False)

    def is_there(self) -> bool:
        """Whether the bucket answers, and has the mark."""
        until, there = self._known
        if time.monotonic() < until:
            return there
        try:
            self._bucket.look(_STORE)
            there = True
        except (ObjectMissing, ObjectUnavailable):
            there = False
        self._known = time.monotonic() + (_THERE_SECONDS if there else _AWAY_SECONDS), there
        return there

    def owner(self) -> str:
        """See Medium."""
        try:
            return "".join(self._bucket.note(_STORE)[0].split("\n")[1:2])
        except (ObjectMissing, ObjectDamaged, ObjectUnavailable):
            return ""

    def make(self, archive: str = "") -> None:
        """See Medium. Raises OutOfResources."""
        if not self.is_there() or self.owner() != archive:
            self._bucket.put(_STORE, f"{self._name}\n{archive}\n".encode())
            self._known = (0.0, False)
