"""The plug point: what the archive asks of an index, and nothing of how it is kept."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from scp.identity import Conflict, Identity
from scp.index.queue import Claims, Commitments, SendQueue
from scp.model import Instance, Query, QueuedSend

# What the keys of some instances begin with, and a number from 1; all others have 0.
Ranks = Mapping[str, int]
NO_RANKS: Ranks = MappingProxyType({})
NO_STORES: Mapping[str, str] = MappingProxyType({})
RANK = "@rank"

# Names in Meta: the archive that an index belongs to, which its stores name as well; which making of the
# index this is; a number that grows in index and store together; and why it is to be made anew, if it is.
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
class PendingCount:
    """How many instances are pending, and their stored size in bytes."""

    instances: int
    size: int


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """An instance, and those of its attributes that a policy asks for."""

    instance: Instance
    attributes: Mapping[str, str]


class DueStages(Protocol):
    """What is due by the stages of a policy, which is named by its fingerprint.

    Instances that are pending are left out. Times are seconds since 1970. Every method raises
    :class:`scp.errors.OutOfResources` as an index does.
    """

    def due(self, policy: str, now: float, most: int) -> list[Instance]:
        """At most ``most`` of those for which a stage is due, and that nobody works on.

        Those whose file is known to be damaged, or missing, wait until it is mended.
        """

    def next_due(self, policy: str) -> int | None:
        """When a stage is next due for anything; None where nothing was planned."""

    def unplanned(self, policy: str, keywords: Sequence[str], most: int) -> list[PolicyRow]:
        """At most ``most`` of those that were last planned under another policy."""

    def plan(self, policy: str, planned: Iterable[tuple[Instance, int]]) -> None:
        """Say when a stage is next due for instances that are still as they were read.

        One that has another ``key`` by now, or was retrieved or refused meanwhile, is left as it is.
        """

    def record_access(self, instances: Iterable[Instance], now: float, exactness: float) -> None:
        """Write down that instances were retrieved, where the last time is more than so many seconds ago.

        They are to be planned again: a stage may wait longer, or be undone.
        """

    def policy_rows(self, keywords: Sequence[str], batch: int = 1000) -> Iterator[PolicyRow]:
        """Every instance once, ``batch`` at a time; others may write in between."""

    def policy_rows_of(self, keywords: Sequence[str], instances: Iterable[Instance]) -> list[PolicyRow]:
        """Those of some instances, as they are now, which are not too many for one query."""


class Checks(Protocol):
    """Which stored files were read when, and what was wrong with them. Times are seconds since 1970.

    Every method raises :class:`scp.errors.OutOfResources` as an index does.
    """

    def due(self, since: float, now: float, most: int) -> list[Instance]:
        """At most ``most`` of those whose file was not read ``since``, and that nobody works on."""

    def oldest(self) -> int | None:
        """When the one was read that was not read for the longest; None where nothing is held."""

    def note(self, results: Iterable[tuple[Instance, str]], now: float) -> None:
        """Write down what was wrong with files, or nothing, where they are still those of their instances."""

    def damaged(self) -> list[Instance]:
        """Those whose file was damaged, or missing, when it was last read."""

    def unreadable(self, most: int | None = None) -> list[Instance]:
        """Those that cannot be read in the transfer syntax they came in, the newest first; None: all."""

    def refuse(self, sop_instance_uid: str, key: str, told: str) -> bool:
        """Write down what is not done any more with what is stored under ``key``; empty: all is done again.

        DueStages are planned for it anew. False where there is none.
        """

    def refused(self, most: int | None = None) -> list[Instance]:
        """Those with which something is not done any more, the newest first; None: all."""


class Meta(Protocol):
    """What an index says of itself, as names and values.

    Every method raises :class:`scp.errors.OutOfResources` as an index does.
    """

    def all(self) -> dict[str, str]:
        """All that is set: :data:`ARCHIVE`, :data:`INCARNATION`, :data:`SEQUENCE`, :data:`REBUILD`."""

    def put(self, values: Mapping[str, str | None]) -> None:
        """Set some, or remove those that are None, in one transaction."""

    def stamp(self) -> object:
        """What changes when anything is written to the index; None where nothing tells."""

    def is_in_place(self) -> bool:
        """Whether who opens the index now opens the same one: a file may be removed while it is open."""


class Index(Protocol):
    """What is held, and how it is found (PS3.4 C.4).

    An index may be shared by threads. Every method raises
    :class:`scp.errors.OutOfResources` when there is no room or the index does not answer.
    """

    @property
    def stages(self) -> DueStages:
        """What is due by the stages of a policy."""

    @property
    def checks(self) -> Checks:
        """What is known of the state of the files."""

    @property
    def claims(self) -> Claims:
        """Who works on an instance."""

    @property
    def commitments(self) -> Commitments:
        """What is yet to be reported; not remade from the objects."""

    @property
    def send_queue(self) -> SendQueue:
        """What is yet to be sent; not remade from the objects."""

    @property
    def meta(self) -> Meta:
        """Which archive the index belongs to, and how far it is."""

    def record(
        self, instance: Instance, attributes: Mapping[str, str], sends: Sequence[QueuedSend] = ()
    ) -> Instance | None:
        """Insert ``instance``, or replace the one of its identity, which is returned.

        ``attributes`` maps keywords to text as :class:`scp.model.Facts` does. What is recorded is
        committed when this returns. A study is one of its Study Instance UID and its patient, who is one of
        a Patient ID and its issuer or, without an ID, of a study. A series belongs to its study, so that its
        UID in another study is another series. So an instance of another study or patient replaces nothing,
        whatever its SOP Instance UID; a contradiction is logged once for each study, see :meth:`conflicts`.

        Of a study, with what describes its patient, and of a series a newer value replaces an older one, and
        an empty one replaces nothing. An instance that is held under its very key in another place was
        recorded wrongly, and moves to where it belongs.

        ``sends`` are recorded in the same transaction, each in the place of one of the same object and
        destination.
        """

    def add(
        self, instance: Instance, attributes: Mapping[str, str], sends: Sequence[QueuedSend] = ()
    ) -> Instance | None:
        """As :meth:`record`, unless one of its identity is held: then that one is returned, and stays."""

    def record_many(self, items: Iterable[tuple[Instance, Mapping[str, str]]]) -> list[Instance | None]:
        """Record all ``items`` in their order and in one transaction: all of them or none.

        Returns what each of them replaced.
        """

    def change_many(self, changes: Iterable[tuple[Instance, Instance]]) -> list[bool]:
        """Put another stored form in an instance's place, in one transaction for all (before, after).

        Nothing but how it is stored differs. False where ``before`` is not what is held any more, by its
        ``key``: then nothing is changed for it.
        """

    def pending(self, most: int) -> list[Instance]:
        """At most ``most`` of the instances that are pending, those that came first before others.

        Those whose file is known to be damaged, or missing, wait until it is mended; those with which
        something is not done any more, until that is tried again.
        """

    def pending_at(self, key: str) -> Instance | None:
        """The instance that is pending and stored under ``key``, or None."""

    def pending_keys(self) -> list[str]:
        """Where all instances that are pending are stored."""

    def count_pending(self) -> PendingCount:
        """How much is pending of what :meth:`pending` gives."""

    def sync(self) -> None:
        """Make all that was committed until now outlive a power cut.

        Without it a commit outlives the process and is seen by all others at once, but the last ones may
        be gone after a power cut; whoever needs to know must be able to record them again.
        """

    def has_keys(self, prefix: str) -> bool:
        """Whether any instance is stored under a key that begins so."""

    def current(self, identity: Identity) -> Instance | None:
        """What is held now of an object, or None."""

    def named(self, sop_instance_uid: str) -> list[Instance]:
        """All instances of that UID, the newest first.

        There are several where its objects are of several studies or patients.
        """

    def newest(self, sop_instance_uid: str) -> Instance | None:
        """The newest instance of that UID, or None: for who knows no more than that.

        Whatever acts on an object uses :meth:`current`.
        """

    def conflicts(self) -> list[Conflict]:
        """What objects contradict each other in: whose they are. Reads much."""

    def find(self, query: Query, ranks: Ranks = NO_RANKS) -> Generator[dict[str, str], None, None]:
        """The matches of a C-FIND identifier (PS3.4 C.2.2.2), as keyword → text.

        A match has the keywords that were asked for and are held, at the query's level or above,
        and the unique keys of these levels; empty text where there is no value. With ``ranks`` each has
        the highest among the instances below it under :data:`RANK`. Closing the iterator frees what it
        holds.

        Raises :class:`scp.errors.QueryError`, before the first match, for a value that its VR
        does not allow.
        """

    def instances(self, query: Query) -> list[Instance]:
        """All instances under the entities that a C-GET or C-MOVE identifier names (PS3.4 C.4.2.1).

        They come study by study, by series number and instance number.

        Raises :class:`scp.errors.QueryError` when the unique key of the query's level is missing
        or malformed.
        """

    def remove(self, sop_instance_uid: str) -> None:
        """Forget all that is held of a SOP Instance UID, and the entities above that this leaves empty."""

    def forget(self, sop_instance_uid: str, key: str) -> bool:
        """As :meth:`remove`, of that alone which is stored under ``key``; False where there is none."""

    def all(self, batch: int = 1000) -> Iterator[Instance]:
        """Every instance once, ``batch`` at a time; others may write in between."""

    def statistics(self, stores: Mapping[str, str] = NO_STORES) -> list[Statistic]:
        """What is held, by modality, form, transfer syntax at rest, and the store that it lies in.

        ``stores`` are the names of stores by what the keys of their objects begin with.
        """

    def counts(self) -> EntityCounts:
        """How many patients, studies, series and instances are held."""

    def close(self) -> None:
        """Let go of all connections; the index is of no use afterwards."""
