"""The tables: four generated from :mod:`scp.index.attributes` and :class:`scp.model.Instance`.

Each row of study, series and instance names the row above it as ``parent``. A patient's row only identifies
the patient; its description is in each of its studies. The unique keys of patient, study and series are NULL
if an object has none: a unique index allows any number of NULLs, so objects without a UID are kept apart and
match no query for a UID. A patient without a Patient ID has a row for each study.

Further tables hold what no object says, such as outstanding storage commitment results and the send queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    false,
    literal_column,
    text,
    true,
)
from sqlalchemy.dialects import postgresql

from scp.identity import Identity
from scp.index.attributes import HELD_BY_TABLE, Attribute
from scp.index.packing import DICTIONARY_UNKNOWN
from scp.model import LEVELS, UNIQUE_KEYS, Instance


class Moment(TypeDecorator[datetime]):
    """A moment in UTC. SQLite stores no time zones; a moment without one counts as UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """To UTC."""
        return None if value is None else _utc(value)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """To UTC, in whatever zone the database returns it."""
        return None if value is None else _utc(value)


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


METADATA = MetaData()
# By default PostgreSQL compares by the database's locale, but ranges of keys need code point order.
TEXT = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
ROW_ID = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers INTEGER keys only
_TYPES: Mapping[Any, Any] = {
    "str": TEXT,
    "StageOutcome": TEXT,
    "int": BigInteger,
    "bool": Boolean,
    "datetime": Moment,
}
_DEFAULTS: Mapping[str, Any] = {
    "readable": true(),
    "pending": false(),
    "stage": "",
    "outcome": "",
    "planned": "",
    "due": "0",
    "accessed": "0",
    "checked": "0",
    "fault": "",
    "refused": "",
    "stored_xxh3": "",
    "dataset_at": "0",
    "lossy_of": "",
    "no_loss": "",
    "dictionary": str(DICTIONARY_UNKNOWN),
    "dictionary_tried": "0",
    "patient_id": "",
    "issuer_of_patient_id": "",
}
_NAMES = {"PATIENT": "patient", "STUDY": "study", "SERIES": "series", "IMAGE": "instance"}


def _attribute_columns(attribute: Attribute) -> list[Column[Any]]:
    names = dict.fromkeys((attribute.column, *attribute.key_columns))
    if attribute.level != "IMAGE" and attribute.keyword == UNIQUE_KEYS[attribute.level]:
        return [Column(name, TEXT, nullable=True) for name in names]
    return [Column(name, TEXT, nullable=False, server_default="") for name in names]


def _instance_columns() -> list[Column[Any]]:
    held = {attribute.column for attribute in HELD_BY_TABLE["IMAGE"]}
    return [
        Column(
            field.name,
            _TYPES[field.type],
            nullable=False,
            server_default=_DEFAULTS.get(field.name),
        )
        for field in fields(Instance)
        if field.name not in held
    ]


def _table(level: str) -> Table:
    columns = [column for attribute in HELD_BY_TABLE[level] for column in _attribute_columns(attribute)]
    if level == "STUDY":
        columns.append(Column("differs_within", Boolean, nullable=False, server_default=false()))
    if level == "IMAGE":
        columns += _instance_columns()
    above = LEVELS.index(level) - 1
    if above >= 0:
        parent = ForeignKey(f"{_NAMES[LEVELS[above]]}.id", name=f"fk_{_NAMES[level]}_parent")
        columns.insert(0, Column("parent", ROW_ID, parent, nullable=False, index=level == "IMAGE"))
    return Table(_NAMES[level], METADATA, Column("id", ROW_ID, primary_key=True), *columns)


TABLES: Mapping[str, Table] = {level: _table(level) for level in LEVELS}
PATIENT, STUDY, SERIES, INSTANCE = TABLES.values()
INSTANCE_COLUMNS = [INSTANCE.c[field.name] for field in fields(Instance)]

