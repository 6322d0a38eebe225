"""What every index has to do. A new one is a new row in PLACES."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
import servers_postgresql
from preloaded import processes

from scp.errors import OutOfResources, QueryError
from scp.index.databases import Database
from scp.index.fact_sums import SumKeys, SummedFacts
from scp.index.index import EntityCounts, Index, PendingCount, SenderCount, Statistic
from scp.index.nodes import EXPIRES_SECONDS, KnownNode, NodeReport, Request
from scp.index.packing import DICTIONARY_UNKNOWN, NoticedDictionary
from scp.index.queue import Lease, SendSum
from scp.index.sql import SqlIndex
from scp.index.watch import Watch
from scp.model import (
    PREFETCH,
    Commitment,
    Instance,
    Query,
    QueryKey,
    QueuedSend,
    Reference,
)

CT, MR_CLASS, HTJ2K = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.4.201"
# Where a new index is: with a folder for what is in files, and whether its tables may be there already.
PLACES: dict[str, Callable[[Path, bool], str | Database]] = {
    "sqlite": lambda folder, _: f"sqlite:///{folder}/made/on/opening/index.db",
    "postgresql": lambda _, made: _on_server(servers_postgresql.shared(), made),
}


def _on_server(server: servers_postgresql.PostgreSQL, made: bool) -> Database:
    return server.emptied() if made else server.database(made=False)


# Those on servers run only where their mark is named.
KINDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.cluster)]


@pytest.fixture(params=KINDS)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Index]:
    """Opens the same index each time it is called."""
    return partial(SqlIndex.open, PLACES[request.param](tmp_path, True))


@pytest.fixture
def index(opener) -> Iterator[Index]:
    index = opener()
    yield index
    index.close()


def instance(uid: str, study: str = "1", series: str = "1.1", **others) -> Instance:
    made = Instance(
        sop_class_uid=CT,
        sop_instance_uid=uid,
        study_instance_uid=study,
        series_instance_uid=series,
        key=f"objects/{uid}.dcm",
        form="htj2k",
        transfer_syntax=HTJ2K,
        stored_size=40,
        stored_sha256="5" * 64,
        received_transfer_syntax="1.2.840.10008.1.2.1",
        received_size=100,
        received_sha256="6" * 64,
        stored_xxh3="7" * 32,
        dataset_at=524,
        received_at=datetime(2024, 1, 31, 10, 15, 30, 123456, tzinfo=UTC),
        calling_aet="CTROOM1",
        rule="everything else",
    )
    return replace(made, **others)


DOE = {"PatientID": "D1", "PatientName": "Doe^John=山田^太郎", "Modality": "CT", "StudyDate": "20240131"}
ROE = {"PatientID": "R1", "PatientName": "Roe^Jane", "Modality": "MR", "StudyDate": "20240201"}
FAILING: dict = {**DOE, "ImageComments": 5}  # no text: a fault that shows only while it is written


def query(level: str, relational: bool = False, combined: bool = False, **keys: str) -> Query:
    asked = tuple(QueryKey(keyword, "", value) for keyword, value in keys.items())
    return Query("STUDY", level, asked, relational, combined)


def found(index: Index, level: str, keyword: str, **keys: str) -> list[str]:
    """The values of ``keyword`` among the matches, sorted."""
    return sorted(match[keyword] for match in index.find(query(level, **{keyword: ""} | keys)))


def studies(index: Index, **keys: str) -> list[str]:
    return found(index, "STUDY", "StudyInstanceUID", **keys)


@pytest.fixture
def filled(index: Index) -> Index:
    """Doe: study 1 with CT series 1.1 and SR series 1.2; Roe: study 2 with MR series 2.1."""
    for number in (10, 9, 2):
        number_and_name = {"InstanceNumber": str(number), "SeriesNumber": "20"}
        index.record(instance(f"1.1.{number}"), DOE | number_and_name)
    structured = instance("1.2.1", series="1.2", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.11")
    index.record(structured, DOE | {"Modality": "SR", "SeriesNumber": "3", "InstanceNumber": "1"})
    index.record(instance("2.1.1", "2", "2.1", sop_class_uid=MR_CLASS), ROE | {"SeriesNumber": "1"})
    return index


class TestRecord:
    def test_what_was_recorded_is_held(self, index):
        recorded = instance("1.1.1", readable=False)
        assert index.record(recorded, DOE) is None
        assert index.newest("1.1.1") == recorded
        assert index.newest("1.1.2") is None

    def test_a_moment_is_kept_in_utc(self, index):
        local = datetime(2024, 1, 31, 11, 15, tzinfo=timezone(timedelta(hours=1)))
        index.record(instance("1.1.1", received_at=local), DOE)
        kept = index.newest("1.1.1").received_at
        assert kept == local
        assert kept.tzinfo is UTC

    def test_recording_again_replaces_and_returns_what_was_there(self, index):
        first, second = instance("1.1.1"), instance("1.1.1", form="jpegxl", key="other")
        index.record(first, DOE | {"InstanceNumber": "1"})
        assert index.record(second, DOE | {"InstanceNumber": "2"}) == first
        assert index.newest("1.1.1") == second
        assert index.counts() == EntityCounts(1, 1, 1, 1)
        assert found(index, "IMAGE", "InstanceNumber") == ["2"]

    def test_forgotten_only_where_it_is_stored(self, index):
        recorded = instance("1.1.1")
        index.record(recorded, DOE)
        assert not index.forget("1.1.1", "another")
        assert index.newest("1.1.1") == recorded
        assert index.forget("1.1.1", recorded.key)
        assert not index.forget("1.1.1", recorded.key)
        assert index.counts() == EntityCounts(0, 0, 0, 0)

    def test_a_replaced_instance_leaves_its_former_series(self, index):
        index.record(instance("1.1.1"), DOE)
        index.record(instance("1.1.1", series="1.2", key="other"), DOE)
        assert index.counts() == EntityCounts(1, 1, 1, 1)
        assert found(index, "SERIES", "SeriesInstanceUID") == ["1.2"]

    def test_a_file_that_was_recorded_wrongly_moves_to_where_it_belongs(self, index):
        """As a migration left it, which knows no files."""
        index.record(instance("1.1.1"), DOE)
        index.record(instance("1.1.1", study="2", series="2.1"), ROE)
        assert index.counts() == EntityCounts(1, 1, 1, 1)
        assert studies(index) == ["2"]

    def test_newer_values_replace_older_ones_and_empty_ones_replace_nothing(self, index):
        index.record(instance("1.1.1"), DOE | {"StudyDescription": "old", "StudyTime": "10"})
        index.record(instance("1.1.2"), DOE | {"StudyDescription": "new", "StudyTime": ""})
        index.record(instance("1.1.3"), {"PatientID": "D1"})
        asked = query("STUDY", StudyDescription="new", StudyTime="10", PatientName="DOE*")
        (match,) = index.find(asked)
        assert match["StudyDescription"] == "new"
        assert match["StudyTime"] == "10"
        assert studies(index, StudyDescription="old") == []

    def test_a_study_of_another_patient_is_another_study(self, filled):
        filled.record(instance("1.1.11"), ROE | {"Modality": "CT"})
        assert studies(filled, PatientID="R1") == ["1", "2"]
        assert studies(filled, PatientID="D1") == ["1"]
        assert found(filled, "STUDY", "PatientName", StudyInstanceUID="1") == [
            DOE["PatientName"],
            ROE["PatientName"],
        ]
        images = {"StudyInstanceUID": "1", "PatientName": "Roe*"}
        assert found(filled, "IMAGE", "SOPInstanceUID", **images) == ["1.1.11"]
        assert filled.counts() == EntityCounts(2, 3, 4, 6)

    def test_a_series_uid_used_again_takes_nothing_from_the_first_study(self, filled):
        filled.record(instance("1.2.2", "2", "1.2"), ROE | {"Modality": "SR"})
        assert found(filled, "SERIES", "SeriesInstanceUID", StudyInstanceUID="2") == ["1.2", "2.1"]
        assert found(filled, "SERIES", "SeriesInstanceUID", StudyInstanceUID="1") == ["1.1", "1.2"]
        filled.record(instance("1.2.1", "2", "1.2"), ROE | {"Modality": "SR"})
        assert found(filled, "SERIES", "SeriesInstanceUID", StudyInstanceUID="1") == ["1.1"]

    def test_patients_of_one_id_are_told_apart_by_the_issuer(self, index):
        index.record(instance("1.1.1"), DOE | {"IssuerOfPatientID": "NORTH"})
        index.record(instance("2.1.1", "2", "2.1"), ROE | {"PatientID": "D1", "IssuerOfPatientID": "SOUTH"})
        assert index.counts().patients == 2
        assert studies(index, PatientName="ROE*") == ["2"]
        index.record(instance("1.1.2"), DOE)  # no issuer: another one, as nothing says which
        assert index.counts().patients == 3
        asked = query("STUDY", StudyInstanceUID="1", IssuerOfPatientID="", NumberOfStudyRelatedInstances="")
        assert sorted(
            (match["IssuerOfPatientID"], match["NumberOfStudyRelatedInstances"])
            for match in index.find(asked)
        ) == [("", "1"), ("NORTH", "1")]

    def test_studies_without_a_patient_id_do_not_share_a_patient(self, index):
        index.record(instance("1.1.1"), {"PatientName": "Doe^John"})
        index.record(instance("2.1.1", "2", "2.1"), {"PatientName": "Roe^Jane", "IssuerOfPatientID": "X"})
        assert studies(index, PatientName="Doe*") == ["1"]
        assert found(index, "PATIENT", "PatientName") == ["Doe^John", "Roe^Jane"]
        index.record(instance("1.1.2"), DOE)  # of the same study, but it says who the patient is
        assert studies(index, PatientID="D1") == ["1"]
        assert index.counts().patients == 3
        index.record(instance("1.1.3"), {"PatientName": "Doe^John"})
        assert index.counts() == EntityCounts(3, 3, 3, 4)

    def test_instances_without_uids_above_are_found_by_their_own_only(self, index):
        index.record(instance("7", study="", series=""), {"PatientID": "D1"})
        index.record(instance("8", study="1", series=""), DOE)
        index.record(instance("9", study="", series="1.9"), DOE)
        assert index.newest("7").study_instance_uid == ""
        assert found(index, "IMAGE", "SOPInstanceUID", SOPInstanceUID="7\\8\\9") == ["7", "8", "9"]
        assert studies(index) == ["1"]
        assert found(index, "SERIES", "SeriesInstanceUID") == []
        assert [each.sop_instance_uid for each in index.instances(query("IMAGE", SOPInstanceUID="7"))] == [
            "7"
        ]
        for uid in "789":
            index.remove(uid)
        assert index.counts() == EntityCounts(0, 0, 0, 0)

    def test_series_without_a_study_are_told_apart_by_patient_too(self, index):
        index.record(instance("1", study="", series="1.1"), DOE)
        index.record(instance("2", study="", series="1.2"), DOE)
        index.record(instance("3", study="", series="1.1"), ROE)
        index.record(instance("4", study="", series="1.1"), DOE)
        assert found(index, "IMAGE", "SOPInstanceUID", PatientID="R1") == ["3"]
        assert found(index, "IMAGE", "SOPInstanceUID", PatientID="D1") == ["1", "2", "4"]
        assert index.counts() == EntityCounts(2, 0, 3, 4)

    def test_record_many_is_all_or_nothing(self, index):
        with pytest.raises(TypeError):
            index.record_many([(instance("1.1.1"), DOE), (instance("1.1.2"), FAILING)])
        assert index.counts() == EntityCounts(0, 0, 0, 0)
        index.record_many((instance(f"1.1.{number}"), DOE) for number in range(3))
        assert index.counts() == EntityCounts(1, 1, 1, 3)

    def test_text_that_is_no_unicode_or_full_of_quotes_is_kept(self, index):
        index.record(instance("1.1.1"), {"PatientID": "D1\0", "PatientName": "M\udcfcller^'; DROP--"})
        assert found(index, "PATIENT", "PatientID", PatientName="M?ller^'; drop--") == ["D1"]


class TestAdd:
    def test_what_is_new_is_inserted(self, index):
        assert index.add(instance("1.1.1"), DOE) is None
        assert index.newest("1.1.1") == instance("1.1.1")
        assert index.counts() == EntityCounts(1, 1, 1, 1)

    def test_what_is_held_stays_and_is_returned(self, index):
        index.record(instance("1.1.1"), DOE)
        other = replace(instance("1.1.1", "1", "1.2"), key="other")
        assert index.add(other, DOE | {"PatientName": "Other"}) == instance("1.1.1")
        assert index.newest("1.1.1") == instance("1.1.1")
        assert index.counts() == EntityCounts(1, 1, 1, 1)

    def test_many_are_added_each_as_if_alone(self, index):
        index.record(instance("1.1.1"), DOE)
        again, new = replace(instance("1.1.1"), key="other"), instance("1.1.2")
        twice = replace(new, key="third")
        added = index.add_many([(again, DOE, ()), (new, DOE, [queued("1.1.2")]), (twice, DOE, ())])
        assert added == [instance("1.1.1"), None, new]
        assert [one.key for one in index.all()] == [instance("1.1.1").key, new.key]
        assert [one.sop_instance_uid for one in index.send_queue.all()] == ["1.1.2"]

    def test_one_that_cannot_be_added_is_told_and_the_others_are_added(self, index):
        index.record(instance("1.1.1"), DOE)
        bad = replace(instance("1.1.2"), received_size=-(10**30))  # more than a column takes
        added = index.add_many([(instance("1.1.3"), DOE, ()), (bad, DOE, ()), (instance("1.1.4"), DOE, ())])
        assert (added[0], added[2]) == (None, None)
        assert isinstance(added[1], Exception)
        assert index.counts() == EntityCounts(1, 1, 1, 3)

    def test_threads_add_one_instance_once(self, index):
        with ThreadPoolExecutor(8) as threads:
            found = list(
                threads.map(lambda n: index.add(replace(instance("1.1.1"), key=str(n)), DOE), range(40))
            )
        assert found.count(None) == 1
        (held,) = {one for one in found if one is not None}
        assert index.newest("1.1.1") == held


class TestChange:
    def test_another_stored_form_takes_the_place_and_nothing_else_changes(self, filled):
        before = filled.newest("1.1.9")
        after = replace(before, key="objects/1.1.9.jxl.dcm", form="jpegxl", stored_size=30, pending=False)
        asked = query("IMAGE", SOPInstanceUID="1.1.9", InstanceNumber="", PatientID="", Modality="")
        (match,) = filled.find(asked)
        assert filled.change_many(iter([(before, after)])) == [True]
        assert filled.newest("1.1.9") == after
        assert list(filled.find(asked)) == [match]
        assert filled.counts() == EntityCounts(2, 2, 3, 5)

    def test_what_is_not_held_any_more_is_left_alone(self, filled):
        before, other = filled.newest("1.1.9"), filled.newest("1.1.2")
        newer = replace(before, key="objects/newer.dcm")
        filled.record(newer, DOE)
        gone = instance("9.9.9")
        changes = [(before, replace(before, key="a")), (other, replace(other, key="b")), (gone, gone)]
        assert filled.change_many(changes) == [False, True, False]
        assert filled.newest("1.1.9") == newer
        assert filled.newest("1.1.2").key == "b"
        assert filled.newest("9.9.9") is None

    def test_one_instance_changed_twice_follows_the_order(self, filled):
        first = filled.newest("1.1.9")
        second, third = replace(first, key="2"), replace(first, key="3")
        assert filled.change_many([(first, second), (second, third), (first, second)]) == [True, True, False]
        assert filled.newest("1.1.9") == third

    def test_nothing_to_change(self, index):
        assert index.change_many([]) == []

    def test_all_or_nothing(self, filled):
        before = filled.newest("1.1.9")
        with pytest.raises(AttributeError):
            filled.change_many([(before, replace(before, key="a")), (before, None)])
        assert filled.newest("1.1.9") == before


class TestPending:
    def uids(self, index: Index, most: int) -> list[str]:
        return [each.sop_instance_uid for each in index.pending(most)]

    def test_those_that_came_first_and_no_more_than_asked(self, index):
        for number in range(6):
            index.record(instance(f"1.1.{9 - number}", pending=bool(number % 2)), DOE)
        assert self.uids(index, 10) == ["1.1.8", "1.1.6", "1.1.4"]
        assert self.uids(index, 2) == ["1.1.8", "1.1.6"]
        assert self.uids(index, 0) == []
        assert all(each.pending and each == index.newest(each.sop_instance_uid) for each in index.pending(9))

    def test_what_is_changed_replaced_or_removed_is_pending_no_more(self, index):
        for number in range(4):
            index.record(instance(f"1.1.{number}", pending=True), DOE)
        before = index.newest("1.1.0")
        index.change_many([(before, replace(before, key="other", pending=False))])
        index.record(instance("1.1.1"), DOE)
        index.remove("1.1.2")
        assert self.uids(index, 9) == ["1.1.3"]
        index.record(instance("1.1.0", pending=True), DOE)
        assert self.uids(index, 9) == ["1.1.0", "1.1.3"]


def test_what_lost_something_is_told_by_its_header_by_how_it_came_or_by_a_stage(index):
    """An earlier version recorded some without what their headers say."""
    jpeg, video, either = (f"1.2.840.10008.1.2.4.{number}" for number in (50, 102, 91))
    said = {"LossyImageCompression": "01"}, {"LossyImageCompression": "00"}, {}
    for number, (syntax, attributes, original) in enumerate(
        [
            *(("1.2.840.10008.1.2.1", one, "") for one in said),
            *((syntax, {}, "") for syntax in (jpeg, video, either)),
            (jpeg, said[1], ""),
            ("1.2.840.10008.1.2.4.81", {}, "1.1.99"),
        ]
    ):
        one = instance(f"1.1.{number}", received_transfer_syntax=syntax, lossy_of=original)
        index.record(replace(one, key=f"at {number}"), {**DOE, **attributes})
    told = {
        match["SOPInstanceUID"]: match["LossyImageCompression"]
        for match in index.find(query("IMAGE", SOPInstanceUID="", LossyImageCompression=""))
    }
    expected = ["01", "00", "", "01", "01", "", "01", "01"]
    assert told == {f"1.1.{number}": one for number, one in enumerate(expected)}
    for value in ("01", "00", "0?"):
        matching = [uid for uid, one in told.items() if one == value or (one and value == "0?")]
        assert found(index, "IMAGE", "SOPInstanceUID", LossyImageCompression=value) == sorted(matching)
    assert found(index, "SERIES", "LossyImageCompression") == ["01"]
    assert found(index, "SERIES", "SeriesInstanceUID", LossyImageCompression="01") == ["1.1"]


def test_how_much_is_pending(index):
    assert index.count_pending() == PendingCount(0, 0)
    sizes = {f"1.1.{number}": 1000 + number for number in range(4)}
    for uid, size in sizes.items():
        index.record(replace(instance(uid, pending=uid != "1.1.0"), key=f"at {uid}", stored_size=size), DOE)
    assert index.count_pending() == PendingCount(3, 3006)
    assert sorted(index.pending_keys()) == ["at 1.1.1", "at 1.1.2", "at 1.1.3"]
    assert index.pending_at("at 1.1.2") == index.newest("1.1.2")
    assert index.pending_at("at 1.1.0") is None


def test_syncing_changes_nothing(index):
    index.sync()
    index.record(instance("1.1.1"), DOE)
    index.sync()
    index.sync()
    assert index.counts() == EntityCounts(1, 1, 1, 1)


class TestRemove:
    def test_what_is_left_empty_goes_too(self, filled):
        filled.remove("1.2.1")
        assert filled.counts() == EntityCounts(2, 2, 2, 4)
        filled.remove("2.1.1")
        assert filled.counts() == EntityCounts(1, 1, 1, 3)
        assert filled.newest("2.1.1") is None

    def test_what_is_not_held_is_no_error(self, filled):
        filled.remove("9.9.9")
        assert filled.counts() == EntityCounts(2, 2, 3, 5)


REQUESTS = json.dumps(
    [
        {
            "RequestedProcedureID": "RP1",
            "ScheduledProcedureStepID": "S1",
            "ScheduledProtocolCodeSequence": [
                {"CodeValue": "C1", "CodingSchemeDesignator": "L"},
                {"CodeValue": "C2", "CodingSchemeDesignator": "M"},
            ],
        },
        {
            "RequestedProcedureID": "RP2",
            "ScheduledProcedureStepID": "S2",
            "RequestedProcedureDescription": 'Schädel "nativ"',
            "RequestingPhysician": "Doe^John=山田^太郎",
        },
    ],
    ensure_ascii=False,
)


class TestSequences:
    """PS3.4 C.2.2.2.6, at the level that holds the sequence and at the one above."""

    @pytest.fixture
    def requested(self, index: Index) -> Index:
        index.record(instance("1.1.1"), DOE | {"RequestAttributesSequence": REQUESTS})
        other = '[{"RequestedProcedureID": "RP3", "ScheduledProcedureStepID": "S1"}]'
        index.record(instance("1.2.1", series="1.2"), DOE | {"RequestAttributesSequence": other})
        index.record(instance("2.1.1", "2", "2.1"), ROE)
        return index

    @staticmethod
    def items(index: Index, level: str, asked: object, **keys: str) -> dict[str, list[str]]:
        """UID at the level → IDs of the requests that are answered."""
        text = json.dumps(asked) if asked else ""
        unique = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID"}[level]
        matches = index.find(query(level, RequestAttributesSequence=text, **keys))
        return {
            match[unique]: [item["RequestedProcedureID"] for item in json.loads(said)]
            for match in matches
            if (said := match["RequestAttributesSequence"] or "[]")
        }

    @pytest.mark.parametrize(
        ("asked", "series", "study"),
        [
            ([], {"1.1": ["RP1", "RP2"], "1.2": ["RP3"], "2.1": []}, {"1": ["RP1", "RP2", "RP3"], "2": []}),
            ([{"RequestedProcedureID": "RP2"}], {"1.1": ["RP2"]}, {"1": ["RP2"]}),
            ([{"RequestedProcedureID": "RP?"}], {"1.1": ["RP1", "RP2"], "1.2": ["RP3"]}, None),
            ([{"ScheduledProcedureStepID": "S1"}], {"1.1": ["RP1"], "1.2": ["RP3"]}, {"1": ["RP1", "RP3"]}),
            ([{"RequestedProcedureID": "RP2", "ScheduledProcedureStepID": "S1"}], {}, {}),  # of one item
            ([{"RequestedProcedureID": "RP1\\RP3"}], {"1.1": ["RP1"], "1.2": ["RP3"]}, None),
            (
                [{"RequestedProcedureID": "RP1"}, {"RequestedProcedureID": "RP3"}],
                {"1.1": ["RP1"], "1.2": ["RP3"]},
                None,
            ),
            ([{"RequestedProcedureID": "rp1"}], {}, {}),
            ([{"RequestedProcedureDescription": 'Sch?del "*'}], {"1.1": ["RP2"]}, {"1": ["RP2"]}),
            ([{"RequestedProcedureDescription": "*%*"}], {}, {}),
            ([{"RequestingPhysician": "doe*"}], {"1.1": ["RP2"]}, {"1": ["RP2"]}),
            ([{"RequestingPhysician": "=山田*"}], {"1.1": ["RP2"]}, {"1": ["RP2"]}),
            ([{"RequestingPhysician": "*"}], None, None),
            ([{"ScheduledProtocolCodeSequence": [{"CodeValue": "C2"}]}], {"1.1": ["RP1"]}, {"1": ["RP1"]}),
            (
                [{"ScheduledProtocolCodeSequence": [{"CodeValue": "C2", "CodingSchemeDesignator": "L"}]}],
                {},
                {},
            ),
        ],
    )
    def test_matching_items_are_answered(self, requested, asked, series, study):
        if series is not None:
            assert self.items(requested, "SERIES", asked) == series
        if study is not None:
            assert self.items(requested, "STUDY", asked) == study

    def test_together_with_other_keys(self, requested):
        asked = [{"RequestedProcedureID": "RP*"}]
        assert self.items(requested, "SERIES", asked, SeriesInstanceUID="1.2", PatientName="Doe*") == {
            "1.2": ["RP3"]
        }
        assert self.items(requested, "SERIES", asked, PatientName="Roe*") == {}

    def test_what_is_further_below_is_not_matched(self, index):
        title = '[{"CodeValue": "113030", "CodingSchemeDesignator": "DCM"}]'
        index.record(instance("1.1.1"), DOE | {"ConceptNameCodeSequence": title})
        for level, expected in (("IMAGE", 0), ("SERIES", 0), ("STUDY", 1)):
            key = {"ConceptNameCodeSequence": '[{"CodeValue": "other"}]'}
            assert len(list(index.find(query(level, relational=True, **key)))) == expected
        assert found(index, "SERIES", "ConceptNameCodeSequence") == [title]

    def test_a_newer_sequence_replaces_the_older_and_none_replaces_nothing(self, requested):
        requested.record(
            instance("1.1.2"), DOE | {"RequestAttributesSequence": '[{"RequestedProcedureID": "N"}]'}
        )
        requested.record(instance("1.1.3"), DOE)
        assert self.items(requested, "SERIES", [], SeriesInstanceUID="1.1") == {"1.1": ["N"]}

    def test_regions_of_a_study_are_gathered(self, index):
        for series, code in (("1.1", "T-1"), ("1.2", "T-2"), ("1.3", "T-1")):
            text = f'[{{"CodeValue": "{code}"}}]'
            index.record(instance(f"{series}.1", series=series), DOE | {"AnatomicRegionSequence": text})
        (match,) = index.find(query("STUDY", AnatomicRegionsInStudyCodeSequence='[{"CodeValue": "T-2"}]'))
        assert json.loads(match["AnatomicRegionsInStudyCodeSequence"]) == [{"CodeValue": "T-2"}]
        (match,) = index.find(query("STUDY", AnatomicRegionsInStudyCodeSequence=""))
        assert len(json.loads(match["AnatomicRegionsInStudyCodeSequence"])) == 2

    def test_a_value_that_is_none_is_refused_at_once(self, index):
        with pytest.raises(QueryError, match="ScheduledProcedureStepStartDate"):
            index.find(
                query("SERIES", RequestAttributesSequence='[{"ScheduledProcedureStepStartDate": "1.*"}]')
            )


class TestOneFileOfTwoObjects:
    def test_a_file_is_of_the_object_that_it_says(self, index):
        """An earlier version's row of a file, and a record of the same object under its derived UIDs."""
        index.record(instance("1.1.1", study="", series="", key="file"), DOE)
        index.record(instance("1.1.1", study="2.25.1", series="2.25.2", key="landed"), DOE)
        index.record(instance("1.1.1", study="2.25.1", series="2.25.2", key="file"), DOE)
        (left,) = index.named("1.1.1")
        assert (left.study_instance_uid, left.key) == ("2.25.1", "file")
        assert index.counts().instances == 1


