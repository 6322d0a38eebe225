"""One object whose handling fails stops no loop: the others are done, and it is not tried without end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from objects import bundled_file

from scp.archive import deliver, encode
from scp.archive.archive import Archive
from scp.archive.form_maker import FormMaker
from scp.archive.reader import Reader
from scp.archive.records import key_of
from scp.archive.refusal import Refusal, library_of, refusal_of
from scp.background.doorbell import Doorbell
from scp.background.progress import Silent
from scp.config.settings import LifecycleSettings
from scp.errors import (
    CannotEncode,
    CodecProcessFailed,
    DecoderFailed,
    NoLosslessWay,
    ObjectDamaged,
    ObjectRefused,
    ObjectUnavailable,
    OutOfResources,
)
from scp.lifecycle import training, transfer
from scp.lifecycle.deletion import Deletion
from scp.lifecycle.encoder import Encoder
from scp.lifecycle.explain import explain
from scp.lifecycle.forecast import forecast
from scp.lifecycle.fsck import fsck
from scp.lifecycle.recompress import recompress
from scp.lifecycle.recovery import recover
from scp.lifecycle.reindex import reindex
from scp.lifecycle.retention import Retention
from scp.lifecycle.scrub import Scrubber
from scp.lifecycle.stages import Stages
from scp.lifecycle.verify import verify
from scp.model import Instance
from scp.node.build import open_archive, take_up
from scp.node.tasks import Bells

from .aging import FAST, SMALL, carry_out, policy, use
from .configured import left_by_the_dead, settings_of, tables_of
from .conftest import RunningNode, Starter
from .peers import EXPLICIT, Sent, image, of_file

BAD = "1.2.3.66"
ERRORS = [MemoryError("none"), RuntimeError("a bug"), RecursionError("deep"), ObjectDamaged("rot")]
# A rule that asks for KVP asks the files: the index does not have it.
_OBJECTS = [
    image(instance=BAD, study="1.2.66", rows=48, KVP="80"),
    *(image(instance=f"1.2.3.7.{n}", seed=n, rows=48, KVP="80") for n in range(9)),
]
_GOOD = {one.instance for one in _OBJECTS[1:]}

each_error = pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)


@pytest.fixture
def archive(start: Starter) -> Archive:
    """One that holds the bad object, first of all, and others."""
    node = start(policy=policy(FAST))
    node.keep(*_OBJECTS)
    return node.archive


class Failing:
    """Makes functions fail for the bad object, and counts how often they did."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.patch = monkeypatch
        self.times = 0

    def at(self, where: Any, name: str, error: Exception) -> None:
        work = getattr(where, name)

        def step(*given: Any, **named: Any) -> Any:
            if any(_is_bad(one) for one in given):
                self.times += 1
                raise error
            return work(*given, **named)

        self.patch.setattr(where, name, step)

    def at_swaps_of_the_bad(self, archive: Archive) -> None:
        swap = archive.replace

        def full(changes: list[Any]) -> None:
            if any(one.before.sop_instance_uid == BAD for one in changes):
                self.times += 1
                raise OSError(28, "No space left on device")
            swap(changes)

        self.patch.setattr(archive, "replace", full)


def _is_bad(given: object) -> bool:
    return BAD in (getattr(given, "sop_instance_uid", ""), getattr(given, "instance", "")) or (
        isinstance(given, str) and f"/{BAD}_" in given
    )


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Failing:
    return Failing(monkeypatch)


def _held(archive: Archive) -> Instance:
    held = archive.index.newest(BAD)
    assert held is not None
    return held


def _refused(archive: Archive) -> Refusal | None:
    return refusal_of(_held(archive).refused)


@pytest.fixture
def pending(tmp_path: Path) -> Iterator[Archive]:
    """One in which all objects lie in the landing log yet, the bad one first."""
    (tmp_path / "objects").mkdir()
    for one in _OBJECTS:
        left_by_the_dead(tmp_path, one)
    archive = open_archive(settings_of(tables_of(tmp_path, {"storage": {"backlog": "1GB"}})), Doorbell())
    take_up(archive)
    yield archive
    archive.close()


def _encode_all(archive: Archive, rounds: int = 6) -> None:
    encoder = Encoder(archive, Doorbell())
    for _ in range(rounds):
        encoder.round()
    encoder.close()


