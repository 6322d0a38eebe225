"""An object store in memory, for tests and experiments."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from scp.errors import ObjectMissing
from scp.objects.store import check_size, pieces_of
from scp.spool import Buffer


class MemoryStore:
    """Objects in a dictionary (:class:`scp.objects.store.ObjectStore`)."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def put(self, key: str, *parts: Buffer) -> None:
        """See ObjectStore."""
        with self._lock:
            self._objects[key] = b"".join(parts)

    def get(self, key: str, size: int | None = None) -> Buffer:
        """See ObjectStore."""
        try:
            found = self._objects[key]
        except KeyError:
            raise ObjectMissing(f"{key} is not in the object store") from None
        check_size(key, len(found), size)
        return found

    def pieces(self, key: str, size: int) -> Iterator[Buffer]:
        """See ObjectStore."""
        yield from pieces_of(self.get(key, size))

    def size(self, key: str) -> int:
        """See ObjectStore."""
        return len(self.get(key))

    def delete(self, key: str) -> None:
        """See ObjectStore."""
        with self._lock:
            self._objects.pop(key, None)

    def keys(self, prefix: str = "") -> Iterator[str]:
        """See ObjectStore."""
        with self._lock:
            found = [key for key in self._objects if key.startswith(prefix)]
        return iter(found)

    def close(self) -> None:
        """See ObjectStore. Does nothing."""
