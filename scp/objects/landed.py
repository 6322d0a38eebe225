"""A store with a landing log before it: whoever has a key need not know which of the two it leads to.

Small objects are durable in the log first (:mod:`scp.objects.landing`), and get files of their own in the
store behind the response. Keys of both are asked for here by the same verbs. A landed file is unsettled by
itself, until it is deleted: then its record is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from scp.errors import ObjectDamaged, ObjectMissing
from scp.objects.journal import JournaledStore
from scp.objects.landing import LARGEST, LandingLog
from scp.objects.names import is_landed, segment_of
from scp.objects.store import Availability, check_size
from scp.spool import Buffer


@dataclass(slots=True)
class Landing:
    """A file of ``size`` bytes on its way into the landing log, inside :meth:`LandedStore.landing`."""

    key: str
    size: int
    _sync: Callable[[str], None]
    kept: bool = False

    def sync(self) -> None:
        """Return when it is durable. Raises OutOfResources."""
        self._sync(self.key)

    def keep(self) -> None:
        """It is to stay: the index names it."""
        self.kept = True


class LandedStore:
    """A journaled store (:class:`scp.objects.journal.JournaledStore`) whose small files may land in a log.

    Without a ``log`` nothing lands.
    """

    def __init__(self, store: JournaledStore, log: LandingLog | None = None) -> None:
        self.inner = store
        self.log = log

    @property
    def tiers(self) -> Mapping[str, Availability]:
        """See JournaledStore."""
        return self.inner.tiers

    # -- the verbs of a store ----------------------------------------------------------------------------

    def put(self, key: str, *parts: Buffer) -> None:
        """See ObjectStore. Always a file of its own."""
        self.inner.put(key, *parts)

    def get(self, key: str, size: int | None = None) -> Buffer:
        """See ObjectStore. Of a landed file what stands before its dataset is what was written."""
        if (log := self._log_of(key)) is None:
            return self.inner.get(key, size)
        data = log.get(key)
        check_size(key, len(data), size)
        return data

    def size(self, key: str) -> int:
        """See ObjectStore. Raises ObjectDamaged for a record that is not whole."""
        return self.inner.size(key) if (log := self._log_of(key)) is None else len(log.get(key))

    def has(self, key: str) -> bool:
        """Whether there is a file under a key, be it damaged. Raises ObjectUnavailable."""
        try:
            self.size(key)
        except ObjectMissing:
            return False
        except ObjectDamaged:
            pass
        return True

    def delete(self, key: str) -> None:
        """See ObjectStore. Raises OutOfResources where a record cannot be marked."""
        self.delete_many([key])

    def delete_many(self, keys: Iterable[str]) -> None:
        """As :meth:`delete` for each; records of one segment share what waits for the disk, and go first."""
        keys = list(keys)
        if self.log is not None:
            self.log.settle(filter(is_landed, keys))
        for key in keys:
            if self._log_of(key) is None:
                self.inner.delete(key)

    def keys(self, prefix: str = "") -> Iterator[str]:
        """See ObjectStore. Landed ones are of the first store, and come first."""
        if self.log is not None and (not prefix or is_landed(prefix)):
            yield from filter(lambda key: key.startswith(prefix), self.log.keys())
        if not is_landed(prefix):
            yield from self.inner.keys(prefix)

    def close(self) -> None:
        """See JournaledStore. What has not moved on from the log stays in it."""
        if self.log is not None:
            self.log.close()
        self.inner.close()

    # -- the journal -------------------------------------------------------------------------------------

    def put_many(self, objects: Iterable[tuple[str, Buffer]]) -> None:
        """See JournaledStore."""
        self.inner.put_many(objects)

    def settle(self, key: str) -> None:
        """See JournaledStore. A landed file is settled when it is deleted, and not before."""
        if self._log_of(key) is None:
            self.inner.settle(key)

    def withdraw(self, key: str) -> None:
        """See JournaledStore; of files that did not land."""
        self.inner.withdraw(key)

    def journal_removal(self, key: str) -> None:
        """See JournaledStore. A landed file needs no entry: its record stays until it is over."""
        if self._log_of(key) is None:
            self.inner.journal_removal(key)

    def recover(self) -> Iterator[str]:
        """See JournaledStore; :meth:`strays` are those of the log."""
        return self.inner.recover()

    def unsettled(self) -> Mapping[str, bool]:
        """See JournaledStore; without landed files, of which :meth:`keeps` tells."""
        return self.inner.unsettled()

    def set_aside(self, key: str) -> None:
        """See JournaledStore. Raises OutOfResources."""
        if (log := self._log_of(key)) is None:
            self.inner.set_aside(key)
        else:
            with suppress(ObjectMissing):
                log.set_aside(key)

    # -- landing -----------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make ready what the first file that lands would else wait for."""
        if self.log is not None:
            self.log.prepare()

    def lands(self, size: int) -> bool:
        """Whether a dataset of so many bytes may land."""
        return self.log is not None and size <= LARGEST

    @contextmanager
    def landing(self, head: bytes, dataset: Buffer, is_named: Callable[[str], bool]) -> Iterator[Landing]:
        """Write a file to the log, given as what stands before its dataset and the dataset.

        It is on its way to the disk within, and durable after :meth:`Landing.sync`. At the end what was not
        kept is withdrawn. After an exception ``is_named`` says whether the index names it all the same: while
        that is unsure, it stays. Raises OutOfResources.
        """
        if self.log is None:
            raise ValueError("nothing lands in a store without a log")
        key = self.log.write(head, dataset)
        landing = Landing(key, len(head) + len(dataset), self.log.sync)
        try:
            yield landing
        except Exception:
            if not is_named(key):
                self.log.withdraw(key)
            raise
        else:
            if not landing.kept:
                self.log.withdraw(key)
        finally:
            self.log.recorded(key)

    def keeps(self, key: str) -> bool:
        """Whether a file may stay where it lies: one that landed gets a file of its own, or goes."""
        return self._log_of(key) is None

    def counts(self, key: str) -> bool:
        """Whether there is a landed file under a key that is whole, and was not deleted."""
        return (log := self._log_of(key)) is not None and log.counts(key)

    def strays(self, named: Iterable[str]) -> Iterator[str]:
        """Keys of landed files that are not among those that the index names, where they should be."""
        if self.log is not None:
            yield from self.log.strays(set(filter(is_landed, named)))

    def free(self, named: Iterable[str]) -> None:
        """Let go of full segments whose files are all deleted; none of those that ``named`` keys are in."""
        if self.log is not None:
            self.log.free({segment_of(key) for key in named if is_landed(key)})

    def _log_of(self, key: str) -> LandingLog | None:
        return self.log if is_landed(key) else None
