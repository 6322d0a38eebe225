"""A journal of objects that are stored and not in the index yet, for the next process if this one dies.

An object is durable in a store before its index row is. If the process dies in between, no row names the
object, and a whole store is not searched at each start. So the journal keeps each put object until it is
settled. An entry is in ``.incoming/<process>/``, a folder that is locked while its process lives, under the
object's key with ``!`` for ``/``.

A store of files makes the entry in one step with the object, by a hard link (:mod:`scp.objects.local`).
:class:`Journaled` gives any other store a journal of notes.
"""

from __future__ import annotations

import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from scp.errors import ObjectChanged, ObjectMissing, OutOfResources
from scp.metrics import counting
from scp.objects.folders import ASIDE, LOCK, claim, locked, make_folder, sync_file, sync_folder
from scp.objects.names import file_name, key_in
from scp.objects.store import Availability, ObjectStore
from scp.spool import Buffer

_FOLDER = ".incoming"
_NOTES = "notes"  # the lock for writing notes: recovery holds the folder's lock, and may put meanwhile
_FRESH = b"fresh"  # in a note: the key was free before, and no other process has put it since


class JournaledStore(ObjectStore, Protocol):
    """An object store with a journal of what was put and is not settled, as all stores of an archive are."""

    @property
    def tiers(self) -> Mapping[str, Availability]:
        """The stores beside the first one, by name, with their Instance Availability."""

    @property
    def at_once(self) -> int:
        """How many objects one process does well to ask for at once; 1 where its cores decide that."""

    def fresh_key(self, key: str) -> str:
        """The key to put a new file of an object under: ``key``, or one that no other node puts."""

    def put_many(self, objects: Iterable[tuple[str, Buffer]]) -> None:
        """As :meth:`put` for each, with shared syncs; if one fails, none is stored."""

    def settle(self, key: str) -> None:
        """Remove ``key`` from the journal: whatever depends on it is durable, too."""

    def withdraw(self, key: str) -> None:
        """Undo a put of this process that is not settled; it counts as settled then.

        What was under ``key`` before, or was put there by another process since, stays: an object that is put
        twice has one key.
        """

    def journal_removal(self, key: str) -> None:
        """Note that the file under ``key`` is about to be removed, as if it had been put and not settled."""

    def recover(self) -> Iterator[str]:
        """Keys that were put, and not settled, by a process that is gone.

        Each counts as settled when the next one is asked for. Unfinished files of such a process are
        removed.
        """

    def unsettled(self) -> Mapping[str, bool]:
        """Keys that were put and not settled → whether the process that put them still lives."""

    def set_aside(self, key: str) -> None:
        """Keep the damaged file under ``key``, which is about to be removed, in a place without a key."""

    def close(self) -> None:
        """Close the store; what is not settled is left to the recovery of the next process."""


def is_store(folder: Path) -> bool:
    """Whether a folder is that of a store that was written to before."""
    return (folder / _FOLDER / LOCK).exists()


class Journal:
    """The entries of all processes below ``root``; this one's folder is made when it is first needed."""

    def __init__(self, root: Path) -> None:
        self._folder = root / _FOLDER
        self._lock = threading.Lock()
        self._own: Path | None = None
        self._own_lock = -1

    def entry(self, key: str) -> Path:
        """The path of this process's entry of a key, which need not exist."""
        with self._lock:
            if self._own is None:
                self._own, self._own_lock = claim(self._folder)
        return self._own / file_name(key)

    def settle(self, key: str) -> None:
        """Remove this process's entry."""
        self.entry(key).unlink(missing_ok=True)

    def recover(self, is_placed: Callable[[Path, str], bool]) -> Iterator[str]:
        """See JournaledStore; ``is_placed`` says of an entry and its key whether the object is there."""
        if not self._folder.is_dir():
            return
        self.entry("")  # claims now: the loop holds the lock that claiming takes, and its body may put
        with locked(self._folder):
            for folder in sorted(path for path in self._folder.iterdir() if path.is_dir()):
                with suppress(FileNotFoundError), locked(folder, wait=False) as alone:
                    if alone:  # else its process lives, or lived until just now
                        yield from _left_in(folder, is_placed)

    def unsettled(self) -> Mapping[str, bool]:
        """See JournaledStore."""
        found: dict[str, bool] = {}
        for folder in self._folder.glob("*/"):
            with suppress(FileNotFoundError), locked(folder, wait=False) as gone:
                for path in folder.iterdir():
                    if path.name != LOCK and not path.name.endswith("~"):
                        found[key_in(path.name)] = not gone
        return found

    @contextmanager
    def alone_with(self, key: str) -> Iterator[tuple[Path, list[Path]]]:
        """This process's entry of a key, and those of others; under the lock for notes."""
        own = self.entry(key)
        with locked(self._folder, name=_NOTES):
            yield own, [path for path in self._folder.glob(f"*/{own.name}") if path != own]

    def close(self) -> None:
        """Give up the folder; it is removed if it has no entries."""
        with self._lock:
            own, self._own = self._own, None
            if own is None:
                return
            with suppress(OSError):
                if [path.name for path in own.iterdir()] == [LOCK]:
                    shutil.rmtree(own)
            os.close(self._own_lock)


