"""One loop for all that a node does in the background: its turns, its pauses, and its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from structlog.testing import capture_logs

from scp.background.back_off import BackOff
from scp.background.doorbell import Doorbell
from scp.background.loop import Every, Loop, Loops, Task


class Bell(Doorbell):
    """Nobody waits for it: what it was asked to wait is written down, and ``then`` is called."""

    def __init__(self, then: Callable[[], None]) -> None:
        super().__init__()
        self.waits: list[float | None] = []
        self._then = then

    def wait(self, seconds: float | None = None) -> bool:
        self.waits.append(seconds)
        self._then()
        return False


class Scripted(Task):
    """Does what it is told, turn after turn, and is stopped after the last."""

    name = "testing"
    again = BackOff(5, 15)

    def __init__(self, *turns: float | Exception | None) -> None:
        self._turns = list(turns)
        super().__init__(Bell(lambda: None if self._turns else self.stop()))
        self.closed = 0

    def turn(self) -> float | None:
        what = self._turns.pop(0)
        if isinstance(what, Exception):
            raise what
        return what

    def close(self) -> None:
        self.closed += 1


def waits(task: Task) -> list[float | None]:
    assert isinstance(task.bell, Bell)
    return task.bell.waits


def test_each_turn_says_when_the_next_begins() -> None:
    task = Scripted(3.0, None, 0.0)
    Loop(task).run()
    assert waits(task) == [3.0, None, 0.0]
    assert task.closed == 1


def test_a_turn_that_fails_is_logged_and_tried_again_later_and_later() -> None:
    bug = ValueError("a bug")
    task = Scripted(bug, bug, bug, bug, 1.0, bug)
    with capture_logs() as logged:
        Loop(task).run()
    assert waits(task) == [5, 10, 15, 15, 1.0, 5]
    assert [one["retry_seconds"] for one in logged] == [5, 10, 15, 15, 5]
    assert {(one["event"], one["exc_info"]) for one in logged} == {("testing waits", bug)}


def test_stopped_within_a_turn_it_does_not_wait() -> None:
    """The ring that said so may have been taken in the turn."""

    class Stopped(Scripted):
        def turn(self) -> float | None:
            self.stop()
            return None

    task = Stopped()
    Loop(task).run()
    assert (waits(task), task.closed) == ([], 1)


def test_a_ring_begins_a_turn_and_a_stop_ends_the_wait() -> None:
    class Counting(Task):
        name = "counting"
        turns, reloads = 0, 0

        def turn(self) -> None:
            self.turns += 1

        def reconfigured(self) -> None:
            self.reloads += 1

    task = Counting()
    loops = Loops([task])
    loops.start()
    for turns in (1, 2, 3):
        until = time.monotonic() + 10
        while task.turns < turns and time.monotonic() < until:
            time.sleep(0.01)
        assert task.turns == turns
        loops.reconfigured()
    loops.stop()
    assert task.reloads == 3
    assert "counting" not in [thread.name for thread in threading.enumerate()]


def test_what_is_done_every_so_often_is_not_done_at_once_nor_at_each_ring() -> None:
    now, calls = [100.0], []
    task = Every("looking", 5, lambda: calls.append(now[0]), lambda: now[0])
    assert task.turn() == 5
    now[0] = 104
    assert (task.turn(), calls) == (1, [])
    now[0] = 106
    assert (task.turn(), task.turn(), calls) == (5, 5, [106])


def test_the_end_waits_for_what_has_to_be_finished_and_not_for_the_rest() -> None:
    class Busy(Task):
        def __init__(self, name: str, waited_for: bool) -> None:
            super().__init__()
            self.name, self.is_waited_for = name, waited_for
            self.begun, self.go, self.done = threading.Event(), threading.Event(), False

        def turn(self) -> float | None:
            self.begun.set()
            self.go.wait(60)
            self.done = True
            return None

    encoding, looking = Busy("encoding", True), Busy("looking", False)
    loops = Loops([looking, encoding])
    loops.start()
    assert encoding.begun.wait(10)
    assert looking.begun.wait(10)
    later = threading.Timer(0.5, encoding.go.set)
    later.start()
    loops.stop(0.1)
    assert (encoding.done, looking.done) == (True, False)
    looking.go.set()
    later.join()