class TestAreNamed:
    def test_by_the_keys_of_rows(self, index):
        index.record(held := instance("1.1.1", key="now"), DOE)
        files = [held, replace(held, key="before"), instance("1.1.2", key="now")]
        assert index.are_named(files * 60) == [True, False, False] * 60
        assert index.are_named([]) == []


class TestFind:
    def test_answers_what_was_asked_and_the_unique_keys(self, filled):
        asked = query("SERIES", Modality="MR", PatientName="", BodyPartExamined="", StationAET="x", Rows="")
        assert list(filled.find(asked)) == [
            {
                "PatientID": "R1",
                "StudyInstanceUID": "2",
                "SeriesInstanceUID": "2.1",
                "Modality": "MR",
                "PatientName": "Roe^Jane",
                "BodyPartExamined": "",
                "Rows": "",
            }
        ]

    def test_what_is_held_a_level_below_is_answered_by_the_first_that_has_it(self, filled):
        for number, (series, name) in enumerate([("3.1", ""), ("3.2", "City"), ("3.3", "Other")]):
            uid = f"{series}.{number}"
            filled.record(instance(uid, "3", series), ROE | {"InstitutionName": name, "OperatorsName": name})
        asked = {"InstitutionName": "", "OperatorsName": "", "SeriesInstanceUID": "", "Rows": ""}
        (match,) = filled.find(query("STUDY", StudyInstanceUID="3", **asked))
        assert (match["InstitutionName"], match["OperatorsName"]) == ("City", "City")
        assert not {"SeriesInstanceUID", "Rows"} & match.keys()  # unique keys, and what is further below
        assert studies(filled, InstitutionName="Oth*") == ["3"]  # any of them matches
        (match,) = filled.find(query("STUDY", StudyInstanceUID="1", InstitutionName=""))
        assert match["InstitutionName"] == ""
        assert found(filled, "SERIES", "SOPClassUID", StudyInstanceUID="2") == [MR_CLASS]
        assert "StudyDate" not in next(filled.find(query("PATIENT", PatientID="R1", StudyDate="")))

    def test_raw_text_is_what_is_returned(self, index):
        index.record(instance("1.1.1"), DOE | {"StudyTime": "10:15", "SeriesNumber": "007"})
        (match,) = index.find(query("SERIES", StudyTime="1015", SeriesNumber="7", PatientName="山田*"))
        assert (match["StudyTime"], match["SeriesNumber"]) == ("10:15", "007")
        assert match["PatientName"] == "Doe^John=山田^太郎"

    @pytest.mark.parametrize(
        ("keys", "expected"),
        [
            ({}, ["1", "2"]),
            ({"PatientName": "DOE*"}, ["1"]),
            ({"PatientName": "DOE*", "StudyDate": "20240201"}, []),
            ({"StudyDate": "20240131-20240201"}, ["1", "2"]),
            ({"StudyInstanceUID": "1\\2\\3"}, ["1", "2"]),
            ({"ModalitiesInStudy": "SR"}, ["1"]),
            ({"ModalitiesInStudy": "SR\\MR"}, ["1", "2"]),
            ({"ModalitiesInStudy": "M?"}, ["2"]),
            ({"ModalitiesInStudy": "US"}, []),
            ({"SOPClassesInStudy": MR_CLASS}, ["2"]),
            ({"Modality": "MR"}, ["2"]),  # of the next level below
            ({"Modality": "CT", "SeriesNumber": "20"}, ["1"]),
            ({"Modality": "SR", "SeriesNumber": "20"}, []),  # not of one and the same series
            ({"SeriesInstanceUID": "2.1"}, ["2"]),
            ({"InstanceNumber": "9"}, ["1", "2"]),  # further below: left out, unless relational
            ({"NumberOfStudyRelatedInstances": "9"}, ["1", "2"]),  # counts are not matched
        ],
    )
    def test_studies(self, filled, keys, expected):
        assert studies(filled, **keys) == expected

    def test_computed_attributes(self, filled):
        asked = ("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "ModalitiesInStudy")
        asked += ("SOPClassesInStudy", "NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries")
        asked += ("NumberOfPatientRelatedInstances",)
        (match,) = filled.find(query("STUDY", StudyInstanceUID="1", **dict.fromkeys(asked, "")))
        assert [match[keyword] for keyword in asked] == [
            "2",
            "4",
            "CT\\SR",
            f"{CT}\\1.2.840.10008.5.1.4.1.1.88.11",
            "1",
            "2",
            "4",
        ]

    def test_computed_attributes_of_the_level_and_above(self, filled):
        series = query("SERIES", Modality="CT", NumberOfSeriesRelatedInstances="", ModalitiesInStudy="")
        (match,) = filled.find(series)
        assert (match["NumberOfSeriesRelatedInstances"], match["ModalitiesInStudy"]) == ("3", "CT\\SR")
        patient = query("PATIENT", PatientID="D1", NumberOfPatientRelatedStudies="", ModalitiesInStudy="")
        assert list(filled.find(patient)) == [{"PatientID": "D1", "NumberOfPatientRelatedStudies": "1"}]

    def test_an_attribute_without_values_to_gather_is_empty(self, index):
        index.record(instance("1.1.1"), DOE | {"Modality": ""})
        assert found(index, "STUDY", "ModalitiesInStudy") == [""]

    def test_relational_queries_match_what_is_below(self, filled):
        def matched(**keys: str) -> list[str]:
            return sorted(
                match["StudyInstanceUID"] for match in filled.find(query("STUDY", relational=True, **keys))
            )

        assert matched(Modality="SR") == ["1"]
        assert matched(Modality="SR", InstanceNumber="1") == ["1"]
        assert matched(Modality="SR", InstanceNumber="9") == []  # not of one and the same series
        assert matched(SOPInstanceUID="2.1.1") == ["2"]
        assert matched(SOPInstanceUID="") == ["1", "2"]
        asked = query("STUDY", relational=True, InstanceNumber="1")
        assert all("InstanceNumber" not in match for match in filled.find(asked))

    def test_combined_date_and_time(self, index):
        index.record(instance("1.1.1"), DOE | {"StudyTime": "2300"})
        spans = {"StudyDate": "20240131-20240201", "StudyTime": "10-12"}
        assert studies(index, **spans) == []
        assert len(list(index.find(query("STUDY", combined=True, **spans)))) == 1
        assert len(list(index.find(query("STUDY", combined=True, StudyDate="", StudyTime="10-12")))) == 0

    def test_uids_have_no_wildcards(self, index):
        """PS3.4 C.2.2.2.1: a star in one is itself, also in what is held."""
        for study in ("1.2.*", "1.2.?", "1.2.3"):
            index.record(instance(f"{study}.I", study, f"{study}.S"), DOE)
        assert studies(index, StudyInstanceUID="1.2.*") == ["1.2.*"]
        assert studies(index, StudyInstanceUID="1.2.?\\1.2.3") == ["1.2.3", "1.2.?"]
        assert [
            one.sop_instance_uid for one in index.instances(query("IMAGE", SOPInstanceUID="1.2.*.I"))
        ] == ["1.2.*.I"]

    def test_unreadable_ones_are_listed_the_newest_first(self, index):
        assert index.checks.unreadable() == []
        for number in range(4):
            index.record(replace(instance(f"1.1.{number}"), readable=number == 1), DOE)
        assert [one.sop_instance_uid for one in index.checks.unreadable()] == ["1.1.3", "1.1.2", "1.1.0"]
        assert [one.sop_instance_uid for one in index.checks.unreadable(1)] == ["1.1.3"]

    def test_what_is_refused_is_marked_listed_and_planned_anew(self, index):
        assert index.checks.refused() == []
        for number in range(3):
            index.record(replace(instance(f"1.1.{number}"), planned="p", due=0), DOE)
        for number in (0, 2):
            one = index.newest(f"1.1.{number}")
            assert index.checks.refuse(one.sop_instance_uid, one.key, "why")
        assert [one.sop_instance_uid for one in index.checks.refused()] == ["1.1.2", "1.1.0"]
        assert [one.sop_instance_uid for one in index.checks.refused(1)] == ["1.1.2"]
        assert index.newest("1.1.2").refused == "why"
        due = index.stages.due("p", 10, 10)
        assert [one.sop_instance_uid for one in due] == ["1.1.1"]
        assert {one.instance.sop_instance_uid for one in index.stages.unplanned("p", (), 10)} == {
            "1.1.0",
            "1.1.2",
        }
        assert index.checks.refuse("1.1.2", index.newest("1.1.2").key, "")
        assert [one.sop_instance_uid for one in index.checks.refused()] == ["1.1.0"]
        assert not index.checks.refuse("1.1.2", "elsewhere", "why")

    def test_what_is_damaged_and_what_is_refused_is_counted_and_listed_up_to_a_bound(self, index):
        assert (index.checks.count_damaged(), index.checks.count_refused()) == (0, 0)
        held = [instance(f"1.1.{number}") for number in range(4)]
        index.record_many([(one, DOE) for one in held])
        index.checks.note([(one, "rot") for one in held[1:]], 5)
        assert index.checks.refuse("1.1.0", held[0].key, "why")
        assert (index.checks.count_damaged(), index.checks.count_refused()) == (3, 1)
        assert [one.sop_instance_uid for one in index.checks.damaged(2)] == ["1.1.1", "1.1.2"]

    def test_what_is_damaged_is_neither_pending_nor_due_until_it_is_mended(self, index):
        waits, settled = (
            replace(instance("1.1.1"), pending=True),
            replace(instance("1.1.2"), planned="p", due=1),
        )
        index.record_many([(waits, DOE), (settled, DOE)])
        index.checks.note([(waits, "rot"), (settled, "rot")], 5)
        assert (index.pending(10), index.stages.due("p", 10, 10), index.stages.next_due("p", 10)) == (
            [],
            [],
            None,
        )
        assert index.count_pending() == PendingCount(0, 0)  # nobody will encode it: it holds up no other
        assert index.pending_keys() == [waits.key]  # its record in the landing log stays
        index.checks.note([(waits, ""), (settled, "")], 6)
        assert [one.sop_instance_uid for one in index.pending(10)] == ["1.1.1"]
        assert index.count_pending().instances == 1
        assert [one.sop_instance_uid for one in index.stages.due("p", 10, 10)] == ["1.1.2"]
        assert index.stages.next_due("p", 10) == 1

    @pytest.mark.parametrize(
        "asked",
        [
            query("STUDY", StudyDate="2024-01"),
            query("STUDY", combined=True, StudyDate="2024", StudyTime="10"),
            query("STUDIES"),
        ],
    )
    def test_a_faulty_identifier_is_refused_at_once(self, index, asked):
        with pytest.raises(QueryError):
            index.find(asked)

    def test_a_number_that_another_instance_has_by_now_is_none_of_its_query(self, index):
        index.record(instance("1.1.1"), DOE)
        watch, asked = Watch(60, lambda: None), query("STUDY", StudyInstanceUID="1")
        numbers = index.pages.numbers(asked, watch)
        assert [one.sop_instance_uid for one in index.pages.instances(numbers, asked)] == ["1.1.1"]
        index.remove("1.1.1")
        index.record(instance("2.1.1", study="2", series="2.1"), ROE)
        assert index.pages.instances(numbers, asked) == []

    def test_many_matches_come_once_each(self, index):
        index.record_many((instance(f"1.1.{number}"), DOE) for number in range(1200))
        uids = found(index, "IMAGE", "SOPInstanceUID")
        assert len(uids) == len(set(uids)) == 1200


SEES_CT = (QueryKey("Modality", "", "C*"),)
SEES_SENT = (QueryKey("calling_aet", "", "OTHE?\\NOBODY"),)


class TestSeen:
    """What a query is limited to, whatever it asks for."""

    @pytest.fixture
    def mixed(self, filled: Index) -> Index:
        """Beside ``filled``: of Doe's study, one image of the CT and one of the SR came from OTHER."""
        filled.record(instance("1.1.8", calling_aet="OTHER"), DOE)
        filled.record(instance("1.2.2", series="1.2", calling_aet="OTHER"), DOE | {"Modality": "SR"})
        return filled

    @pytest.mark.parametrize(
        ("seen", "level", "keyword", "expected"),
        [
            (SEES_CT, "STUDY", "StudyInstanceUID", ["1"]),
            (SEES_CT, "SERIES", "SeriesInstanceUID", ["1.1"]),
            (SEES_CT, "IMAGE", "SOPInstanceUID", ["1.1.10", "1.1.2", "1.1.8", "1.1.9"]),
            (SEES_CT, "PATIENT", "PatientID", ["D1"]),
            (SEES_SENT, "STUDY", "StudyInstanceUID", ["1"]),
            (SEES_SENT, "SERIES", "SeriesInstanceUID", ["1.1", "1.2"]),
            (SEES_SENT, "IMAGE", "SOPInstanceUID", ["1.1.8", "1.2.2"]),
            ((*SEES_CT, *SEES_SENT), "SERIES", "SeriesInstanceUID", ["1.1"]),
            ((*SEES_CT, *SEES_SENT), "IMAGE", "SOPInstanceUID", ["1.1.8"]),
        ],
    )
    def test_of_each_level(self, mixed, seen, level, keyword, expected):
        asked = replace(query(level, **{keyword: ""}), seen=seen)
        assert sorted(match[keyword] for match in mixed.find(asked)) == expected
        page = mixed.pages.page(asked, 50, None, Watch(60, lambda: None))
        assert sorted(one.attributes[keyword] for one in page.entries) == expected

    def test_a_key_cannot_widen_it(self, mixed):
        asked = replace(query("SERIES", SeriesInstanceUID="", Modality="SR"), seen=SEES_CT)
        assert not list(mixed.find(asked))

    @pytest.mark.parametrize(
        ("level", "keys"),
        [
            ("STUDY", {"Modality": "SR"}),
            ("STUDY", {"ModalitiesInStudy": "SR"}),
            ("STUDY", {"SeriesInstanceUID": "1.2"}),
            ("STUDY", {"SOPInstanceUID": "1.2.1"}),
            ("PATIENT", {"Modality": "SR"}),
        ],
    )
    def test_a_key_of_what_is_not_seen_finds_nothing_above_it(self, mixed, level, keys):
        asked = replace(query(level, relational=True, **keys), root="PATIENT")
        assert list(mixed.find(asked))
        assert not list(mixed.find(replace(asked, seen=SEES_CT)))

    @pytest.mark.parametrize(
        ("seen", "modalities", "series", "images"),
        [
            ((), "CT\\SR", "2", "6"),
            (SEES_CT, "CT", "1", "4"),
            (SEES_SENT, "CT\\SR", "2", "2"),
            ((*SEES_CT, *SEES_SENT), "CT", "1", "1"),
        ],
    )
    def test_only_what_is_seen_is_counted_and_gathered(self, mixed, seen, modalities, series, images):
        counts = ("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances")
        asked = query("STUDY", StudyInstanceUID="1", **dict.fromkeys(("ModalitiesInStudy", *counts), ""))
        (match,) = mixed.find(replace(asked, seen=seen))
        assert [match["ModalitiesInStudy"], *(match[each] for each in counts)] == [modalities, series, images]

    def test_values_of_what_lies_below_are_of_what_is_seen(self, mixed):
        sees_sr = (QueryKey("Modality", "", "SR"),)
        (match,) = mixed.find(replace(query("STUDY", StudyInstanceUID="1", Modality=""), seen=sees_sr))
        assert match["Modality"] == "SR"

    @pytest.mark.parametrize(
        ("seen", "expected"),
        [(SEES_CT, {"1.1.2", "1.1.8", "1.1.9", "1.1.10"}), (SEES_SENT, {"1.1.8", "1.2.2"})],
    )
    def test_of_a_retrieve(self, mixed, seen, expected):
        asked = replace(query("STUDY", StudyInstanceUID="1\\2"), seen=seen)
        assert {one.sop_instance_uid for one in mixed.instances(asked)} == expected


class TestInstances:
    def uids(self, index: Index, level: str, **keys: str) -> list[str]:
        return [each.sop_instance_uid for each in index.instances(query(level, **keys))]

    def test_in_the_order_of_series_and_instance_numbers(self, filled):
        assert self.uids(filled, "STUDY", StudyInstanceUID="1") == ["1.2.1", "1.1.2", "1.1.9", "1.1.10"]

    def test_by_their_numbers(self, filled):
        asked = query("STUDY", StudyInstanceUID="1")
        numbers = filled.pages.numbers(asked, Watch(60, lambda: None))
        expected = filled.instances(asked)
        assert filled.pages.instances(numbers, asked) == expected
        assert filled.pages.instances([numbers[2], 10**9, numbers[0]], asked) == [expected[2], expected[0]]
        seen = replace(asked, seen=(QueryKey("Modality", "", "nothing"),))
        assert filled.pages.numbers(seen, Watch(60, lambda: None)) == []

    def test_of_every_level(self, filled):
        assert self.uids(filled, "PATIENT", PatientID="R1") == ["2.1.1"]
        assert len(self.uids(filled, "PATIENT", PatientID="R1\\D1")) == 5
        assert self.uids(filled, "SERIES", StudyInstanceUID="1", SeriesInstanceUID="1.2\\2.1") == ["1.2.1"]
        assert self.uids(filled, "IMAGE", SOPInstanceUID="2.1.1\\1.1.9\\9") == ["1.1.9", "2.1.1"]
        assert self.uids(filled, "STUDY", PatientID="R1", StudyInstanceUID="1") == []

    def test_other_keys_and_patterns_do_not_count(self, filled):
        assert len(self.uids(filled, "STUDY", StudyInstanceUID="1", Modality="SR")) == 4
        assert self.uids(filled, "PATIENT", PatientID="R?") == []

    def test_the_issuer_tells_patients_apart(self, index):
        index.record(instance("1.1.1"), DOE | {"IssuerOfPatientID": "NORTH"})
        index.record(instance("2.1.1", "2", "2.1"), DOE | {"IssuerOfPatientID": "SOUTH"})
        assert self.uids(index, "PATIENT", PatientID="D1", IssuerOfPatientID="SOUTH") == ["2.1.1"]

    def test_a_watch_stops_a_search(self, index):
        index.record_many((instance(f"1.1.{number}"), DOE) for number in range(1200))
        with pytest.raises(OutOfResources, match="query"):
            index.instances(query("STUDY", StudyInstanceUID="1"), Watch(-1, lambda: None))

    @pytest.mark.parametrize(
        "asked",
        [
            query("STUDY"),
            query("STUDY", StudyInstanceUID=""),
            query("PATIENT", PatientID="*"),
            query("SERIES", StudyInstanceUID="1"),
            query("IMAGE", SOPInstanceUID="*"),
            query("WORKLIST", SOPInstanceUID="1"),
        ],
    )
    def test_what_names_nothing_is_refused(self, filled, asked):
        with pytest.raises(QueryError):
            filled.instances(asked)


class TestOverview:
    def test_statistics(self, filled):
        filled.record(instance("2.1.2", "2", "2.1", form="zstd", stored_size=7), ROE)
        assert filled.statistics() == [
            Statistic("CT", "htj2k", HTJ2K, 3, 300, 120),
            Statistic("MR", "htj2k", HTJ2K, 1, 100, 40),
            Statistic("MR", "zstd", HTJ2K, 1, 100, 7),
            Statistic("SR", "htj2k", HTJ2K, 1, 100, 40),
        ]

    def test_senders(self, filled):
        later = datetime(2027, 1, 2, tzinfo=UTC)
        filled.record(replace(instance("2.1.2", "2", "2.1"), calling_aet="MR2", received_at=later), ROE)
        *_, last = senders = filled.senders()
        assert [one.calling_aet for one in senders] == sorted({one.calling_aet for one in filled.all()})
        assert sum(one.instances for one in senders) == filled.counts().instances
        assert last == SenderCount("MR2", 1, later)

    def test_of_nothing(self, index):
        assert index.senders() == []
        assert index.statistics() == []
        assert index.counts() == EntityCounts(0, 0, 0, 0)
        assert list(index.all()) == []

    def test_all_gives_each_instance_once_while_others_write(self, filled):
        walk = filled.all(batch=2)
        seen = [next(walk).sop_instance_uid]
        filled.record(instance("1.1.10", form="jpegxl"), DOE)  # seen already
        filled.remove("1.1.9")  # in the batch that is being read
        filled.record(instance("3.1.1", "3", "3.1"), DOE)
        seen += [each.sop_instance_uid for each in walk]
        assert seen == ["1.1.10", "1.1.9", "1.1.2", "1.2.1", "2.1.1", "3.1.1"]


class TestSharing:
    def test_four_threads_write(self, index):
        def write(thread: int) -> None:
            for number in range(25):
                index.record(instance(f"{thread}.{number}", series=f"1.{number % 3}"), DOE)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(write, range(4)))
        assert index.counts() == EntityCounts(1, 1, 3, 100)

    def test_writers_do_not_wait_for_a_reader(self, index):
        index.record_many((instance(f"1.1.{number}"), DOE) for number in range(1100))
        matches = index.find(query("IMAGE", SOPInstanceUID=""))
        next(matches)
        index.record(instance("1.1.2000"), DOE)
        assert sum(1 for _ in matches) >= 1099  # what came meanwhile may be found

    def test_two_that_are_open_see_each_other(self, index, opener):
        other = opener()
        index.record(instance("1.1.1"), DOE)
        other.record(instance("1.1.2"), DOE)
        assert index.counts() == other.counts() == EntityCounts(1, 1, 1, 2)
        other.close()

    def test_threads_record_what_fails_beside_what_does_not(self, index):
        def write(number: int) -> Instance | None:
            return index.record(instance(f"1.1.{number}"), DOE if number % 5 else FAILING)

        with ThreadPoolExecutor(16) as threads:
            futures = [threads.submit(write, number) for number in range(200)]
        errors = [type(future.exception()) for future in futures]
        assert errors == [type(None) if number % 5 else TypeError for number in range(200)]
        assert index.counts().instances == 160

    def test_one_instance_from_many_threads_replaces_each_other_in_turn(self, index):
        def write(number: int) -> Instance | None:
            return index.record(instance("1.1.1", key=str(number)), DOE)

        with ThreadPoolExecutor(16) as threads:
            replaced = list(threads.map(write, range(100)))
        keys = [each.key for each in replaced if each is not None]
        assert replaced.count(None) == 1
        assert sorted([*keys, index.newest("1.1.1").key], key=int) == [str(number) for number in range(100)]

    def test_matches_may_be_read_and_closed_by_other_threads(self, filled):
        matches = filled.find(query("IMAGE", SOPInstanceUID=""))
        threads = [threading.Thread(target=next, args=(matches,)) for _ in range(3)]
        threads.append(threading.Thread(target=matches.close))
        for thread in threads:
            thread.start()
            thread.join()
        assert list(matches) == []


