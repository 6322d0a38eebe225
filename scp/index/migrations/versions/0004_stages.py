"""Which stage of the policy was carried out for an instance, when the next is due, and who works on it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the columns, an index of due instances, and the table of claims."""
    for name in ("stage", "outcome", "planned"):
        op.add_column("instance", sa.Column(name, _TEXT, nullable=False, server_default=""))
    op.add_column("instance", sa.Column("due", sa.BigInteger, nullable=False, server_default="0"))
    where = sa.text("NOT pending")
    op.create_index(
        "ix_instance_due", "instance", ["planned", "due"], sqlite_where=where, postgresql_where=where
    )
    op.create_table(
        "claim",
        sa.Column("sop_instance_uid", _TEXT, primary_key=True),
        sa.Column("owner", _TEXT, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("claim")
    op.drop_index("ix_instance_due", "instance")
    for name in ("due", "planned", "outcome", "stage"):
        op.drop_column("instance", name)