@pytest.mark.parametrize("error", ERRORS[1:], ids=lambda error: type(error).__name__)
def test_encoding(pending: Archive, failing: Failing, error: Exception) -> None:
    failing.at(FormMaker, "_encoded", error)
    _encode_all(pending)
    left = {one.sop_instance_uid: one for one in pending.index.all()}
    assert {left[uid].form for uid in _GOOD} == {"htj2k"}
    assert pending.index.pending(10) == []
    if isinstance(error, ObjectDamaged):
        assert failing.times == 1
        assert "rot" in left[BAD].fault  # it waits until it is mended
        return
    assert failing.times == 2
    refusal = _refused(pending)
    assert refusal is not None
    assert str(error) in refusal.reason
    assert (left[BAD].form, left[BAD].pending) == ("received", False)
    assert pending.index.count_pending().instances == 0
    pending.verify(left[BAD], deep=True)
    # The file says it, too: an index that is lost is made anew with it.
    pending.trials.attempts.forget(left[BAD].key)  # type: ignore[union-attr]
    again, _ = pending.reader.read_back(left[BAD].key)
    assert (again.pending, bool(again.refused)) == (False, True)


def _no_form(failing: Failing, error: Exception) -> list[str]:
    """Forms of the bad one that were tried, which raises ``error``."""
    work, tried = encode.encoded, list[str]()  # type: ignore[attr-defined]

    def step(form: str, received: Any, *more: Any) -> Any:
        if form not in ("zstd", "received") and received.sop_instance_uid == BAD:
            tried.append(form)
            raise error
        return work(form, received, *more)

    failing.patch.setattr(encode, "encoded", step)
    return tried


@pytest.mark.parametrize("where", ["codec", "node"])
@pytest.mark.parametrize("error", [MemoryError("none"), OutOfResources("none")], ids=["memory", "disk"])
def test_without_room_it_is_tried_later_and_later_and_then_refused(
    pending: Archive, failing: Failing, error: Exception, where: str
) -> None:
    """A moment without memory says nothing of an object; but nothing is tried without end."""
    if where == "node" and not isinstance(error, MemoryError):
        return  # the store or the index does not answer: nobody gives an object up for that
    if where == "codec":
        tried = _no_form(failing, error)
    else:
        failing.at(FormMaker, "_encoded", error)
    clock, pauses = [1000.0], list[float]()
    encoder = Encoder(pending, Doorbell(), clock=lambda: clock[0])
    for _ in range(5):
        encoder.round()
        encoder.round()
        assert [one.sop_instance_uid for one in pending.index.pending(10)] == [BAD]
        pauses.append(encoder._put_off[_held(pending).key] - clock[0])
        clock[0] += pauses[-1]
    assert pauses == [60, 120, 240, 480, 960]
    assert _refused(pending) is None
    encoder.round()
    encoder.close()
    assert (failing.times if where == "node" else len(tried)) == 6
    held, refusal = _held(pending), _refused(pending)
    assert refusal is not None
    assert refusal.act == "encode"
    assert "none" in refusal.reason
    assert (held.form, held.pending) == ("received", False)
    again, _ = pending.reader.read_back(held.key)
    assert (again.pending, bool(again.refused)) == (False, True)
    if where == "codec":
        _tried_again_when_asked(pending, failing)


def test_without_room_for_a_while_it_gets_its_form(pending: Archive, failing: Failing) -> None:
    _no_form(failing, MemoryError("none"))
    _encode_all(pending)
    failing.patch.undo()
    _encode_all(pending)  # with an encoder that put off nothing
    assert (_held(pending).form, _held(pending).refused) == ("htj2k", "")


def test_a_codec_that_fails_is_tried_no_more(pending: Archive, failing: Failing) -> None:
    tried = _no_form(failing, CodecProcessFailed("it died"))
    _encode_all(pending)
    assert tried == ["htj2k"]
    held, refusal = _held(pending), _refused(pending)
    assert refusal is not None
    assert (refusal.act, held.form, held.pending) == ("encode", "zstd", False)
    assert [one.outcome for one in pending.provenance(held).attempts] == ["failed", "kept"]
    again, _ = pending.reader.read_back(held.key)
    assert again.refused == held.refused
    _tried_again_when_asked(pending, failing)


