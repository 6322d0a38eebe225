"""Names that begin with a wildcard: all ways to find them find the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import event
from test_index_contract import DOE, ROE, instance, query

from scp.errors import QueryError
from scp.index import matches, names
from scp.index import sqlite_trigrams as trigrams
from scp.index.databases import HeldTrigrams
from scp.index.sql import SqlIndex
from scp.index.watch import unwatched
from scp.model import Query, QueryKey

# Few letters, so that patterns match; what LIKE, FTS5 and names give a meaning; what folding changes.
LETTERS = st.sampled_from(
    [*"abAB%_/\"'^ -", "é", "É", "ß", "ｱ", "ア", "山", "\U0001f480", "\u0130", "\ufffe"]
)
TEXTS = st.text(LETTERS, max_size=9)
NAMES = st.lists(TEXTS, min_size=1, max_size=3).map("=".join)
PIECES = st.text(LETTERS, max_size=5)
PATTERNS = st.lists(PIECES, min_size=2, max_size=4).flatmap(
    lambda pieces: st.tuples(
        *[st.sampled_from([piece, f"*{piece}", f"?{piece}", f"{piece}*"]) for piece in pieces]
    ).map("".join)
)
ASKED = st.one_of(
    PATTERNS,
    PATTERNS.map("*{}*".format),
    st.tuples(PATTERNS, PATTERNS).map("*{0[0]}*={0[1]}".format),
    st.tuples(PATTERNS, PATTERNS).map("*{0[0]}*\\*{0[1]}".format),
)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[SqlIndex]:
    with closing(SqlIndex.open(f"sqlite:///{tmp_path}/index.db")) as index:
        yield index


def found(index: SqlIndex, level: str = "STUDY", **keys: str) -> list[str]:
    unique = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "IMAGE": "SOPInstanceUID"}[level]
    asked = of(level, {unique: ""} | keys, relational=level == "IMAGE")
    return sorted(match[unique] for match in index.find(asked))


def of(level: str, keys: dict[str, str], relational: bool = True) -> Query:
    asked = tuple(QueryKey(keyword, "", value) for keyword, value in keys.items())
    return Query("STUDY", level, asked, relational)


def make_all(index: SqlIndex) -> None:
    while index.index_names().again != trigrams._LOOK_SECONDS:
        pass


def record(index: SqlIndex, number: int, name: str, **more: str) -> None:
    patient = {"PatientID": f"P{number}", "PatientName": name, "StudyDate": "20240131"}
    index.record(instance(f"{number}.1.1", str(number), f"{number}.1"), patient | more)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NAMES, min_size=1, max_size=12), st.lists(ASKED, min_size=1, max_size=12), st.data())
@example(["Doe^John"], ['*"oe*', "*oe^j*", "*OE^J?HN", "*%*oe^*", "*o_^*"], None)
@example(
    ["a" * 3 + "\U0001f480bb", "\ufffe" * 3], ["*\U0001f480BB", "*\ufffe\ufffe\ufffe*", "*A\U0001f480*"], None
)
@example(["Straße^É"], ["*SSE^*", "*ße^é", "*STRASSE*", "*ßE*"], None)
def test_the_table_of_trigrams_changes_no_answer(
    tmp_path_factory: pytest.TempPathFactory, held: list[str], asked: list[str], data: Any
) -> None:
    """At any level; with studies in the table, noted, corrected and removed."""
    folder = tmp_path_factory.mktemp("names")
    with (
        closing(SqlIndex.open(f"sqlite:///{folder}/index.db")) as index,
        pytest.MonkeyPatch.context() as patch,
    ):
        make_all(index)
        for number, name in enumerate(held):
            record(index, number, name)
            act = data.draw(st.sampled_from(["", "", "fold", "correct", "remove"])) if data else ""
            if act == "correct":
                record(index, number, held[0], PatientID=f"P{number}")
            elif act == "remove":
                index.remove(f"{number}.1.1")
            elif act:
                make_all(index)
        levels = ("PATIENT", "STUDY", "IMAGE")
        by_trigrams = [found(index, level, PatientName=name) for name in asked for level in levels]
        patch.setattr(trigrams, "held", lambda _: HeldTrigrams(False, False))
        assert by_trigrams == [found(index, level, PatientName=name) for name in asked for level in levels]


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("*DOE*", '"doe"'),
        ("*DO?*", ""),  # no three letters in a row
        ("*OE*", ""),
        ("DOE*", ""),  # an index of names finds it
        ("*DOE^J*\\ROE*", '(("doe" AND "oe^" AND "e^j") OR "roe")'),
        ("*DOE*\\*OE*", ""),
        ("*DOE*=*山田^太*", '("doe" AND ("山田^" AND "田^太"))'),
        ("*DOE*=*山*", '"doe"'),
        ("DOE*=*山田^太*", ""),
        ('*"DO"*', '("""do" AND "do""")'),
        ("*a?bcd*", '"bcd"'),
        ("*ABCDEFGHIJKLM*", '("abc" AND "cde" AND "fgh" AND "hij" AND "klm")'),
        ("*DOE^*", '(("doe" AND "oe^") OR "doe")'),
        ("*\0AB*", ""),
    ],
)
def test_what_the_table_is_asked_for(name: str, asked: str) -> None:
    assert names.trigrams(query("STUDY", PatientName=name)) == asked


def test_a_unique_key_is_better_and_no_list_is_too_long() -> None:
    assert names.trigrams(query("STUDY", PatientName="*DOE*", PatientID="D1")) == ""
    assert names.trigrams(query("STUDY", StudyDate="20240131")) == ""
    many = "\\".join(f"*NAME{number}*" for number in range(50))
    assert names.trigrams(query("STUDY", PatientName=many)) == ""


@pytest.mark.parametrize("name", ["*DOE*", "*OE*"])
@pytest.mark.parametrize(
    "more", [{"StudyDate": "nonsense"}, {"SeriesNumber": "x"}, {"PatientName": "*A*=B=C=D"}]
)
def test_what_the_standard_does_not_allow_is_told_before_anything_is_read(
    index: SqlIndex, name: str, more: dict[str, str]
) -> None:
    with pytest.raises(QueryError):
        index.find(of("SERIES", {"PatientName": name} | more))


class TestDates:
    """Of a name that begins with a wildcard, with dates."""

    @pytest.fixture
    def twenty(self, index: SqlIndex, monkeypatch: pytest.MonkeyPatch) -> SqlIndex:
        """Studies from 1 to 20, each a day later than the one before; three count as many."""
        for number in reversed(range(1, 21)):
            patient = ROE if number == 2 else DOE
            index.record(
                instance(str(number), str(number), f"{number}.1"),
                patient | {"StudyDate": f"202401{number:02}"},
            )
        make_all(index)
        monkeypatch.setattr(names, "NEWEST_STUDIES", 3)
        return index

    def said(self, index: SqlIndex, asked: Any) -> tuple[list[int], str]:
        """The studies in the order in which they come, and the statements that found the first one."""
        said: list[str] = []

        def listen(*given: Any) -> None:
            said.append(given[2])

        event.listen(index._engine, "before_cursor_execute", listen)
        found = index.find(asked)
        uids = [match["StudyInstanceUID"] for match in [next(found, None)] if match]
        event.remove(index._engine, "before_cursor_execute", listen)
        return [int(uid) for uid in [*uids, *(match["StudyInstanceUID"] for match in found)]], "\n".join(said)

    @pytest.mark.parametrize(
        ("name", "dates", "all_of_them", "by_newest", "by_trigrams"),
        [
            ("*DOE*", "20240105-20240112", range(5, 13), True, False),
            ("*ROE*", "20240101-20240120", [2], True, True),
            ("*DOE*", "20240105-20240107", range(5, 8), False, False),  # few studies have these dates
            ("*DOE*", "", [1, *range(3, 21)], False, True),
            ("*DOE*", "20240105\\20240106\\20240107\\20240108", range(5, 9), False, True),
            ("*OE*", "", range(1, 21), True, False),
            ("*X*", "", [], True, False),
        ],
    )
    @pytest.mark.parametrize("complete", [True, False])
    def test_who_finds_it(
        self,
        twenty: SqlIndex,
        monkeypatch: pytest.MonkeyPatch,
        complete: bool,
        name: str,
        dates: str,
        all_of_them: Iterable[int],
        by_newest: bool,
        by_trigrams: bool,
    ) -> None:
        if not complete:
            monkeypatch.setattr(trigrams, "held", lambda _: HeldTrigrams(False, False))
        asked = query("STUDY", PatientName=name, StudyDate=dates, ModalitiesInStudy="", StudyInstanceUID="")
        uids, said = self.said(twenty, asked)
        assert sorted(uids) == sorted(all_of_them)
        by_newest = by_newest or (not complete and not dates)
        assert ("ORDER BY study_1.study_date_key DESC" in said) == by_newest
        assert ("trigrams MATCH" in said) == (by_trigrams and complete)

    def test_the_newest_of_the_dates_come_first(self, twenty: SqlIndex) -> None:
        asked = query("STUDY", PatientName="*DOE*", StudyDate="20240101-20240118", StudyInstanceUID="")
        uids, _ = self.said(twenty, asked)
        assert set(uids[:3]) == {16, 17, 18}
        assert len(uids) == 17


@pytest.mark.parametrize(
    ("level", "keys", "used"),
    [
        ("STUDY", {}, "SEARCH study USING INTEGER PRIMARY KEY"),
        ("STUDY", {"ModalitiesInStudy": "CT"}, "SEARCH study USING INTEGER PRIMARY KEY"),
        ("STUDY", {"StudyDate": "20240101-20240131"}, "SEARCH study USING INTEGER PRIMARY KEY"),
        ("PATIENT", {"PatientSex": "F"}, "SEARCH newest USING INTEGER PRIMARY KEY"),
        ("SERIES", {"Modality": "CT"}, "SEARCH study USING INTEGER PRIMARY KEY"),
        ("IMAGE", {"InstanceNumber": "1"}, "SEARCH study USING INTEGER PRIMARY KEY"),
    ],
)
def test_the_table_of_trigrams_is_the_way_in(
    index: SqlIndex, monkeypatch: pytest.MonkeyPatch, level: str, keys: dict[str, str], used: str
) -> None:
    """SQLite has no statistics: the plan is the same for a million studies."""
    make_all(index)
    record(index, 1, "Doe^John", PatientSex="F", Modality="CT", InstanceNumber="1")
    make_all(index)
    monkeypatch.setattr(names, "NEWEST_STUDIES", 0)  # one study is many
    said: list[tuple[str, Any]] = []
    event.listen(index._engine, "before_cursor_execute", lambda *given: said.append((given[2], given[3])))
    assert len(list(index.find(of(level, {"PatientName": "*DOE*"} | keys)))) == 1
    statement = next(one for one in said if "MATCH" in one[0])
    with index._engine.connect() as connection:
        plan = [
            row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement[0]}", statement[1])
        ]
    assert plan[0].startswith("SCAN trigrams VIRTUAL TABLE")
    assert used in plan[1]
    assert not any("TEMP B-TREE FOR ORDER" in each for each in plan[:3])


def test_matches_are_not_kept_back_where_the_next_ones_take_their_time(
    index: SqlIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is taken to need as long as those before it."""
    now = [0.0]
    monkeypatch.setattr("scp.index.matches.time.monotonic", lambda: now[0])
    read = matches.Matches._matched

    def slowly(self: Any, rows: Any) -> Any:
        now[0] += matches._FIRST_SECONDS * 0.3
        return read(self, rows)

    monkeypatch.setattr(matches.Matches, "_matched", slowly)
    for number in range(10):
        record(index, number, "Doe")
    asked = matches.Matches(index._engine, query("STUDY", PatientName="DOE*"), {}, unwatched())
    first, whole = asked._begin()
    assert (len(first), whole) == (3, False)


@pytest.mark.parametrize("level", ["PATIENT", "STUDY", "IMAGE"])
def test_pages_are_counted_by_the_table_too(
    index: SqlIndex, monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    for number, name in enumerate(["Doe^John", "Roe^Jane", "Nemo", "Doe^Jane"]):
        record(index, number, name)
        if number == 1:
            make_all(index)
    said: list[str] = []
    event.listen(index._engine, "before_cursor_execute", lambda *given: said.append(given[2]))
    for name in ("*DOE*", "*OE^J*", "*EMO", "*NOBODY*"):
        by_table = index.pages.page(of(level, {"PatientName": name}), 10, None, unwatched())
        assert sum("MATCH" in one for one in said) == 1
        with monkeypatch.context() as patch:
            patch.setattr(trigrams, "held", lambda _: HeldTrigrams(False, False))
            assert by_table == index.pages.page(of(level, {"PatientName": name}), 10, None, unwatched())
        said.clear()
    assert by_table.count == 0
