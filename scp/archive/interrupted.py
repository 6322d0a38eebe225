"""What processes left that died: files in their places whose rows may be missing, and landed records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from scp.archive.stored_files import StoredFiles
from scp.index.index import Index
from scp.objects.names import is_object


class Interrupted:
    """The journal of the object store, and the records of the landing log that are not over."""

    def __init__(self, files: StoredFiles, index: Index) -> None:
        self._files = files
        self._index = index

    def files(self) -> Iterator[str]:
        """Keys of objects that were put, and not settled, by a process that is gone.

        Each counts as settled when the next one is asked for. Nothing depends on dictionaries that are there
        and not in use.
        """
        return filter(is_object, self._files.store.recover())

    def unsettled(self) -> Mapping[str, bool]:
        """What was put and not settled: key → whether the process that did is still there."""
        return self._files.store.unsettled()

    def keep(self, key: str) -> None:
        """Leave a file to the next start; a landed record stays by itself."""
        self._files.store.journal_removal(key)

    def landed(self) -> Iterator[str]:
        """Keys of landed records that are not over, and that the index does not name, where it should."""
        return self._files.store.strays(self._index.pending_keys())

    def counts(self, key: str) -> bool:
        """Whether there is a landed record under a key that is whole, and not over."""
        return self._files.store.counts(key)

    def end(self, key: str) -> None:
        """A landed record is over: its object is durable elsewhere, or nobody was told that it is kept."""
        self._files.discard(key)

    def set_aside(self, key: str) -> None:
        """End a landed record that was not acknowledged, as far as can be told; a copy is kept.

        Raises ObjectMissing.
        """
        self._files.set_aside(key)
        self.end(key)

    def free(self) -> None:
        """Free the segments of the landing log in which every record is over."""
        self._files.store.free(self._index.pending_keys())
