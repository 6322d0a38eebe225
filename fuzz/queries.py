"""What a key of a query is compared with: wildcards, ranges and names, and the SQL of a query."""

from __future__ import annotations

import atexit
import sys
import tempfile
import time
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from pydicom.datadict import dictionary_VR
from sqlalchemy import func, literal, select, text
from sqlalchemy.engine import Connection

from fuzz.network import SYNTAXES
from scp.dimse.identifier import query_of, read_identifier
from scp.dimse.services.answers import answer
from scp.dimse.services.naming import named
from scp.dimse.services.plain_answers import PlainAnswers
from scp.errors import QueryError
from scp.index.attributes import HELD, Attribute
from scp.index.keys import clean, keys, storable
from scp.index.matching import condition, tokens_of
from scp.index.sql import SqlIndex
from scp.index.values import matcher_of
from scp.index.watch import Watch
from scp.index.wildcards import like, matcher, matcher_of_like
from scp.model import Instance, QueryKey

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from wildcard_reference import alike

# Of sequences the identifier's own reader has the keys; they are matched where a whole query is run.
ATTRIBUTES: tuple[Attribute, ...] = tuple(one for one in HELD if one.vr != "SQ")
_LONGEST = 60  # of pattern and text: the reference takes the product of both
# The processor time that one key may take on one value, instrumented: without, it is a tenth.
_SECONDS = 5.0


@cache
def index() -> SqlIndex:
    """An index of two studies, in a folder that goes with the process."""
    folder = tempfile.TemporaryDirectory()
    made = SqlIndex.open(f"sqlite:///{folder.name}/index.db")
    atexit.register(folder.cleanup)
    atexit.register(made.close)
    for number, (name, modality) in enumerate((("Doe^John=山田^太郎", "CT"), ("Roe^Jane", "MR")), 1):
        items = '[{"ScheduledProcedureStepID": "1"}]'
        known = {"PatientID": f"P{number}", "PatientName": name, "Modality": modality, "AccessionNumber": "1"}
        known |= {"StudyDate": "20240131", "StudyTime": "101530", "RequestAttributesSequence": items}
        made.record(_instance(f"{number}.1.1", str(number)), known)
    return made


def _instance(uid: str, study: str) -> Instance:
    return Instance(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2", sop_instance_uid=uid, study_instance_uid=study,
        series_instance_uid=f"{study}.1", key=uid, form="received", stored_size=1, stored_sha256="5" * 64,
        transfer_syntax=SYNTAXES[1], received_transfer_syntax=SYNTAXES[1], received_size=1,
        received_sha256="6" * 64, received_at=datetime(2024, 1, 31, tzinfo=UTC), calling_aet="CT", rule="",
    )  # fmt: skip


@cache
def _connection() -> Connection:
    found = index()._engine.connect()  # noqa: SLF001 - its own functions are in the database
    atexit.register(found.close)
    return found


def _texts(data: bytes) -> tuple[str, str]:
    """Two texts with a line feed between them; what is no UTF-8 becomes lone surrogates."""
    asked, _, held = data.partition(b"\n")
    return asked.decode("utf-8", "surrogateescape"), held.decode("utf-8", "surrogateescape")


def wildcards(data: bytes) -> None:
    """All ways to match a pattern say what its definition says, and SQLite's LIKE does too."""
    pattern, held = (storable(part[:_LONGEST]) for part in _texts(data))
    tokens = tokens_of(pattern)
    pattern_of_like = like(tokens)
    told = {
        "definition": alike(pattern, held),
        "matcher": matcher(tokens)(held),
        "matcher of LIKE": matcher_of_like(pattern_of_like)(held),
        "LIKE": bool(
            _connection().scalar(
                text("SELECT :held LIKE :pattern ESCAPE '/'"), {"held": held, "pattern": pattern_of_like}
            )
        ),
    }
    if len(set(told.values())) != 1:
        raise AssertionError(f"{pattern!r} on {held!r}: {told}")


def matching(data: bytes) -> None:
    """One key on one value: SQL and Python agree, and neither takes long. Two bytes pick the key."""
    attribute = ATTRIBUTES[int.from_bytes(data[:2], "big") % len(ATTRIBUTES)]
    asked, held = _texts(data[2:])
    begun = time.thread_time()
    told = [_by_sql(attribute, asked, held), _by_python(attribute, asked, held)]
    if told[0] != told[1]:
        raise AssertionError(f"{attribute.keyword} {asked!r} on {held!r}: SQL {told[0]}, Python {told[1]}")
    if (took := time.thread_time() - begun) > _SECONDS:
        raise AssertionError(f"{attribute.keyword} took {took:.1f} s")


def _by_sql(attribute: Attribute, asked: str, held: str) -> bool | None:
    """None where the key is refused."""
    known = clean(attribute, held)
    columns = dict(zip(attribute.key_columns, keys(attribute, known), strict=True)) | {
        attribute.column: known
    }
    row = select(*(literal(value).label(name) for name, value in columns.items())).subquery()
    try:
        sought = condition(QueryKey(attribute.keyword, attribute.vr, asked), attribute, row)
    except QueryError:
        return None
    if sought is None:
        return True
    return _connection().scalar(select(func.count()).select_from(row).where(sought)) == 1


def _by_python(attribute: Attribute, asked: str, held: str) -> bool | None:
    try:
        within = matcher_of(attribute, asked)
    except QueryError:
        return None
    return within is None or within(held)


def query(data: bytes) -> None:
    """A whole C-FIND, and what a retrieve by the same identifier names; the first byte picks how."""
    kind = data[0] if data else 0
    syntax, root = SYNTAXES[kind % len(SYNTAXES)], "PATIENT" if kind & 4 else "STUDY"
    strict, relational = bool(kind & 8), bool(kind & 16)
    with suppress(QueryError):
        identifier = read_identifier(data[1:], syntax)
        plain = PlainAnswers(identifier, syntax)
        asked = query_of(
            identifier, root, strict=strict, relational=relational, combined_datetime=bool(kind & 32)
        )
        character_set = QueryKey("SpecificCharacterSet", dictionary_VR("SpecificCharacterSet"), "")
        asked = replace(asked, keys=(*asked.keys, character_set))
        with closing(index().find(asked, watch=Watch(_SECONDS, lambda: None))) as found:
            for match in found:
                told = {"QueryRetrieveLevel": asked.level, "RetrieveAETitle": "ZSCP"}
                plain.write(match, told)
                answer(identifier, match, told)
    with suppress(QueryError):
        identifier = read_identifier(data[1:], syntax)
        index().instances(
            named(identifier, root, lambda one: index().find(one), strict=strict, relational=relational)
        )
