"""Statements that are compiled once and run on the driver's own cursor.

SQLAlchemy Core takes 60 to 130 µs to execute a statement that SQLite answers in 5: too much for statements
that run for each stored object. Core still writes their SQL, so that it fits the tables and the database.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import (
    Dialect,
    Insert,
    Select,
    Update,
    bindparam,
    case,
    cast,
    column,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from scp.index.schema import INSTANCE, INSTANCE_COLUMNS
from scp.model import Instance

Values = dict[str, Any]
P = ParamSpec("P")
T = TypeVar("T")
_OWN = tuple(column.name for column in INSTANCE_COLUMNS)
_values_of: Callable[[Instance], tuple[Any, ...]] = attrgetter(*_OWN)
INSERTS: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_DIALECTS: dict[str, Dialect] = {}


def compiled_once(make: Callable[Concatenate[Dialect, P], T]) -> Callable[Concatenate[Dialect, P], T]:
    """Caches the statements that a function makes for a dialect, and for what else tells them apart.

    Each engine has a dialect of its own, and all those of one name write the same SQL. To compile the
    statements of an index takes 20 ms.
    """
    made = lru_cache(256)(make)

    def cached(dialect: Dialect, /, *arguments: P.args, **named: P.kwargs) -> T:
        same = _DIALECTS.setdefault(dialect.name, dialect)
        return made(same, *arguments, **named)  # type: ignore[arg-type]  # all of them are hashable

    return cached


class Prepared:
    """One statement; :meth:`run` takes the values of its parameters by name."""

    def __init__(self, statement: Select[Any] | Insert | Update, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self._text = str(compiled)
        self._names = compiled.positiontup if compiled.positional else None

    def run(self, cursor: Any, values: Values) -> Any:
        """Execute the statement on a DBAPI cursor, which is returned; values are passed unchanged."""
        names = self._names
        cursor.execute(self._text, values if names is None else [values[name] for name in names])
        return cursor

    def numbered(self, name: str) -> str:
        """The text as PostgreSQL itself takes it, with $1 for its only parameter."""
        return self._text.replace(f"%({name})s", "$1").replace("%%", "%")


class InstanceRows:
    """Converts instances to rows of the driver and back, with the processors of the columns' types."""

    def __init__(self, dialect: Dialect) -> None:
        types = [(column.name, column.type.dialect_impl(dialect)) for column in INSTANCE_COLUMNS]
        binders = [(name, type_.bind_processor(dialect)) for name, type_ in types]
        readers = [(place, type_.result_processor(dialect, None)) for place, (_, type_) in enumerate(types)]
        self._binders = [(name, binder) for name, binder in binders if binder]
        self._readers: list[tuple[int, Callable[[Any], Any]]] = [
            (place, reader) for place, reader in readers if reader
        ]

    def bound(self, instance: Instance) -> Values:
        """The columns of an instance → their values for the driver."""
        values: Values = dict(zip(_OWN, _values_of(instance), strict=True))
        for name, bind in self._binders:
            values[name] = bind(values[name])
        return values

    def instance(self, row: Sequence[Any]) -> Instance:
        """The instance in a row of :data:`scp.index.schema.INSTANCE_COLUMNS` from the driver."""
        values = list(row)
        for place, read in self._readers:
            values[place] = read(values[place])
        return Instance(*values)


@compiled_once
def insert_instance(dialect: Dialect) -> Prepared:
    """Insert an instance with all its columns."""
    columns = [column for column in INSTANCE.columns if column is not INSTANCE.c.id]
    statement = INSERTS[dialect.name](INSTANCE).values({column.name: None for column in columns})
    return Prepared(statement.inline(), dialect)


@compiled_once
def named_instances(dialect: Dialect) -> Prepared:
    """Select the instances of one SOP Instance UID, the parameter ``uid``: nearly always one instance."""
    sought = INSTANCE.c.sop_instance_uid == bindparam("uid")
    return Prepared(select(*INSTANCE_COLUMNS).where(sought), dialect)


@compiled_once
def insert_instances(dialect: Dialect) -> Prepared:
    """Insert the ``rows`` of a JSON array with all columns: PostgreSQL's.

    As one value it takes psycopg half the time of 78 for each row, and any number of rows is one statement.
    """
    columns = [each for each in INSTANCE.columns if each is not INSTANCE.c.id]
    rows = func.json_to_recordset(cast(bindparam("rows"), postgresql.JSON(none_as_null=True)))
    typed = rows.table_valued(*(column(each.name, each.type) for each in columns), name="new")
    names = [each.name for each in columns]
    statement = postgresql.insert(INSTANCE).from_select(
        names, select(*typed.render_derived(with_types=True).c)
    )
    return Prepared(statement, dialect)


@compiled_once
def instances_of(dialect: Dialect) -> Prepared:
    """Select the instances of several SOP Instance UIDs, the parameter ``uids``: PostgreSQL's."""
    sought = INSTANCE.c.sop_instance_uid == func.any(bindparam("uids"))
    return Prepared(select(*INSTANCE_COLUMNS).where(sought), dialect)


@compiled_once
def change_held(dialect: Dialect) -> Prepared:
    """Replace the columns of the instance ``held_uid``, if it is stored under ``held_key``.

    The time of its last retrieval stays; if it was planned by another time, it is planned again.
    """
    held = (INSTANCE.c.sop_instance_uid == bindparam("held_uid")) & (INSTANCE.c.key == bindparam("held_key"))
    changed: Values = dict.fromkeys(_OWN)
    changed["accessed"] = INSTANCE.c.accessed
    same = INSTANCE.c.accessed == bindparam("accessed", type_=INSTANCE.c.accessed.type)
    changed["planned"] = case(
        (same, bindparam("planned", type_=INSTANCE.c.planned.type)), else_=literal_column("''")
    )
    return Prepared(update(INSTANCE).where(held).values(changed), dialect)
