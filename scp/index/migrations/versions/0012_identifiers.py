"""Objects without UIDs of study and series get derived ones; an index of those that cannot be read."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_UNREADABLE = sa.text("NOT readable")


def upgrade() -> None:
    """Add the index; request a rebuild if any object has no UID, or several values in one."""
    op.create_index(
        "ix_instance_unreadable",
        "instance",
        ["id"],
        sqlite_where=_UNREADABLE,
        postgresql_where=_UNREADABLE,
    )
    connection = op.get_bind()
    if any(connection.execute(_unnamed(table)).first() is not None for table in ("study", "series")):
        op.execute("CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
        op.execute("DELETE FROM meta WHERE name = 'rebuild'")
        op.execute("INSERT INTO meta VALUES ('rebuild', 'objects without UIDs of study or series')")


def _unnamed(table: str) -> sa.Select[Any]:
    """A row whose UID will change: to a derived UID, or to the first of several values."""
    uid: sa.ColumnClause[str | None] = sa.column(f"{table}_instance_uid")
    changed = uid.is_(None) | uid.contains("\\", autoescape=True)
    return sa.select(uid).select_from(sa.table(table)).where(changed).limit(1)


def downgrade() -> None:
    """Drop the index."""
    op.drop_index("ix_instance_unreadable", "instance")
