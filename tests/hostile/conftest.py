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
from wire.conftest import NodeProcess
from wire.peers import Sink

from scp.archive import Archive
from scp.node import open_archive

from .table import LARGEST, LIMITS, SOUND
from .trial import SINKS, Makers, Outcome, Trial, configured
from .watching import Bystanders, Memory, Request, ended

JPEGXL = {"form": "jpegxl", "wrap": "none"}
POLICIES: dict[str, list[dict[str, Any]] | None] = {
    "default": None,
    "jpegxl at once": [{"name": "all", "stages": [JPEGXL]}],
    "jpegxl later": [{"name": "all", "stages": [{"form": "received"}, {**JPEGXL, "after": "1s"}]}],
}
_WARM_SECONDS, _SETTLE_SECONDS, _BACK_SECONDS, _SOON_SECONDS = 3.0, 60.0, 20.0, 5.0
_TRIM_SECONDS = 6.0  # scp.malloc looks each 2 s, and rarer where that does not help

# What is being encoded is finished first, and killed after 30 s.
_STOP_SECONDS = 60.0


@dataclass
class Result:
    """What a node was like while it got bad objects, and after."""

    node: NodeProcess
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    memory: Memory | None = None
    before: dict[int, int] = field(default_factory=dict)  # KB by process
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
        objects: Makers, policy: list[dict[str, Any]] | None, limits: dict[str, Any] = LIMITS
    ) -> Result:
        tables = configured(ports, limits, policy)
        made.extend(NodeProcess(tmp_path_factory.mktemp(name), **tables) for name in ("node", "other"))
        node, other = made[-2:]
        other.start()
        result = _tried(node, other, objects)
        other.kill(signal.SIGTERM)
        return result

    yield start
    for node in made:
        if node.process is not None:
            node.kill()


def _tried(node: NodeProcess, other: NodeProcess, objects: Makers) -> Result:
    node.start()
    result = Result(node)
    memory = result.memory = Memory(node)
    trial = Trial(node)
    with memory.sampled(), Bystanders(node, other) as bystanders:
        _warm(node)
        trial.run(objects)
        result.outcomes = trial.outcomes
        result.unsettled = _settled(node, {one.received for one in trial.outcomes.values()})
        result.before = _least(memory)
        _again(node, objects)
        result.after = _back(memory, result.before)
        result.requests = bystanders.stop()
        result.busy = _busy(memory)
    result.ended = ended(node)
    result.stopped = node.kill(signal.SIGTERM, _STOP_SECONDS)
    return result


def _warm(node: NodeProcess) -> None:
    """Sound objects of each codec, received, given and encoded, so that what is loaded once is loaded."""
    begun, trial = time.monotonic(), Trial(node)
    trial.run(SOUND)
    _settled(node, {one.received for one in trial.outcomes.values()})
    time.sleep(max(0.0, _WARM_SECONDS - (time.monotonic() - begun)))


def _again(node: NodeProcess, objects: Makers) -> None:
    """Those that take most, once more: what is loaded or no longer shared once it is used, is so by now."""
    trial = Trial(node)
    trial.run({name: make for name, make in objects.items() if name in LARGEST})
    _settled(node, {one.received for one in trial.outcomes.values()})


def _least(memory: Memory) -> dict[int, int]:
    """What each process takes once what is free has been given back."""
    found = []
    for _ in range(int(_TRIM_SECONDS)):
        time.sleep(1.0)
        found.append(memory.now())
    return min(found, key=lambda one: sum(one.values()))


def _settled(node: NodeProcess, digests: set[str]) -> list[str]:
    """Wait until nothing is to be done any more for what was sent; what still is."""
    archive = open_archive(settings_of(node.tables))
    try:
        end = time.monotonic() + _SETTLE_SECONDS
        while (waiting := _waiting(archive, digests)) and time.monotonic() < end:
            time.sleep(0.2)
    finally:
        archive.close()
    return waiting


def _waiting(archive: Archive, digests: set[str]) -> list[str]:
    found = list(archive.index.pending(1000))
    found += archive.index.stages.due(archive.policy_print, time.time() + _SOON_SECONDS, 1000)
    return [one.sop_instance_uid for one in found if one.received_sha256 in digests]


def _back(memory: Memory, before: dict[int, int]) -> dict[int, int]:
    """What each process takes once it has gone back, or does not."""
    end = time.monotonic() + _BACK_SECONDS
    while sum((now := memory.now()).values()) > 1.1 * sum(before.values()) and time.monotonic() < end:
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
