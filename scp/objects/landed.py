"""A store with a landing log in front: a caller with a key need not know which of the two the key is of.

Small objects are durable in the log first (:mod:`scp.objects.landing`), and get files of their own in the
store after the response. The same methods take the keys of both. A landed file counts as unsettled until it
is deleted: then its record is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from scp.errors import ObjectDamaged, ObjectElsewhere, ObjectMissing
from scp.objects.encrypted import Cipher
from scp.objects.journal import JournaledStore
from scp.objects.landing import LARGEST, LandingLog
from scp.objects.names import LANDING, is_landed, node_of, segment_of
from scp.objects.sealed import HEADER
from scp.objects.store import Availability, pieces_of
from scp.spool import Buffer


class OtherNodes(Protocol):
    """The nodes that share the store, each with a landing log of its own on its own disk."""

    def told(self, node: str) -> str:
        """A node by its name, and when it was last seen, for messages."""

    def settle(self, keys: Iterable[str]) -> None:
        """Have records of other nodes' logs marked as over, once the index does not name them any more.

        That survives what the index survives. Raises OutOfResources.
        """

    def is_settled(self, key: str) -> bool:
        """Whether another node has settled a record of this node's log. Raises OutOfResources."""


@dataclass(slots=True)
class Landing:
    """A file of ``size`` bytes on its way into the landing log, inside :meth:`LandedStore.landing`."""

    key: str
    size: int
    _sync: Callable[[str], None]
    kept: bool = False
    follows: bool = False
    # After an exception: whether the index names the file anyway. None until it is to be recorded.
    is_named: Callable[[], bool] | None = None

    def sync(self) -> None:
        """Return when it is durable. Raises OutOfResources."""
        self._sync(self.key)

    def keep(self) -> None:
        """Keep the file: the index names it."""
        self.kept = True

    def leave(self) -> None:
        """Keep the file although no row names it yet: :meth:`LandedStore.landed` follows."""
        self.kept = self.follows = True


