"""Which zstd dictionary a stored file needs, and with which it was last packed (docs/decisions/0211).

Of rows that are there the first is not known: only the file says it. A node of the version before that
replaces a file leaves both as they were.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both, and let nodes of the versions before go on: no row is rewritten for that."""
    op.add_column("instance", sa.Column("dictionary", sa.BigInteger, nullable=False, server_default="-1"))
    op.add_column(
        "instance", sa.Column("dictionary_tried", sa.BigInteger, nullable=False, server_default="0")
    )
    op.execute("DELETE FROM meta WHERE name = 'oldest'")
    op.execute("INSERT INTO meta (name, value) VALUES ('oldest', '0015')")


def downgrade() -> None:
    """Drop them."""
    op.drop_column("instance", "dictionary_tried")
    op.drop_column("instance", "dictionary")
