"""Loss by a rule of stages (docs/decisions/0212): of what an object is a lossy copy, and why none was made.

With it, the SOP instances for which a storage commitment was answered, from now on.
"""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

# Nodes of the version before may go on for a while, and note nothing.
_BESIDE_SECONDS = 86_400
_TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add all of it, empty, and let nodes of the versions before go on: no row is rewritten for that.

    Of what came before, nobody knows for which instances a commitment was answered.
    """
    op.add_column("instance", sa.Column("lossy_of", _TEXT, nullable=False, server_default=""))
    op.add_column("instance", sa.Column("no_loss", _TEXT, nullable=False, server_default=""))
    op.create_table("committed", sa.Column("sop_instance_uid", _TEXT, primary_key=True))
    since = int(time.time()) + _BESIDE_SECONDS
    op.execute("DELETE FROM meta WHERE name IN ('oldest', 'promised_since')")
    op.execute("INSERT INTO meta (name, value) VALUES ('oldest', '0015')")
    op.bulk_insert(
        sa.table("meta", sa.column("name", _TEXT), sa.column("value", _TEXT)),
        [{"name": "promised_since", "value": str(since)}],
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("committed")
    op.execute("DELETE FROM meta WHERE name = 'promised_since'")
    op.drop_column("instance", "no_loss")
    op.drop_column("instance", "lossy_of")
