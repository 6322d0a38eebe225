"""The index protocol: what the archive needs of an index, independent of its implementation."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Protocol

from scp.identity import Conflict, Identity
from scp.index.committed import CommittedRow
from scp.index.fact_sums import FactSums
from scp.index.history import History
from scp.index.nodes import Nodes
from scp.index.packing import Packing
from scp.index.pages import Pages
from scp.index.queue import Claims, Commitments, SendQueue
from scp.index.self_description import Meta, NamesIndexed
from scp.index.watch import Watch
from scp.model import Instance, Query, QueuedSend

# Key prefix → the rank of the instances whose keys begin with it, from 1; all other instances have rank 0.
Ranks = Mapping[str, int]
NO_RANKS: Ranks = MappingProxyType({})
NO_STORES: Mapping[str, str] = MappingProxyType({})
RANK = "@rank"
Addition = tuple[Instance, Mapping[str, str], Sequence[QueuedSend]]  # as Index.add takes one

# Names in Meta: the archive that an index belongs to, which its stores name as well; an id that is new each
# time the index is built; a number that grows in index and store together; and why to rebuild it, if needed.
ARCHIVE, INCARNATION, SEQUENCE, REBUILD = "archive", "incarnation", "sequence", "rebuild"


@dataclass(frozen=True, slots=True)
class Statistic:
    """How much is held of one modality in one form; sizes in bytes."""

    modality: str
    form: str
    transfer_syntax: str  # at rest
    instances: int
    received_size: int
    stored_size: int
    store: str = ""  # empty for the first


@dataclass(frozen=True, slots=True)
class EntityCounts:
    """How many entities of each level are held; studies and series without a UID are not counted."""

    patients: int
    studies: int
    series: int
    instances: int


@dataclass(frozen=True, slots=True)
class SenderCount:
    """Who sent objects that are held: how many there are, and when the last one came."""

    calling_aet: str
    instances: int
    last: datetime


@dataclass(frozen=True, slots=True)
class PendingCount:
    """How many instances are pending, and their stored size in bytes."""

    instances: int
    size: int


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """An instance, and those of its attributes that a policy needs."""

    instance: Instance
    attributes: Mapping[str, str]


class DueStages(FactSums, Packing, Protocol):
    """The instances for which a stage of a policy is due; the policy is named by its fingerprint.

    Pending instances are left out. Times are seconds since 1970; ``now`` is the earlier one of this node's
    and the index's. Every method raises :class:`scp.errors.OutOfResources` as an index does.
    """

    def due(self, policy: str, now: float, most: int) -> list[Instance]:
        """At most ``most`` of the instances for which a stage is due, and that no process works on.

        Instances whose file is known to be damaged, or missing, wait until it is repaired.
        """

    def next_due(self, policy: str, now: float) -> int | None:
        """When a stage is next due for any instance that no process works on; None if for none."""

    def unplanned(self, policy: str, keywords: Sequence[str], most: int) -> list[PolicyRow]:
        """At most ``most`` of the instances that were last planned under another policy."""

    def plan(self, policy: str, planned: Iterable[tuple[Instance, int]]) -> None:
        """Set when a stage is next due, for instances that have not changed since they were read.

        An instance that has another ``key`` by now, or was retrieved or refused meanwhile, is left as it is.
        """

    def record_access(self, instances: Iterable[Instance], now: float, exactness: float) -> None:
        """Record that instances were retrieved, if the last time is more than ``exactness`` seconds ago.

        They are planned again: a stage may be due later, or be undone.
        """

    def policy_rows(self, keywords: Sequence[str], batch: int = 1000) -> Iterator[PolicyRow]:
        """Every instance once, read ``batch`` at a time; others may write in between."""

    def policy_rows_of(self, keywords: Sequence[str], instances: Iterable[Instance]) -> list[PolicyRow]:
        """The rows of some instances, as they are now; there must not be too many for one query."""


class Checks(Protocol):
    """When each stored file was last read, and what was wrong with it. Times are seconds since 1970.

    Every method raises :class:`scp.errors.OutOfResources` as an index does.
    """

    def due(self, since: float, now: float, most: int, elsewhere: Collection[str] = ()) -> list[Instance]:
        """At most ``most`` instances whose file was not read ``since``, and that no process works on.

        Those under keys with the prefixes ``elsewhere`` are left out: this node cannot read them.
        """

    def oldest(self) -> int | None:
        """The oldest time at which a file was last read; None if nothing is held."""

    def note(self, results: Iterable[tuple[Instance, str]], now: float) -> None:
        """Record each file's fault, or an empty one, if the file is still that of its instance."""

    def damaged(self, most: int | None = None) -> list[Instance]:
        """Instances whose file was damaged, or missing, when it was last read; None: all."""

    def count_damaged(self) -> int:
        """How many :meth:`damaged` gives."""

    def unreadable(self, most: int | None = None) -> list[Instance]:
        """Instances that cannot be read in their received transfer syntax, the newest first; None: all."""

    def refuse(self, sop_instance_uid: str, key: str, told: str) -> bool:
        """Record the refusal of the instance that is stored under ``key``; an empty one lifts it.

        Its stages are planned again. False if there is no such instance.
        """

    def refused(self, most: int | None = None) -> list[Instance]:
        """The instances with a refusal, the newest first; None: all."""

    def count_refused(self) -> int:
        """How many :meth:`refused` gives."""