def _write_for_ever(opener: Callable[[], Index], written: Connection) -> None:
    index = opener()
    for number in count():
        index.record(instance(f"1.1.{number}"), DOE)
        written.send(f"1.1.{number}")


def test_what_was_recorded_outlives_the_process_that_is_killed(opener):
    forked = processes()
    receiver, sender = forked.Pipe(duplex=False)
    writer = forked.Process(target=_write_for_ever, args=(opener, sender))
    writer.start()
    sender.close()
    acknowledged = [receiver.recv() for _ in range(30)]
    writer.kill()
    writer.join()
    with suppress(EOFError):
        while True:
            acknowledged.append(receiver.recv())
    index = opener()
    assert all(index.newest(uid) for uid in acknowledged)
    assert index.counts().instances - len(acknowledged) in {0, 1}
    assert index.record(instance("after"), DOE) is None
    index.close()


def _open_and_record(place: str | Database, start: Barrier, number: int) -> None:
    start.wait()
    index = SqlIndex.open(place)
    for each in range(10):
        index.record(instance(f"{number}.{each}"), DOE)
    index.close()


@pytest.mark.parametrize("kind", KINDS)
def test_processes_that_make_the_index_at_once(kind, tmp_path):
    place = PLACES[kind](tmp_path, False)
    forked = processes()
    start = forked.Barrier(4)
    openers = [forked.Process(target=_open_and_record, args=(place, start, number)) for number in range(4)]
    for each in openers:
        each.start()
    for each in openers:
        each.join()
    assert [each.exitcode for each in openers] == [0, 0, 0, 0]
    index = SqlIndex.open(place)
    assert index.counts() == EntityCounts(1, 1, 1, 40)
    index.close()