Index("ux_patient_id", PATIENT.c.patient_id, PATIENT.c.issuer_of_patient_id, unique=True)
Index("ux_study_instance_uid", STUDY.c.study_instance_uid, STUDY.c.parent, unique=True)
Index("ux_series_instance_uid", SERIES.c.series_instance_uid, SERIES.c.parent, unique=True)
# The writer keeps it unique within its study, as the series may change when an object is sent again.
Index("ux_sop_instance_uid", INSTANCE.c.sop_instance_uid, INSTANCE.c.parent, unique=True)
# With the date, so that of all who are called Smith only the studies of a week are read.
Index("ix_patient_name_alphabetic", STUDY.c.patient_name_alphabetic, STUDY.c.study_date_key)
Index("ix_patient_name_ideographic", STUDY.c.patient_name_ideographic, STUDY.c.study_date_key)
Index("ix_patient_name_phonetic", STUDY.c.patient_name_phonetic, STUDY.c.study_date_key)
Index("ix_study_date", STUDY.c.study_date_key)
Index("ix_study_accession_number", STUDY.c.accession_number)
# These include the columns that queries ask of the rows below an entity, so that rows that do not match are
# not read. There is no index of modalities alone: each is a tenth of all series.
Index("ix_study_parent_date", STUDY.c.parent, STUDY.c.study_date_key)
Index("ix_series_parent_modality", SERIES.c.parent, SERIES.c.modality)
# Few rows of millions are pending at a time. SQLite uses the index only for exactly the same condition, and
# Core would write "pending = 1" for a Boolean.
PENDING: ColumnElement[bool] = literal_column("instance.pending")
_PENDING = text("pending")
Index("ix_instance_pending", INSTANCE.c.id, sqlite_where=_PENDING, postgresql_where=_PENDING)

# All other rows, by when they are due: ``planned`` is the same in nearly all of them, ``due`` selects few.
SETTLED: ColumnElement[bool] = literal_column("NOT instance.pending")
_SETTLED = text("NOT pending")
Index(
    "ix_instance_due",
    INSTANCE.c.planned,
    INSTANCE.c.due,
    sqlite_where=_SETTLED,
    postgresql_where=_SETTLED,
)

# The files by when they were last read, and the few that are known to be damaged.
Index("ix_instance_checked", INSTANCE.c.checked)
_DAMAGED = text("fault <> ''")
Index("ix_instance_damaged", INSTANCE.c.id, sqlite_where=_DAMAGED, postgresql_where=_DAMAGED)
DAMAGED: ColumnElement[bool] = literal_column("instance.fault <> ''")
SOUND: ColumnElement[bool] = literal_column("instance.fault = ''")  # as far as is known
# The few instances that cannot be read in the transfer syntax that they were announced in.
_UNREADABLE = text("NOT readable")
Index("ix_instance_unreadable", INSTANCE.c.id, sqlite_where=_UNREADABLE, postgresql_where=_UNREADABLE)
UNREADABLE: ColumnElement[bool] = literal_column("NOT instance.readable")
# The few instances with a refusal.
_REFUSED = text("refused <> ''")
Index("ix_instance_refused", INSTANCE.c.id, sqlite_where=_REFUSED, postgresql_where=_REFUSED)
REFUSED: ColumnElement[bool] = literal_column("instance.refused <> ''")

