"""The journal of what is tried outlives its process, blames no innocent for long, and costs microseconds."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from scp.archive.refusal import by_failure
from scp.errors import ObjectDamaged, ObjectUnavailable, OutOfResources
from scp.objects.attempts import Attempts, died_of_an_object
from scp.objects.suspects import Act, Suspect

pytestmark = pytest.mark.quick


def library(act: Act) -> str:
    return f"of {act}"


def dies(root: Path, keys: Sequence[str], act: Act = "encode") -> int:
    """A process that is killed while it works on ``keys``; its number."""
    child = os.fork()
    if not child:
        attempts = Attempts(root, patience=0.2)
        for key in keys:
            attempts.begin(key, "1.2", act)
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    return child


@pytest.fixture
def attempts(tmp_path: Path) -> Attempts:
    return Attempts(tmp_path, patience=0.2)


def taken_up(attempts: Attempts) -> dict[str, tuple[int, str]]:
    return {one.key: (one.times, one.refused) for one in attempts.take_up(library)}


def test_what_a_killed_process_was_about_is_suspected_and_then_refused(
    attempts: Attempts, tmp_path: Path
) -> None:
    child = dies(tmp_path, ["bad"])
    assert died_of_an_object(tmp_path, child)
    assert taken_up(attempts) == {"bad": (1, "")}
    assert not died_of_an_object(tmp_path, child)
    assert taken_up(attempts) == {}  # each death counts once
    assert attempts.is_suspect("bad")
    assert attempts.refusal("bad") is None
    dies(tmp_path, ["bad"])
    assert taken_up(attempts) == {"bad": (0, "encode")}
    known = attempts.refusal("bad")
    assert known is not None
    assert (known.uid, known.library) == ("1.2", "of encode")
    assert not attempts.is_suspect("bad")


def test_one_that_was_only_there_is_cleared_when_it_is_tried(attempts: Attempts, tmp_path: Path) -> None:
    for _ in range(3):  # in company with a culprit it is never refused so soon
        dies(tmp_path, ["bad", "good"])
        attempts.take_up(library)
    assert attempts.refusal("good") is None
    with attempts.of("good", "", "encode"):
        pass
    assert not attempts.is_suspect("good")
    dies(tmp_path, ["bad"])
    attempts.take_up(library)
    assert attempts.refusal("bad") is not None


def test_a_process_that_ends_well_leaves_nothing(attempts: Attempts, tmp_path: Path) -> None:
    with attempts.of("one", "", "read"):
        assert len(list((tmp_path / ".attempts/processes").glob("*/slots"))) == 1
    attempts.close()
    assert list((tmp_path / ".attempts/processes").glob("*/slots")) == []
    assert Attempts(tmp_path).take_up(library) == []


def test_who_kills_a_process_that_was_told_to_end_blames_nobody(tmp_path: Path, attempts: Attempts) -> None:
    child = os.fork()
    if not child:
        dying = Attempts(tmp_path)
        dying.begin("slow", "1.2", "encode")
        dying.stopping()
        dying.begin("begun afterwards", "1.3", "encode")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert not died_of_an_object(tmp_path, child)
    assert attempts.take_up(library) == []


@pytest.mark.parametrize("uid", ["1.2\n3", "1" * 3000, "\n\n", ""])
def test_whatever_an_object_calls_itself_it_is_known_again(
    tmp_path: Path, attempts: Attempts, uid: str
) -> None:
    child = os.fork()
    if not child:
        dying = Attempts(tmp_path)
        dying.end(dying.begin("longer before in the same slot" * 9, "1.2" * 9, "encode"))
        dying.begin("1.2/key", uid, "encode")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert [(one.key, one.uid) for one in attempts.take_up(library)] == [("1.2/key", uid)]


def test_what_cannot_be_noted_once_does_not_end_the_journal(
    tmp_path: Path, attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        assert attempts.failed("bad", "", "encode", "it died") is None
    attempts.failed("bad", "", "encode", "it died")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with attempts.of("bad", "", "encode"):  # which goes well, whatever becomes of its note
            pass
        assert list(tmp_path.glob(".attempts/processes/*/slots"))


def test_one_folder_that_cannot_be_read_hides_no_other(tmp_path: Path, attempts: Attempts) -> None:
    first, second = dies(tmp_path, ["one"]), dies(tmp_path, ["two"])
    slots = {
        child: next(tmp_path.glob(f".attempts/processes/{child}-*")) / "slots" for child in (first, second)
    }
    kept = slots[min(slots, key=str)]
    kept.unlink()
    kept.mkdir()
    assert len(attempts.take_up(library)) == 1


def test_what_was_not_tried_to_its_end_is_suspected_still(attempts: Attempts) -> None:
    attempts.failed("bad", "", "encode", "it died")
    for error in (OutOfResources("full"), ObjectUnavailable("away"), OSError("no disk"), MemoryError()):
        with pytest.raises(type(error)), attempts.of("bad", "", "encode"):
            raise error
        assert attempts.is_suspect("bad")
    with pytest.raises(ObjectDamaged), attempts.of("bad", "", "encode"):
        raise ObjectDamaged("rot")
    assert not attempts.is_suspect("bad")


def test_only_as_much_is_done_alone_as_was_died_of(attempts: Attempts) -> None:
    attempts.patience = 600
    attempts.failed("bad", "", "decode", "it died")
    other = attempts.begin("other", "", "read")
    attempts.end(attempts.begin("bad", "", "read"))  # waits for nobody: nothing is decoded
    assert not attempts.is_suspect("bad", "survey")
    assert attempts.is_suspect("bad", "decode")
    assert attempts.is_suspect("bad", "encode")
    slot = attempts.begin("bad", "", "decode", alone=False)
    attempts.end(other)
    attempts.end(attempts.begin("next", "", "read"))  # nor does anybody for what a peer draws out
    attempts.end(slot)


def test_a_suspect_waits_for_nobody_when_its_process_is_to_end(attempts: Attempts) -> None:
    attempts.patience = 600
    attempts.failed("bad", "", "encode", "it died")
    attempts.begin("other", "", "encode")
    waiting = threading.Thread(target=attempts.begin, args=("bad", "", "encode"))
    waiting.start()
    attempts.stopping()
    waiting.join(20)
    assert not waiting.is_alive()


def test_what_lives_is_left_alone(attempts: Attempts, tmp_path: Path) -> None:
    slot = attempts.begin("one", "", "read")
    assert Attempts(tmp_path).take_up(library) == []
    attempts.end(slot)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), RecursionError("deep")])
def test_what_fails_twice_is_refused(attempts: Attempts, error: Exception) -> None:
    for expected in (False, True):
        with pytest.raises(type(error)), attempts.of("bad", "", "survey", lambda: "zscp 1"):
            raise error
        assert (attempts.refusal("bad") is not None) is expected
    known = attempts.refusal("bad")
    assert known is not None
    assert str(error) in known.reason
    assert known.library == "zscp 1"


def test_what_is_raised_on_purpose_counts_for_nothing(attempts: Attempts) -> None:
    for error in (ObjectDamaged("rot"), OSError("no disk"), MemoryError("none")):
        for _ in range(3):
            with pytest.raises(type(error)), attempts.of("one", "", "read"):
                raise error
    assert attempts.suspects.all() == []


def test_a_suspect_waits_until_it_is_alone(attempts: Attempts) -> None:
    attempts.patience = 20
    attempts.failed("bad", "", "encode", "it died")
    order: list[str] = []
    other = attempts.begin("other", "", "encode")

    def suspect() -> None:
        with attempts.of("bad", "", "encode"):
            order.append("suspect")

    thread = threading.Thread(target=suspect)
    thread.start()
    time.sleep(0.1)
    order.append("other")
    attempts.end(other)
    thread.join()
    assert order == ["other", "suspect"]


def test_others_do_not_wait_for_ever(attempts: Attempts) -> None:
    attempts.failed("bad", "", "encode", "it died")
    slot = attempts.begin("bad", "", "encode")
    with attempts.of("other", "", "encode"):
        pass
    attempts.end(slot)


def test_each_further_act_begins_anew(tmp_path: Path) -> None:
    """What is refused to be looked into may still end who reads it: twice."""
    one = Suspect("bad", "", "survey")
    for _ in range(2):
        one = one.failed("survey", "died", alone=True, library="z")
    assert (one.refused, one.times) == ("survey", 0)
    one = one.failed("read", "died", alone=True, library="z")
    assert (one.refused, one.times) == ("survey", 1)
    one = one.failed("read", "died", alone=True, library="z")
    assert (one.refused, one.times) == ("read", 0)


def test_more_at_once_than_there_are_slots(attempts: Attempts) -> None:
    slots = [attempts.begin(f"one {number}", "", "read") for number in range(300)]
    for slot in slots:
        attempts.end(slot)
    assert attempts.begin("next", "", "read") in range(300)


_ONE = b'[{"key": "bad", "uid": "", "act": "encode", %s}]'


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[1]", b'[{"key": 1}]', b"\xff\xfe", b"[" * 100_000,
        b" " * (1 << 20) + _ONE % b'"times": 1',
        _ONE % b'"times": "1"', _ONE % b'"refused": "all"', _ONE % b'"reason": []',
    ],
    ids=range(10),
)  # fmt: skip
def test_a_file_of_suspects_that_cannot_be_read_counts_as_none(
    attempts: Attempts, tmp_path: Path, content: bytes
) -> None:
    attempts.failed("bad", "", "encode", "it died")
    (tmp_path / ".attempts" / "suspects.json").write_bytes(content)
    assert attempts.suspects.all() == []
    attempts.failed("bad", "", "encode", "it died")
    assert attempts.is_suspect("bad")


def test_what_lies_in_the_place_of_a_file_holds_up_nobody(attempts: Attempts, tmp_path: Path) -> None:
    """Whoever reads a FIFO waits for a writer: each process did, at its start."""
    dies(tmp_path, ["bad"])
    (slots,) = (tmp_path / ".attempts" / "processes").glob("*/slots")
    slots.unlink()
    os.mkfifo(slots)
    os.mkfifo(tmp_path / ".attempts" / "suspects.json")
    assert attempts.take_up(library) == []
    assert not attempts.is_suspect("bad")
    attempts.failed("bad", "", "encode", "it died")
    assert attempts.is_suspect("bad")


def test_a_long_reason_is_cut(attempts: Attempts) -> None:
    for _ in range(4):
        attempts.failed("bad", "", "encode", "\N{PILE OF POO}\n" * 100_000)
    known = attempts.refusal("bad")
    assert known is not None
    assert len(known.reason) == 200
    assert len(by_failure("encode", ValueError("x" * 1000)).reason) == 200


def test_without_room_work_goes_on(attempts: Attempts, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with attempts.of("one", "", "read"):
        pass


def test_it_costs_microseconds(attempts: Attempts) -> None:
    """10 µs of processor time were measured; a hundred times that would be felt."""

    def seconds(work: Callable[[], None]) -> float:
        begun = time.process_time()
        for _ in range(1000):
            work()
        return time.process_time() - begun

    def once() -> None:
        with attempts.of("1.2.840/1.2.3_abcdef/received.dcm", "1.2.840.1", "encode"):
            pass

    once()
    assert min(seconds(once) for _ in range(3)) < 1.0
