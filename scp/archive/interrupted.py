"""What dead processes left: stored files whose rows may be missing, and records of the landing log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from scp.archive.elsewhere import Elsewhere
from scp.archive.stored_files import StoredFiles
from scp.index.index import Index
from scp.index.nodes import Request
from scp.model import Instance
from scp.objects.names import is_object


class Interrupted:
    """The journal of the object store, and the records of the landing log that are not over."""

    def __init__(self, files: StoredFiles, index: Index, elsewhere: Elsewhere) -> None:
        self._elsewhere = elsewhere
        self._files = files
        self._index = index

    def files(self) -> Iterator[str]:
        """Keys of objects that were put, and not settled, by a process that is gone.

        Each counts as settled when the next one is asked for. Dictionaries are left out: an unused one does
        no harm.
        """
        return filter(is_object, self._files.store.recover())

    def unsettled(self) -> Mapping[str, bool]:
        """Keys that were put and not settled → whether the process that put them still lives."""
        return self._files.store.unsettled()

    def keep(self, key: str) -> None:
        """Leave a file to the next start; a landed record stays anyway."""
        self._files.store.journal_removal(key)

    def held(self, found: Instance) -> Instance | None:
        """The row of what a dead process left, or None; not before the last COMMIT of that process has ended.

        Raises OutOfResources.
        """
        self._index.are_named([found])
        return self._index.current(found.identity)

    def settle_asked(self, asked: Iterable[Request]) -> None:
        """End the records whose objects other nodes have replaced; those that a row still names are left.

        Raises OutOfResources.
        """
        over = [one for one in asked if one.act == "settle" and self._index.pending_at(one.key) is None]
        self._files.store.delete_many(one.key for one in over)
        self._elsewhere.done(over)

    def landed(self) -> Iterator[str]:
        """Keys of landed records that are not over, but that are missing in the index."""
        self.settle_asked(self._elsewhere.asked())
        return self._files.store.strays(self._index.pending_keys())

    def counts(self, key: str) -> bool:
        """Whether the landed record under a key is there, whole and not over."""
        return self._files.store.counts(key)

    def end(self, key: str) -> None:
        """Mark a landed record as over: its object is durable elsewhere, or was never acknowledged."""
        self._files.discard(key)

    def set_aside(self, key: str) -> None:
        """Keep a copy of a landed record that was probably never acknowledged, and mark it as over.

        Raises ObjectMissing.
        """
        self._files.set_aside(key)
        self.end(key)

    def free(self) -> None:
        """Free the segments of the landing log in which every record is over."""
        self._files.store.free(self._index.pending_keys())
