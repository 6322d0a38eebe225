"""The budget of memory: over threads and processes, in turn, with no way to wait for ever."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from objects import Shape, parts_of, phantom

from scp.encoding.codecs.table import codec_named
from scp.encoding.decoding import decoding
from scp.encoding.encapsulating import encapsulated
from scp.encoding.held_frames import at_once, waiting
from scp.encoding.pool import in_order
from scp.errors import OutOfResources
from scp.resources import budget, machine
from scp.resources.budget import UNITS, Budget
from scp.resources.turns import Turns, Waits
from scp.syntaxes import lookup

MB = 1 << 20
LIMIT = 256 * MB  # units of 1 MB
HALF = LIMIT // 2


@pytest.fixture
def shared() -> Budget:
    return Budget(LIMIT)


@pytest.fixture
def own() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Runs a program in a process of its own, which is killed in the end."""
    begun: list[subprocess.Popen[str]] = []

    def run(program: str) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        begun.append(subprocess.Popen([sys.executable, "-c", program], text=True, **pipes))  # type: ignore[call-overload]
        return begun[-1]

    yield run
    for one in begun:
        one.kill()
        one.communicate()


def test_what_is_held_never_waits(shared: Budget) -> None:
    """Up to the part that is for what waits; a bit more is refused, and had once something is given back."""
    most = 112 * MB
    one, two = shared.hold(most - MB), shared.hold(MB)
    assert one is not None
    assert two is not None
    assert shared.hold(1) is None
    two.give_back()
    two.give_back()
    assert shared.used == most - MB
    assert shared.hold(MB + 1) is None
    assert shared.hold(MB) is not None  # and nobody has it: it is free again
    assert shared.hold(MB) is not None


def test_what_nobody_has_any_more_is_free(shared: Budget) -> None:
    held = shared.hold(10 * MB)
    assert held is not None
    ring = [held]
    ring.append(ring)  # type: ignore[arg-type]
    del held
    assert shared.used == 10 * MB
    ring.clear()
    assert shared.used == 0


@pytest.mark.parametrize("size", [0, 1, MB, MB + 1, 4 * MB, 4 * MB + 1, HALF, HALF + 1, LIMIT, 100 * LIMIT])
def test_any_size_is_taken_and_given_back(shared: Budget, size: int) -> None:
    """What is larger than the budget, too: it takes half of it."""
    with shared.taking(size):
        assert shared.used == max(1, min(size, HALF))
        with shared.taking(size):  # a part of what is taken
            assert shared.used == max(1, min(size, HALF))
    assert shared.used == 0


def test_what_peers_hold_stops_no_work(shared: Budget) -> None:
    kept = [shared.hold(MB) for _ in range(200)]
    with shared.taking(LIMIT):
        assert kept[111] is not None
        assert kept[112] is None


def test_large_work_stops_no_small_work(shared: Budget) -> None:
    with shared.taking(LIMIT):
        rest = shared.take_now(100 * MB)
        assert rest is not None
        waits = _waiting_for(shared, LIMIT)
        assert shared.take_now(MB) is not None
        assert waits.is_alive()
        rest.give_back()
    waits.join(60)
    assert not waits.is_alive()


def _waiting_for(shared: Budget, size: int, then: Callable[[], None] = lambda: None) -> threading.Thread:
    """A thread that takes so much, once it has drawn its ticket."""

    def run() -> None:
        with shared.taking(size):
            then()

    tickets = len(shared._turns._own)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while len(shared._turns._own) == tickets:
        time.sleep(0.001)
    return thread


def test_in_turn(shared: Budget) -> None:
    """A large one is not overtaken for ever by those that would fit before it, nor one by another."""
    order: list[int] = []

    def noted(number: int) -> Callable[[], None]:
        return lambda: order.append(number)

    first = shared.take(HALF)
    second = shared.take(100 * MB)  # 12 MB are left for large ones
    waiting = [_waiting_for(shared, HALF, noted(0))]
    waiting += [_waiting_for(shared, 8 * MB, noted(number)) for number in range(1, 5)]
    assert order == []  # though 8 MB are free
    second.give_back()
    time.sleep(0.1)
    assert order == []  # still less than half
    first.give_back()
    for one in waiting:
        one.join(60)
    assert order[0] == 0
    assert sorted(order) == [0, 1, 2, 3, 4]


