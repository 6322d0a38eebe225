"""The XXH3-128 of a stored file, and where its dataset begins (docs/decisions/0192).

Rows that are there have neither, and are served by their SHA-256. So are those that a node of the version
before replaces: it leaves both as they were, and they fit its file no more.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add both, empty, and let nodes of the versions before go on: no row is rewritten for that."""
    op.add_column("instance", sa.Column("stored_xxh3", _TEXT, nullable=False, server_default=""))
    op.add_column("instance", sa.Column("dataset_at", sa.BigInteger, nullable=False, server_default="0"))
    op.execute("DELETE FROM meta WHERE name = 'oldest'")
    op.execute("INSERT INTO meta (name, value) VALUES ('oldest', '0015')")


def downgrade() -> None:
    """Drop them."""
    op.drop_column("instance", "dataset_at")
    op.drop_column("instance", "stored_xxh3")
