"""Other content for a SOP instance that is held: the older one goes to the trash, and a hold keeps it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from scp.background.progress import Silent
from scp.errors import DuplicateRejected
from scp.lifecycle.deletion import Deletion
from scp.lifecycle.fsck import fsck
from scp.lifecycle.recovery import recover
from scp.model import Instance
from scp.node.tasks import Bells
from scp.objects.holds import Hold
from scp.objects.trash import Trash
from scp.objects.trashed import Trashed

from .aging import FAST, policy
from .configured import journal, left_by_the_dead, trashed_contents
from .conftest import RunningNode, Starter
from .peers import EXPLICIT, MR_IMAGE, STUDY_GET, Sent, identifier, image

_UID = "1.2.3.1.1"
_OLD, _NEW = (image(instance=_UID, seed=seed) for seed in range(2))
# Encoded before the response, in a file of its own; or behind it, in the landing log until then.
_WAYS: dict[str, dict[str, Any]] = {"before": {"backlog": 0}, "behind": {"backlog": "1GB"}}

# Another process encodes, and takes up what the dead left, or would.
_NOT_ENCODING = {"bells": Bells()}


@pytest.fixture(params=sorted(_WAYS))
def node(request: Any, start: Starter) -> RunningNode:
    return start(_NOT_ENCODING, storage=_WAYS[request.param])


def _back(node: RunningNode) -> list[bytes]:
    with node.scu((STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT]), roles=[MR_IMAGE]) as scu:
        done = scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID="1.2.3"))
    assert done.final.status == 0
    return [one.data for one in done.objects]


def _objects(node: RunningNode) -> Path:
    return node.root / "objects"


def _trash(node: RunningNode) -> list[Trashed]:
    return Trash({"": _objects(node)}).entries()


def _deletion(node: RunningNode) -> Deletion:
    return Deletion(node.archive, {"": _objects(node)})


def test_the_older_one_is_in_the_trash_with_who_and_when(node: RunningNode) -> None:
    old = node.store(_OLD, calling="CT1")
    new = node.store(_NEW, calling="OTHER")
    assert [one.status for one in old + new] == [0, 0]
    assert _back(node) == [_NEW.data]
    (entry,) = _trash(node)
    assert (entry.sop_instance_uid, entry.state) == (_UID, "gone")
    assert entry.reason == "replaced by an object from OTHER"
    assert entry.at >= node.held(_NEW).received_at.timestamp() - 1
    assert journal(_objects(node)) == []


def test_it_comes_back_to_the_byte_and_the_newer_one_goes_to_the_trash(node: RunningNode) -> None:
    node.keep(_OLD)
    node.keep(_NEW)
    (entry,) = _trash(node)
    with pytest.raises(DuplicateRejected, match="--replace"):
        list(_deletion(node).restore([entry]))
    assert _back(node) == [_NEW.data]
    list(_deletion(node).restore([entry], replace=True))
    assert _back(node) == [_OLD.data]
    (other,) = _trash(node)
    list(_deletion(node).restore([other], replace=True))
    assert _back(node) == [_NEW.data]


@pytest.mark.parametrize("level", ["PATIENT", "STUDY", "SERIES", "IMAGE"])
def test_what_is_under_a_hold_is_not_replaced(node: RunningNode, level: str) -> None:
    node.keep(_OLD)
    held = node.held(_OLD)
    patient = node.archive.facts(held).attributes["PatientID"]
    uids = {"PATIENT": patient, "STUDY": "1.2.3", "SERIES": held.series_instance_uid, "IMAGE": _UID}
    deletion = _deletion(node)
    deletion.holds.add(Hold(level, uids[level], "court", 1.0))
    for calling in ("TESTER", "OTHER"):
        (answer,) = node.store(_NEW, calling=calling)
        assert answer.status == 0x0111
        assert "hold" in answer.comment
    assert _back(node) == [_OLD.data]
    assert trashed_contents(_objects(node)) == []
    node.keep(_OLD)  # the same content is no other
    deletion.holds.remove(deletion.holds.all())
    node.keep(_NEW)
    assert _back(node) == [_NEW.data]


def test_while_a_hold_cannot_be_read_nothing_is_replaced(node: RunningNode) -> None:
    """It was answered as if the object were at fault: a sender that is told so does not send it again."""
    node.keep(_OLD)
    holds = _deletion(node).holds
    holds.add(Hold("IMAGE", "1.2.9", "court", 1.0))
    (file,) = (_objects(node) / ".holds").glob("*.json")
    whole = file.read_bytes()
    file.write_bytes(whole[:20])
    with structlog.testing.capture_logs() as told:
        (answer,) = node.store(_NEW)
    assert (answer.status, "legal hold" in answer.comment) == (0xA700, True)
    assert any(str(file) in str(one.get("reason")) for one in told)
    assert _back(node) == [_OLD.data]
    node.keep(_OLD, image(instance="1.2.3.4.99"))  # what replaces nothing is taken
    file.write_bytes(whole)
    node.keep(_NEW)
    assert _back(node)[0] == _NEW.data


def test_a_hold_counts_also_for_what_is_damaged(node: RunningNode) -> None:
    """A damaged file is evidence too; the same content may heal it."""
    node.keep(_OLD)
    _deletion(node).holds.add(Hold("IMAGE", _UID, "court", 1.0))
    _damage(node, _OLD)
    (answer,) = node.store(_NEW)
    assert answer.status == 0x0111
    node.keep(_OLD)
    assert _back(node) == [_OLD.data]


def test_damage_does_not_keep_newer_content_out(node: RunningNode) -> None:
    node.keep(_OLD)
    _damage(node, _OLD)
    node.keep(_NEW)
    assert _back(node) == [_NEW.data]


def _damage(node: RunningNode, sent: Sent) -> None:
    key = node.held(sent).key
    if not key.startswith("."):
        path, at = node.path(sent), node.path(sent).stat().st_size // 2
    else:  # .landing/<process>/<serial>/<offset>-<size>.dcm
        segment, _, record = key.rpartition("/")
        path, at = _objects(node) / f"{segment}.log", int(record.partition("-")[0]) + 2000
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_each_of_many_versions_can_be_restored(node: RunningNode) -> None:
    versions = [image(instance=_UID, seed=seed) for seed in range(4)]
    for version in versions:
        node.keep(version)
    for entry, version in zip(_trash(node), versions, strict=False):
        list(_deletion(node).restore([entry], replace=True))
        assert _back(node) == [version.data]
    assert len(set(trashed_contents(_objects(node)))) == 3


def test_a_trash_that_cannot_take_it_leaves_it_where_it_is(
    start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full, say: the newer object was acknowledged, and the next start finishes."""
    node = start(_NOT_ENCODING, storage=_WAYS["before"])
    node.keep(_OLD)
    old = node.path(_OLD)

    def fails(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Trash, "begin", fails)
        node.keep(_NEW)
    assert old.exists()
    assert _back(node) == [_NEW.data]
    digest = node.archive.index.newest(_UID).received_sha256
    node.node.stop()
    again = RunningNode(node.root, {"storage": _WAYS["before"]})
    try:
        assert not old.exists()
        assert _back(again) == [_NEW.data]
        assert len(trashed_contents(_objects(again))) == 1
        assert digest not in trashed_contents(_objects(again))
    finally:
        again.node.stop()


