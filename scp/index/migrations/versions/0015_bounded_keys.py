"""Long values in database indexes are held as their beginning and a digest (docs/decisions/0152).

Only rows with a longer value are changed, in place: those of the entities, of the instances of such a
patient, and of what is to be sent. No other row of an instance is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_MOST, _MOST_NAME = 256, 2048
_BOUNDED = (
    ("patient", "patient_id", _MOST),
    ("patient", "issuer_of_patient_id", _MOST),
    ("study", "accession_number", _MOST),
    ("study", "patient_name_alphabetic", _MOST_NAME),
    ("study", "patient_name_ideographic", _MOST_NAME),
    ("study", "patient_name_phonetic", _MOST_NAME),
    ("series", "modality", _MOST),
    ("outgoing", "patient_id", _MOST),  # it names what is to be sent, by the patient's row
    ("outgoing", "issuer_of_patient_id", _MOST),
)
_BELOW = """
    UPDATE instance SET {name} = :value WHERE parent IN
    (SELECT series.id FROM series JOIN study ON series.parent = study.id WHERE study.parent = :of)
"""
_AT_ONCE = 500  # such a value may have megabytes


def upgrade() -> None:
    """Put the bounded value in the place of each longer one."""
    connection = op.get_bind()
    for table, name, most in _BOUNDED:
        row: sa.ColumnClause[int] = sa.column("id")
        put = sa.update(sa.table(table, row, sa.column(name))).where(row == sa.bindparam("of"))
        for found in _longer(connection, table, name, most):
            values = [{"of": number, name: _bounded(text, most)} for number, text in found]
            connection.execute(put, values)
            if table == "patient":
                below = _BELOW.format(name=name)
                connection.execute(sa.text(below), [{"of": one["of"], "value": one[name]} for one in values])


def _longer(connection: sa.Connection, table: str, name: str, most: int) -> Iterator[list[tuple[int, str]]]:
    row: sa.ColumnClause[int] = sa.column("id")
    column: sa.ColumnClause[str] = sa.column(name)
    size = sa.func.length(sa.cast(column, sa.LargeBinary))
    if connection.dialect.name == "postgresql":
        size = sa.func.octet_length(column)
    wanted = sa.select(row, column).select_from(sa.table(table)).where(size > most).order_by(row)
    last = 0
    while found := connection.execute(wanted.where(row > last).limit(_AT_ONCE)).all():
        yield [(number, text) for number, text in found]
        last = found[-1][0]


def _bounded(text: str, most: int) -> str:
    """As scp.index.keys.bounded was when this migration was written."""
    encoded = text.strip(" ").encode("utf-8", "replace")
    if len(encoded) <= most:
        return text.strip(" ")
    beginning = encoded[: most - 48].decode("utf-8", "ignore")
    return f"{beginning}…{sha256(encoded).hexdigest()[:40]}"


def downgrade() -> None:
    """The whole values are in the stored files: an index of the version before is rebuilt from these."""
