"""SQLite's table of trigrams, by which names that begin with a wildcard are found (docs/decisions/0236).

It is a full-text table that holds no texts: of each three letters in a row it has the list of the studies
whose names have them. The writer does not fill it. Triggers note each study that is new, or whose name
changed, and a node adds what is noted some seconds later, many at a time, which costs a twentieth of adding
each with its study. Queries look at the noted ones too. So whoever writes to the index, be it an earlier
version of zscp, or a Python whose SQLite has no full-text tables, leaves nothing out.

What was removed, or had another name, stays in the lists: a query reads the rows, and finds that they do not
match. When there is more of that than of all studies, the table is made anew.

The tables are in no migration: they are made, and filled from the studies that are held already, beside all
other work. A node that is killed goes on where it was.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import cache

from sqlalchemy import Connection, Engine

from scp.index.attributes import HELD_BY_KEYWORD
from scp.index.databases import HeldTrigrams
from scp.index.self_description import NamesIndexed

Transaction = Callable[[], AbstractContextManager[Connection]]

_FORMAT = 1  # of the tables; those of another one are made anew
_COLUMNS = HELD_BY_KEYWORD["PatientName"].key_columns
_NAMES = ", ".join(_COLUMNS)
_CHANGED = " OR ".join(f"old.{name} <> new.{name}" for name in _COLUMNS)
_FULL_TEXT = "fts5({}, content='', columnsize=0, detail=none, tokenize='trigram case_sensitive 1')"
_TRIGGERS = {
    "trigrams_insert": "AFTER INSERT ON study BEGIN INSERT OR IGNORE INTO trigrams_due VALUES (new.id); END",
    "trigrams_update": f"AFTER UPDATE OF {_NAMES} ON study WHEN {_CHANGED} BEGIN "  # noqa: S608
    "INSERT OR IGNORE INTO trigrams_due VALUES (new.id); UPDATE trigrams_state SET stale = stale + 1; END",
    "trigrams_delete": "AFTER DELETE ON study BEGIN "
    "DELETE FROM trigrams_due WHERE study = old.id; UPDATE trigrams_state SET stale = stale + 1; END",
}
_TABLES = {
    "trigrams": f"CREATE VIRTUAL TABLE trigrams USING {_FULL_TEXT.format(_NAMES)}",
    "trigrams_due": "CREATE TABLE trigrams_due (study INTEGER PRIMARY KEY)",
    "trigrams_state": "CREATE TABLE trigrams_state (format INTEGER NOT NULL, built INTEGER, stale INTEGER)",
}
_ALL = (*_TABLES, *_TRIGGERS)
# How many there are of them: a later migration that makes the table of studies anew drops its triggers.
_THERE = f"SELECT count(*) FROM sqlite_master WHERE name IN ({', '.join(map(repr, _ALL))})"  # noqa: S608
_ADD = f"INSERT INTO trigrams (rowid, {_NAMES}) SELECT id, {_NAMES} FROM study WHERE "  # noqa: S608

# Studies added in one transaction, in which nobody else can write.
PORTION = 500
# What is removed before the table is made anew, if it is also more than all studies.
MOST_STALE = 50_000
_WORK_SECONDS, _LOOK_SECONDS, _DAY_SECONDS = 0.5, 10.0, 86_400.0


@dataclass(frozen=True, slots=True)
class _TrigramsState:
    built: int | None  # the studies up to this number are in the table; None: all
    stale: int
    due: bool


@cache
def fault() -> str:
    """Why this process cannot use the table; empty if it can."""
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.execute(f"CREATE VIRTUAL TABLE trigrams USING {_FULL_TEXT.format('name')}")
        except sqlite3.Error as error:
            return f"SQLite {sqlite3.sqlite_version} has no tables of trigrams: {error}"
    return ""


def held(connection: Connection) -> HeldTrigrams:
    """What a query can rely on until its transaction ends."""
    state = None if fault() else _state(connection)
    return HeldTrigrams(state is not None and state.built is None, state is not None and state.due)


def index_names(engine: Engine, transaction: Transaction) -> NamesIndexed:
    """Make the tables if they are missing, and add studies to them, for half a second at most.

    Raises what SQLAlchemy raises.
    """
    if told := fault():
        return NamesIndexed(told, _DAY_SECONDS)
    began = time.monotonic()
    while not _is_done(engine):
        if (worked := time.monotonic() - began) > _WORK_SECONDS:
            return NamesIndexed("", worked)
        starting = time.monotonic()
        with transaction() as connection:
            _work(connection)
        time.sleep(time.monotonic() - starting)  # others wait for their turn to write
    return NamesIndexed("", _LOOK_SECONDS)


def _state(connection: Connection) -> _TrigramsState | None:
    """None where there are no tables, or not all, or of another format."""
    if connection.exec_driver_sql(_THERE).scalar() != len(_ALL):
        return None
    read = "SELECT format, built, stale, EXISTS (SELECT 1 FROM trigrams_due) FROM trigrams_state"
    found = connection.exec_driver_sql(read).first()
    return (
        None if found is None or found[0] != _FORMAT else _TrigramsState(found[1], found[2], bool(found[3]))
    )


def _is_done(engine: Engine) -> bool:
    with engine.connect() as connection:
        state = _state(connection)
        return (
            state is not None and state.built is None and not state.due and not _is_stale(connection, state)
        )


def _is_stale(connection: Connection, state: _TrigramsState) -> bool:
    if state.stale <= MOST_STALE:
        return False
    return bool(state.stale > connection.exec_driver_sql("SELECT count(*) FROM study").scalar_one())


def _work(connection: Connection) -> None:
    """One portion; in a transaction that is this process's turn to write."""
    state = _state(connection)
    if state is None or (state.built is None and _is_stale(connection, state)):
        _begin(connection)
    elif state.built is not None:
        _build(connection, state.built)
    else:
        last = "SELECT max(study) FROM (SELECT study FROM trigrams_due ORDER BY study LIMIT ?)"
        end = connection.exec_driver_sql(last, (PORTION,)).scalar()
        of_these = "id IN (SELECT study FROM trigrams_due WHERE study <= ?) ORDER BY id"
        connection.exec_driver_sql(_ADD + of_these, (end,))
        connection.exec_driver_sql("DELETE FROM trigrams_due WHERE study <= ?", (end,))


def _begin(connection: Connection) -> None:
    """Make empty tables, in place of what there is; from now on the triggers note what changes."""
    for name in _TRIGGERS:
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")
    for name, made in _TABLES.items():
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")
        connection.exec_driver_sql(made)
    for name, does in _TRIGGERS.items():
        connection.exec_driver_sql(f"CREATE TRIGGER {name} {does}")
    connection.exec_driver_sql("INSERT INTO trigrams_state VALUES (?, 0, 0)", (_FORMAT,))


def _build(connection: Connection, built: int) -> None:
    """Add the next of the studies that were held before, with their names as they are now."""
    last = "SELECT max(id) FROM (SELECT id FROM study WHERE id > ? ORDER BY id LIMIT ?)"
    end = connection.exec_driver_sql(last, (built, PORTION)).scalar()
    if end is not None:
        connection.exec_driver_sql(f"{_ADD}id > ? AND id <= ? ORDER BY id", (built, end))
        connection.exec_driver_sql("DELETE FROM trigrams_due WHERE study > ? AND study <= ?", (built, end))
    connection.exec_driver_sql("UPDATE trigrams_state SET built = ?", (end,))
