"""Objects that a stage makes lossy: from the rule to the trash and back, and what is left where it dies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import decoders
import numpy as np
import pytest
from audit_schema import checked
from lossy_site import Site, files_of
from lossy_stages import J2K, NEAR, SAME, as_sent, configured, lossless, opened, picture, rules
from wire.configured import journal, settings_of, tables_of
from wire.peers import Sent, image, read

from scp.archive.archive import Archive
from scp.archive.lossy_replacer import LossyReplacer
from scp.archive.repair import repair_from, repair_from_siblings
from scp.archive.safekeeping import keys_of
from scp.audit.events import AuditSource
from scp.audit.rendering import to_xml
from scp.background.progress import Silent
from scp.encoding.codecs.lossy_table import lossy_encoder_of
from scp.errors import DuplicateRejected, ObjectDamaged, OutOfResources
from scp.index.promises import PROMISED_SINCE
from scp.index.sql import SqlIndex
from scp.lifecycle.explain import explain
from scp.lifecycle.forecast import forecast
from scp.lifecycle.fsck import fsck
from scp.lifecycle.recompress import recompress
from scp.lifecycle.reindex import reindex
from scp.lifecycle.retention import Retention
from scp.lifecycle.stages import Stages
from scp.model import Instance
from scp.node.planned import plan_report
from scp.objects.holds import Hold
from scp.objects.trash import Trash
from scp.objects.trash_folder import FolderCan
from scp.policy.stages import NEVER, fingerprint
from scp.syntaxes import JPEGLS_NEAR

pytestmark = pytest.mark.usefixtures("codecs_here")

WAYS = pytest.mark.parametrize("stage", [NEAR, SAME], ids=["new UID", "same UID"])
KINDS: list[dict[str, Any]] = [
    NEAR,
    J2K,
    {"form": "jpeg2000", "quality": 90},
    {"form": "htj2k", "ratio": 8},
    {"form": "jpegxl", "quality": 85},
    {"form": ["jpeg2000", "jpegls"], "keep": "smallest", "max_error": 4},
    {"form": "jpegls", "max_error": 2, "wrap": "none"},
]


class Killed(BaseException):
    pass


Starts = Callable[..., Site]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Starts]:
    made: list[Site] = []

    def start(stage: dict[str, Any] = NEAR, **tables: Any) -> Site:
        made.append(Site(tmp_path / str(len(made)), stage, **tables))
        return made[-1]

    yield start
    for one in made:
        one.close()


def _is_lossy_copy(archive: Archive, one: Instance, sent: Sent) -> None:
    """It is what the stage asks for, as another decoder sees it, and says so."""
    loss = archive.provenance(one).loss
    assert loss is not None
    assert (one.lossy_of, loss.sop_instance_uid) == (sent.instance, sent.instance)
    stream = b"".join(map(bytes, archive.fetch(one, [one.transfer_syntax]).chunks))
    copy = Sent(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax, stream)
    before = np.frombuffer(read(sent.data, sent.syntax).PixelData, "<u2").astype(int)
    errors = np.abs(decoders.pixels(copy).astype(int).ravel() - before)
    assert errors.max() == loss.max_error
    assert read(copy.data, copy.syntax).LossyImageCompression == "01"
    archive.verify(one, deep=True)


# ---- From the rule to the trash and back ----


@pytest.mark.parametrize("stage", KINDS, ids=str)
def test_a_stage_keeps_a_lossy_copy_and_the_original_comes_back(site: Starts, stage: dict[str, Any]) -> None:
    here, sent = site(stage), picture()
    original = here.keep(sent)
    assert here.carry_out() == 1
    copy = here.one
    assert copy.sop_instance_uid != sent.instance
    assert copy.stored_size < original.stored_size
    _is_lossy_copy(here.archive, copy, sent)
    assert here.carry_out() == 0
    (entry,) = here.deletion.trash.entries()
    assert (entry.state, entry.sop_instance_uid) == ("gone", sent.instance)
    assert entry.lossy_copy == copy.sop_instance_uid
    list(here.deletion.restore([entry]))
    assert lossless(here.archive, here.one) == sent.data
    assert here.one.key == original.key
    assert [one.sop_instance_uid for one in here.deletion.trash.entries()] == [copy.sop_instance_uid]
    assert here.carry_out() == 0, "it was made lossy again"
    assert here.one.no_loss == "its original was restored from the trash"
    assert journal(here.root / "objects") == []


def test_the_same_uid_where_the_admin_says_so(site: Starts) -> None:
    """References go on to lead to it; a request for the original needs no --replace."""
    here, sent = site(SAME), picture()
    original = here.keep(sent)
    assert here.carry_out() == 1
    copy = here.one
    assert copy.identity == original.identity
    assert copy.received_at - original.received_at == timedelta(microseconds=1)
    _is_lossy_copy(here.archive, copy, sent)
    (entry,) = here.deletion.trash.entries()
    assert entry.reason == f"made lossy: {sent.instance} is kept in its place"
    list(here.deletion.restore([entry]))
    assert lossless(here.archive, here.one) == sent.data
    assert here.carry_out() == 0
    assert len(files_of(here)) == 1


@WAYS
def test_what_was_sent_again_meanwhile_is_not_overwritten(site: Starts, stage: dict[str, Any]) -> None:
    here, sent = site(stage), picture()
    before = here.keep(sent)
    change = here.archive.encode(before)
    again = here.keep(picture(1, PatientComments="corrected"), days=0)
    with pytest.raises(DuplicateRejected):
        here.archive.losses.replace(change)
    assert here.one.received_sha256 == again.received_sha256
    assert len(files_of(here)) == 1
    assert journal(here.root / "objects") == []


@WAYS
def test_what_was_deleted_meanwhile_does_not_come_back(site: Starts, stage: dict[str, Any]) -> None:
    here = site(stage)
    change = here.archive.encode(here.keep(picture()))
    here.deletion.delete([here.one], "by hand")
    with pytest.raises(DuplicateRejected):
        here.archive.losses.replace(change)
    assert here.held == []
    assert files_of(here) == []


def test_what_does_not_match_stays(site: Starts) -> None:
    here = site()
    here.keep(picture(Modality="CR"))
    assert here.carry_out() == 0
    assert here.deletion.trash.entries() == []


def test_before_its_time_it_stays(site: Starts) -> None:
    here = site()
    here.keep(picture(), days=0.5)
    assert here.carry_out() == 0
    assert here.one.due - here.one.received_at.timestamp() == pytest.approx(86_400, abs=1)


# ---- What stays as it is, with the reason ----


def _stays(here: Site, reason: str, outcome: str = "cannot") -> None:
    """It is looked at once, and never again; ``explain`` says why."""
    before = here.one
    assert here.carry_out() == 1
    one = here.one
    assert (one.key, one.outcome, one.lossy_of, one.due) == (before.key, outcome, "", NEVER)
    assert reason in one.no_loss
    assert here.carry_out() == 0
    assert here.deletion.trash.entries() == []
    assert explain(here.archive, one.sop_instance_uid, "ZSCP").stored == one


@pytest.mark.parametrize("level", ["PATIENT", "STUDY", "IMAGE"])
@WAYS
def test_under_a_legal_hold(site: Starts, stage: dict[str, Any], level: str) -> None:
    here = site(stage)
    one = here.keep(picture())
    uids = {"PATIENT": one.patient_id, "STUDY": one.study_instance_uid, "IMAGE": one.sop_instance_uid}
    here.deletion.holds.add(Hold(level, uids[level], "court", 1.0))
    _stays(here, "under a legal hold")


@WAYS
def test_under_a_hold_that_came_while_it_was_encoded(site: Starts, stage: dict[str, Any]) -> None:
    here, sent = site(stage), picture()
    before = here.keep(sent)
    change = here.archive.encode(before)
    here.deletion.holds.add(Hold("STUDY", before.study_instance_uid, "court", 1.0))
    with pytest.raises(DuplicateRejected):
        here.archive.losses.replace(change)
    assert here.one.key == before.key
    assert lossless(here.archive, here.one) == sent.data
    assert len(files_of(here)) == 1


@WAYS
def test_with_a_storage_commitment(site: Starts, stage: dict[str, Any]) -> None:
    here = site(stage)
    one = here.keep(picture())
    here.archive.commitments.promises.add([one.sop_instance_uid])
    _stays(here, "a storage commitment was answered for it")


@WAYS
def test_with_a_storage_commitment_that_came_while_it_was_encoded(
    site: Starts, stage: dict[str, Any]
) -> None:
    here = site(stage)
    before = here.keep(picture())
    change = here.archive.encode(before)
    here.archive.commitments.promises.add([before.sop_instance_uid])
    with pytest.raises(DuplicateRejected, match="storage commitment"):
        here.archive.losses.replace(change)
    assert here.one.key == before.key
    assert len(files_of(here)) == 1


@WAYS
def test_with_a_storage_commitment_that_comes_in_the_last_moment(
    site: Starts, monkeypatch: pytest.MonkeyPatch, stage: dict[str, Any]
) -> None:
    """After it was looked for last, and before the row goes: both are one transaction."""
    here, sent = site(stage), picture()
    before = here.keep(sent)
    change = here.archive.encode(before)
    check = LossyReplacer._check

    def then_promised(*given: Any) -> None:
        check(*given)
        here.archive.commitments.promises.add([before.sop_instance_uid])

    monkeypatch.setattr(LossyReplacer, "_check", then_promised)
    monkeypatch.setattr(LossyReplacer, "_current", lambda _, one: one)
    with pytest.raises(DuplicateRejected, match="storage commitment"):
        here.archive.losses.replace(change)
    assert here.one.key == before.key
    assert lossless(here.archive, here.one) == sent.data
    assert len(files_of(here)) == 1
    assert here.deletion.trash.entries() == []


def test_where_a_storage_commitment_is_not_known(site: Starts) -> None:
    """Of what came before the index was made anew; an admin may vouch that there was none."""
    here = site()
    here.keep(picture())
    here.archive.index.meta.put({PROMISED_SINCE: None})
    _stays(here, "whether a storage commitment was answered")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date()
    here.archive.use_policy(configured(here.root, {**NEAR, "uncommitted_before": tomorrow}).policy)
    assert here.carry_out() == 1
    assert here.one.lossy_of


def test_an_index_that_is_made_anew_knows_of_no_earlier_commitment(tmp_path: Path) -> None:
    before = datetime.now(UTC).timestamp()
    index = SqlIndex.open(f"sqlite:///{tmp_path}/index.db")
    assert index.commitments.promises.since() == pytest.approx(before, abs=60)
    assert index.commitments.promises.since() >= int(before)
    index.close()


def test_of_a_class_that_holds_no_picture(site: Starts) -> None:
    here = site()
    here.keep(image(sop_class="1.2.840.10008.5.1.4.1.1.66.4", instance="1.2.3.9", rows=96, Modality="MG"))
    _stays(here, "holds no picture")


def test_with_padding_within_the_error(site: Starts) -> None:
    here = site()
    here.keep(picture(PixelPaddingValue=700))
    _stays(here, "from padding")


def test_that_is_lossy_already(site: Starts) -> None:
    here = site()
    here.keep(picture(LossyImageCompression="01"))
    _stays(here, "lost something already")


def test_of_which_no_copy_keeps_the_bound(site: Starts) -> None:
    here = site({"form": "jpegls", "ratio": 10, "max_error": 1})
    here.keep(picture())
    _stays(here, "keeps every sample within 1")


def test_of_which_the_copy_is_not_smaller(site: Starts) -> None:
    here = site({**NEAR, "wrap": "none"})
    here.keep(picture(PatientComments="a header that a zstd frame makes smaller " * 90))
    _stays(here, "the copy is not smaller", "no gain")


def test_a_copy_whose_codec_errs_is_not_kept(site: Starts, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is checked on what is decoded, not believed."""
    from scp.encoding import loss_at_rest  # noqa: PLC0415

    codec = lossy_encoder_of(JPEGLS_NEAR)
    assert codec is not None
    worse = replace(codec, encode=lambda frame, form, _: codec.encode(frame, form, 9))
    monkeypatch.setattr(loss_at_rest, "lossy_encoder_of", lambda _: worse)
    here = site()
    here.keep(picture())
    _stays(here, "keeps every sample within 2")


