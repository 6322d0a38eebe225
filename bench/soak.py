"""Many small stores in a row, with the resident memory sampled: does it grow?"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import clients
from bench.measure import Bench, settle
from bench.objects import batch
from bench.processes import environment, run_together
from bench.receivers import Running
from bench.results import quarters
from bench.scenarios import Scenario

OBJECTS = 100_000
WARM_BATCHES = 3  # caches and pools fill up first; that is no growth


@dataclass(frozen=True)
class Soak:
    """Resident memory of all of the receiver's processes together, in MB, after each batch."""

    objects: int
    seconds: float
    resident: tuple[float, ...]

    @property
    def growth(self) -> float:
        first, last = quarters(list(self.resident))
        return last / first


def run(bench: Bench, scenario: Scenario, name: str, objects: int) -> Iterator[Soak]:
    """Store so many objects, batch by batch; yields what there is after each batch."""
    sent = bench.objects[scenario.objects]
    with bench.receiver(name, scenario) as running:
        resident: list[float] = []
        seconds, stored, number = 0.0, 0, 0
        while stored < objects:
            number += 1
            seconds += _send(running, batch(sent, number, running.folder / "batch"), scenario, sent.count)
            stored += sent.count
            if number > WARM_BATCHES:
                resident.append(sum(running.memory("VmRSS")))
                yield Soak(stored, seconds, tuple(resident))
        running.drain()
        running.check_count(stored)
        settle()
        yield Soak(stored, seconds, (*resident, sum(running.memory("VmRSS"))))


def _send(running: Running, folders: list[Path], scenario: Scenario, count: int) -> float:
    number = scenario.associations
    commands = [clients.send_command(running, folders[i::number]) for i in range(number)]
    env = environment(scenario.nodelay)
    begin = time.perf_counter()
    run_together(commands, running.folder / "clients.log", env, clients.limit(count))
    seconds = time.perf_counter() - begin
    shutil.rmtree(running.folder / "batch")
    return seconds
