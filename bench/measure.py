"""One round of a scenario: start, warm up, let the clients run, check that the work was done.

Receivers of stores start afresh for each round with an empty store, as a second copy of an object is other
work than the first. Receivers of retrieves are filled once and stay up for all rounds.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from bench import clients, codec, processes
from bench.objects import Objects, ObjectSet, batch
from bench.processes import BenchError
from bench.receivers import RECEIVERS, Running, installed, started
from bench.results import Sample
from bench.scenarios import (
    BESIDE,
    CODEC,
    LINE_SECONDS,
    NO_WINDOW,
    OVER_LINE,
    WINDOW,
    WITH_WINDOW,
    Scenario,
)


@dataclass
class Bench:
    """What all scenarios share."""

    folder: Path
    objects: Objects
    profiles: Path | None = None
    drains: bool = True  # whether stores are timed until all is encoded, too

    @contextmanager
    def receiver(self, name: str, scenario: Scenario) -> Iterator[Running]:
        """A receiver in a folder of its own, which is removed afterwards."""
        folder = self.folder / "receivers" / f"{name}-{time.monotonic_ns()}".replace(" ", "_")
        receiver = RECEIVERS[name]
        profile = None
        if self.profiles is not None and receiver.program == "zscp":
            label = name.replace(", ", "-").replace(" ", "-")
            profile = self.profiles / f"profile-{scenario.name}-{label}-{time.monotonic_ns()}.json"
        try:
            with started(receiver, folder, nodelay=scenario.nodelay, profile=profile) as running:
                yield running
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def there(self, scenario: Scenario) -> list[str]:
        """The receivers of a scenario that this machine has."""
        return [name for name in scenario.receivers if name == CODEC or installed(RECEIVERS[name])]


def settle() -> None:
    """What one round left unwritten must not fall into the next one's time."""
    os.sync()


def warm_up(bench: Bench, running: Running, associations: int) -> int:
    """Some objects over as many associations as will be timed; returns how many."""
    warm = bench.objects["warm"]
    clients.send(running, warm, associations)
    running.drain()
    running.check_count(warm.count)
    settle()
    return warm.count


def result(scenario: Scenario, name: str, sent: ObjectSet, seconds: float) -> Sample:
    return Sample(scenario.name, name, sent.count, sent.size, seconds)


def timed(
    scenario: Scenario, name: str, sent: ObjectSet, running: Running, work: Callable[[], float]
) -> Sample:
    """What the clients' ``work`` takes, which returns their seconds; memory and processor of the receiver."""
    begun = running.cpu()
    sample = result(scenario, name, sent, work())
    cpu = running.cpu() - begun
    return replace(sample, cpu=cpu, peaks=running.memory("VmHWM"), resident=running.memory("VmRSS"))


# -- stores --------------------------------------------------------------------------------------------


def store(bench: Bench, scenario: Scenario, rounds: int) -> Iterator[Sample]:
    """Fresh receivers, round by round in turn."""
    sent = bench.objects[scenario.objects]
    pictures: list[np.ndarray] = []
    for _ in range(rounds):
        for name in bench.there(scenario):
            if name == CODEC:
                pictures = pictures or codec.frames(sent)
                yield result(scenario, name, sent, codec.seconds(pictures))
            else:
                yield store_once(bench, scenario, name, sent)


def store_once(bench: Bench, scenario: Scenario, name: str, sent: ObjectSet) -> Sample:
    with bench.receiver(name, scenario) as running:
        before = warm_up(bench, running, scenario.associations)
        held = running.kept()
        begin = time.perf_counter()
        send = partial(clients.send, running, sent, scenario.associations, scenario.nodelay)
        sample = timed(scenario, name, sent, running, send)  # memory at its fullest
        if not bench.drains:
            running.check_count(before + sent.count)
            return sample
        waited = running.pending() > 0
        running.drain()
        drained = time.perf_counter() - begin if waited else sample.seconds
        running.check_count(before + sent.count)
        kept = running.kept() - held
        return replace(sample, drained=drained, kept=kept, peaks=running.memory("VmHWM"))


# -- retrieves -----------------------------------------------------------------------------------------


def get(bench: Bench, scenario: Scenario, rounds: int) -> Iterator[Sample]:
    yield from _retrieves(bench, scenario, rounds, clients.get)


