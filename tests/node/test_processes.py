"""Processes that are started again, end with their parent, and share a number of seats."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting import SECONDS, until

from scp.background.doorbell import Doorbell
from scp.dimse.seats import Holder, SeatLimits
from scp.metrics.figures import Figures
from scp.node.pulse import LOOKS, PulseWatch
from scp.node.seats import SharedSeats
from scp.node.supervisor import _MOST_IN_A_ROW, _pickled

ROOT = Path(__file__).parents[2]


class Parent:
    """A process with children that note in files that they live, reload and stop."""

    def __init__(self, folder: Path, roles: str) -> None:
        self.folder = folder
        script = """
            import os, sys, time
            from pathlib import Path
            from scp import telemetry
            from scp.background.back_off import BackOff
            from scp.config.settings import LimitSettings, LogSettings
            from scp.errors import OutOfResources
            from scp.node import absence, supervisor
            from scp.node.supervisor import Processes

            folder = Path(sys.argv[1])
            telemetry.configure(LogSettings(format="json"))

            class Role:
                def note(self, what):
                    (folder / f"{what}-{os.getpid()}").touch()
                def start(self):
                    self.note("started")
                def reload(self):
                    self.note("reloaded")
                def turns(self):
                    return not (folder / f"hangs-{os.getpid()}").exists()
                def stop(self):
                    self.note("stopped")

            class Broken(Role):
                def start(self):
                    self.note("started")
                    raise ValueError("no use")

            class Ends(Role):
                def start(self):
                    self.note("started")
                    os.kill(os.getpid(), 15)

            class Unmounted(Role):
                def start(self):
                    self.note("started")
                    raise OSError(30, "Read-only file system")

            class Away(Role):
                def start(self):
                    self.note("started")
                    if len(list(folder.glob("started-*"))) <= supervisor._MOST_IN_A_ROW:
                        raise OutOfResources("the index does not answer")
                    self.note("serves")

            if "away" in sys.argv[2]:
                absence.PAUSES = BackOff(0.1, 0.2)
            if "unmounted" in sys.argv[2]:
                absence.PAUSES = BackOff(0.0)
            if "ends" in sys.argv[2]:
                supervisor._SOON_SECONDS, absence.PAUSES = 0.0, BackOff(600.0)
            processes = Processes(lambda: LimitSettings.model_construct(hang_seconds=0.6))
            roles = {"works": Role, "broken": Broken, "away": Away, "ends": Ends, "unmounted": Unmounted}
            for number, role in enumerate(sys.argv[2].split(",")):
                processes.fork(f"{role} {number}", roles[role])
            kept = processes.run(lambda: not (folder / "bad configuration").exists())
            sys.exit(0 if kept else 3)
        """
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(script), folder, roles], cwd=ROOT, stderr=log
            )

    def noted(self, what: str) -> set[int]:
        return {int(path.name.partition("-")[2]) for path in self.folder.glob(f"{what}-*")}

    def started(self, count: int) -> set[int]:
        until(lambda: len(self.noted("started")) >= count, f"{count} started")
        return self.noted("started")


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]
    except FileNotFoundError:
        return False


def test_told_to_stop_all_stop(tmp_path: Path) -> None:
    parent = Parent(tmp_path, "works,works")
    children = parent.started(2)
    parent.process.terminate()
    assert parent.process.wait(SECONDS) == 0
    assert parent.noted("stopped") == children
    assert not any(map(alive, children))


def test_what_dies_is_started_again(tmp_path: Path) -> None:
    parent = Parent(tmp_path, "works,works")
    first = min(parent.started(2))
    os.kill(first, signal.SIGKILL)
    assert len(parent.started(3)) == 3
    assert '"process": "works 0", "status": -9' in parent.log.read_text()
    parent.process.terminate()
    assert parent.process.wait(SECONDS) == 0
    assert parent.noted("stopped") == parent.noted("started") - {first}


def test_what_cannot_live_is_given_up(tmp_path: Path) -> None:
    """It is not forked for ever, and the others are told."""
    parent = Parent(tmp_path, "works,broken")
    assert parent.process.wait(SECONDS) == 3
    assert len(parent.noted("started")) == 6
    assert len(parent.noted("stopped")) == 1
    assert "no use" in parent.log.read_text()
    assert '"event": "the node gives up"' in parent.log.read_text()


def test_what_lacks_an_index_for_a_while_is_not_given_up(tmp_path: Path) -> None:
    parent = Parent(tmp_path, "away")
    until(lambda: parent.noted("serves"), "it serves as soon as it can")
    assert len(parent.noted("started")) == _MOST_IN_A_ROW + 1
    parent.process.terminate()
    assert parent.process.wait(SECONDS) == 0
    assert b"process waits" in parent.log.read_bytes()


def test_what_lacks_its_disk_is_not_given_up_and_told_rarely(tmp_path: Path) -> None:
    parent = Parent(tmp_path, "unmounted")
    parent.started(25)
    parent.process.terminate()
    assert parent.process.wait(SECONDS) == 0
    log = parent.log.read_text()
    assert 3 <= log.count("process waits") <= len(parent.noted("started")) // 10 + 1
    assert "process ended" not in log


def test_what_ends_by_itself_again_waits_before_it_begins(tmp_path: Path) -> None:
    """As a process whose index is not the one of its store: the first is followed at once."""
    parent = Parent(tmp_path, "ends,works")
    parent.started(3)
    until(lambda: parent.log.read_text().count('"process": "ends 0"') == 2, "it has ended twice")
    time.sleep(0.3)
    assert len(parent.noted("started")) == 3, "the next one waits"
    parent.process.terminate()
    assert parent.process.wait(SECONDS) == 0, "one that waits ends when it is told to"


def test_children_reload_where_the_parent_can(tmp_path: Path) -> None:
    parent = Parent(tmp_path, "works,works")
    children = parent.started(2)
    (tmp_path / "bad configuration").touch()
    parent.process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert parent.noted("reloaded") == set()
    (tmp_path / "bad configuration").unlink()
    parent.process.send_signal(signal.SIGHUP)
    until(lambda: parent.noted("reloaded") == children, "all have reloaded")
    parent.process.terminate()
    parent.process.wait(SECONDS)


def test_children_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    parent = Parent(tmp_path, "works,works")
    children = parent.started(2)
    parent.process.kill()
    parent.process.wait(SECONDS)
    until(lambda: not any(map(alive, children)), "the children have ended")
    assert parent.noted("stopped") == children


PEER = Holder("ONE", "10.0.0.1")


def test_seats_are_shared_and_come_back_from_the_dead() -> None:
    seats = SharedSeats(SeatLimits(3, 9, 9))
    assert not seats.take(PEER)
    assert not seats.take(PEER)
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        os.write(writes, bytes([not seats.take(PEER), not seats.take(PEER)]))
        time.sleep(SECONDS)
        os._exit(0)
    try:
        assert os.read(reads, 2) == b"\1\0"
        assert seats.take(PEER)
        seats.give_back(PEER)
        assert not seats.take(PEER)
        assert seats.take(PEER)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reads)
        os.close(writes)
    assert not seats.take(PEER), "the dead one's"
    assert seats.take(PEER)


def test_a_limit_may_change() -> None:
    seats = SharedSeats(SeatLimits(1, 9, 9))
    assert not seats.take(PEER)
    assert seats.take(PEER)
    seats.limits = SeatLimits(2, 9, 9)
    assert not seats.take(PEER)
    seats.give_back(PEER)
    seats.limits = SeatLimits(1, 9, 9)
    assert seats.take(PEER)


def test_a_bell_rung_before_and_often_wakes_once() -> None:
    bell = Doorbell()
    for _ in range(100_000):  # more than its pipe holds
        bell.ring()
    assert bell.wait(0)
    assert not bell.wait(0)
    bell.ring()
    assert bell.wait()


def _deadly(folder: Path, lives: int, blamed: bool) -> subprocess.CompletedProcess[bytes]:
    """A parent whose child is killed at its start, so often; an object ends it where ``blamed``."""
    script = """
        import os, signal, sys
        from pathlib import Path
        from scp.node.supervisor import Processes

        folder, lives, blamed = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "True"

        class Role:
            def start(self):
                (folder / f"started-{os.getpid()}").touch()
                if len(list(folder.glob("started-*"))) <= lives:
                    os.kill(os.getpid(), signal.SIGKILL)
                os.kill(os.getppid(), signal.SIGTERM)
            def reload(self):
                pass
            def turns(self):
                return True
            def stop(self):
                pass

        def ready():
            (folder / f"ready-{os.getpid()}").touch()
            if len(list(folder.glob("ready-*"))) <= lives:
                os.kill(os.getpid(), signal.SIGKILL)

        processes = Processes(blames=lambda pid: blamed)
        try:
            processes.apart(ready)
        except Exception as error:
            sys.exit(type(error).__name__)
        processes.fork("role", Role)
        sys.exit(0 if processes.run(lambda: True) else 3)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), folder, str(lives), str(blamed)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False)


