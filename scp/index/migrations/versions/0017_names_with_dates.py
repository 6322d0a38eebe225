"""The indexes of patients' names contain the study's date, so that studies of another date are not read."""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_GROUPS = ("alphabetic", "ideographic", "phonetic")


def upgrade() -> None:
    """Make them again, with the date."""
    _make("study_date_key")


def downgrade() -> None:
    """Make them again, without it."""
    _make()


def _make(*more: str) -> None:
    for group in _GROUPS:
        op.drop_index(f"ix_patient_name_{group}", "study")
        op.create_index(f"ix_patient_name_{group}", "study", [f"patient_name_{group}", *more])
