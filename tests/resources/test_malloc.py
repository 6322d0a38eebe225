"""What was free within a process is given back to the system."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scp.resources.malloc import Trimmer

pytestmark = pytest.mark.quick

MB = 1 << 20


class Process:
    """One of so many bytes, of which trimming gives back what is free, in 10 ms of processor time."""

    def __init__(self, used: int) -> None:
        self.used, self.free, self.trims, self.seconds = used, 0, 0, 0.0
        self.trimmer = Trimmer(self.measure, self.trim, lambda: self.seconds, lambda: self.seconds)

    def measure(self) -> int:
        return self.used + self.free

    def trim(self) -> None:
        self.free, self.trims, self.seconds = 0, self.trims + 1, self.seconds + 0.01

    def looks(self, count: int = 1, works: float = 0.0) -> int:
        """How many of so many looks, two seconds apart, trim it while it uses so much of a core."""
        before = self.trims
        for _ in range(count):
            self.seconds += 2 * works
            self.trimmer.look()
        return self.trims - before


def test_a_process_that_grew_is_trimmed() -> None:
    process = Process(100 * MB)
    assert process.looks() == 0
    process.free = 6 * MB
    assert process.looks() == 0, "it is not worth it"
    process.free = 20 * MB
    assert process.looks() == 1
    process.used = 50 * MB
    assert process.looks() == 0
    process.free = 20 * MB
    assert process.looks() == 1, "what counts is the least that it ever had"


def test_what_is_in_use_is_left_alone_longer_and_longer() -> None:
    process = Process(100 * MB)
    process.looks()
    process.used = 500 * MB
    assert [process.looks(32) for _ in range(4)] == [5, 1, 1, 1]
    process.used, process.free = 100 * MB, 400 * MB
    process.looks(1, works=0.2)  # the object is given back, and so on
    assert process.looks() == 1
    assert process.measure() == 100 * MB


def test_a_process_that_works_is_trimmed_once_it_is_quiet() -> None:
    """What it has free it takes again at once: to give that back each time is work for nothing."""
    process = Process(100 * MB)
    process.looks()
    trims = 0
    for _ in range(500):
        process.free = 50 * MB
        trims += process.looks(1, works=0.5)
    assert 0 < trims * 0.01 < 0.011 * process.seconds
    process.free = 50 * MB
    assert process.looks() == 1
    assert process.measure() == 100 * MB


# Frames of 10 MB, several at a time, between images of 0.5 MB.
_PROGRAM = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from objects import Shape, phantom
from scp import spool
from scp.config.rules import PolicyRule, Stage
from scp.encoding.facts import survey
from scp.encoding.transcode import transcoding
from scp.archive.encode import keep
from scp.resources import budget, malloc
from scp.resources.malloc import Trimmer
from scp.model import Received
from scp.objects import part10
from scp.syntaxes import EXPLICIT

spool.keep_in(Path(sys.argv[1]))
budget.use(1 << 30)
malloc.keep_large_apart()
rule = PolicyRule(name="all", stages=(Stage(forms=("htj2k",)),))

def once(dataset):
    received = Received("1.2.3", "1.2.4", EXPLICIT, dataset, "A", "B", datetime.now(UTC))
    file = part10.unpack(keep(received, survey(received), rule).data)
    for _ in transcoding(file.dataset, file.transfer_syntax, EXPLICIT, file.provenance.restoration):
        pass

def image(rows):
    return bytes(phantom(Shape(rows=rows, columns=rows)).dataset)

small, large = image(512), image(2300)
with ThreadPoolExecutor(4) as pool:
    list(pool.map(once, [small] * 16 + [large]))
    trimmer = Trimmer(used=lambda: 0.0)
    malloc.trim()
    trimmer.look()
    before = malloc.resident()
    list(pool.map(once, [large] * 6 + [small] * 6))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    trimmer.look()
    print(before >> 10, most >> 10, malloc.resident() >> 10, budget.budget().used)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="malloc_trim and /proc are Linux's")
def test_memory_goes_back_to_where_it_was(tmp_path: Path) -> None:
    run = [sys.executable, "-c", _PROGRAM, str(tmp_path)]
    done = subprocess.run(
        run, capture_output=True, text=True, check=False, timeout=120, cwd=Path(__file__).parents[1]
    )
    assert done.returncode == 0, done.stderr
    before, most, after, used = map(int, done.stdout.split())
    assert used == 0
    assert most > 1.2 * before, "it was large enough to tell"
    assert after <= 1.1 * before