class Index(Protocol):
    """The objects that are held, and the queries for them (PS3.4 C.4).

    An index may be shared by threads. Every method raises
    :class:`scp.errors.OutOfResources` when there is no room or the index does not answer.
    """

    @property
    def stages(self) -> DueStages:
        """Which stages of the policy are due."""

    @property
    def checks(self) -> Checks:
        """The known state of the files."""

    @property
    def claims(self) -> Claims:
        """Which process works on an instance."""

    @property
    def commitments(self) -> Commitments:
        """Results of storage commitment that are yet to be reported; the objects do not hold them."""

    @property
    def send_queue(self) -> SendQueue:
        """Objects that are yet to be sent to peers; the objects themselves do not hold this."""

    @property
    def nodes(self) -> Nodes:
        """The nodes that share the index."""

    @property
    def history(self) -> History:
        """What came in, went out and was kept, hour by hour and day by day; no object says that."""

    @property
    def pages(self) -> Pages:
        """Pages of matches for people who look."""

    @property
    def meta(self) -> Meta:
        """Which archive the index belongs to, and its sequence number."""

    def record(
        self, instance: Instance, attributes: Mapping[str, str], sends: Sequence[QueuedSend] = ()
    ) -> Instance | None:
        """Insert ``instance``, or replace the held one of its identity, which is returned.

        ``attributes`` maps keywords to text as :class:`scp.model.Facts` does. The rows are committed when
        this returns. A study is identified by its Study Instance UID and its patient; a patient by Patient ID
        and issuer or, without an ID, by the study. A series belongs to its study: its UID in another study is
        another series. So an instance of another study or patient replaces nothing, whatever its SOP Instance
        UID; a contradiction is logged once for each study, see :meth:`conflicts`.

        In a study (with the description of its patient) and a series a newer value replaces an older one, but
        an empty one replaces nothing. An instance that is held under the same key in another study was
        recorded wrongly, and moves to the right one.

        ``sends`` are recorded in the same transaction; each replaces one of the same object and destination.
        """

    def add(
        self, instance: Instance, attributes: Mapping[str, str], sends: Sequence[QueuedSend] = ()
    ) -> Instance | None:
        """As :meth:`record`, unless an instance of its identity is held: that is returned, and stays."""

    def add_many(self, items: Sequence[Addition]) -> list[Instance | Exception | None]:
        """As :meth:`add` of each, in one transaction; what one raised stands in its place."""

    def record_many(self, items: Iterable[tuple[Instance, Mapping[str, str]]]) -> list[Instance | None]:
        """Record all ``items`` in order and one transaction: all or none. Returns what they replaced."""

    def change_many(self, changes: Iterable[tuple[Instance, Instance]]) -> list[bool]:
        """Replace the stored forms of instances, in one transaction for all pairs (before, after).

        Only the storage of the two differs. False if the instance does not have the ``key`` of ``before``
        any more: then it is not changed.
        """

    def pending(self, most: int, elsewhere: Collection[str] = ()) -> list[Instance]:
        """At most ``most`` of the pending instances, in the order of arrival.

        Instances whose file is known to be damaged, or missing, wait until it is repaired; refused ones until
        the refusal is lifted. ``elsewhere`` are the ids of the other nodes that share the index: what is in
        their landing logs, and what any process has claimed, is left out.
        """

    def pending_at(self, key: str) -> Instance | None:
        """The pending instance that is stored under ``key``, or None."""

    def pending_keys(self) -> list[str]:
        """The keys of all pending instances."""

    def count_pending(self, elsewhere: Collection[str] = ()) -> PendingCount:
        """The number and size of the instances that :meth:`pending` can give, or others have claimed."""

    def sync(self) -> None:
        """Make all that was committed until now survive a power cut.

        Without it a commit survives the process, and all others see it at once. But the last commits may be
        lost in a power cut: a caller that does not sync must be able to record them again.
        """

    def has_keys(self, prefix: str) -> bool:
        """Whether any instance is stored under a key that begins with ``prefix``."""

    def current(self, identity: Identity) -> Instance | None:
        """The instance of an identity as it is held now, or None."""

    def named(self, sop_instance_uid: str) -> list[Instance]:
        """All instances of that UID, the newest first.

        There are several if objects of several studies or patients share the UID.
        """

    def are_named(self, files: Sequence[Instance]) -> list[bool]:
        """Whether rows name these files, each by the ``key`` that it has in an instance's row.

        That is certain: what was begun before to let a row name one of them has ended, even a transaction
        whose connection broke before it was answered. A database server has it wait for a turn among the
        writers, and a turn that it cannot have raises OutOfResources: then nothing is known.
        """

    def newest(self, sop_instance_uid: str) -> Instance | None:
        """The newest instance of that UID, or None; callers that act on an object use :meth:`current`."""

    def doubtful(self) -> list[CommittedRow]:
        """What this process committed on connections that are gone since; each is told once, the first first.

        The database may have lost it (:mod:`scp.index.committed`).
        """

    def conflicts(self, most: int | None = None) -> list[Conflict]:
        """Studies and patients about which objects contradict each other. Reads large parts of the index."""

    def find(
        self, query: Query, ranks: Ranks = NO_RANKS, watch: Watch | None = None
    ) -> Generator[dict[str, str], None, None]:
        """The matches of a C-FIND identifier (PS3.4 C.2.2.2), as keyword → text.

        A match has the requested keywords that are held, at the query's level or above, and the unique keys
        of these levels; empty text if there is no value. With ``ranks`` each match has, under :data:`RANK`,
        the highest rank of the instances below it. Closing the iterator frees its resources; none of the
        database's are held between two matches. What is added or removed meanwhile may come or not, all
        else comes once. ``watch`` may stop it at any time, with what that raises.

        Raises :class:`scp.errors.QueryError`, before the first match, for a value that its VR does not allow.
        """

    def instances(self, query: Query, watch: Watch | None = None) -> list[Instance]:
        """All instances under the entities that a C-GET or C-MOVE identifier names (PS3.4 C.4.2.1).

        They come study by study, by series number and instance number. Raises QueryError when the unique key
        of the query's level is missing or malformed, and what the watch raises.
        """

    def remove(self, sop_instance_uid: str) -> None:
        """Remove all instances of a SOP Instance UID, and the entities above that this leaves empty."""

    def forget(self, sop_instance_uid: str, key: str) -> bool:
        """As :meth:`remove`, only for the instance that is stored under ``key``; False if there is none."""

    def all(self, batch: int = 1000) -> Iterator[Instance]:
        """Every instance once, read ``batch`` at a time; others may write in between."""

    def statistics(self, stores: Mapping[str, str] = NO_STORES) -> list[Statistic]:
        """What is held, by modality, form, transfer syntax at rest, and store.

        ``stores`` maps the prefix of the keys in each store to the name of the store.
        """

    def senders(self) -> list[SenderCount]:
        """Who sent what is held, by AE title in order."""

    def counts(self) -> EntityCounts:
        """How many patients, studies, series and instances are held."""

    def index_names(self) -> NamesIndexed:
        """Make what finds names that begin with a wildcard, beside all else, or go on with it."""

    def exclusive(self, name: str, wait: bool | float = True) -> AbstractContextManager[bool]:
        """Keep all others that share the index from the same ``name``, until the block or the process ends.

        The block is told whether it got that, which may be false only if it does not ``wait``. A number is
        the seconds to wait at most: then OutOfResources is raised. No thread may nest two of one name.
        """

    def close(self) -> None:
        """Close all connections; the index cannot be used afterwards."""
