"""One node for each policy, all objects of the table, and what came of it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from wire.configured import settings_of
from wire.conftest import ExecutedNode, NodeProcess
from wire.peers import Sink

from scp.archive.archive import Archive
from scp.node.build import open_archive

from .bystander import CALLING
from .table import LIMITS, SOUND
from .trial import SINKS, Makers, Outcome, Trial, configured
from .watching import Bystanders, Memory, ended

JPEGXL = {"form": "jpegxl", "wrap": "none"}
# What bystanders send is there to be answered. Encoded as well, it kept a busy machine from the bad objects.
BESIDE = {"name": "beside", "match": {"calling_aet": CALLING}, "stages": [{"form": "received"}]}
# What comes from this calling AE title is encoded at once, and all else later.
ENCODED_AT_ONCE = "ATONCE"
POLICIES: dict[str, list[dict[str, Any]] | None] = {
    "default": None,
    "jpegxl": [
        BESIDE,
        {"name": "at once", "match": {"calling_aet": ENCODED_AT_ONCE}, "stages": [JPEGXL]},
        {"name": "later", "stages": [{"form": "received"}, {**JPEGXL, "after": "1s"}]},
    ],
}
# So long nothing at all is settled: what encodes yields to whatever else this machine does.
_STUCK_SECONDS, _BACK_SECONDS, _SOON_SECONDS = 60.0, 70.0, 5.0
# scp.resources.malloc looks each 2 s at what a process has that is quiet, after 64 s at what it had in use.
_TRIM_SECONDS = 5.0
_ROUNDS, _STABLE = 8, 1.02
# What may be more in a process: a tenth, and what is not worth to be given back (scp.resources.malloc).
_BACK, _MORE_KB = 1.1, 4 << 10

# What is being encoded is finished first, and killed after 30 s.
_STOP_SECONDS = 60.0


@dataclass
class Result:
    """What a node was like while it got bad objects, and after."""

    node: NodeProcess
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    at_once: dict[str, Outcome] = field(default_factory=dict)
    senders: dict[str, int] = field(default_factory=dict)  # calling AE title → objects that are held of it
    sound: list[Outcome] = field(default_factory=list)
    bystanders: list[str] = field(default_factory=list)  # what was wrong with how they fared
    memory: Memory | None = None
    before: dict[int, int] = field(default_factory=dict)  # KB by process, before the first bad object
    after: dict[int, int] = field(default_factory=dict)
    unsettled: list[str] = field(default_factory=list)
    busy: float = 0.0  # cores used once all is settled
    ended: list[dict[str, Any]] = field(default_factory=list)
    stopped: int | None = None


Runner = Callable[..., Result]


@pytest.fixture(scope="module")
def other_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A second node, which nobody sends anything bad to."""
    node = NodeProcess(tmp_path_factory.mktemp("other"), node={"workers": 1})
    node.start()
    yield node
    node.kill()


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    """Destinations of C-MOVE by AE title."""
    with ExitStack() as stack:
        made = {}
        for syntax, aet in SINKS.items():
            sink = stack.enter_context(Sink(lambda _, offered, only=syntax: offered == only, aet=aet))  # type: ignore[misc]
            sink.arrived = _Nowhere()
            made[aet] = sink.port
        yield made


class _Nowhere(list[Any]):
    """What arrives is not kept."""

    def append(self, _: Any) -> None:
        pass


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, ports: dict[str, int]) -> Iterator[Runner]:
    """Runs objects through a node with a policy, beside its bystanders, and a second node with the same."""
    made: list[NodeProcess] = []

    def start(
        objects: Makers,
        policy: list[dict[str, Any]] | None,
        limits: dict[str, Any] = LIMITS,
        weighs: bool = True,
        at_once: Makers | None = None,
    ) -> Result:
        tables = configured(ports, limits, policy)
        node = ExecutedNode(tmp_path_factory.mktemp("node"), **tables)  # its memory is looked at
        other = NodeProcess(tmp_path_factory.mktemp("other"), **tables)
        made.extend((node, other))
        other.start()
        result = _tried(node, other, objects, weighs, at_once or {})
        other.kill(signal.SIGTERM)
        return result

    yield start
    for node in made:
        if node.process is not None:
            node.kill()


