"""Indexes of trigrams, by which PostgreSQL finds names that begin with a wildcard (docs/decisions/0198).

They belong to no migration: a server may not have the extension, and in a large index they are made beside
the work of all nodes, which takes minutes.
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import ProgrammingError

# As the operations guide named them for those who made them by hand.
_NAMES = {f"trigrams_{group}": f"patient_name_{group}" for group in ("alphabetic", "ideographic", "phonetic")}
_IS_OFFERED = text("SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'")
_MADE = text(
    "SELECT relname, indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
    "WHERE relname LIKE 'trigrams\\_%' AND pg_table_is_visible(indexrelid)"
)


def make(engine: Engine) -> str:
    """Make the indexes that are missing; returns why there are none, or an empty text.

    Nobody waits for it, but the caller: for minutes among millions of studies. One that broke off is made
    anew. The caller keeps others from it meanwhile. Raises what SQLAlchemy raises.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        made = {row.relname: bool(row.indisvalid) for row in connection.execute(_MADE)}
        if all(made.get(name) for name in _NAMES):
            return ""
        if fault := _without_extension(connection):
            return fault
        for name, column in _NAMES.items():
            if made.get(name):
                continue
            if name in made:
                connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY {name}")
            connection.exec_driver_sql(
                f"CREATE INDEX CONCURRENTLY {name} ON study USING gin ({column} gin_trgm_ops)"
            )
    return ""


def _without_extension(connection: Connection) -> str:
    """Why the database has no pg_trgm; empty where it has it, now or before."""
    if connection.execute(_IS_OFFERED).first() is None:
        return "the server has no extension pg_trgm, which PostgreSQL's contrib package has"
    try:
        connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except ProgrammingError as error:  # the role has no right to create what the database is to have
        remedy = "the database's owner can make it: CREATE EXTENSION pg_trgm"
        return f"the extension pg_trgm is missing: {error.orig}; {remedy}"
    return ""