NOON = datetime(2026, 7, 27, 12, 0, 0, 250_000, tzinfo=UTC)
LATER = NOON + timedelta(minutes=1)


def asked(transaction: str, aet: str = "CTROOM1", due: datetime = NOON, **others) -> Commitment:
    references = others.pop("references", (Reference(CT, "1.1.1"), Reference(MR_CLASS, "1.1.2")))
    return Commitment(transaction, aet, references, NOON, due, **others)


def uids(found: list[Commitment]) -> list[str]:
    return [one.transaction_uid for one in found]


class TestCommitments:
    def test_what_was_added_is_held_by_all(self, opener, index):
        added = index.commitments.add(asked("1.2"))
        assert replace(added, number=0) == asked("1.2")
        other = opener()
        assert other.commitments.all() == [added]
        other.close()

    def test_the_same_again_is_one(self, index):
        first = index.commitments.add(asked("1.2"))
        again = index.commitments.add(asked("1.2", holder="me", due=LATER))
        assert again == replace(first, holder="me", due=LATER)
        assert index.commitments.add(asked("1.2", holder="you", due=LATER)) is None
        assert index.commitments.all() == [again]

    def test_the_same_again_takes_over_what_nobody_holds_any_more(self, index):
        index.commitments.add(asked("1.2", holder="dead", due=NOON))
        assert index.commitments.add(asked("1.2", holder="me", due=LATER)).holder == "me"

    def test_another_of_the_same_transaction_is_a_duplicate(self, index):
        others = (Reference(CT, "1.1.1"),)
        made = [
            index.commitments.add(one)
            for one in (asked("1.2"), asked("1.2", references=others), asked("1.2", "CTROOM2"), asked("1.3"))
        ]
        assert [one.duplicate for one in made] == [False, True, False, False]
        assert len({one.number for one in made}) == 4

    def test_what_is_due_is_claimed_once(self, index):
        outstanding = index.commitments
        for transaction in ("1.1", "1.2", "1.3"):
            outstanding.add(asked(transaction))
        outstanding.add(asked("1.4", due=LATER))
        claimed = outstanding.claim(Lease("me", NOON, LATER), 2)
        assert uids(claimed) == ["1.1", "1.2"]
        assert outstanding.outstanding() == len(outstanding.all()) == 4
        assert {(one.holder, one.due) for one in claimed} == {("me", LATER)}
        assert uids(outstanding.claim(Lease("you", NOON, LATER), 2)) == ["1.3"]
        assert outstanding.claim(Lease("they", NOON, LATER), 2) == []

    def test_one_ae_at_a_time_the_longest_due_first(self, index):
        outstanding = index.commitments
        outstanding.add(asked("1.1", "B", due=NOON))
        outstanding.add(asked("1.2", "A", due=NOON - timedelta(seconds=1)))
        outstanding.add(asked("1.3", "B", due=NOON))
        assert uids(outstanding.claim(Lease("me", NOON, LATER), 9)) == ["1.2"]
        assert uids(outstanding.claim(Lease("me", NOON, LATER), 9)) == ["1.1", "1.3"]

    def test_a_claim_ends_unless_it_is_renewed(self, index):
        outstanding = index.commitments
        outstanding.add(asked("1.1"))
        outstanding.add(asked("1.2"))
        outstanding.claim(Lease("me", NOON, LATER), 1)
        outstanding.claim(Lease("you", NOON, LATER), 1)
        outstanding.renew(Lease("you", NOON, LATER + timedelta(seconds=1)))
        assert uids(outstanding.claim(Lease("they", LATER, LATER + timedelta(minutes=1)), 9)) == ["1.1"]

    def test_who_lost_a_claim_changes_nothing(self, index):
        outstanding = index.commitments
        outstanding.add(asked("1.1"))
        (lost,) = outstanding.claim(Lease("me", NOON, NOON), 1)
        (taken,) = outstanding.claim(Lease("you", NOON, LATER), 1)
        assert not outstanding.postpone(lost, NOON, "late")
        assert not outstanding.remove(lost)
        assert outstanding.all() == [taken]
        assert outstanding.remove(taken)
        assert outstanding.all() == []

    def test_what_is_put_off_is_due_again(self, index):
        outstanding = index.commitments
        outstanding.add(asked("1.1"))
        (mine,) = outstanding.claim(Lease("me", NOON, LATER), 1)
        assert outstanding.postpone(mine, LATER)
        (mine,) = outstanding.claim(Lease("me", LATER, LATER), 1)
        assert (mine.attempts, mine.fault) == (0, "")
        assert outstanding.postpone(mine, LATER, "is down")
        (mine,) = outstanding.claim(Lease("me", LATER, LATER), 1)
        assert (mine.attempts, mine.fault) == (1, "is down")

    def test_all_that_waits_may_be_hastened(self, index):
        outstanding = index.commitments
        outstanding.add(asked("1.1", due=LATER))
        outstanding.add(asked("1.2", due=LATER, holder="me"))
        outstanding.hasten(NOON)
        assert [one.due for one in outstanding.all()] == [NOON, LATER]

    def test_when_the_next_is_due(self, index):
        outstanding = index.commitments
        assert outstanding.next_due() is None
        outstanding.add(asked("1.1", due=LATER))
        assert outstanding.next_due() == LATER
        outstanding.add(asked("1.2", due=NOON))
        assert outstanding.next_due() == NOON

    def test_thousands_of_references(self, index):
        references = tuple(Reference(CT, f"1.2.3.{n}") for n in range(20_000))
        index.commitments.add(asked("1.1", references=references))
        assert index.commitments.all()[0].references == references
        assert index.commitments.claim(Lease("me", NOON, LATER), 1)[0].references == references

    def test_several_never_claim_the_same(self, opener, index):
        outstanding = index.commitments
        wanted = [f"1.{n}" for n in range(40)]
        for transaction in wanted:
            outstanding.add(asked(transaction))
        others = [opener() for _ in range(3)]

        def claim_all(one: Index) -> list[str]:
            found: list[str] = []
            while claimed := one.commitments.claim(Lease(f"{id(one)}", NOON, LATER), 1):
                found += uids(claimed)
            return found

        with ThreadPoolExecutor(3) as pool:
            found = [uid for part in pool.map(claim_all, others) for uid in part]
        assert sorted(found) == sorted(wanted)
        for one in others:
            one.close()


