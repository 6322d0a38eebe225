"""Objects are written down before a process works on them: the next one then knows what it may have died of.

``.attempts/processes/<process>/slots`` holds a slot of 4 KB for each object that the process works on. Beside
it is a lock that shows that the process lives. The file is mapped: a slot is filled before the work and
emptied after it without a system call. It survives the process, but need not survive a power cut
(docs/decisions/0113). Objects in the slots of a dead process are suspects (:mod:`scp.objects.suspects`).
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import structlog

from scp.errors import ObjectDamaged, ObjectUnavailable, OutOfResources, ZscpError, message_of
from scp.objects.files import small
from scp.objects.folders import LOCK, claim, folders_of_the_dead
from scp.objects.suspects import ACTS, Act, Suspect, Suspects

FOLDER = ".attempts"
_PROCESSES, _SLOTS = "processes", "slots"
_SLOT, _MOST = 4096, 256  # bytes; slots of a process, more than any was seen to use at once
_EMPTY = 0
# How many seconds a suspect waits to be the only object that its process works on, and others wait for it.
_PATIENCE = 60.0

Library = Callable[[], str]


def _unknown() -> str:
    return ""


class Attempts:
    """The journal of attempts below ``root``, an archive's folder; threads may share it.

    Each process has a folder of its own, made when it first tries something.
    """

    def __init__(self, root: Path, patience: float = _PATIENCE) -> None:
        self.patience = patience
        self.suspects = Suspects(root / FOLDER)
        self._processes = root / FOLDER / _PROCESSES
        self._changed = threading.Condition()
        self._flying: dict[int, str] = {}
        self._free: list[int] = []
        self._alone: int | None = None
        self._own: Path | None = None
        self._own_lock = -1
        self._map: mmap.mmap | None = None
        self._is_told = self._unusable = self._stopping = False
        self._mine = threading.local()

    # -- trying ----------------------------------------------------------------------------------------

    @contextmanager
    def of(self, key: str, uid: str, act: Act, library: Library = _unknown) -> Iterator[None]:
        """Around work on an object. Inside another such block of the same thread it does nothing.

        If the process dies inside the block, or an unexpected exception leaves it, the object becomes a
        suspect, or is refused for ``act``; ``library`` gives the library and version that this depends on.
        """
        if getattr(self._mine, "tries", False):
            yield
            return
        known = self.suspects.get(key)
        slot = self.begin(key, uid, act)
        self._mine.tries = True
        try:
            yield
        except (OutOfResources, ObjectUnavailable, OSError, MemoryError):
            raise  # the attempt was not finished: that says nothing of the object
        except ZscpError:
            if known is not None:
                self._survived(key, act)
            raise
        except Exception as error:
            self.failed(key, uid, act, message_of(error), library())
            raise
        else:
            if known is not None:
                self._survived(key, act)
        finally:
            self._mine.tries = False
            self.end(slot)

    def begin(self, key: str, uid: str, act: Act, alone: bool = True) -> int:
        """Write an object down; returns the number of its slot, for :meth:`end`.

        A suspect waits until this process works on nothing else, for :attr:`patience` at most. If not
        ``alone`` it does not wait, as the caller decides how long the work takes.
        """
        suspect = alone and self.is_suspect(key, act)
        with self._changed:
            if suspect:
                self._changed.wait_for(lambda: self._stopping or not self._flying, self.patience)
            elif self._alone is not None:
                self._changed.wait_for(lambda: self._stopping or self._alone is None, self.patience)
            slot = self._free.pop() if self._free else len(self._flying)
            self._flying[slot] = key
            if suspect and len(self._flying) == 1:
                self._alone = slot
            self._write(slot, f"{act}\n{key}\n{uid}".encode()[: _SLOT - 1] + b"\0")
        return slot

    def end(self, slot: int) -> None:
        """Empty the slot: what :meth:`begin` began has ended, with or without success."""
        with self._changed:
            self._empty(slot)
            del self._flying[slot]
            self._free.append(slot)
            if self._alone == slot:
                self._alone = None
            self._changed.notify_all()

    def _survived(self, key: str, act: Act) -> None:
        """Clear the suspicion of an object: the act ended without a failure."""
        if (known := self.suspects.get(key)) is None or known.act != act or not known.times:
            return
        try:
            with self.suspects.changing() as put:
                put(replace(known, times=0) if known.refused else None, key)
        except OSError as error:  # the work on the object is finished anyway
            self._tell_broken(error)

    # -- results ---------------------------------------------------------------------------------------

    def is_suspect(self, key: str, act: Act = "encode") -> bool:
        """Whether ``act``, or an act that it needs, ended a process or failed, so that it is tried alone."""
        known = self.suspects.get(key)
        return known is not None and known.times > 0 and ACTS.index(act) <= ACTS.index(known.act)

    def refusal(self, key: str) -> Suspect | None:
        """The act that an object is refused for, and why, as far as this journal knows."""
        known = self.suspects.get(key)
        return known if known is not None and known.refused else None

    def failed(self, key: str, uid: str, act: Act, reason: str, library: str = "") -> Suspect | None:
        """Count a failure; returns what is known of the object now, None if that cannot be written."""
        with self._changed:
            alone = len(self._flying) <= 1
        try:
            return self._count([(key, uid, act)], reason, alone, lambda _: library)[0]
        except OSError as error:
            self._tell_broken(error)
            return None

    def forget(self, key: str) -> None:
        """Forget an object: it is tried as any other from now on, or its row has the refusal."""
        if self.suspects.get(key) is not None:
            with self.suspects.changing() as put:
                put(None, key)

    def carry(self, key: str, to: str) -> None:
        """Keep what is known of a file for the file that replaces it."""
        if (known := self.suspects.get(key)) is not None:
            with self.suspects.changing() as put:
                put(None, key)
                put(replace(known, key=to), to)

    def take_up(self, library: Callable[[Act], str]) -> list[Suspect]:
        """Read what dead processes left; returns the objects that are suspected, or refused, because of it.

        ``library`` gives the library and version that count for an act.
        """
        found: list[Suspect] = []
        try:
            for folder in folders_of_the_dead(self._processes):
                try:
                    found += self._of_the_dead(folder, library)
                except OSError as error:  # of this folder: the next start tries again
                    self._tell_broken(error)
        except OSError as error:
            self._tell_broken(error)
        return found

    def _of_the_dead(self, folder: Path, library: Callable[[Act], str]) -> list[Suspect]:
        left = _used(folder)
        told = "processes died while they worked on it"
        found = self._count(left, told, len(left) == 1, library) if left else []
        for path in sorted(folder.iterdir(), key=lambda path: path.name == LOCK):
            path.unlink(missing_ok=True)  # the process may be ending normally just now
        with suppress(OSError):
            folder.rmdir()
        return found

    def _count(
        self, left: list[tuple[str, str, Act]], reason: str, alone: bool, library: Callable[[Act], str]
    ) -> list[Suspect]:
        found = []
        with self.suspects.changing() as put:
            for key, uid, act in left:
                known = self.suspects.get(key) or Suspect(key, uid, act)
                after = known.failed(act, reason, alone, library(act))
                put(after, key)
                found.append(after)
        return found

    def stopping(self) -> None:
        """Note that this process was told to end: no object is blamed for its end from now on.

        Work that takes too long is killed, and is tried again as any other.
        """
        with self._changed:
            self._stopping = True
            for slot in self._flying:
                self._empty(slot)
            self._changed.notify_all()

    def close(self) -> None:
        """Remove this process's folder: it works on nothing any more."""
        with self._changed:
            own, self._own = self._own, None
            if own is None:
                return
            self._map = None
            if not self._flying:
                for name in (_SLOTS, LOCK):
                    (own / name).unlink(missing_ok=True)
                with suppress(OSError):  # its disk may be gone
                    own.rmdir()
            os.close(self._own_lock)

    # -- the file ----------------------------------------------------------------------------------------

    def _write(self, slot: int, record: bytes) -> None:
        """Write a slot. If there is no room for the file, work goes on without it, which is logged once."""
        if self._stopping:
            return
        try:
            if self._map is None and not self._opened():
                return
        except OSError as error:
            self._tell_broken(error)
            return
        if self._map is not None and slot < _MOST:
            self._map[slot * _SLOT : slot * _SLOT + len(record)] = record

    def _empty(self, slot: int) -> None:
        if self._map is not None and slot < _MOST:
            self._map[slot * _SLOT] = _EMPTY

    def _opened(self) -> bool:
        if self._own is None and not self._unusable:
            self._unusable = True  # until it is known not to be
            self._own, self._own_lock = claim(self._processes)
            descriptor = os.open(self._own / _SLOTS, os.O_RDWR | os.O_CREAT, 0o640)
            try:
                os.posix_fallocate(descriptor, 0, _SLOT * _MOST)  # else a full disk would end the process
                self._map = mmap.mmap(descriptor, _SLOT * _MOST)
                self._unusable = False
            finally:
                os.close(descriptor)
        return self._map is not None

    def _tell_broken(self, error: OSError) -> None:
        if not self._is_told:
            self._is_told = True
            structlog.get_logger("zscp").error("what is tried is not written down", reason=str(error))


def _used(folder: Path) -> list[tuple[str, str, Act]]:
    """Key, UID and act of each object that a process worked on."""
    try:
        data = small(folder / _SLOTS, _SLOT * _MOST)
    except (FileNotFoundError, ObjectDamaged):
        return []
    found: dict[str, tuple[str, str, Act]] = {}
    for at in range(0, len(data), _SLOT):
        act, *rest = data[at : at + _SLOT].split(b"\0")[0].decode("utf-8", "replace").split("\n", 2)
        named = next((name for name in ACTS if name == act), None)
        if named is not None and len(rest) == 2:
            found[rest[0]] = (rest[0], rest[1], named)
    return list(found.values())


def died_of_an_object(root: Path, process: int) -> bool:
    """Whether a process that has ended was working on an object; only before :meth:`Attempts.take_up`."""
    return any(_used(folder) for folder in (root / FOLDER / _PROCESSES).glob(f"{process}-*"))
