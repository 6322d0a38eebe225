"""The one connection that writes: its turn, its transactions, and recording without detours."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Engine

from scp.identity import ConflictKind, Identity
from scp.index import record as entities
from scp.index.conflicts import Warnings
from scp.index.dialect import BEGUN, begin_writing, data_version, translated
from scp.index.places import Places
from scp.index.prepared import InstanceRows, change_held, insert_instance, named_instances
from scp.index.rows import identity, row
from scp.model import Instance

Item = tuple[Instance, Mapping[str, str]]  # with all texts that count, as rows.texts gives them


class Writer:
    """Writes for all threads of a process, one transaction at a time, on a connection of its own.

    A connection that always is the same one can tell whether others wrote in between, so that
    :class:`scp.index.places.Places` may trust what it wrote itself.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._turn = threading.Lock()  # SQLite's own waiting polls
        self._places = Places(engine.dialect)
        self._rows = InstanceRows(engine.dialect)
        self._insert = insert_instance(engine.dialect)
        self._change = change_held(engine.dialect)
        self._named = named_instances(engine.dialect)
        self._conflicts = Warnings()
        self._connection: Connection | None = None
        self._cursor: Any = None
        self._version: object = None

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """The connection, in a transaction that is committed at the end, or rolled back by an exception.

        What is written by other ways than the methods of this class must be no patient, study or
        series. Raises :class:`scp.errors.OutOfResources`.
        """
        with self._turn, translated(self._engine):
            connection = self._connected()
            try:
                begin_writing(self._engine, self._cursor)
                self._look_around()
                yield connection
                _commit(connection)
            except BaseException:
                self._roll_back(connection)
                raise
            self._conflicts.committed()

    def record(self, connection: Connection, item: Item) -> Instance | None:
        """See :meth:`scp.index.index.Index.record`; inside a :meth:`transaction`."""
        return self._write(connection, item, self._of_uid(item[0].sop_instance_uid))

    def add(self, connection: Connection, item: Item) -> Instance | None:
        """See :meth:`scp.index.index.Index.add`; inside a :meth:`transaction`."""
        named = self._of_uid(item[0].sop_instance_uid)
        held = _of(named, identity(*item)) if named else None
        return held if held is not None else self._write(connection, item, named)

    def _write(self, connection: Connection, item: Item, named: list[Instance]) -> Instance | None:
        """Insert or replace an instance; ``named`` are those that are held of its SOP Instance UID.

        One that is held under its very key is the same file, which was recorded as another object.
        """
        instance, given = _as_given(*item)
        held = _of(named, instance.identity) if named else None
        same_file = next((one for one in named if one.key == instance.key), None)
        if held is not None and same_file is not None and same_file.identity != held.identity:
            entities.remove(
                connection, same_file.sop_instance_uid, same_file.key
            )  # no file is of two objects
        held = held or same_file
        parent = self._places.find(self._cursor, given)
        if parent is None:
            corrects = held is not None and held.received_sha256 != instance.received_sha256
            parent = self._place(connection, given, corrects)
        others = {**row("IMAGE", given), "parent": parent}
        if held is None:
            self._insert.run(self._cursor, others | self._rows.bound(instance))
            if named:
                self._conflicts.notice(ConflictKind.INSTANCE, instance.study_instance_uid)
            return None
        self._places.doubt()  # the series that it leaves may go
        entities.replace(connection, held, instance, others)
        return held

    def _of_uid(self, sop_instance_uid: str) -> list[Instance]:
        rows = self._named.run(self._cursor, {"uid": sop_instance_uid}).fetchall()
        return [self._rows.instance(one) for one in rows]

    def change(self, before: Instance, after: Instance) -> bool:
        """Put how ``after`` is stored in the place of ``before``, if that is held; inside a transaction."""
        held = {"held_uid": before.sop_instance_uid, "held_key": before.key}
        return bool(self._change.run(self._cursor, self._rows.bound(after) | held).rowcount == 1)

    def remove(self, connection: Connection, sop_instance_uid: str, key: str = "") -> bool:
        """See :meth:`scp.index.index.Index.remove` and ``forget``; inside a :meth:`transaction`."""
        self._places.doubt()
        keys = [key] if key else [one.key for one in self._of_uid(sop_instance_uid)]
        removed = [entities.remove(connection, sop_instance_uid, each) for each in keys]
        return any(removed)

    def close(self) -> None:
        """Let go of the connection; the next transaction would open another one."""
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
        """Others may have written since this connection last did."""
        version = data_version(self._engine, self._cursor)
        if version is None or version != self._version:
            self._places.doubt()
        self._version = version

    def _connected(self) -> Connection:
        if self._connection is None:
            connection = self._engine.connect().execution_options(**{BEGUN: True})
            connection.detach()  # the pool neither counts it nor waits for its return
            self._cursor = connection.connection.cursor()
            self._connection = connection
        return self._connection

    def _roll_back(self, connection: Connection) -> None:
        self._places.doubt()
        self._conflicts.rolled_back()
        try:
            connection.rollback()
            connection.connection.rollback()  # where Core had not taken part
        except Exception:  # noqa: BLE001 - what went wrong before this is what is raised
            self._drop()

    def _drop(self) -> None:
        connection, self._connection, self._version = self._connection, None, None
        if connection is not None:
            with suppress(Exception):
                connection.close()


def _as_given(instance: Instance, given: Mapping[str, str]) -> Item:
    """An instance with the patient that its attributes tell, who is nearly always in it already."""
    patient = {"patient_id": given["PatientID"], "issuer_of_patient_id": given["IssuerOfPatientID"]}
    if (instance.patient_id, instance.issuer_of_patient_id) == (*patient.values(),):
        return instance, given
    return replace(instance, **patient), given  # type: ignore[arg-type]


def _of(named: list[Instance], wanted: Identity) -> Instance | None:
    return next((one for one in named if one.identity == wanted), None)


def _commit(connection: Connection) -> None:
    """Core begins its transaction when it is first asked for something, inside the one there is."""
    if connection.in_transaction():
        connection.commit()
    else:
        connection.connection.commit()