def test_an_admin_may_have_it_tried_again(site: Starts) -> None:
    """Once the hold is removed: with --now and --match."""
    here = site()
    one = here.keep(picture())
    hold = Hold("STUDY", one.study_instance_uid, "court", 1.0)
    here.deletion.holds.add(hold)
    _stays(here, "under a legal hold")
    here.deletion.holds.remove(here.deletion.holds.all())
    assert here.carry_out() == 0
    done = recompress(here.archive, here.held, lambda: float("inf"), Silent(), again=True)
    assert (done.encoded, done.lossy) == (1, 1)
    assert here.one.lossy_of


def test_two_nodes_do_it_once(site: Starts) -> None:
    """Both find the same objects due, and each claims what it works on."""
    here = site()
    for number in range(12):
        here.keep(picture(number))
    other = opened(here.settings, knows_promises=False)
    try:
        with ThreadPoolExecutor(2) as pool, ThreadPoolExecutor(2) as working:
            stages = [
                Stages(each, f"node{number}", working) for number, each in enumerate((here.archive, other))
            ]
            found = list(pool.map(lambda each: [each.round() for _ in range(8)], stages))
        changes = [change for rounds in found for one in rounds for change in one.changes if change.loss]
        assert len({change.before.sop_instance_uid for change in changes}) == len(changes)
        here.carry_out()
        assert len(here.deletion.trash.entries()) == 12
        assert [bool(one.lossy_of) for one in here.held] == [True] * 12
        assert sum(one.failed for rounds in found for one in rounds) == 0
    finally:
        other.close()


