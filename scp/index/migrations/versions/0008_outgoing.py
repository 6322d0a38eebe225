"""Objects that are to be sent to peers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the table and its indexes."""
    op.create_table(
        "outgoing",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("sop_instance_uid", _TEXT, nullable=False),
        sa.Column("destination", _TEXT, nullable=False),
        sa.Column("rule", _TEXT, nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due", sa.DateTime(timezone=True), nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("state", _TEXT, nullable=False),
        sa.Column("holder", _TEXT, nullable=False, server_default=""),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("fault", _TEXT, nullable=False, server_default=""),
    )
    op.create_index("ux_outgoing", "outgoing", ["sop_instance_uid", "destination"], unique=True)
    op.create_index("ix_outgoing_due", "outgoing", ["state", "due"])


def downgrade() -> None:
    """Drop the table: its objects are not sent."""
    op.drop_table("outgoing")
