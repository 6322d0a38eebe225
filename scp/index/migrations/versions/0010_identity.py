"""Studies are told apart by patient and UID, and hold the description of the patient by their own objects.

Only the files show which objects had moved to another patient's study, and how each study described its
patient, so the index must be rebuilt. Until then patients of several studies have no name.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
_DESCRIBING = (
    "patient_name",
    "patient_name_alphabetic",
    "patient_name_ideographic",
    "patient_name_phonetic",
    "patient_birth_date",
    "patient_birth_date_key",
    "patient_birth_time",
    "patient_birth_time_key",
    "patient_sex",
    "other_patient_ids",
    "ethnic_group",
    "patient_comments",
    "patient_species_description",
    "responsible_person",
    "responsible_person_alphabetic",
    "responsible_person_ideographic",
    "responsible_person_phonetic",
)
_GROUPS = ("alphabetic", "ideographic", "phonetic")
_IDENTITY = ("study_instance_uid", "patient_id", "issuer_of_patient_id")


def upgrade() -> None:
    """Move the description of patients to their studies, and request a rebuild of the index."""
    for group in _GROUPS:
        op.drop_index(f"ix_patient_name_{group}", "patient")
    # The last object of any study described its patient: only the files show which description is whose.
    only = "(SELECT count(*) FROM study AS other WHERE other.parent = patient.id) = 1"
    _move(_DESCRIBING, "patient", "study", f"study.parent = patient.id AND {only}")
    op.add_column("study", sa.Column("differs_within", sa.Boolean, nullable=False, server_default=sa.false()))
    for group in _GROUPS:
        op.create_index(f"ix_patient_name_{group}", "study", [f"patient_name_{group}"])
    op.drop_index("ux_study_instance_uid", "study")
    op.create_index("ux_study_instance_uid", "study", ["study_instance_uid", "parent"], unique=True)
    for name in _IDENTITY[1:]:
        op.add_column("instance", _text(name))
    op.execute(
        "UPDATE instance SET patient_id = coalesce(patient.patient_id, ''), "
        "issuer_of_patient_id = patient.issuer_of_patient_id FROM series, study, patient "
        "WHERE instance.parent = series.id AND series.parent = study.id AND study.parent = patient.id"
    )
    op.drop_index("ux_sop_instance_uid", "instance")
    op.create_index("ux_sop_instance_uid", "instance", ["sop_instance_uid", "parent"], unique=True)
    for name in _IDENTITY:
        op.add_column("outgoing", _text(name))
    _index_outgoing(("sop_instance_uid", *_IDENTITY, "destination"))
    op.execute("DELETE FROM meta WHERE name = 'rebuild' AND EXISTS (SELECT 1 FROM instance)")
    op.execute(
        "INSERT INTO meta (name, value) SELECT 'rebuild', 'studies are told apart by their patients now' "
        "WHERE EXISTS (SELECT 1 FROM instance)"
    )


def downgrade() -> None:
    """Restore the tables with one study for each UID, empty: ``zscp reindex`` rebuilds their rows."""
    _index_outgoing(("sop_instance_uid", "destination"))
    for name in _IDENTITY:
        op.drop_column("outgoing", name)
    op.execute("DELETE FROM instance")
    op.execute("DELETE FROM series")
    op.execute("DELETE FROM study")
    op.execute("DELETE FROM patient")
    op.drop_index("ux_sop_instance_uid", "instance")
    op.create_index("ux_sop_instance_uid", "instance", ["sop_instance_uid"], unique=True)
    for name in _IDENTITY[1:]:
        op.drop_column("instance", name)
    op.drop_index("ux_study_instance_uid", "study")
    op.create_index("ux_study_instance_uid", "study", ["study_instance_uid"], unique=True)
    for group in _GROUPS:
        op.drop_index(f"ix_patient_name_{group}", "study")
    op.drop_column("study", "differs_within")
    _move(_DESCRIBING, "study", "patient", "study.parent = patient.id")
    for group in _GROUPS:
        op.create_index(f"ix_patient_name_{group}", "patient", [f"patient_name_{group}"])


def _move(names: tuple[str, ...], source: str, target: str, where: str) -> None:
    for name in names:
        op.add_column(target, _text(name))
    values = ", ".join(f"{name} = {source}.{name}" for name in names)
    op.execute(f"UPDATE {target} SET {values} FROM {source} WHERE {where}")  # noqa: S608 - fixed names
    for name in names:
        op.drop_column(source, name)


def _index_outgoing(columns: tuple[str, ...]) -> None:
    op.drop_index("ux_outgoing", "outgoing")
    op.create_index("ux_outgoing", "outgoing", list(columns), unique=True)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, _TEXT, nullable=False, server_default="")
