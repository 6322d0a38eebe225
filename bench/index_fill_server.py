"""The index of bench.index_fill in PostgreSQL, made there by the same statements.

Constraints and indexes are made after the rows, so they are as dense as a restored index has them; those of
one that grew are up to a third larger.
"""

from __future__ import annotations

import time
from typing import Any

import psycopg

from bench.index_fill import BATCH
from bench.index_rows import CT_HEAVY, LISTS, PATIENTS_OF, Shape, patients
from bench.index_server import Server
from scp.index.sql import SqlIndex

_NUMBER = "series.id * 64 + number.n"
_RANDOM = {
    "hex8": f"lpad(to_hex(hash({_NUMBER}) << 32), 16, '0')",
    "stored": f"encode(sha256(int8send({_NUMBER})), 'hex')",
    "received": f"encode(sha256(int8send(-{_NUMBER})), 'hex')",
}
# As bench.index_rows.hashed, in one expression: the planner puts it in the place of the call.
_FUNCTIONS = """
CREATE FUNCTION hash(n bigint) RETURNS bigint IMMUTABLE LANGUAGE sql AS $$ SELECT (
    (((n * 2654435761 & 4294967295) # ((n * 2654435761 & 4294967295) >> 15)) * 739982445) & 4294967295
) >> 3 $$;
CREATE FUNCTION folded(name text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT lower(name) $$;
"""
# Rows are joined in the order in which the statements name the tables, so they lie in the order of arrival.
_PLANS = (
    "SET join_collapse_limit = 1; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off; "
    "SET enable_seqscan = off; SET enable_material = off; SET enable_memoize = off; "
    "SET max_parallel_workers_per_gather = 0"
)
_KEPT = ("patient_pkey", "study_pkey", "series_pkey")  # by which the statements find the rows above


def filled(server: Server, studies: int, shape: Shape = CT_HEAVY) -> tuple[str, float]:
    """The name of a running server's database with that index, made if it is not there; seconds it took."""
    name = f"index_{studies}_{shape.mean}"
    with server.connect() as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            return name, 0.0
        began = time.perf_counter()
        connection.execute("DROP DATABASE IF EXISTS making")
        connection.execute("CREATE DATABASE making TEMPLATE template0")
    SqlIndex.open(server.named("making")).close()
    with server.connect("making") as connection:
        _fill(connection, studies, shape)
    with server.connect() as connection:
        connection.execute(f"ALTER DATABASE making RENAME TO {name}")
    return name, time.perf_counter() - began


def _fill(connection: psycopg.Connection[Any], studies: int, shape: Shape) -> None:
    connection.execute(_FUNCTIONS)
    for name, (columns, rows) in LISTS.items():
        connection.execute(f"CREATE TEMP TABLE {name} (n INTEGER PRIMARY KEY, {columns})")
        with connection.cursor().copy(f"COPY {name} FROM STDIN") as copy:
            for number, row in enumerate(rows):
                copy.write_row((number, *row))
    made = _without_indexes(connection)
    connection.execute(_PLANS)
    with connection.transaction():  # in which a table was emptied, rows are not logged
        connection.execute("TRUNCATE patient, study, series, instance")
        connection.execute(PATIENTS_OF.format(patients=patients(studies)))
        for first in range(1, studies + 1, BATCH):
            for statement in shape.statements(first, min(first + BATCH - 1, studies), studies, _RANDOM):
                connection.execute(statement)
    for statement in made:
        connection.execute(statement)
    for table in ("patient", "study", "series"):
        connection.execute(f"SELECT setval('{table}_id_seq', (SELECT max(id) FROM {table}))")
    connection.execute("DROP FUNCTION hash, folded")
    connection.execute("VACUUM (ANALYZE, FREEZE)")  # as autovacuum does over the years


def _without_indexes(connection: psycopg.Connection[Any]) -> list[str]:
    """Drop them, and the foreign keys; returns what makes them again."""
    tables = "('patient', 'study', 'series', 'instance')"
    constraints = connection.execute(
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
        f"WHERE conrelid::regclass::text IN {tables} ORDER BY contype = 'p'"
    ).fetchall()
    made = []
    for table, name, definition in constraints:
        if name not in _KEPT:
            connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
            made.append(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
    indexes = f"SELECT indexname, indexdef FROM pg_indexes WHERE tablename IN {tables}"
    for name, definition in connection.execute(indexes).fetchall():
        if name not in _KEPT:
            connection.execute(f"DROP INDEX {name}")
            made.append(definition)
    return made[::-1]  # primary keys before the foreign ones
