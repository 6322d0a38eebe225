"""Requests for storage commitment whose result is yet to be reported."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the table and its indexes."""
    op.create_table(
        "commitment",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("transaction_uid", _TEXT, nullable=False),
        sa.Column("calling_aet", _TEXT, nullable=False),
        sa.Column("body", _TEXT, nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due", sa.DateTime(timezone=True), nullable=False),
        sa.Column("holder", _TEXT, nullable=False, server_default=""),
        sa.Column("duplicate", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("fault", _TEXT, nullable=False, server_default=""),
    )
    op.create_index("ix_commitment_due", "commitment", ["due"])
    op.create_index("ix_commitment_transaction", "commitment", ["calling_aet", "transaction_uid"])


def downgrade() -> None:
    """Drop the table: peers have to send their requests again."""
    op.drop_table("commitment")