def queued(uid: str, destination: str = "A", rule: str = "rule", **others) -> QueuedSend:
    return QueuedSend(uid, destination, rule, NOON, **{"due": NOON, **others})


class TestSendQueue:
    """What is to be sent to peers."""

    def test_recorded_with_the_object(self, index):
        index.record(instance("1.1.1"), DOE, [queued("1.1.1"), queued("1.1.1", "B")])
        assert [one.destination for one in index.send_queue.all()] == ["A", "B"]

    def test_what_is_held_queues_nothing(self, index):
        index.record(instance("1.1.1"), DOE)
        index.add(instance("1.1.1"), DOE, [queued("1.1.1")])
        assert index.send_queue.all() == []
        index.add(instance("1.1.2"), DOE, [queued("1.1.2")])
        assert index.send_queue.outstanding() == 1

    def test_whether_a_peer_waits_for_an_object(self, index):
        wanted, other = instance("1.1.1"), instance("1.1.1", study="8")
        index.send_queue.add([queued("1.1.1", study_instance_uid="1")])
        assert index.send_queue.waits_for(wanted.identity)
        assert not index.send_queue.waits_for(other.identity)
        assert not index.send_queue.waits_for(instance("1.1.2").identity)
        claimed = index.send_queue.claim(Lease("x", NOON, LATER), 9)
        assert index.send_queue.waits_for(wanted.identity)
        index.send_queue.done(claimed, NOON, remember=LATER)
        assert not index.send_queue.waits_for(wanted.identity)

    def test_a_peer_waits_for_an_object_that_was_given_up_or_names_no_study(self, index):
        index.send_queue.add([queued("1.1.1")])
        assert index.send_queue.waits_for(instance("1.1.1").identity)
        (claimed,) = index.send_queue.claim(Lease("x", NOON, LATER), 1)
        index.send_queue.give_up(claimed, "too long")
        assert index.send_queue.waits_for(instance("1.1.1").identity)

    def test_what_waits_is_added_up_by_destination_rule_and_state(self, index):
        for number in range(3):
            index.record(instance(f"1.1.{number}", stored_size=10 + number), DOE, [queued(f"1.1.{number}")])
        index.send_queue.add([queued("9.9", "B", attempts=2, fault="away")])
        index.record(instance("1.1.9", stored_size=70), DOE, [queued("1.1.9", "C")])
        (claimed,) = index.send_queue.claim(Lease("x", NOON, LATER), 1, busy=["A", "B"])
        index.send_queue.give_up(claimed, "too long")
        (under_way, *_) = index.send_queue.claim(Lease("x", NOON, LATER), 1, busy=["B", "C"])
        index.send_queue.postpone(under_way, LATER, "no answer")
        assert index.send_queue.sums() == [
            SendSum("A", "rule", "waiting", 3, 33, NOON, 1, NOON, "no answer"),
            SendSum("B", "rule", "waiting", 1, 0, NOON, 2, NOON, "away"),
            SendSum("C", "rule", "given up", 1, 70, NOON, 1, None, "too long"),
        ]
        index.send_queue.claim(Lease("x", NOON, LATER), 9, busy=["A", "C"])
        assert index.send_queue.sums()[1].next_attempt is None

    def test_another_content_is_sent_once_more(self, index):
        outstanding = index.send_queue
        index.record(instance("1.1.1"), DOE, [queued("1.1.1")])
        sending = outstanding.claim(Lease("me", NOON, LATER), 9)
        index.record(instance("1.1.1", key="new"), DOE, [queued("1.1.1")])
        outstanding.done(sending, NOON)
        assert [one.holder for one in outstanding.all()] == [""]

    def test_one_destination_at_a_time_the_urgent_first(self, index):
        outstanding = index.send_queue
        outstanding.add([queued("1", "A", priority=PREFETCH), queued("2", "B"), queued("3", "A")])
        first = outstanding.claim(Lease("me", NOON, LATER), 9, busy=["B"])
        assert [one.sop_instance_uid for one in first] == ["3", "1"]
        assert [one.destination for one in outstanding.claim(Lease("me", NOON, LATER), 9)] == ["B"]
        assert outstanding.claim(Lease("you", NOON, LATER), 9) == []
        assert outstanding.next_due() == LATER

    def test_what_was_sent_ahead_is_remembered(self, index):
        outstanding = index.send_queue
        assert outstanding.add([queued("1")]) == 1
        outstanding.done(outstanding.claim(Lease("me", NOON, LATER), 9), NOON, LATER)
        assert (outstanding.all(), outstanding.outstanding(), outstanding.next_due()) == ([], 0, None)
        assert outstanding.add([queued("1")]) == 0
        outstanding.done([], LATER)
        assert outstanding.add([queued("1")]) == 1

    def test_what_is_asked_for_is_due_whatever_became_of_it_before(self, index):
        outstanding = index.send_queue
        outstanding.add([queued("1"), queued("2"), queued("3"), queued("4")])
        one, two, three, four = outstanding.claim(Lease("me", NOON, LATER), 9)
        outstanding.done([one], NOON, LATER)
        assert outstanding.give_up(two, "is down")
        assert outstanding.postpone(three, LATER, "is busy")
        asked = [queued(each, rule="by hand") for each in "12345"]
        assert outstanding.ask(asked) == 4
        assert [each.sop_instance_uid for each in outstanding.all() if each.holder] == ["4"]
        again = outstanding.claim(Lease("you", NOON, LATER), 9)
        assert sorted(each.sop_instance_uid for each in again) == ["1", "2", "3", "5"]
        assert {(each.rule, each.attempts, each.fault) for each in again} == {("by hand", 0, "")}
        outstanding.done([four], NOON)
        outstanding.done(again, NOON)
        assert outstanding.outstanding() == 0

    def test_given_up_until_it_is_hastened(self, index):
        outstanding = index.send_queue
        outstanding.add([queued("1")])
        (mine,) = outstanding.claim(Lease("me", NOON, LATER), 9)
        assert outstanding.give_up(mine, "is down")
        assert not outstanding.postpone(mine, NOON)
        assert outstanding.claim(Lease("me", LATER, LATER), 9) == []
        assert [(one.state, one.fault) for one in outstanding.all()] == [("given up", "is down")]
        outstanding.hasten(NOON)
        assert len(outstanding.claim(Lease("me", NOON, LATER), 9)) == 1


