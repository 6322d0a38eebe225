"""Bring a database to the schema of this version: Alembic's migrations, run from the program."""

from __future__ import annotations

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine

from scp.errors import ConfigurationError
from scp.index.dialect import WRITES

_FOLDER = Path(__file__).with_name("migrations")
_environment = threading.Lock()  # Alembic keeps its environment in module globals


def is_current(engine: Engine) -> bool:
    """Whether the database has this version's schema. Raises what SQLAlchemy raises."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision() == head


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    return config


def upgrade(engine: Engine) -> None:
    """Run the migrations that the database lacks, all in one transaction.

    It is a writer's, so of several processes one migrates and the others wait, then find it done.
    Raises :class:`scp.errors.ConfigurationError` for a database of a later version, and what
    SQLAlchemy raises.
    """
    if is_current(engine):
        return  # the usual case does not wait for writers
    config = _config()
    with _environment, engine.execution_options(**{WRITES: True}).begin() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise ConfigurationError(f"index.url: made by another version of zscp: {error}") from error
