"""Which instances are pending: they wait for the stage of their rule right after the response."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, and an index of the few rows in which it is true."""
    op.add_column("instance", sa.Column("pending", sa.Boolean, nullable=False, server_default=sa.false()))
    where = sa.text("pending")
    op.create_index("ix_instance_pending", "instance", ["id"], sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Drop both."""
    op.drop_index("ix_instance_pending", "instance")
    op.drop_column("instance", "pending")
