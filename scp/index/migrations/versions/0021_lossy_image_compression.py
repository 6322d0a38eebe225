"""Lossy Image Compression of each object, as its header has it (docs/decisions/0224).

Rows that are there have none: how they came, and whether a stage made them lossy, tells of most that are.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add it, empty, and let nodes of the versions before go on: no row is rewritten for that."""
    op.add_column("instance", sa.Column("lossy_image_compression", _TEXT, nullable=False, server_default=""))
    op.execute("DELETE FROM meta WHERE name = 'oldest'")
    op.execute("INSERT INTO meta (name, value) VALUES ('oldest', '0015')")


def downgrade() -> None:
    """Drop it."""
    op.drop_column("instance", "lossy_image_compression")