def test_fsck_puts_what_an_index_does_not_name_into_the_trash(start: Starter) -> None:
    """Files of an older content that a process left which died."""
    node = start(storage=_WAYS["before"], policy=policy(FAST))
    node.keep(_OLD)
    key, data = node.held(_OLD).key, node.path(_OLD).read_bytes()
    node.keep(_NEW)
    list(_deletion(node).purge(float("inf"), 0.0))
    node.archive.store.put(key, data)
    node.archive.store.settle(key)
    assert recover(node.archive).recorded == 0
    findings = list(fsck(node.archive, Silent(), repair=True))
    assert [finding.repaired for finding in findings] == ["removed"]
    assert len(trashed_contents(_objects(node))) == 1
    assert _back(node) == [_NEW.data]


_OTHERS = {
    "garbage": replace(_OLD, data=b"\xff" * 10),
    "another study": image(instance=_UID, study="1.2.9", seed=1),
    "another patient": image(instance=_UID, seed=1, PatientID="WIRE9"),
    "another series": image(instance=_UID, series="1.2.3.7", seed=1),
}


@pytest.mark.parametrize("held", [False, True], ids=["free", "under a hold"])
@pytest.mark.parametrize("what", ["garbage", "another study", "another patient"])
def test_an_object_of_another_study_or_patient_replaces_nothing(
    node: RunningNode, what: str, held: bool
) -> None:
    """Whoever knows a SOP Instance UID could else take an object away from its patient."""
    node.keep(_OLD)
    if held:
        _deletion(node).holds.add(Hold("STUDY", "1.2.3", "court", 1.0, "WIRE1"))
    (answer,) = node.store(_OTHERS[what], calling="OTHER")
    assert answer.status in (0, 0xB000, 0xB007)
    kept = {bytes(_stored(node, one)) for one in node.archive.index.named(_UID)}
    assert kept == {_OLD.data, _OTHERS[what].data}
    assert _OLD.data in _back(node)
    assert _trash(node) == []
    (conflict,) = [one for one in node.archive.index.conflicts() if one.uid == _UID]
    assert len(conflict.claimants) == 2


def test_another_series_of_the_study_is_a_correction(node: RunningNode) -> None:
    node.keep(_OLD)
    node.keep(_OTHERS["another series"])
    assert _back(node) == [_OTHERS["another series"].data]
    (entry,) = _trash(node)
    list(_deletion(node).restore([entry], replace=True))
    assert _back(node) == [_OLD.data]


