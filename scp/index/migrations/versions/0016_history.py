"""What came in, went out and was kept over time, and what may go when: counted by nodes from here on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, _TEXT, primary_key=True)


def _number(name: str, is_key: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), primary_key=is_key, autoincrement=False, nullable=False)


def upgrade() -> None:
    """Create the tables, empty, and let nodes of the version before go on (docs/decisions/0154)."""
    op.create_table(
        "traffic",
        _text("span"),
        _number("start", is_key=True),
        _text("node"),
        _number("run", is_key=True),
        *map(_text, ("service", "peer", "modality")),
        *map(_number, ("requests", "failures", "instances", "wire_size", "received_size", "stored_size")),
    )
    op.create_table(
        "kept",
        _text("span"),
        _number("start", is_key=True),
        *map(_text, ("modality", "form", "store", "calling_aet")),
        *map(_number, ("instances", "received_size", "stored_size")),
    )
    op.create_table(
        "retention",
        _number("start", is_key=True),
        _text("rule"),
        *map(_number, ("instances", "stored_size", "looked_at")),
    )
    op.execute("DELETE FROM meta WHERE name = 'oldest'")
    op.execute("INSERT INTO meta (name, value) VALUES ('oldest', '0015')")


def downgrade() -> None:
    """Drop them."""
    op.execute("DELETE FROM meta WHERE name = 'oldest'")
    op.drop_table("retention")
    op.drop_table("kept")
    op.drop_table("traffic")
