"""Whose an object is, it says itself: no other object changes that, and nothing is lost for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from itertools import count
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from objects import received as read
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from structlog.testing import capture_logs

from scp.archive.archive import Archive
from scp.archive.options import Duplicates, Options
from scp.background.progress import Silent
from scp.config.rules import DEFAULT_POLICY
from scp.config.settings import Settings
from scp.errors import DuplicateRejected
from scp.identity import ConflictKind
from scp.index.queue import Lease
from scp.index.sql import SqlIndex
from scp.lifecycle.deletion import Deletion
from scp.lifecycle.fsck import fsck
from scp.lifecycle.recovery import recover
from scp.lifecycle.reindex import reindex
from scp.lifecycle.retention import Retention
from scp.lifecycle.transfer import export
from scp.model import Instance, Query, QueryKey, QueuedSend, Received
from scp.objects.holds import Hold
from scp.objects.local import LocalStore

CASES = Path(__file__).parents[1] / "data" / "cases"
BEFORE = Path(__file__).parents[1] / "data" / "before-identity"
SHARED = "1.2.826.0.1.3680043.8.498.7777.14771.864248314"
STEM = "1.2.826.0.1.3680043.8.498.7777.5871.86392854"
START = datetime(2026, 1, 1, tzinfo=UTC)
CT = "1.2.840.10008.5.1.4.1.1.2"
Opener = Callable[..., Archive]


@pytest.fixture
def opener(tmp_path: Path) -> Iterator[Opener]:
    opened: list[Archive] = []

    def make(duplicates: Duplicates = "replace", index: str = "index.db") -> Archive:
        store = LocalStore(tmp_path / "objects")
        archive = Archive(
            store, SqlIndex.open(f"sqlite:///{tmp_path}/{index}"), DEFAULT_POLICY, Options(duplicates)
        )
        opened.append(archive)
        return archive

    yield make
    for archive in opened:
        archive.close()


@pytest.fixture
def archive(opener: Opener) -> Archive:
    return opener()


@pytest.fixture
def deletion(archive: Archive, tmp_path: Path) -> Deletion:
    return Deletion(archive, {"": tmp_path / "objects"})


_arrivals = count()


def made(uid: str = "1.1.1", study: str = "1", patient: str = "A1", **more: str) -> Received:
    """An object without pixels, received after all that were made before."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CT, uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.Modality = study, f"{study}.1", "OT"
    dataset.PatientID, dataset.StudyDate = patient, "20200101"
    dataset.PatientName = {"A1": "Alpha^Anna", "B2": "Beta^Bruno"}.get(patient, "")
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    file = BytesIO()
    dataset.save_as(file, implicit_vr=False, little_endian=True)
    when = START + timedelta(seconds=next(_arrivals))
    return Received(CT, uid, ExplicitVRLittleEndian, file.getvalue(), "MODALITY", "ZSCP", when)


def told(
    archive: Archive, level: str, *answered: str, root: str = "STUDY", **keys: str
) -> list[tuple[str, ...]]:
    """The answers to a query, sorted."""
    asked = tuple(
        QueryKey(keyword, "", keys.get(keyword, "")) for keyword in {**keys, **dict.fromkeys(answered)}
    )
    return sorted(
        tuple(match[keyword] for keyword in answered) for match in archive.find(Query(root, level, asked))
    )


def brought(archive: Archive, level: str, **keys: str) -> list[tuple[str, str]]:
    """SOP Instance UID and Patient ID of what a retrieve brings, as the objects themselves say it."""
    asked = tuple(QueryKey(keyword, "", value) for keyword, value in keys.items())
    found = archive.instances(Query("STUDY", level, asked))
    return sorted((one.sop_instance_uid, archive.facts(one).attributes.get("PatientID", "")) for one in found)


def both(archive: Archive) -> tuple[Instance, Instance]:
    """One SOP Instance UID, study UID and series UID of two patients."""
    kept = [archive.ingest(made(patient=patient)) for patient in ("A1", "B2")]
    assert [one.outcome for one in kept] == ["kept", "kept"]
    return kept[0].instance, kept[1].instance


