"""Whether there is room on a disk: ``storage.reserve`` bytes of it stay free, whoever writes.

Everything that writes objects, or parts of them, asks here before each megabyte. Several writers at the same
moment may pass the reserve by a megabyte each. The index does not ask: the reserve is for it, so that it goes
on when objects are refused. docs/decisions/0119.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scp.errors import OutOfResources
from scp.metrics import counting

# So much is written between two looks. A look costs 2 µs, writing a megabyte 300.
STEP = 1 << 20
# A look is good for so long while more than this is left: that would have to be filled at 10 GB/s.
_GOOD_SECONDS, _PLENTY = 0.1, 1 << 30
# What says that there is no room, or no disk that works; everything else is a fault of another kind.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE)


def free_bytes(folder: Path) -> int:
    """Bytes that may be written to the file system that a folder is on. Raises OSError."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


class Room:
    """The file system of ``folder``, of which ``reserve`` bytes are left free."""

    def __init__(self, folder: Path, reserve: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = folder
        self.reserve = reserve
        self._clock = clock
        self._left, self._good_until = 0, 0.0

    def check(self, size: int) -> None:
        """Whether ``size`` bytes may be written now. Raises OutOfResources, OSError."""
        if lack := self.lack(size):
            counting.count("zscp_store_errors_total", "room")
            raise OutOfResources(lack, limit="storage.reserve")

    def lack(self, size: int) -> str:
        """Why ``size`` bytes may not be written now; empty where they may. Raises OSError."""
        now = self._clock()
        self._left -= size
        if now < self._good_until and self._left > _PLENTY:
            return ""
        self._left, self._good_until = free_bytes(self.folder) - self.reserve - size, now + _GOOD_SECONDS
        if self._left >= 0:
            return ""
        left, self._left = self._left, 0
        return (
            f"{max(left + self.reserve, 0)} bytes would be left free, storage.reserve keeps "
            f"{self.reserve}; make room on the disk of {self.folder}, or lower it"
        )

    def holds(self, size: int) -> bool:
        """Whether ``size`` bytes may be written now. Raises OSError."""
        return not self.lack(size)


_rooms: tuple[Room, ...] = ()


def use(rooms: Iterable[Room]) -> None:
    """Set the disks on which something stays free, for the whole process."""
    global _rooms  # noqa: PLW0603 - one for the process, set by who composes it
    _rooms = tuple(rooms)


def of(folder: Path) -> Room:
    """The room of the disk that any folder is on, or will be; what :func:`use` says of that stays free.

    Raises OSError.
    """
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    disk = there.stat().st_dev
    reserves = [room.reserve for room in _rooms if room.folder.exists() and room.folder.stat().st_dev == disk]
    return Room(there, max(reserves, default=0))


@contextmanager
def told(what: str) -> Iterator[None]:
    """Raise OutOfResources, which says that there is no room for ``what``, instead of an error."""
    try:
        yield
    except OSError as error:
        raise OutOfResources(f"{what}: {error.strerror or error}") from error