def _tried(node: NodeProcess, other: NodeProcess, objects: Makers, weighs: bool, at_once: Makers) -> Result:
    node.start()
    result = Result(node)
    memory = result.memory = Memory(node)
    trial, at_once_trial = Trial(node), Trial(node, calling=ENCODED_AT_ONCE)
    with memory.sampled(), Bystanders(node, other) as bystanders:
        if weighs:
            result.sound, result.before = _with_sound_objects(node, memory)
        at_once_trial.run(at_once)
        trial.run(objects)
        result.outcomes, result.at_once = trial.outcomes, at_once_trial.outcomes
        tried = (*result.outcomes.values(), *result.at_once.values())
        result.unsettled = _settled(node, {one.received for one in tried})
        result.senders = _senders(node)
        bystanders.stop()
        result.bystanders = bystanders.faults()
        if weighs:
            result.after = _back(memory, result.before)
        result.busy = _busy(memory)
    result.ended = ended(node)
    result.stopped = node.kill(signal.SIGTERM, _STOP_SECONDS)
    return result


def _with_sound_objects(node: NodeProcess, memory: Memory) -> tuple[list[Outcome], dict[int, int]]:
    """Rounds of sound objects of each codec, received, given and encoded, until nothing more is loaded.

    What became of them, and what each process takes before the first bad one: a worker what it took when it
    had begun, as it keeps nothing; the others what they take then, free memory given back.
    """
    fresh = {pid: size for pid, size in memory.now().items() if pid in memory.workers}
    done: list[Outcome] = []
    most, seen = 0.0, 0
    for number in range(_ROUNDS):
        trial = Trial(node)
        trial.run({f"{name}, round {number}": make for name, make in SOUND.items()})
        _settled(node, {one.received for one in trial.outcomes.values()})
        done += trial.outcomes.values()
        seen = sum(memory.now().values())
        if number and seen <= _STABLE * most:
            break
        most = max(most, seen)
    samples = []
    for _ in range(int(2 * _TRIM_SECONDS)):
        time.sleep(0.5)
        samples.append(memory.now())
    return done, {pid: min(one[pid] for one in samples) for pid in samples[0]} | fresh


def _settled(node: NodeProcess, digests: set[str]) -> list[str]:
    """Wait until nothing is left to be done for what was sent, or nothing is done; what is left."""
    archive = open_archive(settings_of(node.tables))
    try:
        least, end = len(digests) + 1, time.monotonic() + _STUCK_SECONDS
        while (waiting := _waiting(archive, digests)) and time.monotonic() < end:
            if len(waiting) < least:
                least, end = len(waiting), time.monotonic() + _STUCK_SECONDS
            time.sleep(0.2)
    finally:
        archive.close()
    return waiting


def _senders(node: NodeProcess) -> dict[str, int]:
    archive = open_archive(settings_of(node.tables))
    try:
        return {one.calling_aet: one.instances for one in archive.senders()}
    finally:
        archive.close()


def _waiting(archive: Archive, digests: set[str]) -> list[str]:
    found = list(archive.index.pending(1000))
    found += archive.index.stages.due(archive.policy.fingerprint, time.time() + _SOON_SECONDS, 1000)
    return [one.sop_instance_uid for one in found if one.received_sha256 in digests]


def grown(before: dict[int, int], after: dict[int, int]) -> dict[int, tuple[int, int]]:
    """The processes that have not gone back to where they were: KB before and after."""
    return {pid: (size, after[pid]) for pid, size in before.items() if after[pid] > _BACK * size + _MORE_KB}


def _back(memory: Memory, before: dict[int, int]) -> dict[int, int]:
    """What each process takes once it has gone back, or does not."""
    end = time.monotonic() + _BACK_SECONDS
    while grown(before, now := memory.now()) and time.monotonic() < end:
        time.sleep(0.5)
    return now


def _busy(memory: Memory, seconds: float = 2.0) -> float:
    """Cores that the node uses while nobody asks it for anything."""
    begun, time_begun = _ticks(memory), time.monotonic()
    time.sleep(seconds)
    return (_ticks(memory) - begun) / 100 / (time.monotonic() - time_begun)


def _ticks(memory: Memory) -> int:
    total = 0
    for pid in memory.pids():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15]))  # its own, and of those that it waited for
    return total
