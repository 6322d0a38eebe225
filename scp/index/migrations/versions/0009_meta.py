"""What the index says of itself: its archive, its sequence number, and whether it must be rebuilt.

Names and values are those of :mod:`scp.index.meta`. A later migration that needs values from the stored files
requests a rebuild of the index, and replaces an earlier request::

    op.execute("DELETE FROM meta WHERE name = 'rebuild'")
    op.execute("INSERT INTO meta (name, value) VALUES ('rebuild', 'why, in a few words')")

The next process that opens the index for work reads all files before it goes on, and removes the row
(:mod:`scp.lifecycle.rebuild`).
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the table; it is empty until the index is paired with its stores."""
    op.create_table(
        "meta",
        sa.Column("name", _TEXT, primary_key=True),
        sa.Column("value", _TEXT, nullable=False),
    )


def downgrade() -> None:
    """Drop the table: the index then belongs to whichever stores are configured."""
    op.drop_table("meta")