def move(bench: Bench, scenario: Scenario, rounds: int) -> Iterator[Sample]:
    yield from _retrieves(bench, scenario, rounds, clients.move)


Retrieve = Callable[[Running, ObjectSet, int], float]


def _retrieves(bench: Bench, scenario: Scenario, rounds: int, retrieve: Retrieve) -> Iterator[Sample]:
    sent, warm = bench.objects[scenario.objects], bench.objects["warm"]
    with ExitStack() as stack:
        filled = {}
        for name in bench.there(scenario):
            running = filled[name] = stack.enter_context(bench.receiver(name, scenario))
            before = warm_up(bench, running, scenario.associations)
            clients.send(running, sent, 1)
            running.drain()
            running.check_count(before + sent.count)
            retrieve(running, warm, scenario.associations)
        for _ in range(rounds):
            for name, running in filled.items():
                settle()
                work = partial(retrieve, running, sent, scenario.associations)
                yield timed(scenario, name, sent, running, work)


# -- window, fairness ----------------------------------------------------------------------------------


def window(bench: Bench, scenario: Scenario, rounds: int) -> Iterator[Sample]:
    """The same sender with and without an Asynchronous Operations Window, on loopback and over a line."""
    if not clients.WINDOW.exists():
        print("  left out: there is no bench/window.py")
        return
    sent = bench.objects[scenario.objects]
    ways = [
        (number, line, suffix + over)
        for line, over in ((0.0, ""), (LINE_SECONDS, OVER_LINE))
        for number, suffix in ((1, NO_WINDOW), (WINDOW, WITH_WINDOW))
    ]
    for _ in range(rounds):
        for number, line, suffix in ways:
            for name in bench.there(scenario):
                with bench.receiver(name, scenario) as running:
                    before = warm_up(bench, running, 1)
                    send = partial(clients.send_windowed, running, sent, number, line)
                    sample = timed(scenario, name + suffix, sent, running, send)
                    if bench.drains:
                        running.drain()
                    running.check_count(before + sent.count)
                    yield sample


def fairness(bench: Bench, scenario: Scenario, rounds: int) -> Iterator[Sample]:
    """Small objects by themselves, then while another association sends 100 MB objects."""
    sent = bench.objects[scenario.objects]
    for _ in range(rounds):
        for name in bench.there(scenario):
            yield replace(store_once(bench, scenario, name, sent), receiver=f"{name}, alone")
            yield _beside(bench, scenario, name, sent)


def _beside(bench: Bench, scenario: Scenario, name: str, sent: ObjectSet) -> Sample:
    with bench.receiver(name, scenario) as running:
        before = warm_up(bench, running, 2)
        with large_traffic(running, bench.objects["large"]) as stored:
            time.sleep(1.0)  # until the first large object is on its way
            send = partial(clients.send, running, sent, scenario.associations)
            sample = timed(scenario, name + BESIDE, sent, running, send)
        if bench.drains:
            running.drain()
        running.check_count(before + sum(stored) + sent.count)
        return sample


@contextmanager
def large_traffic(running: Running, large: ObjectSet) -> Iterator[list[int]]:
    """Another client that stores large objects without a pause for as long as the block takes.

    Always new ones, the next made while the last are sent. Yields how many were stored, for each pass.
    """
    stored: list[int] = []
    failed: list[BenchError] = []
    over = threading.Event()

    def send_on() -> None:
        folder, env = running.folder / "large", processes.environment(running.nodelay)
        with ThreadPoolExecutor(1) as maker:
            following = maker.submit(batch, large, 0, folder / "0")
            while not over.is_set() and not failed:
                command = clients.send_command(running, following.result())
                number = len(stored) + 1
                following = maker.submit(batch, large, number, folder / str(number))
                try:
                    log = running.folder / "large.log"
                    processes.run_together([command], log, env, clients.limit(60 * large.count))
                except BenchError as error:
                    failed.append(error)
                stored.append(large.count)
                shutil.rmtree(folder / str(number - 1))

    sender = threading.Thread(target=send_on)
    sender.start()
    try:
        yield stored
    finally:
        over.set()
        sender.join()
    if failed:
        raise failed[0]


ACTIONS: dict[str, Callable[[Bench, Scenario, int], Iterator[Sample]]] = {
    "store": store,
    "get": get,
    "move": move,
    "window": window,
    "fairness": fairness,
}
