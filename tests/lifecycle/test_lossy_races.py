"""What comes between while objects are made lossy: nodes, promises, holds, peers that wait, dictionaries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lossy_site import Site, files_of
from lossy_stages import NEAR, SAME, lossless, opened, picture

from scp.archive.lossy_replacer import LossyReplacer
from scp.archive.safekeeping import Safekeeping
from scp.background.progress import Silent
from scp.errors import DuplicateRejected, ObjectUnavailable, OutOfResources, Superseded
from scp.index.sql_queue import SqlClaims
from scp.lifecycle.reindex import add_found, reindex
from scp.model import QueuedSend
from scp.objects.holds import Hold
from scp.policy.stages import NEVER, fingerprint, step

pytestmark = pytest.mark.usefixtures("codecs_here")

WAYS = pytest.mark.parametrize("stage", [NEAR, SAME], ids=["new UID", "same UID"])


class Killed(BaseException):
    pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Any]:
    made: list[Site] = []

    def start(stage: dict[str, Any] = NEAR, **tables: Any) -> Site:
        made.append(Site(tmp_path / str(len(made)), stage, **tables))
        return made[-1]

    yield start
    for one in made:
        one.close()


# ---- Two nodes, of which one has lost its claim ----


@pytest.mark.parametrize("held", [False, True], ids=["", "under a hold by then"])
@WAYS
def test_two_nodes_that_do_the_same_lose_nothing(
    site: Any, monkeypatch: pytest.MonkeyPatch, stage: dict[str, Any], held: bool
) -> None:
    """The second one records its copy when the first has put the original into the trash."""
    here, sent = site(stage), picture()
    original = here.keep(sent)
    other = opened(here.settings)
    change, same = other.encode(original), here.archive.encode(original)
    check = LossyReplacer._check

    def then_the_other(replacer: LossyReplacer, given: Any) -> None:
        check(replacer, given)
        if given is change:
            here.archive.losses.replace(same)
            if held:
                here.deletion.holds.add(Hold("STUDY", original.study_instance_uid, "court", 1.0))

    monkeypatch.setattr(LossyReplacer, "_check", then_the_other)
    try:
        other.losses.replace(change)
    except DuplicateRejected:
        pass
    finally:
        other.close()
    assert here.one.lossy_of == sent.instance
    here.archive.verify(here.one, deep=True)
    (entry,) = here.deletion.trash.entries()
    assert (entry.sop_instance_uid, entry.lossy_copy) == (sent.instance, here.one.sop_instance_uid)


def test_a_copy_goes_where_its_original_was_deleted(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    here = site()
    change = here.archive.encode(here.keep(picture()))
    replacing = Safekeeping.replacing

    def deleted(safekeeping: Safekeeping, one: Any) -> Any:
        here.deletion.delete([one], "by hand")
        return replacing(safekeeping, one)

    monkeypatch.setattr(Safekeeping, "replacing", deleted)
    with pytest.raises(Superseded):
        here.archive.losses.replace(change)
    assert here.held == []


# ---- Killed, and then something came ----


def _killed_on_its_way_to_the_trash(here: Site, monkeypatch: pytest.MonkeyPatch) -> str:
    """The note is written, the row is still there."""
    change = here.archive.encode(here.one)

    def dies(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(type(here.archive.commitments.promises), "forget", dies)
        with pytest.raises(Killed):
            here.archive.losses.replace(change)
    assert [one.state for one in here.deletion.trash.entries()] == ["going"]
    return change.after.sop_instance_uid


@pytest.mark.parametrize("what", ["promise", "hold", "copy deleted"])
def test_what_came_before_the_next_start_keeps_the_original(
    site: Any, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    here, sent = site(), picture()
    original = here.keep(sent)
    copy = _killed_on_its_way_to_the_trash(here, monkeypatch)
    if what == "promise":  # another node answered it: the object is still held
        here.archive.commitments.promises.add([sent.instance])
    elif what == "hold":
        here.deletion.holds.add(Hold("IMAGE", sent.instance, "court", 1.0))
    else:
        here.deletion.delete(here.archive.named(copy), "by hand")
    here.again()
    assert here.one.key == original.key
    assert lossless(here.archive, here.one) == sent.data
    assert {one.sop_instance_uid for one in here.deletion.trash.entries()} == {copy}


def test_nothing_came_before_the_next_start(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    here, sent = site(), picture()
    here.keep(sent)
    copy = _killed_on_its_way_to_the_trash(here, monkeypatch)
    here.again()
    assert here.one.sop_instance_uid == copy
    (entry,) = here.deletion.trash.entries()
    assert (entry.state, entry.sop_instance_uid) == ("gone", sent.instance)


# ---- What is to be sent ----


def _queued(here: Site) -> QueuedSend:
    now = datetime.now(UTC)
    return QueuedSend(destination="AWAY", rule="all", queued_at=now, due=now, **here.one.identity._asdict())


@WAYS
def test_what_a_peer_waits_for_is_not_made_lossy(site: Any, stage: dict[str, Any]) -> None:
    """The row of the queue would go with the original, or the peer would get the copy."""
    here, sent = site(stage), picture()
    before = here.keep(sent)
    here.archive.send_queue.add([_queued(here)])
    assert here.carry_out() == 0
    assert here.one.key == before.key
    assert here.one.no_loss == "it is yet to be sent to a peer"
    assert datetime.now(UTC).timestamp() < here.one.due < NEVER


@WAYS
def test_what_is_to_be_sent_since_then_is_not_made_lossy(site: Any, stage: dict[str, Any]) -> None:
    here = site(stage)
    before = here.keep(picture())
    change = here.archive.encode(before)
    here.archive.send_queue.add([_queued(here)])
    with pytest.raises(DuplicateRejected, match="yet to be sent"):
        here.archive.losses.replace(change)
    assert here.one.key == before.key
    assert len(files_of(here)) == 1


# ---- Others have the lock of the trash ----


@pytest.mark.parametrize(
    ("error", "seconds"), [(OutOfResources("busy"), 60), (ObjectUnavailable("away"), 3600)], ids=str
)
def test_what_only_waited_in_vain_is_tried_again_in_a_minute(
    site: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, seconds: int
) -> None:
    """A lock that others have is free again soon; a store that is away is not."""
    here = site()
    before = here.keep(picture())

    def busy(*_: Any) -> None:
        raise error

    hold, held = SqlClaims.hold, []

    def noted(claims: SqlClaims, uids: Any, until: datetime) -> None:
        held.append((until - datetime.now(UTC)).total_seconds())
        hold(claims, uids, until)

    with monkeypatch.context() as patched:
        patched.setattr(Safekeeping, "replacing", busy)
        patched.setattr(SqlClaims, "hold", noted)
        assert here.carry_out() == 0
    assert before.key in {one.key for one in here.held}  # beside its copy, until the next try
    assert [seconds / 2 < one <= seconds for one in held] == [True]
    here.archive.claims.hold([before.sop_instance_uid], datetime.now(UTC) - timedelta(hours=1))
    assert here.carry_out() == 1
    assert here.one.lossy_of == before.sop_instance_uid


# ---- Sent again ----


@pytest.mark.parametrize("duplicates", ["replace", "keep"])
@WAYS
def test_an_original_that_is_sent_again_is_kept(site: Any, stage: dict[str, Any], duplicates: str) -> None:
    """Its copy is not what came first. Its time begins anew."""
    here, sent = site(stage, storage={"duplicates": duplicates}), picture()
    here.keep(sent)
    here.carry_out()
    here.deletion.purge_entries(here.deletion.trash.entries())
    here.keep(sent, days=0)
    (again,) = here.archive.named(sent.instance)
    assert again.lossy_of == ""
    assert lossless(here.archive, again) == sent.data
    assert here.carry_out() == 0
    assert [one.lossy_of for one in here.archive.named(sent.instance)] == [""]


# ---- The files are the truth ----


@pytest.mark.parametrize("way", ["reindex", "found"])
def test_a_copy_beside_its_original_is_not_taken_for_what_came_later(site: Any, way: str) -> None:
    """A hold or a promise may have kept the original after its copy was written."""
    here, sent = site(SAME), picture()
    before = here.keep(sent)
    change = here.archive.encode(before)
    assert change.data is not None
    here.archive.files.store.put(change.after.key, change.data)
    here.archive.files.store.settle(change.after.key)
    if way == "reindex":
        reindex(here.archive, Silent())
        assert here.one.key == before.key
        here.archive.forget(before.sop_instance_uid, before.key)
        reindex(here.archive, Silent())
    else:
        add_found(here.archive, Silent(), [change.after.key])
    assert lossless(here.archive, here.one) == sent.data


def test_a_row_of_before_gives_way_to_the_copy_whose_original_is_gone(site: Any) -> None:
    """As where an older copy of the index was put back."""
    here, sent = site(SAME), picture()
    before = here.keep(sent)
    row = here.one
    here.carry_out()
    copy = here.one
    here.archive.record_rows([(row, here.archive.facts(copy).attributes)])
    assert here.one.key == before.key
    reindex(here.archive, Silent())
    assert here.one.key == copy.key


def test_a_reindex_keeps_the_reason(site: Any) -> None:
    here = site()
    one = here.keep(picture())
    here.deletion.holds.add(Hold("STUDY", one.study_instance_uid, "court", 1.0))
    here.carry_out()
    reindex(here.archive, Silent())
    assert here.one.no_loss == "it is under a legal hold"


# ---- Packed anew ----


def test_what_stays_as_it_is_stays_in_its_frame(site: Any) -> None:
    """A lossy stage that leaves an object as it was says nothing of the dictionary that it needs."""
    here = site()
    one = here.keep(picture())
    (rule,) = here.settings.policy
    first, dense, lossy = rule.stages
    rule = rule.model_copy(update={"stages": (first, dense.model_copy(update={"dictionary": True}), lossy)})
    stays = replace(one, stage=fingerprint(lossy), no_loss="it is under a legal hold", dictionary=7)
    assert not step(rule, stays, newest=lambda _: 7).packs
    found = step(rule, stays, newest=lambda _: 8)
    assert (found.packs, found.stage) == (True, rule.stages[1])
    copy = replace(stays, no_loss="", lossy_of=one.sop_instance_uid)
    assert step(rule, copy, newest=lambda _: 7).stage == lossy