class TestCases:
    def test_a_study_of_two_patients_is_two_studies(self, archive: Archive) -> None:
        for number in range(3):
            archive.ingest(read(CASES / f"two-patients-one-study-{number}.dcm"))
        asked = ("PatientID", "PatientName", "NumberOfStudyRelatedInstances")
        expected = [("A1", "Alpha^Anna", "2"), ("B2", "Beta^Bruno", "1")]
        assert told(archive, "STUDY", *asked, StudyInstanceUID=SHARED) == expected
        assert told(archive, "STUDY", *asked, StudyInstanceUID=SHARED, PatientName="BETA*") == expected[1:]
        assert [patient for _, patient in brought(archive, "PATIENT", PatientID="A1")] == ["A1", "A1"]
        assert [patient for _, patient in brought(archive, "PATIENT", PatientID="B2")] == ["B2"]
        both_studies = brought(archive, "STUDY", StudyInstanceUID=SHARED)
        assert [patient for _, patient in both_studies] == ["A1", "A1", "B2"]
        of_one = brought(archive, "STUDY", StudyInstanceUID=SHARED, PatientID="B2")
        assert [patient for _, patient in of_one] == ["B2"]
        images = told(archive, "IMAGE", "PatientID", "PatientName", StudyInstanceUID=SHARED)
        assert images == [("A1", "Alpha^Anna"), ("A1", "Alpha^Anna"), ("B2", "Beta^Bruno")]

    def test_each_study_says_who_its_patient_is(self, archive: Archive) -> None:
        for number in (1, 2):
            archive.ingest(read(CASES / f"one-id-two-names-{number}.dcm"))
        person = ("PatientName", "PatientBirthDate", "PatientSex")
        anna, bruno = ("Alpha^Anna", "19500101", "F"), ("Beta^Bruno", "19800202", "M")
        assert told(archive, "STUDY", *person, PatientID="1") == [anna, bruno]
        assert told(archive, "SERIES", *person, StudyInstanceUID=f"{STEM}2") == [anna]
        assert told(archive, "IMAGE", *person, PatientID="1", PatientSex="M") == [bruno]
        # One patient: by the newest study, here the one that came last.
        assert told(archive, "PATIENT", *person, "NumberOfPatientRelatedStudies") == [(*bruno, "2")]
        assert told(archive, "PATIENT", "PatientID", PatientName="Alpha*") == []
        assert told(archive, "PATIENT", "PatientID", PatientName="Beta*") == [("1",)]
        (conflict,) = archive.index.conflicts()
        assert (conflict.kind, conflict.uid) == (ConflictKind.PATIENT, "1")
        assert [one.patient_name for one in conflict.claimants] == ["Alpha^Anna", "Beta^Bruno"]


class TestPatients:
    def test_the_newest_study_is_that_of_the_latest_date(self, archive: Archive) -> None:
        archive.ingest(made("1.1", "1", StudyDate="20240101", PatientName="Alpha-Neu^Anna"))
        archive.ingest(made("2.1", "2", StudyDate="20100101"))
        assert told(archive, "PATIENT", "PatientName") == [("Alpha-Neu^Anna",)]
        archive.index.remove("1.1")
        assert told(archive, "PATIENT", "PatientName") == [("Alpha^Anna",)]

    def test_an_issuer_tells_patients_apart_within_a_study_too(self, archive: Archive) -> None:
        archive.ingest(made("1.1.1", IssuerOfPatientID="NORTH"))
        archive.ingest(made("1.1.2"))
        archive.ingest(made("1.1.3", IssuerOfPatientID="SOUTH"))
        archive.ingest(made("1.1.4", IssuerOfPatientID="NORTH"))
        asked = ("IssuerOfPatientID", "NumberOfStudyRelatedInstances")
        assert told(archive, "STUDY", *asked, StudyInstanceUID="1") == [
            ("", "1"),
            ("NORTH", "2"),
            ("SOUTH", "1"),
        ]
        north = brought(archive, "STUDY", StudyInstanceUID="1", IssuerOfPatientID="NORTH")
        assert [uid for uid, _ in north] == ["1.1.1", "1.1.4"]
        assert len(brought(archive, "PATIENT", PatientID="A1")) == 4

    def test_without_a_patient_id_the_study_tells_patients_apart(self, archive: Archive) -> None:
        archive.ingest(made("1.1.1", "1", ""))
        archive.ingest(made("2.1.1", "2", "", PatientName="Gamma"))
        archive.ingest(made("1.1.2", "1", "A1"))
        archive.ingest(made("1.1.3", "1", ""))
        asked = ("StudyInstanceUID", "PatientID", "NumberOfStudyRelatedInstances")
        assert told(archive, "STUDY", *asked) == [("1", "", "2"), ("1", "A1", "1"), ("2", "", "1")]
        assert archive.index.counts().patients == 3

    def test_an_object_sent_again_corrects_the_data_of_its_study(self, archive: Archive) -> None:
        for uid in ("1.1.1", "1.1.2"):
            archive.ingest(made(uid, StudyDescription="old"))
        archive.ingest(made("2.1.1", "2"))
        with capture_logs() as logs:
            kept = archive.ingest(made("1.1.1", PatientName="Alpha-Neu^Anna", StudyDescription="new"))
        assert kept.outcome == "replaced"
        expected = [("1", "Alpha-Neu^Anna", "new"), ("2", "Alpha^Anna", "")]
        assert told(archive, "STUDY", "StudyInstanceUID", "PatientName", "StudyDescription") == expected
        assert [one["conflict"] for one in logs if one["event"] == "identity conflict"] == [
            ConflictKind.PATIENT  # of the other study, which still has the old name
        ]
        assert archive.index.counts().instances == 3


