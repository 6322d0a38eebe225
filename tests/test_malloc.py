"""What was free within a process is given back to the system."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scp.malloc import Trimmer

MB = 1 << 20


class Process:
    """One of so many bytes, of which trimming gives back what is free."""

    def __init__(self, used: int) -> None:
        self.used, self.free, self.trims = used, 0, 0

    def measure(self) -> int:
        return self.used + self.free

    def trim(self) -> None:
        self.free, self.trims = 0, self.trims + 1


def test_a_process_that_grew_is_trimmed() -> None:
    """Once it is worth it, and again after a large object that was in use when it was looked at first."""
    process = Process(100 * MB)
    trimmer = Trimmer(process.measure, process.trim)
    assert not trimmer.look()
    process.free = 6 * MB
    assert not trimmer.look()
    assert process.trims == 0
    process.free = 20 * MB
    assert not trimmer.look()
    assert process.trims == 1
    process.used = 500 * MB
    assert trimmer.look(), "it does not help now"
    process.used, process.free = 100 * MB, 400 * MB
    assert not trimmer.look()
    assert (process.trims, process.measure()) == (3, 100 * MB)
    process.used = 50 * MB
    assert not trimmer.look()
    process.free = 20 * MB
    assert not trimmer.look()
    assert process.trims == 4, "what counts is the least that it ever had"


# Frames of 10 MB, several at a time, between images of 0.5 MB.
_PROGRAM = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from objects import Shape, phantom
from scp import budget, malloc, spool
from scp.config_rules import PolicyRule, Stage
from scp.encoding.facts import survey
from scp.encoding.transcode import transcoding
from scp.keeping import keep
from scp.malloc import Trimmer
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
    trimmer = Trimmer()
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
        run, capture_output=True, text=True, check=False, timeout=120, cwd=Path(__file__).parent
    )
    assert done.returncode == 0, done.stderr
    before, most, after, used = map(int, done.stdout.split())
    assert used == 0
    assert most > 1.2 * before, "it was large enough to tell"
    assert after <= 1.1 * before