# ---- Killed ----

STEPS: list[tuple[Any, str]] = [
    (LossyReplacer, "_check"),
    (SqlIndex, "add"),
    (SqlIndex, "record"),
    (SqlIndex, "sync"),
    (FolderCan, "_note"),
    (SqlIndex, "forget"),
    (Trash, "take"),
    (Trash, "mark"),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("part", "step"), STEPS, ids=[step for _, step in STEPS])
@WAYS
def test_killed_at_each_step(
    site: Starts, monkeypatch: pytest.MonkeyPatch, stage: dict[str, Any], part: Any, step: str, after: bool
) -> None:
    """The original is there, or the proven copy with the original in the trash; the next turn finishes it."""
    here, sent = site(stage), picture()
    here.keep(sent)
    change = here.archive.encode(here.one)
    whole, dead = getattr(part, step), []

    def dies(*given: Any, **named: Any) -> Any:
        dead.append(whole(*given, **named) if after else None)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(part, step, dies)
        patched.setattr(here.archive.files.store, "withdraw", lambda *_: None)
        try:
            here.archive.losses.replace(change)
        except Killed:
            pass
        else:
            assert not dead  # this way has no such step
            return
    here.again()
    _is_one_or_the_other(here, sent)
    here.carry_out()
    _is_one_or_the_other(here, sent)
    assert here.one.lossy_of == sent.instance
    assert journal(here.root / "objects") == []
    assert len(files_of(here)) == 1
    entries = [one for one in here.deletion.trash.entries() if one.sop_instance_uid == sent.instance]
    list(here.deletion.restore(entries[-1:]))
    assert lossless(here.archive, here.one) == sent.data