class LandedStore:
    """A journaled store (:class:`scp.objects.journal.JournaledStore`) whose small files may land in a log.

    Without a ``log`` nothing lands. With the keys of ``cipher`` landed files are encrypted as those of the
    store are, under one name: their keys are not known before they are written.

    Where several nodes share the store, ``others`` are the other ones. What is in the log of one of these is
    neither missing nor damaged: methods that would read it raise ObjectElsewhere.
    """

    def __init__(
        self,
        store: JournaledStore,
        log: LandingLog | None = None,
        cipher: Cipher | None = None,
        others: OtherNodes | None = None,
    ) -> None:
        self.inner = store
        self.log = log
        self.others = others
        self._cipher = cipher or Cipher()

    @property
    def tiers(self) -> Mapping[str, Availability]:
        """See JournaledStore."""
        return self.inner.tiers

    @property
    def at_once(self) -> int:
        """See JournaledStore."""
        return self.inner.at_once

    # -- the verbs of a store ----------------------------------------------------------------------------

    def put(self, key: str, *parts: Buffer) -> None:
        """See ObjectStore. Always a file of its own."""
        self.inner.put(key, *parts)

    def get(self, key: str, size: int | None = None) -> Buffer:
        """See ObjectStore. Of a landed file only the part before its dataset is checked.

        Raises ObjectElsewhere.
        """
        self._check_here(key)
        if (log := self._log_of(key)) is None:
            return self.inner.get(key, size)
        return self._cipher.opened(LANDING, log.get(key), size)

    def pieces(self, key: str, size: int) -> Iterator[Buffer]:
        """See ObjectStore. A landed file is small, and is read whole. Raises ObjectElsewhere."""
        landed = self._log_of(key) is not None
        return pieces_of(self.get(key, size)) if landed else self.inner.pieces(key, size)

    def size(self, key: str) -> int:
        """See ObjectStore. Raises ObjectDamaged for a record that is not whole."""
        return self.inner.size(key) if self._log_of(key) is None else len(self.get(key))

    def has(self, key: str) -> bool:
        """Whether there is a file under a key, even a damaged one. Raises ObjectUnavailable."""
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
        """As :meth:`delete` for each; landed files go first, and those of one segment share a sync."""
        keys = list(keys)
        if self.log is not None:
            self._settle_elsewhere(keys)
            self.log.settle(key for key in keys if is_landed(key) and not self.is_elsewhere(key))
        for key in keys:
            if self._log_of(key) is None:
                self.inner.delete(key)

    def keys(self, prefix: str = "") -> Iterator[str]:
        """See ObjectStore. Keys of landed files belong to the first store, and come first."""
        if self.log is not None and (not prefix or is_landed(prefix)):
            yield from filter(lambda key: key.startswith(prefix), self.log.keys())
        if not is_landed(prefix):
            yield from self.inner.keys(prefix)

    def close(self) -> None:
        """See JournaledStore. Records that have no file of their own yet stay in the log."""
        if self.log is not None:
            self.log.close()
        self.inner.close()

    # -- the journal -------------------------------------------------------------------------------------

    def fresh_key(self, key: str) -> str:
        """See JournaledStore."""
        return self.inner.fresh_key(key)

    def put_many(self, objects: Iterable[tuple[str, Buffer]]) -> None:
        """See JournaledStore."""
        self.inner.put_many(objects)

    def settle(self, key: str) -> None:
        """See JournaledStore. A landed file is settled when it is deleted, and not before."""
        if self._log_of(key) is None:
            self.inner.settle(key)

    def withdraw(self, key: str) -> None:
        """See JournaledStore; only for files that did not land."""
        self.inner.withdraw(key)

    def journal_removal(self, key: str) -> None:
        """See JournaledStore. A landed file needs no entry: its record stays until it is over.

        Another node is told first that its record is over, once the index names another file: it would take
        the record up again where the object is deleted later.
        """
        self._settle_elsewhere([key])
        if self._log_of(key) is None:
            self.inner.journal_removal(key)

    def recover(self) -> Iterator[str]:
        """See JournaledStore; :meth:`strays` gives those of the log."""
        return self.inner.recover()

    def unsettled(self) -> Mapping[str, bool]:
        """See JournaledStore; without landed files, which :meth:`keeps` tells apart."""
        return self.inner.unsettled()

    def set_aside(self, key: str) -> None:
        """See JournaledStore. Raises OutOfResources, for a landed file ObjectMissing, ObjectElsewhere."""
        self._check_here(key)
        if (log := self._log_of(key)) is None:
            self.inner.set_aside(key)
        else:
            log.set_aside(key)

    # -- landing -----------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Prepare what the first landed file would otherwise have to wait for."""
        if self.log is not None:
            self.log.prepare()

    def lands(self, size: int) -> bool:
        """Whether a dataset of ``size`` bytes may go to the landing log."""
        return self.log is not None and size <= LARGEST

    @contextmanager
    def landing(self, head: bytes, dataset: Buffer) -> Iterator[Landing]:
        """Write a file to the log; ``head`` is what is before its dataset.

        The file is durable after :meth:`Landing.sync`. At the end it is withdrawn, unless it was kept. After
        an exception :attr:`Landing.is_named` says whether the index names it anyway; if that cannot be found
        out, the file stays. Raises OutOfResources.
        """
        if self.log is None:
            raise ValueError("nothing lands in a store without a log")
        key = self.log.write(*self._as_written(head, dataset))
        landing = Landing(key, len(head) + len(dataset), self.log.sync)
        try:
            yield landing
        except Exception:
            if not landing.follows and (landing.is_named is None or not landing.is_named()):
                self.log.withdraw(key)
            raise
        else:
            if not landing.kept:
                self.log.withdraw(key)
        finally:
            if not landing.follows:
                self.log.recorded(key)

    def landed(self, key: str, named: bool) -> None:
        """End what :meth:`Landing.leave` began: a row names the file now; if not ``named``, it is withdrawn.

        Raises OutOfResources where that fails: then it may be done again.
        """
        if self.log is not None:
            if not named:
                self.log.withdraw(key)
            self.log.recorded(key)

    def _as_written(self, head: bytes, dataset: Buffer) -> tuple[bytes, Buffer]:
        """What the log takes for a file: if it is encrypted, its envelope's header stands for its head."""
        if self._cipher.newest is None:
            return head, dataset
        (data,) = self._cipher.sealed(LANDING, (head, dataset))
        return bytes(data[:HEADER]), memoryview(data)[HEADER:]

    def keeps(self, key: str) -> bool:
        """Whether a file may stay where it is: a landed one has to get a file of its own, or be removed."""
        return self._log_of(key) is None

    def counts(self, key: str) -> bool:
        """Whether the landed file under a key is there, whole and not deleted."""
        # In this order: a record that another node has settled is first marked as over, and then forgotten.
        if self.others is not None and self.others.is_settled(key):
            return False
        return (log := self._log_of(key)) is not None and log.counts(key)

    def is_over(self, key: str) -> bool:
        """Whether a landed file has moved on, was deleted or withdrawn; not where it is damaged."""
        if self.others is not None and self.others.is_settled(key):
            return True
        return (log := self._log_of(key)) is None or log.is_over(key)

    def is_elsewhere(self, key: str) -> bool:
        """Whether a key names a record in another node's landing log, and not one that was moved here."""
        if self.log is None or not self.log.node or node_of(key) in ("", self.log.node):
            return False
        return not (self.log.root / segment_of(key)).parent.is_dir()

    def nodes_here(self) -> set[str]:
        """The ids of the nodes whose records the log has: its own, and those that were moved here."""
        if self.log is None:
            return set()
        folders = (self.log.root / LANDING).glob("*-*-*/")
        return {self.log.node, *(node_of(f"{LANDING}/{path.name}/") for path in folders)} - {""}

    def _settle_elsewhere(self, keys: Iterable[str]) -> None:
        elsewhere = [key for key in keys if self.is_elsewhere(key)]
        if elsewhere and self.others is not None:
            self.others.settle(elsewhere)

    def _check_here(self, key: str) -> None:
        """Raises ObjectElsewhere."""
        if self.is_elsewhere(key):
            node = node_of(key)
            told = self.others.told(node) if self.others is not None else node
            raise ObjectElsewhere(
                f"{key} is in the landing log of node {told}, which has yet to upload it; try again later"
            )

    def strays(self, named: Iterable[str]) -> Iterator[str]:
        """Keys of landed files that are missing among the ``named`` ones, those that the index names."""
        if self.log is not None:
            yield from self.log.strays(set(filter(is_landed, named)))

    def free(self, named: Iterable[str]) -> None:
        """Free full segments whose files are all deleted, except the segments of ``named`` keys."""
        if self.log is not None:
            self.log.free({segment_of(key) for key in named if is_landed(key)})

    def _log_of(self, key: str) -> LandingLog | None:
        return self.log if is_landed(key) else None