class TestConflicts:
    def test_each_is_logged_once_a_study_and_listed(self, archive: Archive) -> None:
        with capture_logs() as logs:
            for number in range(3):
                for patient in ("A1", "B2"):
                    archive.ingest(made(f"1.1.{number}", "1", patient))
            archive.ingest(made("2.1", "2", "A1", PatientName="Another"))
            archive.ingest(made("2.2", "2", "A1", PatientName="Another"))
        warned = [(one["conflict"], one["study"]) for one in logs if one["event"] == "identity conflict"]
        assert sorted(warned) == sorted(
            [
                (ConflictKind.STUDY, "1"),
                (ConflictKind.INSTANCE, "1"),
                (ConflictKind.PATIENT, "2"),
            ]
        )
        assert {one["log_level"] for one in logs if one["event"] == "identity conflict"} == {"warning"}
        assert not any("A1" in str(one) or "Alpha" in str(one) for one in logs)
        listed = [(one.kind, one.uid, len(one.claimants)) for one in archive.index.conflicts()]
        assert listed == [
            (ConflictKind.STUDY, "1", 2),
            (ConflictKind.PATIENT, "A1", 2),
            *((ConflictKind.INSTANCE, f"1.1.{number}", 2) for number in range(3)),
        ]

    def test_a_correction_is_none_but_the_files_that_are_left_are(
        self, archive: Archive, opener: Opener
    ) -> None:
        for uid in ("1.1.1", "1.1.2"):
            archive.ingest(made(uid))
        archive.ingest(made("1.1.1", PatientName="Alpha-Neu^Anna"))
        assert archive.index.conflicts() == []
        anew = opener(index="anew.db")
        reindex(anew, Silent())
        assert [one.kind for one in anew.index.conflicts()] == [ConflictKind.PATIENT]
        archive.ingest(made("1.1.2", PatientName="Alpha-Neu^Anna"))
        later = opener(index="later.db")
        reindex(later, Silent())
        assert later.index.conflicts() == []

    def test_within_a_study_too(self, archive: Archive) -> None:
        with capture_logs() as logs:
            for number in range(4):
                name = "Alpha^Anna" if number % 2 else "ALPHA^Otto"
                archive.ingest(made(f"1.1.{number}", PatientName=name))
        assert [one["event"] for one in logs].count("identity conflict") == 1
        (conflict,) = archive.index.conflicts()
        assert (conflict.kind, conflict.claimants[0].differs_within) == (ConflictKind.PATIENT, True)

    def test_what_only_looks_different_is_none(self, archive: Archive) -> None:
        for number, name in enumerate(("Alpha^Anna", "ALPHA^ANNA^^", "Alpha^Anna=アルファ", "")):
            archive.ingest(made(f"{number}", str(number % 2), PatientName=name))
        assert archive.index.conflicts() == []