def _left_in(folder: Path, is_placed: Callable[[Path, str], bool]) -> Iterator[str]:
    for entry in sorted(path for path in folder.iterdir() if path.name != LOCK):
        key = key_in(entry.name)
        if is_placed(entry, key):
            yield key
        entry.unlink()
    shutil.rmtree(folder)


class Journaled:
    """Any object store without hard links, with a journal of notes below ``root``.

    Order: the note is durable → the object is. A note says whether withdrawing removes the object. Another
    process that puts the same object meanwhile changes that. ``root`` is a folder for this store alone.

    Where nobody else puts a key, its note is not synced. What a process that dies had put is found by it;
    after a power cut an object that was never acknowledged may lie in the store without a row, as a left-over
    that ``zscp fsck`` finds (docs/decisions/0161).
    """

    tiers: Mapping[str, Availability] = MappingProxyType({})
    at_once = 1

    def __init__(self, store: ObjectStore, root: Path) -> None:
        self.root = root
        self._store = store
        self._journal = Journal(root)
        self.get, self.size, self.delete, self.keys = store.get, store.size, store.delete, store.keys
        self.pieces = store.pieces

    def fresh_key(self, key: str) -> str:
        """See JournaledStore."""
        return key

    def put(self, key: str, *parts: Buffer) -> None:
        """See ObjectStore."""
        if self._is_own(key):
            self._note_own(key)
        else:
            self._note(key, lambda others: not others and not self._has(key))
        with self._withdrawn_if_it_fails([key]):
            try:
                self._store.put(key, *parts)
            except ObjectChanged:  # what is there is another's, and stays
                self.settle(key)
                raise

    def put_many(self, objects: Iterable[tuple[str, Buffer]]) -> None:
        """See JournaledStore. No syncs are shared: each object has a note of its own."""
        done: list[str] = []
        with self._withdrawn_if_it_fails(done):
            for key, data in objects:
                self.put(key, data)
                done.append(key)

    def settle(self, key: str) -> None:
        """See JournaledStore."""
        self._journal.settle(key)

    def withdraw(self, key: str) -> None:
        """See JournaledStore.

        Another process may put the same key meanwhile: so others wait while the object is removed, which a
        store that does not answer makes long. For a key that nobody else puts, nobody waits.
        """
        if self._is_own(key):
            self._remove_fresh(key, self._journal.entry(key))
            return
        with self._journal.alone_with(key) as (note, _):
            self._remove_fresh(key, note)

    def _remove_fresh(self, key: str, note: Path) -> None:
        """The note goes last: while it is there, the next start finds the object."""
        with suppress(FileNotFoundError):
            if note.read_bytes() == _FRESH:
                self._store.delete(key)
        note.unlink(missing_ok=True)

    def journal_removal(self, key: str) -> None:
        """See JournaledStore."""
        if self._has(key):
            self._note(key, lambda _: False)

    def recover(self) -> Iterator[str]:
        """See JournaledStore."""
        return self._journal.recover(lambda _, key: self._has(key))

    def unsettled(self) -> Mapping[str, bool]:
        """See JournaledStore."""
        return self._journal.unsettled()

    def set_aside(self, key: str) -> None:
        """See JournaledStore: a copy in ``.damaged`` below ``root``."""
        with suppress(ObjectMissing), _told(key):
            data = self._store.get(key)
            make_folder(self.root / ASIDE)
            copy = self.root / ASIDE / f"{file_name(key)}.{uuid.uuid4().hex}"
            copy.write_bytes(data)
            sync_file(copy)
            sync_folder(copy.parent)

    def close(self) -> None:
        """See JournaledStore."""
        self._store.close()
        self._journal.close()

    def _is_own(self, _key: str) -> bool:
        """Whether no other process ever puts this key."""
        return False

    def _has(self, key: str) -> bool:
        try:
            self._store.size(key)
        except ObjectMissing:
            return False
        return True

    def _note_own(self, key: str) -> None:
        """Note that an own key is put: nobody else has a note of it, so none is waited for.

        It outlives the process, not a power cut: two syncs would take longer than the put itself.
        Raises OutOfResources.
        """
        with _told(key):
            self._journal.entry(key).write_bytes(_FRESH)

    def _note(self, key: str, is_fresh: Callable[[list[Path]], bool]) -> None:
        """Raises OutOfResources."""
        with _told(key), self._journal.alone_with(key) as (note, others):
            for other in others:
                with suppress(FileNotFoundError):
                    os.truncate(other, 0)
            note.write_bytes(_FRESH if is_fresh(others) else b"")
            sync_file(note)
            sync_folder(note.parent)

    @contextmanager
    def _withdrawn_if_it_fails(self, keys: list[str]) -> Iterator[None]:
        try:
            yield
        except BaseException:
            for key in keys:
                self.withdraw(key)
            raise


@contextmanager
def _told(key: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        counting.count("zscp_store_errors_total", "journal")
        raise OutOfResources(f"the journal cannot take {key}: {error.strerror}") from error
