"""An object store that forgets: for tests and trials."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from scp.errors import ObjectMissing
from scp.objects.store import Availability, check_size
from scp.spool import Buffer


class MemoryStore:
    """Objects in a dictionary (:class:`scp.objects.store.ObjectStore`)."""

    tiers: Mapping[str, Availability] = MappingProxyType({})

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._fresh: set[str] = set()  # put, not settled, and nothing lay there before
        self._lock = threading.Lock()

    def put(self, key: str, *parts: Buffer) -> None:
        """See ObjectStore."""
        with self._lock:
            if key not in self._objects:
                self._fresh.add(key)
            self._objects[key] = b"".join(parts)

    def put_many(self, objects: Iterable[tuple[str, Buffer]]) -> None:
        """See ObjectStore."""
        for key, data in objects:
            self.put(key, data)

    def settle(self, key: str) -> None:
        """See ObjectStore; nothing outlives the process."""
        self._fresh.discard(key)

    def withdraw(self, key: str) -> None:
        """See ObjectStore."""
        if key in self._fresh:
            self.delete(key)
        self.settle(key)

    def unsettle(self, key: str) -> None:
        """Nothing to remember."""

    def recover(self) -> Iterator[str]:
        """Nothing to recover."""
        return iter(())

    def unsettled(self) -> Mapping[str, bool]:
        """Nothing outlives the process."""
        return {}

    def set_aside(self, key: str) -> None:
        """Nothing to keep it in."""

    def get(self, key: str, size: int | None = None) -> Buffer:
        """See ObjectStore."""
        try:
            found = self._objects[key]
        except KeyError:
            raise ObjectMissing(f"{key} is not in the object store") from None
        check_size(key, len(found), size)
        return found

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
        """Nothing to let go of."""