def test_who_has_its_turn_at_once_does_not_wait() -> None:
    """Or each of them would send the next into the queue, long after the last that had to wait."""
    now = [1000.0]
    shared = Budget(LIMIT, lambda: now[0])
    shared._turns.say()
    for _ in range(4):
        now[0] += 0.06
        with shared.taking(HALF):
            pass
    assert shared.take_now(HALF) is not None


def test_those_of_a_process_that_wait_are_looked_for_together(
    shared: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    is_first = Turns.is_first

    def counted(self: Turns, ticket: int) -> bool:
        looks.append(ticket)
        return is_first(self, ticket)

    taken = [shared.take(HALF), shared.take(112 * MB)]
    waiting = [_waiting_for(shared, HALF) for _ in range(20)]
    monkeypatch.setattr(Turns, "is_first", counted)
    time.sleep(0.5)
    assert len(looks) < 600, "each of 20 would look a hundred times"
    for one in taken:
        one.give_back()
    for thread in waiting:
        thread.join(60)
    assert shared.used == 0


def test_who_waits_long_goes_ahead_alone() -> None:
    """Whatever keeps the others from giving back, one at a time goes on; and none waits for ever."""
    shared = Budget(LIMIT, waits=Waits(patience=0.1, give_up=0.5))
    stuck = [shared.take(HALF), shared.take(112 * MB)]
    alone = shared.take(50 * MB)
    with pytest.raises(OutOfResources, match=r"limits\.memory"):
        shared.take(50 * MB)
    alone.give_back()
    with shared.taking(50 * MB):
        pass
    for one in stuck:
        one.give_back()
    assert shared.used == 0


def test_a_finalizer_beyond_the_budget_waits_for_nobody() -> None:
    """It runs in the midst of anything, also while its own thread has the lock."""
    shared = Budget(LIMIT, waits=Waits(patience=0.05))
    stuck = [shared.take(HALF), shared.take(112 * MB)]
    alone = [shared.take(50 * MB)]

    def collected() -> None:
        with shared._turn:
            alone.clear()

    thread = threading.Thread(target=collected, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    with shared.taking(50 * MB):  # the next one
        pass
    assert len(stuck) == 2


@pytest.mark.parametrize("count", [1, 40])
def test_frames_are_worked_on_within_the_budget(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Peers that stop reading hold up no other, and all is given back with what they did not read."""
    small = Budget(16 * MB)  # 7 MB may be held, 8 MB are for work
    monkeypatch.setattr(budget, "_budget", small)
    most: list[int] = []

    def work(number: int) -> int:
        most.append(small.used)
        return number

    stuck = [in_order(work, range(count), count, MB) for _ in range(10)]
    assert [next(one) for one in stuck] == [0] * 10
    for _ in range(3):
        assert list(in_order(work, range(40), 40, MB)) == list(range(40))
        assert list(in_order(work, range(3), 3, 100 * MB)) == [0, 1, 2]
    assert max(most) <= 16 * MB
    assert [list(one) for one in stuck] == [list(range(1, count))] * 10
    assert small.used == 0


def test_a_single_bit_counts_as_the_byte_that_it_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A segmentation of 512 x 512 is 32 KB, and 256 KB as an array."""
    sizes: list[int] = []

    def ordered(work: Callable[[int], bytes], items: Iterable[int], count: int, size: int) -> Iterator[bytes]:
        sizes.append(size)
        return in_order(work, items, count, size)

    for module in ("encapsulating", "decoding"):
        monkeypatch.setattr(f"scp.encoding.{module}.in_order", ordered)
    codec = codec_named("deflated-frames")
    object_ = phantom(Shape(64, 64, bits_allocated=1, bits_stored=1))
    coded, restoration = encapsulated(parts_of(object_), codec)
    decoding(coded, lookup(codec.writes), restoration).pixel.held()
    assert sizes == [64 * 64, 64 * 64]


def test_frames_that_nobody_reads_any_more_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    small = Budget(16 * MB)
    monkeypatch.setattr(budget, "_budget", small)
    for size in (MB, 50 * MB):
        begun = in_order(lambda number: number, range(40), 40, size)
        assert next(begun) == 0
        del begun
    for _ in range(100):
        if not small.used:
            break
        time.sleep(0.05)
    assert small.used == 0


def test_decoded_objects_count_until_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """And lie in a file where there is no room; they are the same."""
    small = Budget(4 * MB)  # 1.75 MB may be held
    monkeypatch.setattr(budget, "_budget", small)
    first, second = (at_once(iter([bytes(MB), b"end"]), MB + 3) for _ in range(2))
    assert small.used == MB + 3
    assert b"".join(second) == bytes(MB) + b"end"
    assert next(first) == bytes(MB)
    assert small.used == MB + 3
    del first
    assert small.used == 0
    del second
    frames = waiting(iter([bytes(5 * MB), bytes(MB)]))  # more than may be held
    assert next(frames) == bytes(5 * MB)
    assert small.used == 0
    monkeypatch.setattr(budget, "_budget", large := Budget(LIMIT))
    frames = waiting(iter([bytes(5 * MB), bytes(MB)]))
    assert next(frames) == bytes(5 * MB)
    assert large.used == 5 * MB
    assert next(frames) == bytes(MB)
    assert large.used == 0


_LOAD = """
import os, random, sys, threading, time
from scp.resources.budget import Budget
shared = Budget(256 << 20)
def work(seed):
    drawn = random.Random(seed)
    for _ in range(12):
        held = shared.hold(drawn.choice([1, 1 << 20, 20 << 20]))
        with shared.taking(int(2 ** drawn.uniform(0, 29))):
            time.sleep(drawn.uniform(0, 0.002))
        if drawn.random() < 0.5:
            held = None
def process(number):
    threads = [threading.Thread(target=work, args=(100 * number + each,)) for each in range(32)]
    [one.start() for one in threads]
    [one.join() for one in threads]
    return shared.used
children = []
for number in range(3):
    child = os.fork()
    if not child:
        try:
            used = process(number)
        finally:
            os._exit(0 if used == 0 else 3)
    children.append(child)
statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
print(statuses, flush=True)
with shared.taking(1 << 40):
    print(len(shared._own), flush=True)
"""


def test_many_threads_in_several_processes(own: Callable[[str], subprocess.Popen[str]]) -> None:
    """None waits for ever, whatever they want, and all of it is free in the end."""
    out, _ = own(_LOAD).communicate(timeout=100)
    told = [line for line in out.splitlines() if "waited for memory" not in line]  # on a busy machine
    assert told == ["[0, 0, 0]", "128"]


_HOLDER = """
import os, sys, time
from scp.resources.budget import Budget
shared = Budget(256 << 20)
child = os.fork()
if not child:
    has = [shared.hold(112 << 20), shared.take(128 << 20), *(shared.take(4 << 20) for _ in range(4))]
    print("has all", flush=True)
    time.sleep(60)
    os._exit(0)
sys.stdin.readline()
print(shared.hold(1), flush=True)
os.kill(child, 9)
os.waitpid(child, 0)
print(shared.take_now(128 << 20) is not None, shared.hold(112 << 20) is not None, flush=True)
"""


def test_what_a_killed_process_had_is_free(own: Callable[[str], subprocess.Popen[str]]) -> None:
    process = own(_HOLDER)
    assert process.stdout is not None
    assert process.stdout.readline() == "has all\n"
    out, _ = process.communicate("\n", timeout=30)
    assert out.split("\n")[:2] == ["None", "True True"]


_WAITER = """
import os, sys, time
from scp.resources.budget import Budget
shared = Budget(256 << 20, lambda: 1000.0)  # nobody's patience ends
first, second = shared.take(128 << 20), shared.take(100 << 20)
child = os.fork()
if not child:
    shared.take(128 << 20)
    os._exit(0)
while not shared._turns.somebody_waits():
    time.sleep(0.01)
os.kill(child, 9)
os.waitpid(child, 0)
second.give_back()
with shared.taking(90 << 20):
    print(True, flush=True)
"""


def test_nobody_waits_behind_a_killed_process(own: Callable[[str], subprocess.Popen[str]]) -> None:
    out, _ = own(_WAITER).communicate(timeout=60)
    assert out == "True\n"


_SMALL = """
import os, time
from scp.resources.budget import Budget
shared = Budget(256 << 20)
reads, writes = os.pipe()
children = []
for _ in range(20):
    child = os.fork()
    if not child:
        with shared.taking(1 << 20):
            pass
        os.write(writes, b".")
        time.sleep(60)
        os._exit(0)
    children.append(child)
done = b""
while len(done) < 20:
    done += os.read(reads, 20)
large = shared.take(128 << 20), shared.take(112 << 20)
print(shared.take_now(1 << 20) is not None, flush=True)
for child in children:
    os.kill(child, 9)
"""


def test_processes_that_are_idle_keep_nothing_from_small_work(
    own: Callable[[str], subprocess.Popen[str]],
) -> None:
    """However many there are: 16 units are for small work."""
    out, _ = own(_SMALL).communicate(timeout=60)
    assert out == "True\n"


_RESTARTED = """
import os
from scp.resources import budget
budget.use(256 << 20)
child = os.fork()
if not child:
    budget.use(512 << 20)
    os._exit(budget.budget().limit >> 20 != 256)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_a_process_that_is_started_again_shares_the_budget(
    own: Callable[[str], subprocess.Popen[str]],
) -> None:
    """Also where the configuration was read again, and says something else."""
    out, _ = own(_RESTARTED).communicate(timeout=60)
    assert out == "0\n"


def test_who_waited_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = Budget(LIMIT, waits=Waits(told=0.1))
    told: list[dict[str, object]] = []

    class Log:
        def warning(self, event: str, **values: object) -> None:
            told.append({"event": event, **values})

    monkeypatch.setattr(budget.structlog, "get_logger", lambda _: Log())  # type: ignore[attr-defined]
    taken = [shared.take(HALF), shared.take(112 * MB)]
    other = _waiting_for(shared, HALF)
    time.sleep(0.2)
    taken[0].give_back()
    other.join(10)
    assert [one["event"] for one in told] == ["waited for memory"]
    assert "limits.memory" in str(told[0]["remedy"])


@pytest.mark.parametrize(
    ("groups", "files", "least"),
    [
        ("0::/\n", {"memory.max": "1000000"}, 1_000_000),
        ("0::/\n", {"memory.max": "max"}, 0),
        ("0::/a/b\n", {"a/memory.max": "2000000", "a/b/memory.max": "max"}, 2_000_000),
        ("0::/a/b\n", {"a/memory.max": "2000000", "a/b/memory.max": "3000000"}, 2_000_000),
        ("0::/outside/the/container\n", {"memory.max": "4000000"}, 4_000_000),
        ("5:cpu,memory:/x\n0::/\n", {"memory/x/memory.limit_in_bytes": "5000000"}, 5_000_000),
        ("5:memory:/docker/1\n", {"memory/memory.limit_in_bytes": "6000000"}, 6_000_000),
        ("5:memory:/\n", {"memory/memory.limit_in_bytes": str(2**63 - 4096)}, 0),
        ("nonsense\n", {}, 0),
        ("", {}, 0),
    ],
)
def test_limits_of_control_groups(tmp_path: Path, groups: str, files: dict[str, str], least: int) -> None:
    """What holds is the least of a group and those around it; 0 here: the machine's memory."""
    (tmp_path / "cgroup").write_text(groups, encoding="utf-8")
    for name, text in files.items():
        path = tmp_path / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n", encoding="utf-8")
    found = machine.memory(tmp_path / "cgroup", tmp_path / "fs")
    assert found == (least or machine.memory(tmp_path / "none", tmp_path / "none"))


def test_units() -> None:
    """A budget that does not divide is not less than it says."""
    odd = Budget(UNITS * 10 + 1)
    assert odd.unit * UNITS >= odd.limit
    assert Budget(0).unit == 1