def _tried_again_when_asked(archive: Archive, failing: Failing) -> None:
    due = recompress(archive, None, time.time, Silent())
    assert due.encoded == 0
    assert recompress(archive, [_held(archive)], time.time, Silent()).encoded == 0
    failing.patch.undo()
    assert recompress(archive, [_held(archive)], lambda: float("inf"), Silent(), again=True).encoded == 1
    assert (_held(archive).form, _held(archive).refused) == ("jpegxl", "")  # by then the later stage is due


@pytest.mark.parametrize("uid", [BAD, ""])
def test_what_its_row_says_the_journal_forgets(
    pending: Archive, monkeypatch: pytest.MonkeyPatch, uid: str
) -> None:
    """100,000 rows were read for each record of the landing log that a process had died of, at each start."""
    assert pending.trials.attempts is not None
    key = _held(pending).key
    for one in (key, "import:elsewhere"):
        for _ in range(4):
            pending.trials.attempts.failed(
                one, uid if one == key else "", "encode", "it died", library_of("encode")
            )
    monkeypatch.setattr(type(pending.index), "pending", lambda *_: pytest.fail("all that is pending is read"))
    pending.trials.note_deaths()
    refusal = _refused(pending)
    assert refusal is not None
    assert (refusal.act, refusal.reason) == ("encode", "it died")
    assert [one.key for one in pending.trials.attempts.suspects.all()] == [
        "import:elsewhere"
    ]  # that has no row


def test_tried_again_when_asked_though_it_is_in_its_last_resort_and_refused(
    pending: Archive, failing: Failing
) -> None:
    """That it is refused no more was written over with how it was when it was asked for."""
    _no_form(failing, CannotEncode("too odd"))
    _encode_all(pending)
    assert (_held(pending).form, _held(pending).refused) == ("zstd", "")
    failing.patch.undo()
    pending.trials.refuse(_held(pending), Refusal("decode", "it died", library_of("decode")))
    assert recompress(pending, [_held(pending)], time.time, Silent(), again=True).encoded == 1
    assert (_held(pending).form, _held(pending).refused) == ("htj2k", "")


def test_tried_again_when_a_version_has_changed(pending: Archive, failing: Failing) -> None:
    failing.at(FormMaker, "_encoded", RuntimeError("a bug"))
    _encode_all(pending)
    refusal = _refused(pending)
    assert refusal is not None
    assert pending.trials.allow_outdated() == 0
    pending.index.checks.refuse(BAD, _held(pending).key, replace(refusal, library="zscp 0").text)
    failing.patch.undo()
    assert pending.trials.allow_outdated() == 1
    assert recompress(pending, None, time.time, Silent()).encoded == 1
    assert (_held(pending).form, _held(pending).refused) == ("htj2k", "")


@each_error
def test_stages(archive: Archive, failing: Failing, made: Callable[..., Stages], error: Exception) -> None:
    use(archive, FAST, {**SMALL, "after": "0s"})
    failing.at(FormMaker, "_encoded", error)
    done = carry_out(made(archive))
    assert set(done) == _GOOD
    assert failing.times == 1  # and again in an hour
    assert {one.form for one in archive.index.all() if one.sop_instance_uid != BAD} == {"jpegls"}
    for _ in range(8):
        archive.index.claims.release("")
        carry_out(made(archive))
    assert failing.times == {MemoryError: 6, ObjectDamaged: 1}.get(type(error), 2)
    assert _held(archive).fault if isinstance(error, ObjectDamaged) else _held(archive).refused


def test_one_that_cannot_be_put_in_its_place(
    archive: Archive, made: Callable[..., Stages], failing: Failing
) -> None:
    """A store that takes no more of one holds up no others of its batch."""
    use(archive, FAST, {**SMALL, "after": "0s"})
    failing.at_swaps_of_the_bad(archive)
    assert set(carry_out(made(archive))) == _GOOD


def test_one_alone_that_cannot_be_put_in_its_place_is_left_for_a_while(
    archive: Archive, made: Callable[..., Stages], failing: Failing
) -> None:
    """As a batch of one it looks as if nothing could be: it holds up the others no longer than once."""
    use(archive, FAST, {**SMALL, "after": "0s"})
    stages = made(archive)
    while stages.plan():
        pass
    failing.at_swaps_of_the_bad(archive)
    with pytest.raises(OSError, match="No space"):
        stages.carry_out([_held(archive)])
    assert set(carry_out(stages)) == _GOOD
    assert failing.times == 1


