"""Codec processes are killed at random moments: every object is kept, and no retrieve is wrong."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom.encaps import encapsulate

from .conftest import NodeProcess
from .peers import (
    EXPLICIT,
    JPEGLS,
    MR_IMAGE,
    RLE,
    STUDY_GET,
    Scu,
    Sent,
    identifier,
    image,
    pixels,
    written,
)

pytestmark = pytest.mark.slow

_KILLS = 25
_RANDOM = random.Random(20261128)
_STUDY = identifier("STUDY", StudyInstanceUID="1.2.3")


def _processes(node: NodeProcess) -> tuple[list[int], list[int]]:
    """The nurseries of a node, and its codec processes."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if b"cage.nursery" in (stat.parent / "cmdline").read_bytes():
                parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    assert node.process is not None
    main = str(node.process.pid)
    workers = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    of_node = {int(each) for each in (main, *workers)}
    nurseries = [pid for pid, parent in parents.items() if parent in of_node]
    return nurseries, [pid for pid, parent in parents.items() if parent in nurseries]


def _libraries(node: NodeProcess) -> set[str]:
    """The native codecs that are loaded by the processes that serve."""
    assert node.process is not None
    main = node.process.pid
    serving = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    maps = "".join(Path(f"/proc/{pid}/maps").read_text() for pid in (str(main), *serving))
    return {
        line.rpartition("/")[2].partition(".")[0] for line in maps.splitlines() if "/imagecodecs/_" in line
    }


class _Killer(threading.Thread):
    """Kills one codec process after the other, and now and then what they come from."""

    def __init__(self, node: NodeProcess) -> None:
        super().__init__(daemon=True)
        self.node, self.killed = node, Counter[str]()
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.is_set() and self.killed.total() < _KILLS:
            nurseries, codecs = _processes(self.node)
            kind = "nursery" if _RANDOM.random() < 0.1 else "codec process"
            victims = nurseries if kind == "nursery" else codecs
            if victims:
                with suppress(ProcessLookupError):
                    os.kill(_RANDOM.choice(victims), signal.SIGKILL)
                    self.killed[kind] += 1
            time.sleep(_RANDOM.uniform(0.0, 0.05))


def _objects(first: int) -> list[Sent]:
    """Some as they come from a modality, and some whose codestreams another encoder made."""
    made = []
    for number in range(first, first + 6):
        native = image(instance=f"1.2.3.1.{number}", rows=128, seed=number, InstanceNumber=number)
        if number % 2:
            dataset = native.dataset
            samples = np.frombuffer(dataset.PixelData, "<u2").reshape(128, 128)
            dataset.PixelData = encapsulate([bytes(imagecodecs.jpegls_encode(samples))])
            dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
            native = Sent(native.sop_class, native.instance, JPEGLS, written(dataset, JPEGLS))
        made.append(native)
    return made


def _retrieved(node: NodeProcess, syntax: str) -> list[Sent]:
    with Scu(node.address, [(STUDY_GET, [EXPLICIT]), (MR_IMAGE, [syntax])], roles=[MR_IMAGE]) as scu:
        return scu.get(STUDY_GET, _STUDY).objects


@pytest.mark.long
def test_codec_processes_are_killed_again_and_again(executed: Callable[..., NodeProcess]) -> None:
    node = executed(policy=[{"name": "all", "stages": [{"form": "htj2k", "wrap": "none"}]}])
    node.start()
    killer = _Killer(node)
    killer.start()
    kept: dict[str, np.ndarray] = {}
    wrong: list[str] = []

    def check(arrived: list[Sent]) -> None:
        wrong.extend(one.instance for one in arrived if not np.array_equal(pixels(one), kept[one.instance]))

    while killer.is_alive() and len(kept) < 1200:
        objects = _objects(len(kept))
        with Scu(node.address, [(MR_IMAGE, [EXPLICIT]), (MR_IMAGE, [JPEGLS])]) as scu:
            for one in objects:
                number = int(one.instance.rpartition(".")[2])
                assert scu.store(one, context=scu.context(MR_IMAGE, one.syntax)).status == 0
                kept[one.instance] = pixels(image(rows=128, seed=number))
        if len(kept) % 48 == 0:
            check(_retrieved(node, RLE))
            check(_retrieved(node, EXPLICIT))
    killer.done.set()
    killer.join()
    assert killer.killed.total() >= _KILLS
    assert not wrong
    node.encodes_all(200)  # what found no codec process waits a minute, or two
    arrived = _retrieved(node, EXPLICIT)
    check(arrived)
    assert not wrong
    assert {one.instance for one in arrived} == set(kept)
    assert _libraries(node) <= {"_htj2k", "_shared", "_shared_cython"}  # of what was proven here, to be sent
    node.run("verify", "--deep")
    assert node.kill(signal.SIGTERM) == 0
    node.run("fsck")
    node.start()  # and it can be started again
    node.kill(signal.SIGTERM)
