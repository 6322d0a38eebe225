"""The index on a SQL database: each method is one transaction of scp.index.writer or scp.index.query."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice
from typing import Self

from sqlalchemy import Connection, Engine, case, func, literal, select

from scp.identity import Conflict, Identity
from scp.index import clock, files
from scp.index import query as reading
from scp.index.checks import SqlChecks
from scp.index.commitments import SqlCommitments
from scp.index.committed import CommittedRow
from scp.index.conflicts import listed
from scp.index.cursors import Cursors
from scp.index.databases import Database
from scp.index.dialect import connect, kind, reads, translated, watched
from scp.index.durable import sync
from scp.index.exclusive import exclusive
from scp.index.group import GroupCommit
from scp.index.index import (
    NO_RANKS,
    NO_STORES,
    Addition,
    EntityCounts,
    PendingCount,
    Ranks,
    SenderCount,
    Statistic,
)
from scp.index.matches import Matches
from scp.index.meta import SqlMeta
from scp.index.prepared import InstanceRows, named_instances
from scp.index.record import as_instance
from scp.index.rows import identity, reading_order, texts
from scp.index.schema import INSTANCE, INSTANCE_COLUMNS, PATIENT, PENDING, SERIES, SOUND, STUDY
from scp.index.self_description import NamesIndexed
from scp.index.send_queue import SqlSendQueue, queue
from scp.index.sql_history import SqlHistory
from scp.index.sql_nodes import SqlNodes
from scp.index.sql_pages import SqlPages
from scp.index.sql_queue import SqlClaims, unclaimed, without_keys
from scp.index.stages import SqlStages
from scp.index.upgrade import is_current, names_objects, upgrade
from scp.index.watch import Watch, unwatched
from scp.index.writer import CHANGES, Item, Writer, patient_name
from scp.model import Instance, Query, QueuedSend

# A server's memory for locks is bounded; a transaction has one for each name.
_AT_ONCE = 100
# When to look again whether another process that indexes names has ended.
_ANOTHER_SECONDS = 60.0
Write = Callable[[Connection, Item], Instance | None]


class SqlIndex:
    """:class:`scp.index.index.Index` on a SQL database; threads may share it, each process opens its own.

    A forked process must not use, nor close, what its parent opened: SQLite's locks do not survive a fork.
    Worker processes open their own after the fork.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = Writer(engine)
        self._recording: GroupCommit[Connection, tuple[Write, Item], Instance | None] = GroupCommit(
            lambda group: self._writer.recording([item for _, item in group]),
            lambda connection, work: work[0](connection, work[1]),
        )
        self._rows, self._cursors = InstanceRows(engine.dialect), Cursors(engine)
        self._named = named_instances(engine.dialect)
        self.stages = SqlStages(engine, self._writer)
        self.checks = SqlChecks(engine, self._writer)
        self.commitments = SqlCommitments(engine, self._writer)
        self.claims = SqlClaims(self._writer)
        self.send_queue = SqlSendQueue(engine, self._writer)
        self.nodes = SqlNodes(engine, self._writer)
        self.history = SqlHistory(engine, self._writer)
        self.pages = SqlPages(engine)
        self.meta = SqlMeta(engine, self._writer)

    @classmethod
    def open(cls, where: str | Database, check: bool = False, thorough: bool = False) -> Self:
        """Open the index of a URL or database; it is made, or migrated to this version, if necessary.

        Several processes may do so at once. With ``check`` a small one is read completely, with ``thorough``
        any. Raises :class:`scp.errors.ConfigurationError` for an unusable URL or a database of a later
        version, :class:`scp.errors.IndexDamaged` for one that cannot be read, and
        :class:`scp.errors.OutOfResources` if the database cannot be opened.
        """
        engine = connect(where)
        try:
            with translated(engine):
                upgrade(engine)
            if check or thorough:
                files.check(engine, thorough)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine)

    @staticmethod
    def is_current(where: str | Database) -> bool:
        """Whether the existing index of a URL or database has this version's schema; nothing is changed.

        Raises as :meth:`open`.
        """
        engine = connect(where)
        try:
            with translated(engine):
                return is_current(engine)
        finally:
            engine.dispose()

    @staticmethod
    def names_objects(where: str | Database) -> bool:
        """Whether the existing index names an object; it may have any version's schema. Raises as above."""
        engine = connect(where)
        try:
            with translated(engine):
                return names_objects(engine)
        finally:
            engine.dispose()

    def record(
        self, instance: Instance, attributes: Mapping[str, str], sends: Sequence[QueuedSend] = ()
    ) -> Instance | None:
        """See :meth:`scp.index.index.Index.record`."""
        # The texts are read here, before the group's transaction, in which no other process can write.
        return self._recording.submit(
            (_queueing(self._writer.record, sends, always=True), (instance, texts(instance, attributes)))
        )

    def add(
        self, instance: Instance, attributes: Mapping[str, str], sends: Sequence[QueuedSend] = ()
    ) -> Instance | None:
        """See :meth:`scp.index.index.Index.add`."""
        return self._recording.submit(
            (_queueing(self._writer.add, sends, always=False), (instance, texts(instance, attributes)))
        )

    def add_many(self, items: Sequence[Addition]) -> list[Instance | Exception | None]:
        """See :meth:`scp.index.index.Index.add_many`."""
        return self._recording.submit_all(
            [
                (_queueing(self._writer.add, sends, always=False), (instance, texts(instance, attributes)))
                for instance, attributes, sends in items
            ]
        )

    def record_many(self, items: Iterable[tuple[Instance, Mapping[str, str]]]) -> list[Instance | None]:
        """See :meth:`scp.index.index.Index.record_many`."""
        ready = [(instance, texts(instance, attributes)) for instance, attributes in items]
        with self._writer.transaction(items=ready) as connection:
            return [self._writer.record(connection, item) for item in ready]

    def change_many(self, changes: Iterable[tuple[Instance, Instance]]) -> list[bool]:
        """See :meth:`scp.index.index.Index.change_many`."""
        ready = list(changes)
        with self._writer.transaction(CHANGES):
            return [self._writer.change(before, after) for before, after in ready]

    def pending(self, most: int, elsewhere: Collection[str] = ()) -> list[Instance]:
        """See :meth:`scp.index.index.Index.pending`."""
        statement = reading.pending(most).where(*without_keys(elsewhere))
        with reads(self._engine) as connection:
            if elsewhere:
                statement = statement.where(unclaimed(clock.now(connection).timestamp()))
            return [as_instance(row) for row in connection.execute(statement).mappings()]

    def pending_at(self, key: str) -> Instance | None:
        """See :meth:`scp.index.index.Index.pending_at`."""
        with reads(self._engine) as connection:
            row = connection.execute(reading.pending_at(key)).mappings().first()
        return None if row is None else as_instance(row)

    def pending_keys(self) -> list[str]:
        """See :meth:`scp.index.index.Index.pending_keys`."""
        with reads(self._engine) as connection:
            return list(connection.execute(select(INSTANCE.c.key).where(PENDING)).scalars())

    def count_pending(self, elsewhere: Collection[str] = ()) -> PendingCount:
        """See :meth:`scp.index.index.Index.count_pending`."""
        size = func.coalesce(func.sum(INSTANCE.c.stored_size), 0)
        counted = select(func.count(), size).where(PENDING, SOUND, *without_keys(elsewhere))
        with reads(self._engine) as connection:
            row = connection.execute(counted).one()
        return PendingCount(int(row[0]), int(row[1]))

    def sync(self) -> None:
        """See :meth:`scp.index.index.Index.sync`."""
        with translated(self._engine):
            sync(self._engine)

    def remove(self, sop_instance_uid: str) -> None:
        """See :meth:`scp.index.index.Index.remove`."""
        with self._writer.transaction() as connection:
            self._writer.remove(connection, sop_instance_uid)

    def has_keys(self, prefix: str) -> bool:
        """See :meth:`scp.index.index.Index.has_keys`."""
        begun = select(INSTANCE.c.id).where(INSTANCE.c.key.startswith(prefix, autoescape=True)).limit(1)
        with reads(self._engine) as connection:
            return connection.execute(begun).first() is not None

    def forget(self, sop_instance_uid: str, key: str) -> bool:
        """See :meth:`scp.index.index.Index.forget`."""
        with self._writer.transaction() as connection:
            return self._writer.remove(connection, sop_instance_uid, key)

    def newest(self, sop_instance_uid: str) -> Instance | None:
        """See :meth:`scp.index.index.Index.newest`."""
        return next(iter(self.named(sop_instance_uid)), None)

    def named(self, sop_instance_uid: str) -> list[Instance]:
        """See :meth:`scp.index.index.Index.named`."""
        with translated(self._engine), self._cursors.one() as cursor:
            rows = self._named.run(cursor, {"uid": sop_instance_uid}).fetchall()
        instances = [self._rows.instance(row) for row in rows]
        return sorted(instances, key=lambda one: one.received_at, reverse=True)

    def are_named(self, files: Sequence[Instance]) -> list[bool]:
        """See :meth:`scp.index.index.Index.are_named`.

        A server finishes the COMMIT of a connection that broke, and until then its transaction has the turn.
        SQLite's transactions end with the call, or the process, that began them: a query is enough, which
        waits for no other writer.
        """
        if not kind(self._engine).FINISHES_LATE:
            return [file.key in {one.key for one in self.named(file.sop_instance_uid)} for file in files]
        found: list[bool] = []
        for start in range(0, len(files), _AT_ONCE):
            some = files[start : start + _AT_ONCE]
            with self._writer.transaction([*CHANGES, *map(patient_name, some)]):
                found += map(self._writer.is_named, some)
        return found

    def current(self, identity: Identity) -> Instance | None:
        """See :meth:`scp.index.index.Index.current`."""
        named = self.named(identity.sop_instance_uid)
        return next((one for one in named if one.identity == identity), None)

    def doubtful(self) -> list[CommittedRow]:
        """See :meth:`scp.index.index.Index.doubtful`."""
        return self._writer.doubtful()

    def conflicts(self, most: int | None = None) -> list[Conflict]:
        """See :meth:`scp.index.index.Index.conflicts`."""
        with reads(self._engine) as connection:
            return list(islice(listed(connection), most))

    def find(
        self, query: Query, ranks: Ranks = NO_RANKS, watch: Watch | None = None
    ) -> Generator[dict[str, str], None, None]:
        """See :meth:`scp.index.index.Index.find`."""
        return Matches(self._engine, query, ranks, watch or unwatched()).read()

    def instances(self, query: Query, watch: Watch | None = None) -> list[Instance]:
        """See :meth:`scp.index.index.Index.instances`."""
        statement = reading.instances(query)
        with reads(self._engine) as connection, watched(connection, watch or unwatched()):
            rows = connection.execute(statement).mappings().all()
        return [as_instance(row) for row in sorted(rows, key=reading_order)]

    def all(self, batch: int = 1000) -> Iterator[Instance]:
        """See :meth:`scp.index.index.Index.all`; in the order of the first arrival."""
        last = 0
        while True:
            after = select(INSTANCE.c.id, *INSTANCE_COLUMNS).where(INSTANCE.c.id > last)
            with reads(self._engine) as connection:
                rows = connection.execute(after.order_by(INSTANCE.c.id).limit(batch)).mappings().all()
            if not rows:
                return
            yield from map(as_instance, rows)
            last = rows[-1]["id"]

    def statistics(self, stores: Mapping[str, str] = NO_STORES) -> list[Statistic]:
        """See :meth:`scp.index.index.Index.statistics`."""
        begins = INSTANCE.c.key.startswith
        within = [(begins(prefix, autoescape=True), name) for prefix, name in stores.items()]
        store = case(*within, else_="") if within else literal("")
        groups = (SERIES.c.modality, INSTANCE.c.form, INSTANCE.c.transfer_syntax, store.label("store"))
        sums = (func.count(), func.sum(INSTANCE.c.received_size), func.sum(INSTANCE.c.stored_size))
        statement = select(*groups, *sums).select_from(INSTANCE.join(SERIES))
        with reads(self._engine) as connection:
            rows = connection.execute(statement.group_by(*groups).order_by(*groups)).all()
        return [
            Statistic(modality, form, syntax, count, int(received), int(stored), store)
            for modality, form, syntax, store, count, received, stored in rows
        ]

    def senders(self) -> list[SenderCount]:
        """See :meth:`scp.index.index.Index.senders`."""
        aet, last = INSTANCE.c.calling_aet, func.max(INSTANCE.c.received_at)
        statement = select(aet, func.count(), last).group_by(aet).order_by(aet)
        with reads(self._engine) as connection:
            return [SenderCount(*row) for row in connection.execute(statement)]

    def counts(self) -> EntityCounts:
        """See :meth:`scp.index.index.Index.counts`."""
        counted = (
            PATIENT.c.id,
            STUDY.c.study_instance_uid,
            SERIES.c.series_instance_uid,
            INSTANCE.c.id,
        )
        statement = select(*(select(func.count(column)).scalar_subquery() for column in counted))
        with reads(self._engine) as connection:
            return EntityCounts(*connection.execute(statement).one())

    def index_names(self) -> NamesIndexed:
        """See :meth:`scp.index.index.Index.index_names`."""
        with self.exclusive("names", wait=False) as is_alone, translated(self._engine):
            if not is_alone:
                return NamesIndexed("", _ANOTHER_SECONDS)
            turn = partial(self._writer.transaction, counts=False)
            return kind(self._engine).index_names(self._engine, turn)

    def exclusive(self, name: str, wait: bool | float = True) -> AbstractContextManager[bool]:
        """See :meth:`scp.index.index.Index.exclusive`."""
        return exclusive(self._engine, name, wait)

    def close(self) -> None:
        """See :meth:`scp.index.index.Index.close`."""
        self._writer.close()
        self._cursors.close()
        self.pages.close()
        self._engine.dispose()


def _queueing(write: Write, sends: Sequence[QueuedSend], always: bool) -> Write:
    """``write``, with ``sends`` in its transaction; unless ``always``, only if the object was not held."""
    if not sends:
        return write

    def both(connection: Connection, item: Item) -> Instance | None:
        held = write(connection, item)
        if always or held is None:
            queue(connection, sends, identity(*item))
        return held

    return both