def test_what_was_committed_is_in_doubt_once_its_connection_is_gone(index: Index) -> None:
    index.record(instance("1.1.1", key="one"), DOE)
    index.record_many([(instance("1.1.2", key="two"), DOE)])
    index.change_many([(instance("1.1.1", key="one"), instance("1.1.1", key="three"))])
    assert index.doubtful() == []
    index._writer.close()  # type: ignore[attr-defined]
    assert [row.key for row in index.doubtful()] == ["one", "two", "three"]
    assert index.doubtful() == []


# -- nodes that share the index ------------------------------------------------------------------------


def report(node: str, **others) -> NodeReport:
    return replace(NodeReport(node, f"host-{node}", "first start"), **others)


def test_a_node_hears_what_all_had_said_before(index: Index) -> None:
    assert index.nodes.beat(report("a", pending=7, associations={"all": 2})) == []
    (heard,) = index.nodes.beat(report("b"))
    assert heard.report == report("a", pending=7, associations={"all": 2})
    assert heard.lives
    assert heard.age < EXPIRES_SECONDS
    index.nodes.beat(report("a", start="second start"))
    assert [one.report.start for one in index.nodes.all()] == ["second start", "first start"]


def test_a_node_that_stopped_does_not_live_and_one_that_started_again_does(index: Index) -> None:
    index.nodes.beat(report("a"))
    index.nodes.stop("a", "an earlier start")
    assert index.nodes.all()[0].lives
    index.nodes.stop("a", "first start")
    assert not index.nodes.all()[0].lives
    index.nodes.beat(report("a"))
    assert index.nodes.all()[0].lives


