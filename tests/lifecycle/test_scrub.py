"""Damage is found and never served; files and rows are brought to agree again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from objects import Shape, phantom

from scp.archive.archive import Archive
from scp.archive.encode import keep
from scp.archive.options import Options
from scp.archive.pending import PendingBound
from scp.background.doorbell import Doorbell
from scp.background.progress import Silent
from scp.config.rules import PolicyRule
from scp.config.settings import Settings
from scp.encoding.facts import survey
from scp.errors import ObjectDamaged, ObjectMissing
from scp.index.queue import Lease
from scp.index.sql import SqlIndex
from scp.lifecycle import fsck as checking
from scp.lifecycle.fsck import Finding, fsck
from scp.lifecycle.scrub import Checked, Scrubber
from scp.lifecycle.verify import repair_from_files, verify
from scp.metrics import counting
from scp.model import Instance, Received
from scp.objects import part10
from scp.objects.landed import LandedStore
from scp.objects.landing import LandingLog
from scp.objects.local import LocalStore
from scp.objects.names import is_landed
from scp.spool import sha256
from scp.syntaxes import EXPLICIT

FORMS: dict[str, dict[str, Any]] = {
    "received": {"form": "received", "wrap": "none"},
    "zstd": {"form": "zstd"},
    "htj2k": {"form": "htj2k", "wrap": "none"},
    "htj2k in zstd": {"form": "htj2k", "wrap": "zstd"},
    "jpegxl": {"form": "jpegxl", "wrap": "none"},
}
SENT = [phantom(Shape(rows=40, columns=48, seed=seed)) for seed in range(1, 5)]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Callable[..., Archive]]:
    opened: list[Archive] = []

    def make(form: str = "htj2k", landing: LandingLog | None = None) -> Archive:
        stages = [FORMS[form], {**FORMS["jpegxl"], "after": "1d"}]
        rules = [PolicyRule.model_validate({"name": "rule", "stages": stages})]
        index = SqlIndex.open(f"sqlite:///{tmp_path}/index.db")
        pending = PendingBound(lambda: 0, 1 << 30, Doorbell()) if landing else None
        store = LandedStore(LocalStore(tmp_path / "objects"), landing)
        opened.append(Archive(store, index, rules, Options(pending=pending)))
        return opened[-1]

    yield make
    for archive in opened:
        archive.close()


@pytest.fixture
def archive(made: Callable[..., Archive]) -> Archive:
    archive = made()
    for sent in SENT:
        archive.ingest(sent)
    return archive


def path_of(archive: Archive, sent: Received) -> Path:
    return archive.store.inner.root / held(archive, sent).key  # type: ignore[attr-defined, no-any-return]


def held(archive: Archive, sent: Received) -> Instance:
    found = archive.index.newest(sent.sop_instance_uid)
    assert found is not None
    return found


def scrubber(archive: Archive, **settings: Any) -> Scrubber:
    return Scrubber(archive, lambda: Settings.model_validate({"scrub": settings}), "test")


def served(archive: Archive, sent: Received) -> bytes:
    return b"".join(archive.fetch(held(archive, sent), [EXPLICIT]).chunks)


def aside(archive: Archive) -> list[bytes]:
    folder = archive.store.inner.root / ".damaged"  # type: ignore[attr-defined]
    return [path.read_bytes() for path in sorted(folder.iterdir())] if folder.is_dir() else []


# ---- damage ----


def places(size: int) -> list[int]:
    """Each region of a file: preamble, meta information, private provenance, header, pixels, tail."""
    return sorted({0, 128, 131, 160, *(size * n // 40 for n in range(40)), size - 2, size - 1})


@pytest.mark.parametrize("form", FORMS)
def test_a_flipped_bit_is_found_and_never_served(made: Callable[..., Archive], form: str) -> None:
    archive, sent = made(form), SENT[0]
    assert archive.ingest(sent).instance.form == FORMS[form]["form"]
    path = path_of(archive, sent)
    sound = path.read_bytes()
    for place in places(len(sound)):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 1 << place % 8]) + sound[place + 1 :])
        with pytest.raises(ObjectDamaged):
            served(archive, sent)
        assert scrubber(archive).round(time.time() + 1).damaged == 1
        (known,) = archive.index.checks.damaged()
        assert "is not what was written" in known.fault
    path.write_bytes(sound)
    assert scrubber(archive).round(time.time() + 1) == Checked(1, 0, 0, len(sound))
    assert archive.index.checks.damaged() == []
    assert served(archive, sent) == sent.dataset


def damaged_in_metrics() -> float:
    return sum(one.numbers[0] for one in counting.current().read() if one.labels == ("damaged",))


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0", lambda _: b""])
def test_a_file_that_is_shorter_or_longer_is_found(
    archive: Archive, change: Callable[[bytes], bytes]
) -> None:
    path = path_of(archive, SENT[1])
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ObjectDamaged):
        served(archive, SENT[1])
    before = damaged_in_metrics()
    assert scrubber(archive).round(time.time() + 1).damaged == 1
    assert damaged_in_metrics() == before + 1


def test_damage_in_the_landing_log_is_found(made: Callable[..., Archive], tmp_path: Path) -> None:
    landing = LandingLog(tmp_path / "objects", segment=1 << 20)
    archive = made(landing=landing)
    file = landed_in(archive, landing)
    start = int(held(archive, SENT[0]).key.rpartition("/")[2].partition("-")[0])
    dataset = file.read_bytes().find(bytes(SENT[0].dataset), start)
    size = len(SENT[0].dataset)
    for at in (start - 20, start, start + 140, dataset - 1, dataset, dataset + size // 2, dataset + size - 1):
        data = bytearray(file.read_bytes())
        data[at] ^= 4
        file.write_bytes(data)
        with pytest.raises((ObjectDamaged, ObjectMissing)):
            served(archive, SENT[0])
        assert scrubber(archive).round(time.time() + 1).damaged == 1
        data[at] ^= 4
        file.write_bytes(data)
    assert served(archive, SENT[0]) == SENT[0].dataset


def landed_in(archive: Archive, landing: LandingLog) -> Path:
    """Have an object land; returns its segment."""
    archive.use_policy([PolicyRule.model_validate({"name": "r", "stages": [FORMS["received"]]})])

    archive.ingest(SENT[0])
    key = held(archive, SENT[0]).key
    assert is_landed(key)
    return landing.root / f"{key.rpartition('/')[0]}.log"


def test_what_was_not_read_for_the_longest_is_read_first(archive: Archive) -> None:
    now = int(time.time())
    for n, sent in enumerate(SENT):
        archive.index.checks.note([(held(archive, sent), "")], now - 100 * n)
    assert scrubber(archive).round(now - 150).read == 2
    assert scrubber(archive).round(now - 150).read == 0
    assert archive.index.checks.oldest() == now - 100


def test_what_others_work_on_is_left_to_them(archive: Archive) -> None:
    some = [held(archive, sent) for sent in SENT[:3]]
    archive.index.claims.claim(Lease.begin("other"), some)
    assert scrubber(archive).round(time.time() + 1).read == 1
    archive.index.claims.release("other")
    assert scrubber(archive).round(time.time() + 1).read == 4
    assert archive.index.claims.claim(Lease.begin("x", 0), some) != []  # nothing is claimed any more


def test_the_rate_and_the_interval_bound_it(archive: Archive) -> None:
    size = sum(one.stored_size for one in archive.index.all())
    for one in list(archive.index.all()):
        archive.index.checks.note([(one, "")], time.time() - 200)
    assert scrubber(archive, interval="0s").turn() > 1
    assert scrubber(archive, interval="1h").turn() > 1
    assert max(one.checked for one in archive.index.all()) < time.time() - 100  # nothing was read
    slow = scrubber(archive, interval="1m", bytes_per_second=size // 10)
    assert 5 < slow.turn() <= 10.5
    assert min(one.checked for one in archive.index.all()) > time.time() - 100


# ---- mending ----


def damage(archive: Archive, sent: Received) -> bytes:
    path = path_of(archive, sent)
    data = bytearray(path.read_bytes())
    data[random.randrange(len(data))] ^= 255
    path.write_bytes(data)
    return bytes(data)


def leave_another_form(archive: Archive, sent: Received) -> Instance:
    """As interrupted work does: another form of the object, of which no row tells."""
    change = archive.encode(held(archive, sent), time.time() + 100_000)
    assert change.data is not None
    archive.store.put(change.after.key, change.data)
    archive.store.settle(change.after.key)
    return change.after


def test_another_copy_takes_the_place(archive: Archive) -> None:
    other = leave_another_form(archive, SENT[0])
    bad = damage(archive, SENT[0])
    assert scrubber(archive).round(time.time() + 1) == Checked(4, 1, 1, pytest.approx(0, abs=1e9))
    assert held(archive, SENT[0]).key == other.key
    assert served(archive, SENT[0]) == SENT[0].dataset
    assert aside(archive) == [bad]
    assert archive.index.checks.damaged() == []
    assert list(fsck(archive, Silent())) == []


def test_a_copy_that_is_damaged_or_of_other_content_takes_no_place(archive: Archive) -> None:
    other = leave_another_form(archive, SENT[0])
    path = archive.store.inner.root / other.key  # type: ignore[attr-defined]
    path.write_bytes(path.read_bytes()[:-1])
    newer = phantom(Shape(rows=40, columns=48, seed=1, bits_stored=9))
    assert newer.sop_instance_uid == SENT[0].sop_instance_uid
    second = Archive(
        archive.store, SqlIndex.open("sqlite:///" + str(path.parents[3] / "i.db")), archive.policy.rules
    )
    stray = second.ingest(newer).instance
    second.index.close()
    before = held(archive, SENT[0])
    damage(archive, SENT[0])
    assert scrubber(archive).round(time.time() + 1).repaired == 0
    assert held(archive, SENT[0]).key == before.key
    assert stray.key != before.key
    with pytest.raises(ObjectDamaged):
        served(archive, SENT[0])


def test_a_backup_repairs(archive: Archive, tmp_path: Path) -> None:
    """Damaged and missing ones; what is sound stays, and what was never held does not come in."""
    folder = tmp_path / "backup"
    folder.mkdir()
    for n, sent in enumerate(SENT):
        (folder / f"{n}.dcm").write_bytes(path_of(archive, sent).read_bytes())
    (folder / "text").write_text("no DICOM file")
    archive.index.remove(SENT[3].sop_instance_uid)
    damage(archive, SENT[0])
    path_of(archive, SENT[1]).unlink()
    before = [replace(held(archive, sent), checked=0) for sent in SENT[:3]]
    verdicts = {v.instance.sop_instance_uid: bool(v.fault) for v in verify(archive, archive.index.all())}
    assert sorted(verdicts.values()) == [False, True, True]
    assert len(archive.index.checks.damaged()) == 2
    repaired = {
        path.name for path, done in repair_from_files(archive, sorted(folder.iterdir()), "TEST") if done
    }
    assert repaired == {"0.dcm", "1.dcm"}
    assert archive.index.newest(SENT[3].sop_instance_uid) is None
    assert [replace(held(archive, sent), checked=0, fault="") for sent in SENT[:3]] == before
    assert [served(archive, sent) for sent in SENT[:3]] == [sent.dataset for sent in SENT[:3]]
    assert not any(verdict.fault for verdict in verify(archive, archive.index.all(), deep=True))
    assert archive.index.checks.damaged() == []


# ---- files and rows ----


def kinds(found: list[Finding]) -> dict[str, str]:
    return {one.kind: one.repaired for one in found}


def test_all_is_well(archive: Archive) -> None:
    assert list(fsck(archive, Silent())) == []


def test_a_file_without_a_row_is_recorded(archive: Archive) -> None:
    archive.index.remove(SENT[0].sop_instance_uid)
    assert kinds(list(fsck(archive, Silent()))) == {checking.UNRECORDED: ""}
    assert archive.index.newest(SENT[0].sop_instance_uid) is None
    assert kinds(list(fsck(archive, Silent(), repair=True))) == {checking.UNRECORDED: "recorded"}
    assert served(archive, SENT[0]) == SENT[0].dataset
    assert list(fsck(archive, Silent())) == []


def test_what_cannot_be_read_is_told_and_left(archive: Archive) -> None:
    archive.index.remove(SENT[0].sop_instance_uid)
    path = archive.store.inner.root / next(  # type: ignore[attr-defined]
        iter(set(archive.store.keys()) - {one.key for one in archive.index.all()})
    )  # type: ignore[attr-defined]
    path.write_bytes(path.read_bytes()[:300])
    (path.parent / "stranger.txt").write_text("hello")
    found = list(fsck(archive, Silent(), repair=True))
    assert [one.kind for one in found] == [checking.UNREADABLE] * 2
    assert not any(one.repaired for one in found)
    assert path.exists()


def test_a_form_that_was_left_over_goes(archive: Archive) -> None:
    left = leave_another_form(archive, SENT[0])
    (found,) = fsck(archive, Silent())
    assert (found.kind, found.key, found.repaired) == (checking.LEFT_OVER, left.key, "")
    assert archive.files.has(left.key)
    assert kinds(list(fsck(archive, Silent(), repair=True))) == {checking.LEFT_OVER: "removed"}
    assert not archive.files.has(left.key)
    assert list(fsck(archive, Silent())) == []


def test_one_that_was_left_over_is_worth_more_than_a_damaged_one(archive: Archive) -> None:
    left = leave_another_form(archive, SENT[0])
    bad = damage(archive, SENT[0])
    assert kinds(list(fsck(archive, Silent(), repair=True))) == {checking.LEFT_OVER: "taken in its place"}
    assert held(archive, SENT[0]).key == left.key
    assert served(archive, SENT[0]) == SENT[0].dataset
    assert aside(archive) == [bad]
    assert list(fsck(archive, Silent())) == []


def test_a_row_without_a_file(archive: Archive) -> None:
    """It stays until somebody says that the object is to be given up; another file of it is taken."""
    path_of(archive, SENT[0]).unlink()
    left = leave_another_form(archive, SENT[1])
    path_of(archive, SENT[1]).unlink()
    assert [one.kind for one in fsck(archive, Silent())] == [
        checking.LEFT_OVER,
        checking.MISSING,
        checking.MISSING,
    ]
    found = {
        one.sop_instance_uid: one
        for one in fsck(archive, Silent(), repair=True)
        if one.kind == checking.MISSING
    }
    assert set(found) == {SENT[0].sop_instance_uid}
    assert "zscp verify --restore-from" in found[SENT[0].sop_instance_uid].told
    assert held(archive, SENT[1]).key == left.key
    assert kinds(list(fsck(archive, Silent(), forget=True))) == {checking.MISSING: "forgotten"}
    assert archive.index.newest(SENT[0].sop_instance_uid) is None
    assert list(fsck(archive, Silent())) == []


def test_an_old_index_learns_what_came_since(archive: Archive, made: Callable[..., Archive]) -> None:
    """As after a restore of the index alone: the newer content is there, and the old one's file is not."""
    old = held(archive, SENT[0])
    newer = replace(
        phantom(Shape(rows=40, columns=48, seed=1, bits_stored=9)),
        received_at=old.received_at.replace(year=2040),
    )
    kept = archive.ingest(newer)
    archive.index.change_many([(kept.instance, old)])
    assert kinds(list(fsck(archive, Silent(), repair=True)))[checking.UNRECORDED] == "recorded"
    assert held(archive, SENT[0]).key == kept.instance.key
    assert list(fsck(archive, Silent())) == []