class TestOneInstanceOfTwo:
    def test_both_are_kept_and_each_is_found_by_its_own(self, archive: Archive) -> None:
        both(archive)
        assert brought(archive, "IMAGE", SOPInstanceUID="1.1.1", PatientID="A1") == [("1.1.1", "A1")]
        assert brought(archive, "PATIENT", PatientID="B2") == [("1.1.1", "B2")]
        archive.ingest(made("1.1.1", "7", "A1"))  # and in another study
        assert brought(archive, "IMAGE", SOPInstanceUID="1.1.1", StudyInstanceUID="7") == [("1.1.1", "A1")]
        assert brought(archive, "STUDY", StudyInstanceUID="1") == [("1.1.1", "A1"), ("1.1.1", "B2")]
        assert len(archive.index.named("1.1.1")) == 3

    def test_each_is_a_duplicate_or_a_correction_of_its_own(self, archive: Archive) -> None:
        sent = [made(patient=patient) for patient in ("A1", "B2")]
        for one in sent:
            archive.ingest(one)
        assert [archive.ingest(one).outcome for one in sent] == ["duplicate", "duplicate"]
        newer = archive.ingest(made(patient="A1", StudyDescription="newer"))
        assert newer.outcome == "replaced"
        assert told(archive, "STUDY", "PatientID", "StudyDescription") == [("A1", "newer"), ("B2", "")]
        assert len(list(archive.files.keys())) == 2

    def test_a_read_follows_its_own_object(self, archive: Archive) -> None:
        anna, _ = both(archive)
        archive.ingest(made(patient="A1", StudyDescription="newer"))
        assert archive.facts(anna).attributes["StudyDescription"] == "newer"  # it was replaced meanwhile
        archive.index.forget("1.1.1", archive.index.current(anna.identity).key)
        archive.store.delete(anna.key)
        with pytest.raises(Exception, match=r"1\.1\.1"):
            archive.facts(anna)

    @pytest.mark.parametrize("duplicates", ["replace", "keep"])
    def test_by_default_nothing_is_replaced_or_discarded(
        self, opener: Opener, duplicates: Duplicates
    ) -> None:
        both(opener(duplicates))

    def test_reject_refuses_the_second_one(self, opener: Opener) -> None:
        archive = opener("reject")
        archive.ingest(made())
        with pytest.raises(DuplicateRejected, match="another patient"):
            archive.ingest(made(patient="B2"))
        assert brought(archive, "STUDY", StudyInstanceUID="1") == [("1.1.1", "A1")]
        assert len(list(archive.files.keys())) == 1

    def test_the_index_made_anew_says_the_same(self, archive: Archive, opener: Opener) -> None:
        both(archive)
        archive.ingest(made("1.1.1", "2", "A1", PatientName="Other"))
        anew = opener(index="anew.db")
        reindex(anew, Silent())
        for level in ("PATIENT", "STUDY", "IMAGE"):
            asked = ("PatientID", "PatientName")
            assert told(anew, level, *asked) == told(archive, level, *asked)
        assert anew.index.conflicts() == archive.index.conflicts()
        assert list(fsck(anew, Silent())) == []

    def test_deleted_held_and_restored_alone(self, archive: Archive, deletion: Deletion) -> None:
        anna, bruno = both(archive)
        deletion.holds.add(Hold("STUDY", "1", "court", 1.0, patient_id="B2"))
        removal = deletion.delete([anna, bruno], "test")
        assert (removal.deleted, removal.held, removal.left) == (("1.1.1",), ("1.1.1",), ())
        assert brought(archive, "STUDY", StudyInstanceUID="1") == [("1.1.1", "B2")]
        (entry,) = deletion.trash.entries()
        assert len(list(deletion.restore([entry]))) == 1
        assert brought(archive, "STUDY", StudyInstanceUID="1") == [("1.1.1", "A1"), ("1.1.1", "B2")]
        assert archive.index.current(anna.identity) is not None
        assert list(fsck(archive, Silent())) == []

    def test_a_hold_that_names_no_patient_is_on_all(self, archive: Archive, deletion: Deletion) -> None:
        deletion.holds.add(Hold("IMAGE", "1.1.1", "court", 1.0))
        assert deletion.delete(both(archive), "test").held == ("1.1.1", "1.1.1")

    def test_a_deletion_that_was_killed_takes_only_its_own(
        self, archive: Archive, deletion: Deletion, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        anna, _ = both(archive)
        monkeypatch.setattr(deletion.trash, "take", lambda one: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            deletion.delete([anna], "test")
        monkeypatch.undo()
        deletion.resume()
        assert brought(archive, "STUDY", StudyInstanceUID="1") == [("1.1.1", "B2")]
        assert len(list(archive.files.keys())) == 1

    def test_retention_counts_them_apart(self, archive: Archive, tmp_path: Path) -> None:
        both(archive)
        rule = {"name": "annas", "match": {"PatientID": "A1"}, "after": "1d"}
        tables: dict[str, Any] = {"storage": {"url": f"{tmp_path}/objects"}, "retention": [rule]}
        retention = Retention(archive, lambda: Settings.model_validate(tables), lambda _: (0, 100))
        retention.round(START.timestamp() + 10 * 86_400)
        assert brought(archive, "STUDY", StudyInstanceUID="1") == [("1.1.1", "B2")]

    def test_what_a_crash_left_is_recovered_beside_the_other_one(
        self, archive: Archive, opener: Opener
    ) -> None:
        """A file whose row is missing takes no file of another patient's object with it."""
        anna, bruno = both(archive)
        archive.index.remove("1.1.1")
        archive.store.journal_removal(anna.key)
        later = opener()
        later.store.recover = lambda: iter([anna.key])  # type: ignore[method-assign]
        assert recover(later).recorded == 1
        assert later.files.has(bruno.key)
        assert brought(later, "STUDY", StudyInstanceUID="1") == [("1.1.1", "A1")]
        findings = list(fsck(later, Silent(), repair=True))
        assert [one.key for one in findings if one.repaired == "recorded"] == [bruno.key]
        assert brought(later, "STUDY", StudyInstanceUID="1") == [("1.1.1", "A1"), ("1.1.1", "B2")]

    def test_what_is_encoded_later_stays_two_objects(self, archive: Archive) -> None:
        claims = archive.index.claims
        anna, bruno = both(archive)
        claimed = claims.claim(Lease.begin("me"), [anna])
        assert [one.patient_id for one in claimed] == ["A1"]
        assert claims.claim(Lease.begin("you"), [bruno]) == []  # a claim keeps others from both
        claims.release("me")
        moved = replace(bruno, key=f"{bruno.key}.new")
        assert archive.index.change_many([(bruno, moved)]) == [True]
        assert archive.index.current(anna.identity).key == anna.key
        archive.index.stages.record_access([anna], 1e9, 60)
        assert sorted((one.patient_id, one.accessed) for one in archive.index.all()) == [
            ("A1", 10**9),
            ("B2", 0),
        ]

    def test_both_are_exported(self, archive: Archive, tmp_path: Path) -> None:
        exported = list(export(archive, archive.index.all(), tmp_path / "out", "received"))
        both(archive)
        exported = list(export(archive, archive.index.all(), tmp_path / "out", "received"))
        assert len({one.path for one in exported}) == 2
        assert all(one.path.is_file() and not one.reason for one in exported)

    def test_both_are_sent_on(self, archive: Archive) -> None:
        instances = both(archive)
        for one, sent in zip(instances, ("A1", "B2"), strict=True):
            send = QueuedSend("1.1.1", "PACS", "rule", START, START)
            archive.index.record(one, {"PatientID": sent, "StudyInstanceUID": "1"}, [send])
        queued = archive.index.send_queue.all()
        assert [archive.queued_instance(one) for one in queued] == list(instances)
        assert [one.patient_id for one in queued] == ["A1", "B2"]


def test_a_new_index_needs_none_to_be_made_anew(opener: Opener, tmp_path: Path) -> None:
    opener()
    with closing(sqlite3.connect(tmp_path / "index.db")) as database:
        assert database.execute("SELECT * FROM meta WHERE name = 'rebuild'").fetchall() == []


def test_a_folder_of_the_version_before_is_migrated_and_told_rightly(tmp_path: Path, opener: Opener) -> None:
    """Written by zscp as of 0008: a study of two patients, moved to the second; one ID of two persons."""
    copytree(BEFORE / "objects", tmp_path / "objects")
    with closing(sqlite3.connect(tmp_path / "index.db")) as database:
        database.executescript((BEFORE / "index.sql").read_text(encoding="utf-8"))
        assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [("0008",)]
        moved = "SELECT count(*) FROM study JOIN patient ON patient.id = parent WHERE patient_id = 'B2'"
        assert database.execute(moved).fetchone() == (1,)
    archive = opener()
    with closing(sqlite3.connect(tmp_path / "index.db")) as database:
        assert len(database.execute("SELECT value FROM meta WHERE name = 'rebuild'").fetchall()) == 1
    assert archive.index.counts().instances == 6
    outcome = reindex(archive, Silent())
    assert (outcome.recorded, outcome.superseded, outcome.gone) == (6, [], [])
    asked = ("PatientID", "PatientName", "NumberOfStudyRelatedInstances")
    assert told(archive, "STUDY", *asked) == [
        ("1", "Alpha^Anna", "1"),
        ("1", "Beta^Bruno", "1"),
        ("A1", "Alpha^Anna", "2"),
        ("B2", "Beta^Bruno", "2"),
    ]
    assert [patient for _, patient in brought(archive, "PATIENT", PatientID="A1")] == ["A1", "A1"]
    assert archive.index.counts().instances == 6
    conflicts = archive.index.conflicts()
    assert [one.kind for one in conflicts] == [ConflictKind.STUDY, ConflictKind.PATIENT]
    assert not any(claimant.differs_within for one in conflicts for claimant in one.claimants)
    assert list(fsck(archive, Silent())) == []