def test_one_alone_behind_the_response_is_left_for_a_while(pending: Archive, failing: Failing) -> None:
    """A suspect is tried alone, and may be as sound as any."""
    pending.trials.attempts.failed(_held(pending).key, BAD, "encode", "it died")  # type: ignore[union-attr]
    pending.trials.attempts.failed(pending.index.pending(2)[1].key, "", "encode", "it died")  # type: ignore[union-attr]
    failing.at_swaps_of_the_bad(pending)
    encoder = Encoder(pending, Doorbell())
    with pytest.raises(OSError, match="No space"):
        encoder.round()
    for _ in range(3):
        encoder.round()
    encoder.close()
    assert [one.sop_instance_uid for one in pending.index.pending(20)] == [BAD]
    assert failing.times == 1


@pytest.mark.parametrize(
    "error", [ObjectUnavailable("away"), OSError(5, "I/O error"), OutOfResources("full")]
)
def test_a_suspect_that_is_not_at_fault_is_put_off(
    pending: Archive, failing: Failing, error: Exception
) -> None:
    """It was tried again at once, and again, as if it were to be found out what it does."""
    pending.trials.attempts.failed(_held(pending).key, BAD, "survey", "it died")  # type: ignore[union-attr]
    failing.at(FormMaker, "_encoded", error)
    _encode_all(pending)
    assert failing.times == 1


@each_error
def test_planning(archive: Archive, failing: Failing, made: Callable[..., Stages], error: Exception) -> None:
    """A rule that asks what only the file says."""
    rules = settings_of({"policy": policy({**FAST, "form": "jpegls"}, KVP="80")}).policy
    archive.use_policy(rules)
    failing.at(Reader, "facts", error)
    assert set(carry_out(made(archive))) == _GOOD
    assert forecast(archive, LifecycleSettings(), time.time(), 1.0, Silent()).looked_at == len(_OBJECTS)


@each_error
def test_forecast(archive: Archive, failing: Failing, error: Exception) -> None:
    use(archive, FAST, {**SMALL, "after": "0s"})
    failing.at(FormMaker, "_encoded", error)
    found = forecast(archive, LifecycleSettings(), time.time(), 30.0, Silent())
    assert sum(group.measured.objects for group in found.groups) > 0


def test_a_forecast_without_room_says_so(archive: Archive, failing: Failing) -> None:
    """A full disk was taken for objects that cannot be measured: there was nothing to save."""
    use(archive, FAST, {**SMALL, "after": "0s"})
    failing.at(FormMaker, "_encoded", OutOfResources("no room"))
    with pytest.raises(OutOfResources, match="no room"):
        forecast(archive, LifecycleSettings(), time.time(), 30.0, Silent())


@each_error
def test_scrubbing(archive: Archive, failing: Failing, error: Exception) -> None:
    failing.at(Reader, "read", error)
    long_ago = time.time() - 1000
    archive.index.checks.note([(one, "") for one in archive.index.all()], long_ago)
    scrubber = Scrubber(archive, lambda: settings_of({}), "test")
    assert scrubber.round(long_ago + 100).read == len(_OBJECTS)
    assert failing.times == 1
    for _ in range(3):  # of others it is left alone for an hour
        archive.index.claims.release("")
        scrubber.round(long_ago + 100)
    if isinstance(error, MemoryError):  # which says nothing of the object
        assert not _held(archive).fault
        return
    assert failing.times <= 2
    assert _held(archive).fault


@each_error
def test_verifying(archive: Archive, failing: Failing, error: Exception) -> None:
    failing.at(Reader, "read", error)
    verdicts = {one.instance.sop_instance_uid: one for one in verify(archive, archive.index.all(), deep=True)}
    assert {uid for uid, one in verdicts.items() if one.fault} == {BAD}
    assert verdicts[BAD].away is not isinstance(error, ObjectDamaged)


@each_error
def test_fsck(archive: Archive, failing: Failing, error: Exception) -> None:
    key = _held(archive).key
    archive.index.forget(BAD, key)
    failing.at(Reader, "_read_back", error)
    found = list(fsck(archive, Silent(), repair=True))
    assert [(one.kind, one.key) for one in found] == [("unreadable file", key)]


