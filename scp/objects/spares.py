"""Spare segments of the landing log: written with zeros beforehand, while nothing is received.

Blocks that were written before are overwritten without a change to the file system's metadata: a sync takes
0.13 ms, and 0.3 ms in room that is only reserved. Beside receiving, zeroing takes the processor and the disk
from what it is to help, so a burst that uses up the spares goes on in reserved room.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from scp.errors import OutOfResources
from scp.resources.room import Room

SPARE = 4  # empty segments that a process keeps for itself, at most
# Nothing was received for so long: a modality that sends a series leaves gaps of milliseconds.
IDLE_SECONDS = 0.25
# What is written at a time, and the pause after it: an object that comes then waits for one piece at most.
_ZEROS = bytes(1 << 18)
_PAUSE_SECONDS = 0.01


class Spares:
    """The spare segments of one process, of ``size`` bytes each, in the folder that ``folder`` gives.

    One at first, and one more for each segment that was taken, up to SPARE.
    """

    def __init__(
        self, folder: Callable[[], Path], size: int, room: Room, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder, self._size, self._room, self._clock = folder, size, room, clock
        self._preparing = threading.Lock()
        self._asked, self._over = threading.Event(), threading.Event()
        self._taken = 0
        self._received = clock() - IDLE_SECONDS

    def received(self) -> None:
        """Note that an object comes in now."""
        self._received = self._clock()

    def take(self, own: Path, path: Path) -> bool:
        """Give a spare of the folder ``own`` the name ``path``; False where there is none."""
        self._taken += 1
        spare = next(own.glob("*.spare"), None)
        if spare is not None:
            spare.rename(path)
        return spare is not None

    def prepare(self) -> None:
        """Write the spares that lack, in a separate thread."""
        self._asked.set()
        threading.Thread(target=self._prepare, name="landing", daemon=True).start()

    def close(self) -> None:
        """Give up what is being written."""
        self._over.set()
        with self._preparing:
            pass

    def _prepare(self) -> None:
        # Whoever asks while another thread is at its end is not forgotten.
        while self._asked.is_set() and self._preparing.acquire(blocking=False):
            self._asked.clear()
            try:
                with suppress(
                    OSError, OutOfResources
                ):  # then room is only reserved; or the next write raises
                    self._write_what_lacks()
            finally:
                self._preparing.release()

    def _write_what_lacks(self) -> None:
        while self._idle() and _count(own := self._folder()) < min(SPARE, 1 + self._taken):
            self._room.check(self._size)
            write_spare(own / f"{secrets.token_hex(4)}.spare", self._size, self._room, self._idle)

    def _idle(self) -> bool:
        """Return True as soon as nothing is received; False when the log is closed."""
        wait = _PAUSE_SECONDS
        while not self._over.wait(wait):
            wait = self._received + IDLE_SECONDS - self._clock()
            if wait <= 0:
                return True
        return False


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.glob("*.spare"))


def write_spare(path: Path, size: int, room: Room, go_on: Callable[[], bool] = lambda: True) -> None:
    """Write an empty segment, ready for use. Raises OutOfResources, OSError.

    ``go_on`` is called before each piece. It may wait, and says whether the segment is still wanted.
    """
    unfinished = path.with_suffix(".zeros")
    try:
        with unfinished.open("wb", buffering=0) as file:
            for at in range(0, size, len(_ZEROS)):
                if not go_on():
                    unfinished.unlink()
                    return
                room.check(len(_ZEROS))
                file.write(_ZEROS)
                # Linux begins to write the pages on this advice, so that the one sync at the end is short:
                # a sync for each piece takes three times the processor, and eight times the disk.
                os.posix_fadvise(file.fileno(), at, len(_ZEROS), os.POSIX_FADV_DONTNEED)
            os.fdatasync(file.fileno())
        unfinished.rename(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def keep_as_spare(path: Path) -> bool:
    """Make a segment that is free again a spare of its folder; False where there are enough."""
    if _count(path.parent) >= SPARE:
        return False
    path.rename(path.parent / f"{secrets.token_hex(4)}.spare")
    return True
