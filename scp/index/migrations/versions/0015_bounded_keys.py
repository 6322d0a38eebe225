"""Long values in database indexes are held as their beginning and a digest (docs/decisions/0152).

Nothing is changed. If an index holds any such value, a rebuild is requested, which holds it so.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_BOUNDED = (
    ("patient", "patient_id"),
    ("patient", "issuer_of_patient_id"),
    ("study", "accession_number"),
    ("series", "modality"),
)


def upgrade() -> None:
    """Request a rebuild if any value is longer than 256 bytes."""
    connection = op.get_bind()
    if any(connection.execute(_longer(table, name)).first() is not None for table, name in _BOUNDED):
        op.execute("DELETE FROM meta WHERE name = 'rebuild'")
        op.execute("INSERT INTO meta (name, value) VALUES ('rebuild', 'long values are held by a digest')")


def _longer(table: str, name: str) -> sa.Select[int]:
    column: sa.ColumnClause[str] = sa.column(name)
    size = sa.func.length(sa.cast(column, sa.LargeBinary))
    if op.get_bind().dialect.name == "postgresql":
        size = sa.func.octet_length(column)
    return sa.select(sa.literal(1)).select_from(sa.table(table, column)).where(size > 256).limit(1)


def downgrade() -> None:
    """Nothing was changed."""
