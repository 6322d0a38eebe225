"""Attributes that study lists ask for, sequences among them, and the character set of a study's texts.

Only the objects have their values, so the index must be rebuilt from these.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
_COLUMNS = {
    "study": (
        "other_patient_ids_sequence",
        "issuer_of_patient_id_qualifiers_sequence",
        "study_comments",
        "interpretation_status_id",
        "requesting_service",
        "requested_procedure_id",
        "reason_for_the_requested_procedure",
        "procedure_code_sequence",
        "requested_procedure_code_sequence",
        "issuer_of_accession_number_sequence",
        "admitting_diagnoses_code_sequence",
        "referenced_study_sequence",
        "specific_character_set",
    ),
    "series": (
        "request_attributes_sequence",
        "performed_protocol_code_sequence",
        "referenced_performed_procedure_step_sequence",
        "series_description_code_sequence",
        "institution_code_sequence",
        "anatomic_region_sequence",
    ),
    "instance": ("concept_name_code_sequence", "content_template_sequence"),
}


def upgrade() -> None:
    """Add the columns, empty, and request a rebuild."""
    for table, names in _COLUMNS.items():
        for name in names:
            op.add_column(table, sa.Column(name, _TEXT, nullable=False, server_default=""))
    _ask_for_rebuild("attributes that study lists ask for")


def downgrade() -> None:
    """Drop them."""
    for table, names in _COLUMNS.items():
        for name in names:
            op.drop_column(table, name)


def _ask_for_rebuild(why: str) -> None:
    """Request a rebuild, if anything is held, by the process that next opens the index for work."""
    connection = op.get_bind()
    if connection.execute(sa.text("SELECT 1 FROM instance LIMIT 1")).first() is None:
        return
    connection.execute(
        sa.text("CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
    )
    connection.execute(sa.text("DELETE FROM meta WHERE name = 'rebuild'"))
    connection.execute(sa.text("INSERT INTO meta (name, value) VALUES ('rebuild', :why)"), {"why": why})