@each_error
def test_reindexing(archive: Archive, failing: Failing, error: Exception) -> None:
    """It is recorded by its File Meta Information, where its dataset cannot be looked into."""
    work = archive.reader._read_back
    for one in archive.index.all():
        archive.index.remove(one.sop_instance_uid)

    def step(key: str, unseen: str) -> Any:
        if not unseen and f"/{BAD}_" in key:
            raise error
        return work(key, unseen)

    failing.patch.setattr(archive.reader, "_read_back", step)
    outcome = reindex(archive, Silent())
    held = {one.sop_instance_uid for one in archive.index.all()}
    if isinstance(error, ObjectDamaged):
        assert (held, len(outcome.damaged)) == (_GOOD, 1)
        return
    assert held == _GOOD | {BAD}
    refusal = _refused(archive)
    assert refusal is not None
    assert refusal.act == "survey"
    assert b"".join(archive.fetch(_held(archive), [_held(archive).transfer_syntax]).chunks)


@each_error
def test_recovery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    (tmp_path / "objects").mkdir()
    for one in _OBJECTS:
        left_by_the_dead(tmp_path, one)
    archive = open_archive(settings_of(tables_of(tmp_path, {})))
    work = archive.reader._read_back

    def step(key: str, unseen: str) -> Any:
        instance, facts = work(key, unseen)
        if not unseen and instance.sop_instance_uid == BAD:
            raise error
        return instance, facts

    monkeypatch.setattr(archive.reader, "_read_back", step)
    found = recover(archive)
    held = {one.sop_instance_uid for one in archive.index.all()}
    damaged = isinstance(error, ObjectDamaged)
    assert held == (_GOOD if damaged else _GOOD | {BAD})
    assert found.unfinished == damaged
    if not damaged:
        assert b"".join(archive.fetch(_held(archive), [EXPLICIT]).chunks) == _OBJECTS[0].data
    archive.close()


@each_error
def test_training(archive: Archive, failing: Failing, error: Exception) -> None:
    failing.at(Reader, "read", error)
    found = training.samples(archive.index.all(), Silent())
    (uid,) = found
    assert training.train(archive, uid, found[uid]).objects == len(_OBJECTS)
    assert failing.times == 1


@each_error
def test_retention(archive: Archive, failing: Failing, error: Exception, tmp_path: Path) -> None:
    """What cannot be judged stays; the others' studies go."""
    rules = [{"name": "all", "match": {"KVP": "80"}, "after": "1s"}]
    settings = settings_of(tables_of(tmp_path, {"retention": rules}))
    retention = Retention(archive, lambda: settings, lambda _: (1, 100))
    failing.at(Reader, "facts", error)
    assert [study.study for study in retention.plan(time.time() + 10).studies] == ["1.2.3"]
    assert failing.times == 1


@each_error
def test_export(archive: Archive, failing: Failing, error: Exception, tmp_path: Path) -> None:
    failing.at(Reader, "read", error)
    found = list(transfer.export(archive, archive.index.all(), tmp_path / "out", "received"))
    assert {one.instance.sop_instance_uid for one in found if one.reason} == {BAD}