def _is_one_or_the_other(here: Site, sent: Sent) -> None:
    """Never neither: the original as it came, or its copy with the original in the trash, or both."""
    originals = [one for one in here.held if not one.lossy_of]
    for one in originals:
        assert lossless(here.archive, one) == sent.data
    copies = [one for one in here.held if one.lossy_of]
    for one in copies:
        _is_lossy_copy(here.archive, one, sent)
    gone = [one for one in here.deletion.trash.entries() if one.sop_instance_uid == sent.instance]
    assert originals or (copies and gone)
    assert {one.state for one in gone} <= {"gone"}
    assert all(one.lossy_copy for one in gone), "it is purged as anything else"


# ---- The files are the truth ----


@WAYS
def test_a_rebuilt_index_knows_the_copy_and_makes_nothing_lossy_again(
    site: Starts, stage: dict[str, Any]
) -> None:
    here, sent = site(stage), picture()
    here.keep(sent)
    here.carry_out()
    before = here.one
    reindex(here.archive, Silent())
    after = here.one
    assert (after.key, after.lossy_of, after.stage) == (before.key, before.lossy_of, before.stage)
    _is_lossy_copy(here.archive, after, sent)
    assert here.carry_out() == 0
    assert list(fsck(here.archive, Silent(), repair=True, deletion=here.deletion)) == []


def test_a_lossy_copy_repairs_no_original(site: Starts) -> None:
    """Nor does an original repair its copy: they are other content, though of one UID."""
    here, sent = site(SAME), picture()
    original = here.keep(sent)
    whole = here.archive.store.get(original.key)
    here.carry_out()
    copy = here.one
    data = here.archive.store.get(copy.key)
    here.archive.store.put(original.key, bytes(whole))  # as if it had stayed
    assert repair_from_siblings(here.archive, copy) == ""
    assert not repair_from(here.archive, as_sent(sent))
    here.archive.store.put(copy.key, bytes(data[:-9]) + b"\0" * 9)
    with pytest.raises(ObjectDamaged):
        here.archive.verify(here.one)
    assert repair_from_siblings(here.archive, here.one) == ""
    assert not repair_from(here.archive, as_sent(sent))
    assert here.one.lossy_of


