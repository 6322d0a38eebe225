"""The one connection of a process that writes: its turn, its transactions, and fast recording."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Engine

from scp.errors import OutOfResources
from scp.identity import ConflictKind, Identity
from scp.index import dialect
from scp.index import record as entities
from scp.index.committed import Committed, CommittedRow
from scp.index.conflicts import Warnings
from scp.index.databases import BEGUN
from scp.index.dialect import translated
from scp.index.places import Places
from scp.index.prepared import InstanceRows, change_held
from scp.index.recording import recording
from scp.index.rows import identity, row
from scp.metrics import counting
from scp.model import Instance

# The connection's wait is set again where it differs by so much: most transactions wait for no thread.
_NEAR_SECONDS = 0.5
# The name of transactions that change rows of instances, and nothing above these.
CHANGES = ("changes",)
Item = tuple[Instance, Mapping[str, str]]  # with the texts that rows.texts returns


class Writer:
    """Writes for all threads of a process, one transaction at a time, on a connection of its own.

    As it is always the same connection, it can find out whether others wrote in between, so that
    :class:`scp.index.places.Places` may rely on what this process wrote.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._kind = dialect.kind(engine)
        self._turn = threading.Lock()
        self._waits = math.inf  # how long the connection waits for other processes
        self._places = Places(engine.dialect)
        self._rows = InstanceRows(engine.dialect)
        self._recording = recording(self._kind, engine.dialect)
        self._change = change_held(engine.dialect)
        self._conflicts = Warnings()
        self._committed = Committed()
        self._connection: Connection | None = None
        self._cursor: Any = None
        self._version: object = None
        self._writes = 0

    @contextmanager
    def transaction(
        self, names: Sequence[str] = (), items: Collection[Item] = (), counts: bool = True
    ) -> Iterator[Connection]:
        """The connection, in a transaction that is committed at the end, or rolled back by an exception.

        Others that write under one of the same ``names`` wait meanwhile; without names, all others. SQLite
        has one writer, whatever its names. ``items`` are what it will record: all may be looked up together.
        Patients, studies and series must be written by the methods of this class only. Unless it ``counts``,
        :meth:`writes` does not change by it. Raises :class:`scp.errors.OutOfResources`.
        """
        with self._own_turn() as until, translated(self.engine):
            connection = self._connected()
            try:
                self._wait_until(until)
                self._begin(names, items)
                yield connection
                self._recording.commit(self._cursor)
                _commit(connection)
            except BaseException:
                self._roll_back(connection)
                raise
            self._writes += counts
            self._committed.committed()
            self._conflicts.committed()

    def writes(self) -> int | None:
        """A number that rises with what this process and others write; None if the database does not tell.

        Raises :class:`scp.errors.OutOfResources`.
        """
        with self._own_turn(), translated(self.engine):
            self._connected()
            self._look_around()
            return None if self._version is None else self._writes

    def doubtful(self) -> list[CommittedRow]:
        """See :meth:`scp.index.index.Index.doubtful`."""
        with self._own_turn(), translated(self.engine):
            self._connected()
            return self._committed.take_doubtful()

    def recording(self, items: Collection[Item]) -> AbstractContextManager[Connection]:
        """A :meth:`transaction` that records ``items``: nobody else changes their patients' rows."""
        return self.transaction(_names(items), items)

    def _begin(self, names: Sequence[str], items: Collection[Item]) -> None:
        uids = {instance.sop_instance_uid for instance, _ in items}
        above = [given for _, given in items]
        series = self._places.series(above) if self._kind.IS_REMOTE else ()
        rows = self._recording.begin(self._cursor, names, uids, series)
        self._look_around()
        self._places.confirm(above, rows)

    @contextmanager
    def _own_turn(self) -> Iterator[float]:
        """This thread's turn in this process; yields until when to wait for the other processes.

        Raises OutOfResources. SQLite's own wait would poll.
        """
        until = time.monotonic() + dialect.TURN_SECONDS
        if not self._turn.acquire(timeout=dialect.TURN_SECONDS):
            counting.count("zscp_index_errors_total", "lock")
            raise OutOfResources("the index does not answer: others have been writing for too long")
        try:
            yield until
        finally:
            self._turn.release()

    def _wait_until(self, until: float) -> None:
        left = max(until - time.monotonic(), 0.0)
        if abs(left - self._waits) > _NEAR_SECONDS:
            self._kind.wait_at_most(self._cursor, left)
            self._waits = left

    def record(self, connection: Connection, item: Item) -> Instance | None:
        """See :meth:`scp.index.index.Index.record`; inside a :meth:`transaction`."""
        return self._write(connection, item, self._recording.named(self._cursor, item[0].sop_instance_uid))

    def add(self, connection: Connection, item: Item) -> Instance | None:
        """See :meth:`scp.index.index.Index.add`; inside a :meth:`transaction`."""
        named = self._recording.named(self._cursor, item[0].sop_instance_uid)
        held = _of(named, identity(*item)) if named else None
        return held if held is not None else self._write(connection, item, named)

    def _write(self, connection: Connection, item: Item, named: list[Instance]) -> Instance | None:
        """Insert or replace an instance; ``named`` are the held instances of its SOP Instance UID.

        An instance that is held under the same key is the same file, which was recorded as another object.
        """
        instance, given = _as_given(*item)
        held = _of(named, instance.identity) if named else None
        same_file = next((one for one in named if one.key == instance.key), None)
        if held is not None and same_file is not None and same_file.identity != held.identity:
            self._recording.flush(self._cursor)
            entities.remove(
                connection, same_file.sop_instance_uid, same_file.key
            )  # a file belongs to one object only
        held = held or same_file
        parent = self._places.find(self._cursor, given)
        if parent is None:
            corrects = held is not None and held.received_sha256 != instance.received_sha256
            parent = self._place(connection, given, corrects)
        self._committed.written(CommittedRow.of(instance))
        others = {**row("IMAGE", given), "parent": parent}
        if held is None:
            self._recording.insert(self._cursor, others | self._rows.bound(instance))
            if named:
                self._conflicts.notice(ConflictKind.INSTANCE, instance.study_instance_uid)
            return None
        self._places.doubt()  # the series that it leaves may be removed
        self._recording.flush(self._cursor)
        entities.replace(connection, held, instance, others)
        return held

    def is_named(self, file: Instance) -> bool:
        """Whether a row of its SOP Instance UID names a file; inside a transaction."""
        return any(one.key == file.key for one in self._recording.named(self._cursor, file.sop_instance_uid))

    def change(self, before: Instance, after: Instance) -> bool:
        """Replace the row of ``before``, if that is held, by ``after``; inside a transaction."""
        held = {"held_uid": before.sop_instance_uid, "held_key": before.key}
        changed = bool(self._change.run(self._cursor, self._rows.bound(after) | held).rowcount == 1)
        if changed:
            self._committed.written(CommittedRow.of(after))
        return changed

    def remove(self, connection: Connection, sop_instance_uid: str, key: str = "") -> bool:
        """See :meth:`scp.index.index.Index.remove` and ``forget``; inside a :meth:`transaction`."""
        self._places.doubt()
        self._recording.flush(self._cursor)
        keys = [key] if key else [one.key for one in self._recording.named(self._cursor, sop_instance_uid)]
        removed = [entities.remove(connection, sop_instance_uid, each) for each in keys]
        return any(removed)

    def close(self) -> None:
        """Close the connection; the next transaction would open another one."""
        with self._turn:
            self._drop()

    def _place(self, connection: Connection, given: Mapping[str, str], corrects: bool) -> int:
        self._places.doubt()
        found = entities.place(connection, given, corrects)
        for kind in found.conflicts:
            self._conflicts.notice(kind, given["StudyInstanceUID"])
        self._places.remember(self._cursor, given)
        return found.series

    def _look_around(self) -> None:
        """Check whether others have written since this connection last did."""
        version = self._kind.data_version(self._cursor)
        if version is None or version != self._version:
            self._places.doubt()
            self._writes += 1
        self._version = version

    def _connected(self) -> Connection:
        if self._connection is not None and not self._is_alive(self._connection):
            self._drop()
        if self._connection is None:
            connection = self.engine.connect().execution_options(**{BEGUN: True})
            connection.detach()  # so that the pool neither counts it nor waits for it
            self._cursor = connection.connection.cursor()
            self._waits = math.inf
            self._connection = connection
            self._committed.connected()
        return self._connection

    def _is_alive(self, connection: Connection) -> bool:
        return not connection.invalidated and self._kind.is_alive(connection.connection.dbapi_connection)

    def _roll_back(self, connection: Connection) -> None:
        self._places.doubt()
        self._committed.rolled_back()
        self._conflicts.rolled_back()
        if not self._is_alive(connection):
            self._drop()
            return
        try:
            connection.rollback()
            connection.connection.rollback()  # in case Core had not begun its own transaction
        except Exception:  # noqa: BLE001 - the error before this one is raised
            self._drop()

    def _drop(self) -> None:
        connection, self._connection, self._version = self._connection, None, None
        if connection is not None:
            with suppress(Exception):
                connection.close()


def patient_name(instance: Instance) -> str:
    """The name under which the rows of an instance's patient change. Without an ID, one for each study."""
    if instance.patient_id:
        return f"patient {instance.patient_id}\\{instance.issuer_of_patient_id}"
    return f"study {instance.study_instance_uid}"


def _names(items: Iterable[Item]) -> list[str]:
    return [patient_name(_as_given(*item)[0]) for item in items]


def _as_given(instance: Instance, given: Mapping[str, str]) -> Item:
    """An instance with the patient of its attributes, which it nearly always has already."""
    patient = {"patient_id": given["PatientID"], "issuer_of_patient_id": given["IssuerOfPatientID"]}
    if (instance.patient_id, instance.issuer_of_patient_id) == (*patient.values(),):
        return instance, given
    return replace(instance, **patient), given  # type: ignore[arg-type]


def _of(named: list[Instance], wanted: Identity) -> Instance | None:
    return next((one for one in named if one.identity == wanted), None)


def _commit(connection: Connection) -> None:
    """Commit by Core if it has begun its transaction, at its first statement; else by the driver."""
    if connection.in_transaction():
        connection.commit()
    else:
        connection.connection.commit()
