"""The nodes that share an index, and what they ask of each other."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, _TEXT, nullable=False)


def upgrade() -> None:
    """Create both tables, empty: each node that runs writes its row within seconds."""
    op.create_table(
        "node",
        sa.Column("id", _TEXT, primary_key=True),
        *map(_text, ("name", "start", "place", "address", "version", "fingerprint", "associations")),
        sa.Column("pending", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stopped", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "node_request",
        sa.Column("id", _ROW_ID, primary_key=True),
        *map(_text, ("node", "act", "key")),
    )
    op.create_index("ux_node_request", "node_request", ["node", "act", "key"], unique=True)


def downgrade() -> None:
    """Drop both."""
    op.drop_table("node_request")
    op.drop_table("node")