def test_what_is_kept_in_another_form_later_still_says_what_it_is(site: Starts) -> None:
    here, sent = site(), picture(PatientComments="a header that a zstd frame makes smaller " * 90)
    here.keep(sent)
    here.carry_out()
    policy = [{"name": "zstd", "stages": [{"form": "zstd"}]}]
    here.archive.use_policy(settings_of(tables_of(here.root, {"policy": policy})).policy)
    assert here.carry_out() == 1
    assert here.one.form == "zstd"
    _is_lossy_copy(here.archive, here.one, sent)


def test_a_later_stage_moves_it(site: Starts, tmp_path: Path) -> None:
    cold = {"name": "cold", "url": f"file://{tmp_path}/cold"}
    here, sent = site(tiers=[cold]), picture()
    here.keep(sent)
    here.carry_out()
    (rule,) = rules(NEAR)
    moved = {**rule, "stages": [*rule["stages"], {"after": "2d", "store": "cold"}]}
    here.archive.use_policy(settings_of(tables_of(here.root, {"policy": [moved], "tiers": [cold]})).policy)
    assert here.carry_out() == 1
    assert here.one.key.startswith("@cold/")
    _is_lossy_copy(here.archive, here.one, sent)


# ---- The trash ----


def test_an_original_stays_for_a_time_of_its_own(site: Starts) -> None:
    """What else lies in the trash goes before it, or after it, as the configuration says."""
    here = site(storage={"trash": "1d", "originals": "90d"})
    here.keep(picture(1))
    other = here.keep(picture(2, Modality="CR"))
    here.carry_out()
    here.deletion.delete([other], "by hand")
    retention = Retention(here.archive, lambda: here.settings)
    now = datetime.now(UTC).timestamp()
    retention.round(now + 2 * 86_400)
    assert [bool(one.lossy_copy) for one in here.deletion.trash.entries()] == [True]
    retention.round(now + 89 * 86_400)
    assert len(here.deletion.trash.entries()) == 1
    retention.round(now + 91 * 86_400)
    assert here.deletion.trash.entries() == []


def test_an_original_under_a_hold_is_not_purged(site: Starts) -> None:
    here = site()
    one = here.keep(picture())
    here.carry_out()
    here.deletion.holds.add(Hold("STUDY", one.study_instance_uid, "court", 1.0))
    Retention(here.archive, lambda: here.settings).round(datetime.now(UTC).timestamp() + 200 * 86_400)
    assert len(here.deletion.trash.entries()) == 1


@pytest.mark.parametrize("level", ["PATIENT", "STUDY", "SERIES", "IMAGE"])
@WAYS
def test_a_hold_on_the_copy_holds_its_original(site: Starts, stage: dict[str, Any], level: str) -> None:
    """The hold came after the loss, and names what is held now: what it was made of stays, too."""
    here, sent = site(stage), picture()
    here.keep(sent)
    here.carry_out()
    here.deletion.holds.add(Hold(level, keys_of(here.one)[level], "court", 1.0))
    far = datetime.now(UTC).timestamp() + 200 * 86_400
    Retention(here.archive, lambda: here.settings).round(far)
    assert here.deletion.purge(far, far) == []
    (entry,) = here.deletion.trash.entries()
    here.deletion.holds.remove(here.deletion.holds.all())
    list(here.deletion.restore([entry]))
    assert lossless(here.archive, here.one) == sent.data


@WAYS
def test_an_original_that_only_the_hold_on_its_copy_keeps_stays_in_the_trash(
    site: Starts, stage: dict[str, Any]
) -> None:
    """In the archive nothing would keep it from being deleted. Once it is held itself, it comes back."""
    here, sent = site(stage), picture()
    one = here.keep(sent)
    here.carry_out()
    copy = here.one
    here.deletion.holds.add(Hold("IMAGE", copy.sop_instance_uid, "court", 1.0))
    (entry,) = here.deletion.trash.entries()
    with pytest.raises(DuplicateRejected, match="hold"):
        list(here.deletion.restore([entry]))
    assert here.deletion.trash.entries() == [entry]
    assert here.one == copy
    if copy.sop_instance_uid == sent.instance:
        return
    here.deletion.holds.add(Hold("STUDY", one.study_instance_uid, "court", 1.0))
    list(here.deletion.restore([entry]))
    assert {each.sop_instance_uid for each in here.held} == {sent.instance, copy.sop_instance_uid}
    (back,) = here.archive.named(sent.instance)
    assert lossless(here.archive, back) == sent.data


