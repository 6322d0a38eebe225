"""When an instance's file was last read, and what was wrong with it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the columns and their indexes."""
    op.add_column("instance", sa.Column("checked", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("instance", sa.Column("fault", _TEXT, nullable=False, server_default=""))
    op.create_index("ix_instance_checked", "instance", ["checked"])
    where = sa.text("fault <> ''")
    op.create_index("ix_instance_damaged", "instance", ["id"], sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Drop them."""
    for name in ("damaged", "checked"):
        op.drop_index(f"ix_instance_{name}", "instance")
    for name in ("fault", "checked"):
        op.drop_column("instance", name)