def test_what_objects_end_does_not_end_the_node(tmp_path: Path) -> None:
    """Ten in a row that each end two processes, at the start and later."""
    assert _deadly(tmp_path, 20, blamed=True).returncode == 0
    assert len(list(tmp_path.glob("ready-*"))) == len(list(tmp_path.glob("started-*"))) == 21


def test_a_start_that_dies_otherwise_is_told(tmp_path: Path) -> None:
    done = _deadly(tmp_path, 20, blamed=False)
    assert (done.returncode, b"NotStarted" in done.stderr) == (1, True)
    assert len(list(tmp_path.glob("ready-*"))) == 1


class TwoWords(Exception):
    """One that can be pickled, and not be read back."""

    def __init__(self, one: str, *, other: str = "", **more: str) -> None:
        super().__init__(one, other)


@pytest.mark.parametrize("kind", [ValueError, TwoWords])
def test_what_a_process_raises_says_where(kind: Callable[[str], Exception]) -> None:
    """The parent that raised it had another traceback: its own."""

    def somewhere() -> None:
        raise kind("odd")

    with pytest.raises(Exception, match="odd") as raised:
        somewhere()
    told = pickle.loads(_pickled(raised.value))
    assert "odd" in str(told)
    assert "in somewhere" in "".join(told.__notes__)