def test_a_hold_that_comes_before_the_lock_counts(site: Starts, monkeypatch: pytest.MonkeyPatch) -> None:
    here = site()
    one = here.keep(picture())
    here.carry_out()
    deletion = here.deletion
    lock = deletion.trash.lock

    def then_held() -> Any:
        deletion.holds.add(Hold("STUDY", one.study_instance_uid, "court", 1.0))
        return lock()

    monkeypatch.setattr(deletion.trash, "lock", then_held)
    assert deletion.purge(float("inf"), float("inf")) == []
    assert len(deletion.trash.entries()) == 1


def test_a_note_of_what_was_deleted_is_as_before(site: Starts) -> None:
    """Nodes of the version before read it, and would take a note with another key for damaged."""
    here = site()
    here.deletion.delete([here.keep(picture())], "by hand")
    (note,) = (here.root / "objects" / ".trash").glob("*.gone")
    assert "lossy_copy" not in json.loads(note.read_text())


def test_without_room_in_the_trash_nothing_is_lost(site: Starts, monkeypatch: pytest.MonkeyPatch) -> None:
    here, sent = site(), picture()
    here.keep(sent)

    def full(*_: Any) -> None:
        raise OutOfResources("no room")

    with monkeypatch.context() as patched:
        patched.setattr(FolderCan, "begin", full)
        here.carry_out()
    _is_one_or_the_other(here, sent)


# ---- Told ----


def test_the_plan_says_what_would_be_lost(site: Starts) -> None:
    here = site()
    for number in range(3):
        here.keep(picture(number))
    held = here.keep(picture(9, StudyInstanceUID="1.2.826.0.1.99"))
    here.deletion.holds.add(Hold("STUDY", held.study_instance_uid, "court", 1.0))
    now = datetime.now(UTC)
    found = forecast(here.archive, here.settings.lifecycle, now.timestamp(), 60, Silent())
    (group,) = plan_report(found, now).groups
    assert (group.modality, group.objects) == ("MG", 4)
    loss = group.measured.loss
    assert loss is not None
    assert (loss.copies, loss.reasons) == (3, {"it is under a legal hold": 1})
    assert loss.max_error == 2
    assert 0 < loss.mean_error < 2
    assert loss.psnr is not None
    assert loss.psnr > 60
    assert group.saved is not None
    assert 0 < group.saved < group.stored_size
    assert all(not one.lossy_of for one in here.held), "a plan changes nothing"
    here.carry_out()
    losses = [here.archive.provenance(one).loss for one in here.held if one.lossy_of]
    assert [max(one.max_error for one in losses if one)] == [loss.max_error]


@WAYS
def test_the_audit_trail_has_each_object(site: Starts, stage: dict[str, Any]) -> None:
    here = site(stage)
    sent = [picture(number) for number in range(3)]
    for one in sent:
        here.keep(one)
    here.carry_out()
    details = [text.decode() for event in here.events for each in event.subjects for _, text in each.details]
    for one in sent:
        (copy,) = [held for held in here.held if held.lossy_of == one.instance]
        (told,) = [text for text in details if text.startswith(f"{one.instance} kept as")]
        assert told.startswith(f"{one.instance} kept as {copy.sop_instance_uid}: jpegls, maximum error 2")
        assert "largest error 2" in told
    assert {event.action for event in here.events} == {"U"}
    for event in here.events:
        checked(to_xml(event, AuditSource("ZSCP")))


def test_it_is_explained(site: Starts) -> None:
    here, sent = site(), picture()
    here.keep(sent)
    here.carry_out()
    found = explain(here.archive, here.one.sop_instance_uid, "ZSCP")
    assert found.provenance.loss is not None
    assert found.provenance.loss.sop_instance_uid == sent.instance
    assert found.provenance.stage == fingerprint(here.settings.policy[0].stages[2])
