"""Keys take a time in proportion to what they are compared with, whatever they hold."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR
from sqlalchemy import Engine, func, literal, select
from sqlalchemy.dialects.postgresql import psycopg
from wildcard_reference import alike

from scp.errors import QueryError
from scp.index.attributes import HELD_BY_KEYWORD
from scp.index.dialect import AnyValueLike, connect
from scp.index.keys import keys
from scp.index.matching import LONGEST_TEXT, LONGEST_VALUE, MOST_WILDCARDS, condition, tokens_of
from scp.index.query import find
from scp.index.values import matcher_of
from scp.index.wildcards import like, matcher, matcher_of_like
from scp.model import Query, QueryKey

pytestmark = pytest.mark.quick

_LETTERS = "ab*?%_/.[\\\n"
# The wildcards that may be of most use against a matcher, within what a key may hold.
_HOSTILE = ["*A" * 99 + "*B", "*?A" * 60 + "*B", "*" + "?" * 198 + "B", "*A?" * 60 + "B*", "?*" * 90 + "B"]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = connect(f"sqlite:///{tmp_path_factory.mktemp('index')}/index.db")
    yield engine
    engine.dispose()


@examples(500)
@given(pattern=st.text(_LETTERS, max_size=9), text=st.text("ab%_/.[\\\n", max_size=9))
def test_matches_as_defined(pattern: str, text: str) -> None:
    tokens = tokens_of(pattern)
    assert matcher(tokens)(text) is matcher_of_like(like(tokens))(text) is alike(pattern, text)


@pytest.mark.parametrize("keyword", ["OtherPatientIDs", "OperatorsName", "StudyDescription", "ImageComments"])
@pytest.mark.parametrize("asked", _HOSTILE)
def test_no_pattern_takes_long(engine: Engine, keyword: str, asked: str) -> None:
    """A plain regular expression takes 46 s for seven stars on 64 characters."""
    attribute = HELD_BY_KEYWORD[keyword]
    # LIKE finds the last value behind the first: so it does not decide by itself.
    text = "\\".join(["A" * 64] * 150) + "\\B" * attribute.several
    row = select(*(literal(text).label(name) for name in attribute.key_columns)).subquery()
    key = QueryKey(keyword, attribute.vr, asked)
    begun = time.thread_time()
    sought = condition(key, attribute, row)
    assert sought is not None
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(row).where(sought)) == 0
    within = matcher_of(attribute, asked)
    assert within is not None
    assert not within(text)
    assert time.thread_time() - begun < 1.0


@pytest.mark.parametrize(
    ("keyword", "asked"),
    [
        ("PatientName", "^" * 100_000 + "x"),
        ("PatientName", "^*" * 50_000),
        ("PatientName", "*A" * (MOST_WILDCARDS + 1)),
        ("OtherPatientIDs", "\\".join(["*A*B*C*"] * 60)),
        ("PatientID", "A" * (LONGEST_VALUE + 1)),
        ("ImageComments", "A" * (LONGEST_TEXT + 1)),
        ("StudyDate", "-" * 100_000),
        ("StudyDate", "-" * 1000),
        ("AcquisitionDateTime", "-" * 65),
        ("StudyTime", ":" * 1000),
    ],
)
def test_keys_beyond_bounds_are_refused_by_name_at_once(engine: Engine, keyword: str, asked: str) -> None:
    attribute = HELD_BY_KEYWORD[keyword]
    row = select(*(literal("").label(name) for name in attribute.key_columns)).subquery()
    begun = time.thread_time()
    with pytest.raises(QueryError, match=keyword):
        condition(QueryKey(keyword, attribute.vr, asked), attribute, row)
    with pytest.raises(QueryError, match=keyword):
        matcher_of(attribute, asked)
    assert time.thread_time() - begun < 0.2


def test_the_longest_patterns_fit_the_database(engine: Engine) -> None:
    """SQLite's LIKE refuses patterns of more than 50 000 bytes; folding makes many characters of some."""
    for keyword, asked in (
        ("PatientName", "\ufdfa" * 60 + "*"),  # of a longer name, the beginning is a key
        ("ImageComments", "\U0001f9e0" * (LONGEST_TEXT - 1) + "*"),
        ("OtherPatientIDs", "%" * (LONGEST_VALUE - 1) + "*"),
    ):
        attribute = HELD_BY_KEYWORD[keyword]
        held = keys(attribute, asked[:-1])
        row = select(*(literal(t).label(n) for n, t in zip(attribute.key_columns, held, strict=True)))
        table = row.subquery()
        sought = condition(QueryKey(keyword, attribute.vr, asked), attribute, table)
        assert sought is not None
        with engine.connect() as connection:
            assert connection.scalar(select(func.count()).select_from(table).where(sought)) == 1


def test_keys_that_do_not_fit_one_statement_are_refused() -> None:
    uids = "\\".join(f"1.2.{number}" for number in range(10_000))
    listed = [QueryKey(k, "UI", uids) for k in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
    one = QueryKey("PatientName", "PN", "DOE*")
    find(Query("STUDY", "IMAGE", (*listed, one)))
    names = "\\".join(f"A{number}^*^*^*^*" for number in range(50))
    many = [QueryKey(k, dictionary_VR(k), names) for k in ("PatientName", "ReferringPhysicianName")]
    with pytest.raises(QueryError, match="too many values"):
        find(Query("STUDY", "IMAGE", (*listed, *many)))


def test_postgresql_can_do_the_same() -> None:
    column = select(literal("A\\B").label("value")).subquery().c.value
    made = str(AnyValueLike(column, literal("A%")).compile(dialect=psycopg.dialect()))  # type: ignore[no-untyped-call]
    assert made.startswith("EXISTS (SELECT 1 FROM unnest(string_to_array(")
    assert made.endswith("ESCAPE '/')")
