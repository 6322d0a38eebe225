"""The refusal of an object, and an index of refused objects.

No rebuild is requested: if a file says that its forms failed, the next rebuild reads that; other failures are
found again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
_REFUSED = sa.text("refused <> ''")


def upgrade() -> None:
    """Add the column, empty, and its index."""
    op.add_column("instance", sa.Column("refused", _TEXT, nullable=False, server_default=""))
    op.create_index(
        "ix_instance_refused", "instance", ["id"], sqlite_where=_REFUSED, postgresql_where=_REFUSED
    )


def downgrade() -> None:
    """Drop both."""
    op.drop_index("ix_instance_refused", "instance")
    op.drop_column("instance", "refused")