def test_a_file_that_failed_is_imported_once_it_is_another(
    pending: Archive, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It was known by its path alone: what was put in its place was not looked at either."""
    file = tmp_path / "scan.dcm"
    file.write_bytes(bundled_file("MR_small_jpeg_ls_lossless.dcm").read_bytes())
    with monkeypatch.context() as failing:
        failing.setattr(transfer, "_read", lambda *_: (_ for _ in ()).throw(RuntimeError("a bug")))
        assert [one.outcome for _ in range(2) for one in transfer.import_files(pending, [file], "A")] == [
            "failed",
            "failed",
        ]
    (found,) = transfer.import_files(pending, [file], "A")
    assert (found.outcome, "not looked into" in found.reason) == ("failed", True)
    whole = bundled_file("MR_small.dcm").read_bytes()
    file.write_bytes(whole)
    (found,) = transfer.import_files(pending, [file], "A")
    assert (found.outcome, found.reason) == ("kept", "")


# -- retrieving ----------------------------------------------------------------------------------------------


def test_what_no_codec_decodes_is_asked_for_once(
    start: Starter, monkeypatch: pytest.MonkeyPatch, samples: Sent
) -> None:
    node = start(policy=policy({"form": "received"}))
    node.keep(samples)
    tried: list[str] = []

    def dies(_dataset: Any, _stored: str, target: str, *_: Any) -> Any:
        if target == samples.syntax:
            return iter([samples.data])
        tried.append(target)
        raise DecoderFailed("CharLS took over 60 s of processor time")

    monkeypatch.setattr(deliver, "transcoding", dies)
    archive, row = node.archive, node.held(samples)
    for _ in range(3):
        with pytest.raises(NoLosslessWay, match="took over 60 s"):
            archive.fetch(node.held(samples), [EXPLICIT, "1.2.840.10008.1.2"])
    assert len(tried) == 1
    refusal = refusal_of(node.held(samples).refused)
    assert refusal == Refusal("decode", "CharLS took over 60 s of processor time", library_of("decode"))
    assert b"".join(archive.fetch(node.held(samples), [EXPLICIT, row.transfer_syntax]).chunks) == samples.data
    told = explain(archive, samples.instance, "A")
    assert told.refused == refusal
    assert set(told.ways_out) == {samples.syntax}
    assert "took over 60 s" in archive.verify(node.held(samples), deep=True)
    recompress(archive, [node.held(samples)], time.time, Silent(), again=True)
    assert node.held(samples).refused == ""


@pytest.fixture
def samples() -> Sent:
    return of_file(bundled_file("MR_small_jpeg_ls_lossless.dcm"))


@pytest.mark.parametrize("error", ERRORS[:3], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("passing", [True, False])
def test_encoding_before_the_response(
    start: Starter, failing: Failing, error: Exception, passing: bool
) -> None:
    """What fails while a form is made fails no C-STORE (invariant 3), and refuses no object at once."""
    node: RunningNode = start({"bells": Bells()}, policy=policy(FAST))  # nobody else encodes
    failing.at(FormMaker, "_formed", error)
    with structlog.testing.capture_logs() as logged:
        node.keep(*_OBJECTS)
    assert [one["exc_info"] for one in logged if one["event"] == "encoding failed"] == [error]
    assert {node.held(one).form for one in _OBJECTS[1:]} == {"rle"}
    held = node.held(_OBJECTS[0])
    assert (held.form, held.pending, held.refused) == ("received", True, "")
    node.archive.verify(held, deep=True)
    if passing:
        failing.patch.undo()
    _encode_all(node.archive)
    held = node.held(_OBJECTS[0])
    if passing:
        assert (held.form, held.pending) == ("rle", False)
    elif isinstance(error, MemoryError):  # it is not the object's fault
        assert (held.form, held.pending, held.refused) == ("received", True, "")
        node.archive.verify(held, deep=True)
    else:
        assert (held.form, held.pending, failing.times) == ("received", False, 2)
        assert str(error) in held.refused


def test_what_is_refused_while_it_is_stored_is_kept_as_it_came(start: Starter, failing: Failing) -> None:
    """A process died of it, or it failed, under another sender: the C-STORE is answered with Success."""
    node: RunningNode = start(policy=policy(FAST))
    form, attempts = node.archive.forms._formed, node.archive.trials.attempts

    def refused(received: Any, *given: Any) -> Any:
        if received.sop_instance_uid == BAD:
            for _ in range(2):
                attempts.failed(key_of(received, given[0]), BAD, "encode", "it died")
            raise ObjectRefused("it is not encoded any more")
        return form(received, *given)

    failing.patch.setattr(node.archive.forms, "_formed", refused)
    node.keep(*_OBJECTS)
    assert {node.held(one).form for one in _OBJECTS[1:]} == {"rle"}
    assert node.held(_OBJECTS[0]).form in ("received", "zstd")
    node.archive.verify(node.held(_OBJECTS[0]), deep=True)


def test_without_room_for_its_form_it_is_stored_and_gets_that_later(start: Starter, failing: Failing) -> None:
    node: RunningNode = start(policy=policy(FAST))
    _no_form(failing, OutOfResources("none"))
    node.keep(*_OBJECTS)
    assert (node.held(_OBJECTS[0]).form, node.held(_OBJECTS[0]).pending) == ("received", True)
    failing.patch.undo()
    _encode_all(node.archive)
    assert (node.held(_OBJECTS[0]).form, node.held(_OBJECTS[0]).pending) == ("rle", False)


def test_deleting_goes_on_where_one_has_no_room(pending: Archive, failing: Failing, tmp_path: Path) -> None:
    _no_form(failing, OutOfResources("none"))
    deletion = Deletion(pending, {"": tmp_path / "objects"})
    done = deletion.delete(list(pending.index.all()), "test")
    assert (set(done.deleted), done.left) == (_GOOD, (BAD,))