def test_a_silent_node_counts_as_dead() -> None:
    assert KnownNode(report("a"), EXPIRES_SECONDS - 1).lives
    assert not KnownNode(report("a"), EXPIRES_SECONDS).lives


def test_what_a_node_is_asked_for_once_is_there_until_it_is_done(index: Index) -> None:
    upload, settle = Request("a", "upload", "k/1"), Request("a", "settle", "k/1")
    index.nodes.ask([upload, settle])
    index.nodes.ask([upload, Request("b", "upload", "k/2")])
    assert index.nodes.asked("a") == [upload, settle]
    assert index.nodes.is_asked(settle)
    index.nodes.done([settle])
    assert not index.nodes.is_asked(settle)
    assert index.nodes.asked("a") == [upload]
    index.nodes.beat(report("a"))
    index.nodes.forget("a")
    assert index.nodes.asked("a") == []
    assert index.nodes.all() == []
    assert len(index.nodes.asked("b")) == 1


def test_a_node_is_asked_for_what_is_pending_of_a_study_there(index: Index) -> None:
    pending = {"pending": True, "study": "1"}
    index.record(instance("1.1.1", key=".landing/a-1-x/1/1-2.dcm", **pending), DOE)
    index.record(instance("1.1.2", key=".landing/b-1-x/1/1-2.dcm", **pending), DOE)
    index.record(instance("1.1.3", key=".landing/a-1-x/1/2-2.dcm", **pending), DOE)
    index.record(instance("2.1.1", "2", "2.1", key=".landing/a-1-x/1/3-2.dcm", pending=True), DOE)
    index.record(instance("1.1.4"), DOE)
    for _ in range(2):
        index.nodes.ask_for_study("a", "1", ".landing/a-")
    asked = index.nodes.asked("a")
    assert [one.key for one in asked] == [".landing/a-1-x/1/1-2.dcm", ".landing/a-1-x/1/2-2.dcm"]
    assert {one.act for one in asked} == {"upload"}