@pytest.mark.parametrize("how", ["stopped", "its loop does not turn"])
def test_what_hangs_is_killed_and_started_again(tmp_path: Path, how: str) -> None:
    """The other one goes on, and so does a process whose pulse merely came late."""
    parent = Parent(tmp_path, "works,works")
    first, other = sorted(parent.started(2))
    time.sleep(0.8)
    assert parent.noted("started") == {first, other}
    began = time.monotonic()
    if how == "stopped":
        os.kill(first, signal.SIGSTOP)
    else:
        (tmp_path / f"hangs-{first}").touch()
    assert len(parent.started(3)) == 3
    assert time.monotonic() - began > 0.4
    assert not alive(first)
    assert alive(other)
    lines = [json.loads(line) for line in parent.log.read_text().splitlines()]
    hung = [line for line in lines if line["event"] == "process hangs"]
    assert [(line["process"], line["pid"], line["level"]) for line in hung] == [("works 0", first, "error")]
    assert "limits.hang_seconds" in hung[0]["reason"]
    parent.process.terminate()
    assert parent.process.wait(SECONDS) == 0


def test_all_that_were_paused_together_go_on(tmp_path: Path) -> None:
    """As a container or a machine is paused: nobody hung, however long it took."""
    parent = Parent(tmp_path, "works,works")
    children = parent.started(2)
    time.sleep(0.3)
    for pid in (*children, parent.process.pid):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(1.5)
    for pid in (parent.process.pid, *children):
        os.kill(pid, signal.SIGCONT)
    time.sleep(0.8)
    assert parent.noted("started") == children
    parent.process.terminate()
    assert parent.process.wait(SECONDS) == 0


def test_a_pulse_is_watched_from_its_first_beat() -> None:
    """A start may take long, as when an index is rebuilt."""
    figures = Figures()
    watch = PulseWatch(figures)
    assert not any(watch.hangs() for _ in range(5 * LOOKS))
    figures.alive = 1.0
    assert [watch.hangs() for _ in range(2 * LOOKS)].count(True) == 1
    figures.alive = 2.0
    assert not watch.hangs()
