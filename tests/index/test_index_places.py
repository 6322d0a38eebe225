"""What the writer remembers stays right, whatever others write in between.

"Others" have the same file open in this process: to SQLite that is another process, and here the
order of things is certain. One test has real processes.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from preloaded import processes
from test_index_contract import DOE, ROE, found, instance, query, studies

from scp.index import places
from scp.index import record as entities
from scp.index.index import EntityCounts
from scp.index.sql import SqlIndex


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "index.db"


@pytest.fixture
def index(database: Path) -> Iterator[SqlIndex]:
    index = SqlIndex.open(f"sqlite:///{database}")
    yield index
    index.close()


@pytest.fixture
def other(database: Path, index: SqlIndex) -> Iterator[SqlIndex]:
    other = SqlIndex.open(f"sqlite:///{database}")
    yield other
    other.close()


@pytest.fixture
def placed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A value for each record that took the long way."""
    calls: list[int] = []
    place = entities.place
    monkeypatch.setattr(entities, "place", lambda *given: calls.append(1) or place(*given))
    return calls


def read(index: SqlIndex, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A value for each look at what is remembered."""
    calls: list[int] = []
    remembered = index._writer._places
    look = remembered._read
    monkeypatch.setattr(remembered, "_read", lambda *given: calls.append(1) or look(*given))
    return calls


def test_the_next_instance_of_a_series_is_one_insert(index, placed, monkeypatch):
    looks = read(index, monkeypatch)
    for number in range(5):
        index.record(instance(f"1.1.{number}"), DOE | {"InstanceNumber": str(number)})
    assert (len(placed), len(looks)) == (1, 1)


def test_a_new_series_costs_the_others_one_look(index, placed, monkeypatch):
    for number in range(4):
        index.record(instance(f"{number % 2}", series=f"1.{number % 2}"), DOE)
    looks = read(index, monkeypatch)
    index.record(instance("1.3.1", series="1.3"), DOE)
    for number in range(4, 10):
        index.record(instance(f"1.1.{number}", series=f"1.{number % 2}"), DOE)
    assert len(placed) == 3
    assert len(looks) == 3  # the new one's, and one for each of the others


def test_two_that_write_in_turn_take_the_short_way(index, other, placed):
    for number in range(6):
        (index, other)[number % 2].record(instance(f"1.1.{number}"), DOE)
    assert len(placed) == 2
    assert index.counts() == EntityCounts(1, 1, 1, 6)


def test_values_that_alternate_are_written_each_time(index):
    for number in range(6):
        index.record(instance(f"1.1.{number}"), DOE | {"StudyDescription": "odd" if number % 2 else "even"})
        assert found(index, "STUDY", "StudyDescription") == ["odd" if number % 2 else "even"]


def test_no_more_is_remembered_than_was_set(index, monkeypatch, placed):
    monkeypatch.setattr(places, "_MOST", 3)
    for number in [0, 1, 2, 0, 3, 0, 1]:  # 1 is the one that was not used for longest when 3 comes
        index.record(instance(f"1.{number}.{len(placed)}", series=f"1.{number}"), DOE)
    assert len(placed) == 5
    assert len(index._writer._places._places) == 3


@pytest.mark.parametrize("missing", ["PatientID", "study", "series"])
def test_without_a_unique_key_above_nothing_is_remembered(index, missing):
    attributes = {keyword: value for keyword, value in DOE.items() if keyword != missing}
    without = {missing: ""} if missing in {"study", "series"} else {}
    index.record(instance("1.1.1", **without), attributes)
    assert not index._writer._places._places


Change = Callable[[SqlIndex], None]


def _moves(index: SqlIndex) -> None:
    index.record(instance("1.1.1"), ROE)


def _empties(index: SqlIndex) -> None:
    index.remove("1.1.1")


def _empties_and_uses_the_ids_again(index: SqlIndex) -> None:
    index.remove("1.1.1")
    index.record(instance("7.1.1", "7", "7.1"), ROE)


def _replaces_into_another(index: SqlIndex) -> None:
    index.record(instance("1.1.1", "2", "2.1"), ROE)


def _renames(index: SqlIndex) -> None:
    index.record(instance("1.1.2"), {"PatientID": "D1", "PatientName": "Dorn^Jane"})


@pytest.mark.parametrize("by_whom", ["itself", "another"])
@pytest.mark.parametrize(
    "change", [_moves, _empties, _empties_and_uses_the_ids_again, _replaces_into_another, _renames]
)
def test_after_a_change_the_next_instance_is_where_it_belongs(index, other, change: Change, by_whom):
    index.record(instance("1.1.1"), DOE)
    change(index if by_whom == "itself" else other)
    index.record(instance("1.1.9"), DOE)
    (match,) = index.find(query("IMAGE", SOPInstanceUID="1.1.9", PatientName="", Modality=""))
    assert {key: match[key] for key in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")} == {
        "PatientID": "D1",
        "StudyInstanceUID": "1",
        "SeriesInstanceUID": "1.1",
    }
    assert (match["PatientName"], match["Modality"]) == (DOE["PatientName"], "CT")
    assert list(other.find(query("IMAGE", SOPInstanceUID="1.1.9", PatientName="", Modality=""))) == [match]
    _no_orphans(index)


def test_a_series_that_a_replacement_left_empty_is_made_anew(index, placed):
    index.record(instance("2.1.1", "2", "2.1"), ROE)
    index.record(instance("1.1.1"), DOE)
    index.record(instance("2.1.2", "2", "2.1"), ROE)  # both places are known now
    index.record(instance("1.1.1", "2", "2.1"), ROE)
    assert len(placed) == 2
    index.record(instance("1.1.2"), DOE)
    assert len(placed) == 3
    assert studies(index) == ["1", "2"]
    _no_orphans(index)


def test_what_was_rolled_back_is_not_believed(index, placed):
    with pytest.raises(TypeError):
        index.record_many([(instance("1.1.1"), DOE), (instance("1.1.2"), {**DOE, "ImageComments": 5})])
    index.record(instance("1.1.3"), DOE)
    assert len(placed) == 2
    assert studies(index, PatientID="D1") == ["1"]
    _no_orphans(index)


@pytest.mark.parametrize("seed", range(10))
def test_what_is_remembered_changes_nothing_of_what_is_written(index, other, tmp_path, monkeypatch, seed):
    """Two writers that remember leave the very tables that one leaves who looks everything up."""
    plain = SqlIndex.open(f"sqlite:///{tmp_path}/plain.db")
    monkeypatch.setattr(plain._writer._places, "find", lambda *given: None)
    chance = random.Random(seed)
    sources = [_source(chance) for _ in range(4)]
    for _ in range(150):
        writer, uid = chance.choice((index, index, other)), str(chance.randrange(8))
        if chance.random() < 0.1:
            writer.remove(uid)
            plain.remove(uid)
        else:
            study, series, attributes = chance.choice(sources)
            recorded = instance(uid, study, series, key=str(chance.random()))
            assert writer.record(recorded, attributes) == plain.record(recorded, attributes)
    assert _tables(index) == _tables(plain)
    plain.close()


def _source(chance: random.Random) -> tuple[str, str, dict[str, str]]:
    """Study, series and attributes of what comes again and again; some agree, and some have no UID."""
    attributes = {
        "PatientID": chance.choice(("D1", "D1", "D1", "R1", "R1 ", "")),
        "IssuerOfPatientID": chance.choice(("", "", "", "NORTH")),
        "PatientName": chance.choice(("Doe^John", "Doe^John", "Roe^Jane", "")),
        "StudyDescription": chance.choice(("a", "a", "")),
        "Modality": chance.choice(("CT", "CT", "MR")),
    }
    return chance.choice(("1", "1", "2", "2", "")), chance.choice(("1.1", "1.1", "1.2", "")), attributes


def _tables(index: SqlIndex) -> list[list[tuple]]:
    with closing(sqlite3.connect(index._engine.url.database)) as database:
        return [
            database.execute(f"SELECT * FROM {table} ORDER BY id").fetchall()
            for table in ("patient", "study", "series", "instance")
        ]


def _no_orphans(index: SqlIndex) -> None:
    with closing(sqlite3.connect(index._engine.url.database)) as database:
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        for table, below in (("patient", "study"), ("study", "series"), ("series", "instance")):
            empty = f"SELECT * FROM {table} WHERE id NOT IN (SELECT parent FROM {below})"
            assert database.execute(empty).fetchall() == []


def _write_in_disorder(database: Path, process: int, done: Connection) -> None:
    """New instances, moved studies, replaced and removed ones; each sees at once what it wrote."""
    index = SqlIndex.open(f"sqlite:///{database}")
    for number in range(150):
        attributes = (DOE, ROE)[(number // 7 + process) % 2]
        uid = f"{process}.{number % 40}"
        index.record(instance(uid, study=str(number % 3), series=f"{number % 3}.{number % 2}"), attributes)
        held = index.newest(uid)
        if held is None or held.study_instance_uid != str(number % 3):
            done.send(f"{uid} is not seen")
        if number % 5 == 0:
            index.remove(uid)
    index.record(instance(f"{process}.last", "1", "1.1"), DOE)
    index.close()
    done.send("")


def test_two_processes_that_write_in_disorder_leave_order(database, index):
    forked = processes()
    receiver, sender = forked.Pipe(duplex=False)
    writers = [forked.Process(target=_write_in_disorder, args=(database, each, sender)) for each in (1, 2)]
    for writer in writers:
        writer.start()
    assert [receiver.recv() for _ in writers] == ["", ""]
    for writer in writers:
        writer.join()
    _no_orphans(index)
    in_study_1 = found(index, "IMAGE", "SOPInstanceUID", StudyInstanceUID="1", PatientID="D1")
    assert {"1.last", "2.last"} <= set(in_study_1)
    assert len(found(index, "IMAGE", "SOPInstanceUID")) == index.counts().instances