def test_what_is_elsewhere_or_claimed_is_not_pending_here(index: Index) -> None:
    index.record(instance("1.1.1", key=".landing/a-1-x/1/1-2.dcm", pending=True), DOE)
    index.record(instance("1.1.2", key="objects/2.dcm", pending=True), DOE)
    index.record(instance("1.1.3", key="objects/3.dcm", pending=True), DOE)
    claimed = index.claims.claim(Lease.begin("other"), index.pending(9)[2:])
    assert [one.sop_instance_uid for one in claimed] == ["1.1.3"]
    assert [one.sop_instance_uid for one in index.pending(9)] == ["1.1.1", "1.1.2", "1.1.3"]
    assert [one.sop_instance_uid for one in index.pending(9, [".landing/a-"])] == ["1.1.2"]
    assert index.count_pending([".landing/a-"]).instances == 2
    assert index.count_pending().instances == 3
    (due,) = index.checks.due(2**31, Lease.begin().now.timestamp(), 9, [".landing/a-"])
    assert due.sop_instance_uid == "1.1.2"


def test_a_name_is_had_by_one_at_a_time(opener) -> None:
    one, two = opener(), opener()
    try:
        with one.exclusive("x") as got, two.exclusive("x", wait=False) as other, two.exclusive("y") as free:
            assert (got, other, free) == (True, False, True)
        order: list[str] = []

        def second() -> None:
            with two.exclusive("x"):
                order.append("second")

        waits = threading.Thread(target=second)
        with one.exclusive("x"):
            waits.start()
            waits.join(0.2)
            order.append("first")
        waits.join()
        assert order == ["first", "second"]
    finally:
        one.close()
        two.close()


class TestSumsByFacts:
    """One row stands for all instances that no rule tells apart."""

    def test_what_nothing_tells_apart_is_one_sum(self, filled: Index) -> None:
        found = filled.stages.sums(SumKeys())
        (one,) = found.sums
        assert (one.instances, one.received_size, one.stored_size) == (5, 500, 200)
        assert (one.instance.form, one.instance.rule) == ("htj2k", "everything else")
        assert (found.looked_at, found.total, found.whole) == (5, 5, True)

    def test_by_attributes_of_every_level(self, filled: Index) -> None:
        found = filled.stages.sums(SumKeys(("PatientID", "StudyDate", "Modality", "SOPClassUID")))
        facts = [(*one.attributes.values(), one.instances) for one in found.sums]
        sr = "1.2.840.10008.5.1.4.1.1.88.11"
        expected = [("D1", "20240131", "CT", CT, 3), ("D1", "20240131", "SR", sr, 1)]
        assert sorted(facts) == [*expected, ("R1", "20240201", "MR", MR_CLASS, 1)]

    def test_by_bounds_of_size_and_time(self, index: Index) -> None:
        at = datetime(2024, 1, 31, tzinfo=UTC)
        for number, size in enumerate((10, 20, 30)):
            when = at + timedelta(days=number)
            more = {"received_size": size, "received_at": when, "accessed": number * 10}
            index.record(instance(f"1.1.{number}", **more), DOE)
        seconds = int(at.timestamp())
        by_size = index.stages.sums(SumKeys(sizes=(20,))).sums
        assert sorted((one.instance.received_size, one.instances) for one in by_size) == [
            (10, 1),
            (20, 1),
            (30, 1),
        ]
        by_time = index.stages.sums(SumKeys(received=(seconds + 86_400,), accessed=(15, 99))).sums
        assert sorted(
            (one.instance.received_at, one.instance.accessed, one.instances) for one in by_time
        ) == [
            (at, 0, 2),
            (at + timedelta(days=2), 20, 1),
        ]

    def test_by_what_an_instance_is_in(self, index: Index) -> None:
        index.record(instance("1.1.1", pending=True), DOE)
        index.record(instance("1.1.2", refused="x", calling_aet="A"), DOE)
        index.record(instance("1.1.3", planned="p", due=7), DOE)
        index.record(instance("1.1.4", planned="p", due=5), DOE)
        found = index.stages.sums(SumKeys(calling_aet=True, transfer_syntax=True, policy="p")).sums
        told = [(one.instance.pending, one.instance.refused, one.due, one.instances) for one in found]
        assert sorted(told, key=str) == [(False, "", 5, 2), (False, "refused", None, 1), (True, "", None, 1)]
        assert {one.instance.calling_aet for one in found} == {"A", "CTROOM1"}
        assert {one.instance.received_transfer_syntax for one in found} == {"1.2.840.10008.1.2.1"}

    def test_some_are_picked_where_there_are_many(self, index: Index) -> None:
        index.record_many([(instance(f"1.1.{number}"), DOE) for number in range(60)])
        for number in range(0, 60, 2):
            index.remove(f"1.1.{number}")
        found = index.stages.sums(SumKeys(), most=10)
        assert found.total == 30
        assert 2 <= found.looked_at <= 20
        assert sum(one.instances for one in found.sums) == found.looked_at
        assert index.stages.sums(SumKeys(), most=30).whole

    def test_instances_are_picked_once_each(self, index: Index) -> None:
        index.record_many([(instance(f"1.1.{number}"), DOE) for number in range(30)])
        index.record(instance("1.1.99", pending=True), DOE)
        assert len({one.sop_instance_uid for one in index.stages.picked(99)}) == 30
        assert 5 <= len({one.sop_instance_uid for one in index.stages.picked(10)}) <= 10

    def test_of_nothing(self, index: Index) -> None:
        assert index.stages.picked(5) == []
        assert index.stages.sums(SumKeys(("Modality",)), most=5) == SummedFacts((), 0, 0)


class TestPacking:
    def test_what_files_need_is_summed_listed_and_noted(self, index):
        for number, needed in enumerate((0, 7, 7, DICTIONARY_UNKNOWN)):
            index.record(instance(f"1.1.{number}", dictionary=needed), DOE)
        uses = index.stages.dictionary_uses()
        assert {number: (one.instances, one.stored_size) for number, one in uses.items()} == {
            0: (1, 40),
            7: (2, 80),
            DICTIONARY_UNKNOWN: (1, 40),
        }
        needing = [one.sop_instance_uid for one in index.stages.needing([7, DICTIONARY_UNKNOWN], batch=2)]
        assert needing == ["1.1.1", "1.1.2", "1.1.3"]
        (unknown,) = index.stages.needing([DICTIONARY_UNKNOWN])
        replaced = replace(unknown, sop_instance_uid="1.1.0", key="no longer")
        index.stages.note_dictionaries([(unknown, 9), (replaced, 9)])
        assert index.newest("1.1.3").dictionary == 9
        assert index.newest("1.1.0").dictionary == 0

    def test_of_a_class_that_got_a_dictionary_what_lacks_it_is_planned_again_and_that_is_noted(self, index):
        planned = {"planned": "p", "due": 99}
        for uid, of in {
            "1.1.1": {},
            "1.1.2": {"dictionary": 5},
            "1.1.3": {"dictionary": 7},
            "1.1.4": {"dictionary_tried": 7},
            "1.1.5": {"sop_class_uid": MR_CLASS},
            "1.1.6": {"pending": True},
            "1.1.7": {"dictionary": DICTIONARY_UNKNOWN},
        }.items():
            index.record(instance(uid, **{**planned, **of}), DOE)
        assert index.stages.noticed_dictionaries() == {}
        assert index.stages.plan_for_dictionary(CT, 7, 1000.5) == 3
        again = {one.instance.sop_instance_uid for one in index.stages.unplanned("p", (), 10)}
        assert again == {"1.1.1", "1.1.2", "1.1.7"}
        assert index.stages.noticed_dictionaries() == {CT: NoticedDictionary(7, 1000)}
        assert index.stages.plan_for_dictionary(CT, 8, 2000) == 5
        assert index.stages.noticed_dictionaries()[CT] == NoticedDictionary(8, 2000)

    def test_a_form_that_takes_anothers_place_says_what_it_needs(self, index):
        before = instance("1.1.1")
        index.record(before, DOE)
        after = replace(before, key="other", dictionary=7, dictionary_tried=7)
        assert index.change_many([(before, after)]) == [True]
        assert index.newest("1.1.1") == after
