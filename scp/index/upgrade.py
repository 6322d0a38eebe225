"""Migrates a database to the schema of this version, with Alembic's migrations, run from the program.

Alembic is imported only if there is something to migrate: its import takes an eighth of the time of a short
command.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import (
    Column,
    Connection,
    Dialect,
    Engine,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    inspect,
    select,
    text,
)
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql.expression import ClauseElement

from scp.errors import ConfigurationError
from scp.index.databases import WRITES
from scp.index.prepared import compiled_once
from scp.index.promises import PROMISED_SINCE
from scp.index.schema import INSTANCE, META, METADATA

if TYPE_CHECKING:
    from alembic.config import Config

_FOLDER = Path(__file__).with_name("migrations")
# A migration's file begins with its revision; each follows the one before it.
NEWEST = max(path.name[:4] for path in (_FOLDER / "versions").glob("[0-9]*.py"))
# A name in Meta: the revision of the oldest nodes that can work with a later schema (docs/decisions/0154). A
# migration that they cannot work with removes it.
OLDEST = "oldest"
_environment = threading.Lock()  # Alembic keeps its environment in module globals


def is_current(engine: Engine) -> bool:
    """Whether the database has this version's schema. Raises what SQLAlchemy raises."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return False
        (found,) = connection.execute(text("SELECT version_num FROM alembic_version")).scalars()
        return found == NEWEST or (found > NEWEST and _serves_this(connection))


def names_objects(engine: Engine) -> bool:
    """Whether a database of any version's schema names an object. Raises what SQLAlchemy raises."""
    with engine.connect() as connection:
        if not inspect(connection).has_table(INSTANCE.name):
            return False
        return connection.execute(select(INSTANCE.c.key).limit(1)).first() is not None


def _serves_this(connection: Connection) -> bool:
    """Whether a later version says that nodes of this one may go on with its schema."""
    oldest = connection.execute(select(META.c.value).where(META.c.name == OLDEST)).scalar()
    return oldest is not None and oldest <= NEWEST


def _config() -> Config:
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    return config


def upgrade(engine: Engine) -> None:
    """Make the tables in an empty database, or run the migrations that it lacks, in one transaction.

    The transaction takes a writer's turn: one of several processes does it, the others wait and find it done.
    Raises :class:`scp.errors.ConfigurationError` for a database of a later version, and what
    SQLAlchemy raises.
    """
    if is_current(engine):
        return  # the usual case does not wait for writers
    with _environment, engine.execution_options(**{WRITES: True}).begin() as connection:
        if inspect(connection).get_table_names():
            migrate(connection)
        else:
            _create(connection)


def migrate(connection: Connection) -> None:
    """Run the migrations that a database lacks: all of them, where it is empty.

    Raises :class:`scp.errors.ConfigurationError` for a database of a later version.
    """
    from alembic import command  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = _config()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise ConfigurationError(f"index.url: made by another version of zscp: {error}") from error


def _create(connection: Connection) -> None:
    """Make the tables as all migrations together would, without them: they take 0.17 s."""
    for statement in _statements(connection.dialect):
        connection.exec_driver_sql(statement)
    connection.execute(META.insert().values(name=PROMISED_SINCE, value=str(int(time.time()))))


@compiled_once
def _statements(dialect: Dialect) -> list[str]:
    """What makes the tables, and notes the newest revision where Alembic looks for it."""
    named = PrimaryKeyConstraint("version_num", name="alembic_version_pkc")
    version = Table("alembic_version", MetaData(), Column("version_num", String(32), nullable=False), named)
    made: list[ClauseElement] = []
    for table in (*METADATA.sorted_tables, version):
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        made += [CreateTable(table), *map(CreateIndex, indexes)]
    made.append(version.insert().values(version_num=NEWEST))
    return [str(each.compile(dialect=dialect, compile_kwargs={"literal_binds": True})) for each in made]
