"""The first tables: patient, study, series, instance.

They are written out, not derived from the tables in the code: a released migration must not change.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
_ROW_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, _TEXT, nullable=False, server_default="")


def upgrade() -> None:
    """Create the tables and their indexes."""
    op.create_table(
        "patient",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column("patient_id", _TEXT, nullable=True),
        _text("issuer_of_patient_id"),
        _text("patient_name"),
        _text("patient_name_alphabetic"),
        _text("patient_name_ideographic"),
        _text("patient_name_phonetic"),
        _text("patient_birth_date"),
        _text("patient_birth_date_key"),
        _text("patient_birth_time"),
        _text("patient_birth_time_key"),
        _text("patient_sex"),
        _text("other_patient_ids"),
        _text("ethnic_group"),
        _text("patient_comments"),
        _text("patient_species_description"),
        _text("responsible_person"),
        _text("responsible_person_alphabetic"),
        _text("responsible_person_ideographic"),
        _text("responsible_person_phonetic"),
    )
    op.create_table(
        "study",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column("parent", _ROW_ID, sa.ForeignKey("patient.id", name="fk_study_parent"), nullable=False),
        sa.Column("study_instance_uid", _TEXT, nullable=True),
        _text("study_date"),
        _text("study_date_key"),
        _text("study_time"),
        _text("study_time_key"),
        _text("accession_number"),
        _text("study_id"),
        _text("study_description"),
        _text("referring_physician_name"),
        _text("referring_physician_name_alphabetic"),
        _text("referring_physician_name_ideographic"),
        _text("referring_physician_name_phonetic"),
        _text("name_of_physicians_reading_study"),
        _text("name_of_physicians_reading_study_alphabetic"),
        _text("name_of_physicians_reading_study_ideographic"),
        _text("name_of_physicians_reading_study_phonetic"),
        _text("physicians_of_record"),
        _text("physicians_of_record_alphabetic"),
        _text("physicians_of_record_ideographic"),
        _text("physicians_of_record_phonetic"),
        _text("requesting_physician"),
        _text("requesting_physician_alphabetic"),
        _text("requesting_physician_ideographic"),
        _text("requesting_physician_phonetic"),
        _text("requested_procedure_description"),
        _text("admitting_diagnoses_description"),
        _text("admission_id"),
        _text("patient_age"),
        _text("patient_size"),
        _text("patient_weight"),
        _text("occupation"),
        _text("additional_patient_history"),
    )
    op.create_table(
        "series",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column("parent", _ROW_ID, sa.ForeignKey("study.id", name="fk_series_parent"), nullable=False),
        sa.Column("series_instance_uid", _TEXT, nullable=True),
        _text("modality"),
        _text("series_number"),
        _text("series_number_key"),
        _text("series_description"),
        _text("series_date"),
        _text("series_date_key"),
        _text("series_time"),
        _text("series_time_key"),
        _text("body_part_examined"),
        _text("laterality"),
        _text("patient_position"),
        _text("protocol_name"),
        _text("performing_physician_name"),
        _text("performing_physician_name_alphabetic"),
        _text("performing_physician_name_ideographic"),
        _text("performing_physician_name_phonetic"),
        _text("operators_name"),
        _text("operators_name_alphabetic"),
        _text("operators_name_ideographic"),
        _text("operators_name_phonetic"),
        _text("manufacturer"),
        _text("manufacturer_model_name"),
        _text("device_serial_number"),
        _text("station_name"),
        _text("institution_name"),
        _text("institutional_department_name"),
        _text("frame_of_reference_uid"),
        _text("performed_procedure_step_id"),
        _text("performed_procedure_step_start_date"),
        _text("performed_procedure_step_start_date_key"),
        _text("performed_procedure_step_start_time"),
        _text("performed_procedure_step_start_time_key"),
        _text("performed_procedure_step_description"),
    )
    op.create_table(
        "instance",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column("parent", _ROW_ID, sa.ForeignKey("series.id", name="fk_instance_parent"), nullable=False),
        _text("sop_instance_uid"),
        _text("sop_class_uid"),
        _text("instance_number"),
        _text("instance_number_key"),
        _text("instance_creation_date"),
        _text("instance_creation_date_key"),
        _text("instance_creation_time"),
        _text("instance_creation_time_key"),
        _text("content_date"),
        _text("content_date_key"),
        _text("content_time"),
        _text("content_time_key"),
        _text("acquisition_date"),
        _text("acquisition_date_key"),
        _text("acquisition_time"),
        _text("acquisition_time_key"),
        _text("acquisition_date_time"),
        _text("acquisition_date_time_key"),
        _text("acquisition_number"),
        _text("acquisition_number_key"),
        _text("image_type"),
        _text("image_comments"),
        _text("image_laterality"),
        _text("view_position"),
        _text("number_of_frames"),
        _text("number_of_frames_key"),
        _text("rows"),
        _text("columns"),
        _text("samples_per_pixel"),
        _text("photometric_interpretation"),
        _text("bits_allocated"),
        _text("bits_stored"),
        _text("pixel_representation"),
        _text("window_center"),
        _text("window_width"),
        _text("slice_thickness"),
        _text("slice_location"),
        _text("content_label"),
        _text("content_description"),
        _text("content_creator_name"),
        _text("content_creator_name_alphabetic"),
        _text("content_creator_name_ideographic"),
        _text("content_creator_name_phonetic"),
        _text("presentation_creation_date"),
        _text("presentation_creation_date_key"),
        _text("presentation_creation_time"),
        _text("presentation_creation_time_key"),
        _text("completion_flag"),
        _text("verification_flag"),
        _text("document_title"),
        sa.Column("study_instance_uid", _TEXT, nullable=False),
        sa.Column("series_instance_uid", _TEXT, nullable=False),
        sa.Column("key", _TEXT, nullable=False),
        sa.Column("form", _TEXT, nullable=False),
        sa.Column("transfer_syntax", _TEXT, nullable=False),
        sa.Column("stored_size", sa.BigInteger, nullable=False),
        sa.Column("stored_sha256", _TEXT, nullable=False),
        sa.Column("received_transfer_syntax", _TEXT, nullable=False),
        sa.Column("received_size", sa.BigInteger, nullable=False),
        sa.Column("received_sha256", _TEXT, nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("calling_aet", _TEXT, nullable=False),
        sa.Column("rule", _TEXT, nullable=False),
        sa.Column("readable", sa.Boolean, nullable=False, server_default=sa.true()),
    )
    op.create_index("ix_patient_name_alphabetic", "patient", ["patient_name_alphabetic"], unique=False)
    op.create_index("ix_patient_name_ideographic", "patient", ["patient_name_ideographic"], unique=False)
    op.create_index("ix_patient_name_phonetic", "patient", ["patient_name_phonetic"], unique=False)
    op.create_index("ux_patient_id", "patient", ["patient_id", "issuer_of_patient_id"], unique=True)
    op.create_index("ix_study_accession_number", "study", ["accession_number"], unique=False)
    op.create_index("ix_study_date", "study", ["study_date_key"], unique=False)
    op.create_index("ix_study_parent", "study", ["parent"], unique=False)
    op.create_index("ux_study_instance_uid", "study", ["study_instance_uid"], unique=True)
    op.create_index("ix_series_modality", "series", ["modality"], unique=False)
    op.create_index("ix_series_parent", "series", ["parent"], unique=False)
    op.create_index("ux_series_instance_uid", "series", ["series_instance_uid", "parent"], unique=True)
    op.create_index("ix_instance_parent", "instance", ["parent"], unique=False)
    op.create_index("ux_sop_instance_uid", "instance", ["sop_instance_uid"], unique=True)


def downgrade() -> None:
    """Drop all tables; ``zscp reindex`` rebuilds their content from the objects."""
    for table in ("instance", "series", "study", "patient"):
        op.drop_table(table)