# Claims on instances: who works on one, and until when, in seconds since 1970.
CLAIM = Table(
    "claim",
    METADATA,
    Column("sop_instance_uid", TEXT, primary_key=True),
    Column("owner", TEXT, nullable=False),
    Column("until", BigInteger, nullable=False),
)
COMMITMENT = Table(
    "commitment",
    METADATA,
    Column("id", ROW_ID, primary_key=True),
    Column("transaction_uid", TEXT, nullable=False),
    Column("calling_aet", TEXT, nullable=False),
    Column("body", TEXT, nullable=False),
    Column("received_at", Moment, nullable=False),
    Column("due", Moment, nullable=False),
    Column("holder", TEXT, nullable=False, server_default=""),
    Column("duplicate", Boolean, nullable=False, server_default=false()),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("fault", TEXT, nullable=False, server_default=""),
)
# The SOP instances for which a storage commitment was answered, or is about to be: never kept with loss.
COMMITTED = Table("committed", METADATA, Column("sop_instance_uid", TEXT, primary_key=True))
SEND_QUEUE = Table(
    "outgoing",  # the table's first name; another one would need a migration
    METADATA,
    Column("id", ROW_ID, primary_key=True),
    Column("sop_instance_uid", TEXT, nullable=False),
    Column("study_instance_uid", TEXT, nullable=False, server_default=""),
    Column("patient_id", TEXT, nullable=False, server_default=""),
    Column("issuer_of_patient_id", TEXT, nullable=False, server_default=""),
    Column("destination", TEXT, nullable=False),
    Column("rule", TEXT, nullable=False),
    Column("queued_at", Moment, nullable=False),
    Column("due", Moment, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("state", TEXT, nullable=False),
    Column("holder", TEXT, nullable=False, server_default=""),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("fault", TEXT, nullable=False, server_default=""),
)
# What the index says of itself (scp.index.index.Meta).
META = Table(
    "meta",
    METADATA,
    Column("name", TEXT, primary_key=True),
    Column("value", TEXT, nullable=False),
)
# The nodes that share the index, and what they ask of each other (scp.index.nodes).
NODE = Table(
    "node",
    METADATA,
    Column("id", TEXT, primary_key=True),
    *(
        Column(name, TEXT, nullable=False)
        for name in ("name", "start", "place", "address", "version", "fingerprint", "associations")
    ),
    Column("pending", BigInteger, nullable=False),
    Column("seen", Moment, nullable=False),
    Column("stopped", Boolean, nullable=False),
)
NODE_REQUEST = Table(
    "node_request",
    METADATA,
    Column("id", ROW_ID, primary_key=True),
    *(Column(name, TEXT, nullable=False) for name in ("node", "act", "key")),
)
Index("ux_node_request", NODE_REQUEST.c.node, NODE_REQUEST.c.act, NODE_REQUEST.c.key, unique=True)


def _key(*names: str) -> list[Column[Any]]:
    """Columns that are the primary key together."""
    numbers = {"start", "run"}
    return [
        Column(name, BigInteger if name in numbers else TEXT, primary_key=True, autoincrement=False)
        for name in names
    ]


def _sums(*names: str) -> list[Column[Any]]:
    return [Column(name, BigInteger, nullable=False) for name in names]


# What came in, went out and was kept over time (scp.index.history). ``span`` is hour or day, of traffic also
# month; ``start`` is when it began, in seconds since 1970, that of a month in months. Days and months are of
# all nodes: their ``node`` is empty.
TRAFFIC = Table(
    "traffic",
    METADATA,
    *_key("span", "start", "node", "run", "service", "peer", "modality"),
    *_sums("requests", "failures", "instances", "wire_size", "received_size", "stored_size"),
)
KEPT = Table(
    "kept",
    METADATA,
    *_key("span", "start", "modality", "form", "store", "calling_aet"),
    *_sums("instances", "received_size", "stored_size"),
)
# What rules of retention let go when, as it was looked up at a moment; ``start`` is 0 for what they do not.
RETENTION = Table(
    "retention",
    METADATA,
    *_key("start", "rule"),
    *_sums("instances", "stored_size", "looked_at"),
)
SEND_QUEUE_KEY = (*(SEND_QUEUE.c[name] for name in Identity._fields), SEND_QUEUE.c.destination)
Index("ux_outgoing", *SEND_QUEUE_KEY, unique=True)
Index("ix_outgoing_due", SEND_QUEUE.c.state, SEND_QUEUE.c.due)
Index("ix_commitment_due", COMMITMENT.c.due)
Index("ix_commitment_transaction", COMMITMENT.c.calling_aet, COMMITMENT.c.transaction_uid)