def test_what_is_under_way_is_no_finding(archive: Archive) -> None:
    change = archive.encode(held(archive, SENT[0]), time.time() + 100_000)
    assert change.data is not None
    archive.store.put(change.after.key, change.data)
    assert list(fsck(archive, Silent(), repair=True)) == []
    archive.store.settle(change.after.key)
    assert kinds(list(fsck(archive, Silent()))) == {checking.LEFT_OVER: ""}


def test_what_a_dead_process_left_is_taken_up(made: Callable[..., Archive]) -> None:
    archive = made()
    archive.ingest(SENT[0])
    change = archive.encode(held(archive, SENT[0]), time.time() + 100_000)
    assert change.data is not None
    archive.store.put(change.after.key, change.data)
    archive.store.close()  # its lock goes, as with the process
    again = made()
    assert list(kinds(list(fsck(again, Silent())))) == [checking.UNSETTLED, checking.LEFT_OVER]
    assert kinds(list(fsck(again, Silent(), repair=True))) == {checking.UNSETTLED: "taken up"}
    assert list(fsck(again, Silent())) == []
    assert served(again, SENT[0]) == SENT[0].dataset


@pytest.mark.parametrize("form", FORMS)
def test_deep_compares_pixels_and_bytes(made: Callable[..., Archive], form: str) -> None:
    """A file whose digests agree, and that gives back something else: only decoding it finds that."""
    archive, sent = made(form), SENT[0]
    archive.ingest(sent)
    other = made(form)
    wrong = phantom(Shape(rows=40, columns=48, seed=1, bits_stored=11))
    path = path_of(archive, sent)
    forged = forge(other, sent, wrong, form)
    path.write_bytes(forged)
    now = replace(held(archive, sent), stored_sha256=sha256(forged), stored_size=len(forged))
    archive.index.change_many([(held(archive, sent), now)])
    assert [verdict.fault for verdict in verify(archive, [now])] == [""]
    (verdict,) = verify(archive, [now], deep=True)
    assert verdict.fault


def forge(archive: Archive, sent: Received, wrong: Received, form: str) -> bytes:
    """The stored form of another image, with the provenance of the one that was sent."""

    rule = archive.policy.rules[0].at(archive.policy.rules[0].stages[0])
    made = [part10.unpack(keep(one, survey(one), rule).data) for one in (sent, wrong)]
    assert made[0].provenance is not None
    forged = part10.pack(replace(made[1], provenance=made[0].provenance))
    return bytes(part10.wrap(forged, 3) if "zstd" in form else forged)