def _stored(node: RunningNode, one: Instance) -> bytes:
    found = node.archive.fetch(one, [one.received_transfer_syntax])
    return b"".join(found.chunks)


@pytest.mark.parametrize("held", [False, True], ids=["free", "under a hold"])
@pytest.mark.parametrize("mode", ["replace", "reject", "keep"])
@pytest.mark.parametrize("way", sorted(_WAYS))
def test_what_was_acknowledged_stays_where_the_index_is_lost_too(
    start: Starter, monkeypatch: pytest.MonkeyPatch, way: str, mode: str, held: bool
) -> None:
    """Newer content was written, and its process died before it asked whether it may replace the older."""
    storage = {**_WAYS[way], "duplicates": mode}
    node = start(_NOT_ENCODING, storage=storage)
    node.keep(_OLD)
    if held:
        _deletion(node).holds.add(Hold("STUDY", "1.2.3", "court", 1.0))
    left_by_the_dead(node.root, _NEW)
    node.node.stop()
    for file in node.root.glob("index.db*"):
        file.unlink()
    again = RunningNode(node.root, {"storage": storage}, **_NOT_ENCODING)
    try:
        old, new = (hashlib.sha256(one.data).hexdigest() for one in (_OLD, _NEW))
        replaced = mode == "replace" and not held
        assert _back(again) == [_NEW.data if replaced else _OLD.data]
        assert trashed_contents(_objects(again)) == ([old] if replaced else [])
        aside = [path.read_bytes() for path in _objects(again).glob(".damaged/*")]
        assert any(_NEW.data in one for one in aside) != replaced
        assert new not in trashed_contents(_objects(again))
        assert list(fsck(again.archive, Silent())) == []
    finally:
        again.node.stop()


def test_a_replaced_record_that_is_left_in_the_log_goes_to_the_trash(node: RunningNode) -> None:
    """As an earlier version left it, which did not note that a record is over."""
    left_by_the_dead(node.root, _OLD)
    node.keep(_NEW)
    recover(node.archive)
    assert _back(node) == [_NEW.data]
    assert trashed_contents(_objects(node)) == [hashlib.sha256(_OLD.data).hexdigest()]
    recover(node.archive)
    assert len(trashed_contents(_objects(node))) == 1


@pytest.mark.parametrize("moment", ["before it is recorded", "before it takes its place"])
def test_what_a_peer_stores_while_a_record_is_taken_up_stays(
    start: Starter, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The record is older: it was written by a process that died."""
    node = start(_NOT_ENCODING, storage=_WAYS["before"])
    oldest = image(instance=_UID, seed=9)
    if moment == "before it takes its place":
        node.keep(oldest)
    left_by_the_dead(node.root, _OLD)
    whole, name = {
        "before it is recorded": (node.archive.interrupted, "counts"),
        "before it takes its place": (node.archive.index, "add"),
    }[moment]
    asked = getattr(whole, name)

    def meanwhile(*given: Any) -> Any:
        monkeypatch.setattr(whole, name, asked)
        answer = asked(*given)
        node.keep(_NEW)
        return answer

    monkeypatch.setattr(whole, name, meanwhile)
    recover(node.archive)
    assert _back(node) == [_NEW.data]
    assert hashlib.sha256(_OLD.data).hexdigest() in trashed_contents(_objects(node))
    recover(node.archive)
    assert _back(node) == [_NEW.data]
    assert list(fsck(node.archive, Silent())) == []


def test_what_gets_its_form_while_it_is_replaced_goes_to_the_trash(
    start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record is gone before it has a file of its own: what took its place is what is replaced."""
    node = start(_NOT_ENCODING, storage=_WAYS["behind"])
    node.keep(_OLD)
    archive, old = node.archive, node.held(_OLD)
    own, read = archive.replacer.own_file, archive.reader.sound

    def owning(held: Instance) -> Instance:
        monkeypatch.setattr(archive.reader, "sound", reading)
        return own(held)

    def reading(held: Instance) -> Any:
        monkeypatch.setattr(archive.reader, "sound", read)
        found = read(held)
        archive.replace([archive.encode(old)])
        return found

    monkeypatch.setattr(archive.replacer, "own_file", owning)
    node.keep(_NEW)
    assert _back(node) == [_NEW.data]
    list(_deletion(node).restore(_trash(node), replace=True))
    assert _back(node) == [_OLD.data]


def test_what_was_sent_again_in_another_form_is_back_already(start: Starter) -> None:
    node = start(storage=_WAYS["before"], policy=policy(FAST))
    node.keep(_OLD)
    _deletion(node).delete([node.held(_OLD)], "test")
    node.reload(policy=[{"name": "all", "stages": [{"form": "zstd"}]}])
    node.keep(_OLD)
    assert len(list(_deletion(node).restore(_trash(node)))) == 1
    assert _trash(node) == []
    assert _back(node) == [_OLD.data]
