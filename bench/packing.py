"""Small objects in a bucket: one object a key, or what arrives together packed into one larger object.

``python -m bench.packing`` starts a SeaweedFS on loopback, puts and gets objects of some sizes in both ways,
with 16 requests at once, and prints a table. ``--delay 0.02`` adds a pause to each, as of a distant store.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from servers_seaweedfs import SeaweedFS

from scp.objects.bucket import AT_ONCE, Bucket

PACKED = 64  # objects that arrive together: a batch of the encoder
SIZES = (1_000, 4_000, 25_000, 150_000)


def rate(threads: ThreadPoolExecutor, work: Callable[[int], object], calls: int, each: int = 1) -> float:
    """Objects a second, where each of some calls is of so many objects."""
    begun = time.perf_counter()
    list(threads.map(work, range(calls)))
    return calls * each / (time.perf_counter() - begun)


def measured(bucket: Bucket, size: int, count: int, delay: float, threads: ThreadPoolExecutor) -> list[float]:
    """Objects a second: put one a key, put packed, get one a key, get by range."""
    data = [os.urandom(size) for _ in range(PACKED)]
    packs = count // PACKED

    def asked(request: Callable[[], object]) -> object:
        time.sleep(delay)
        return request()

    def put(number: int) -> object:
        one = data[number % PACKED]
        return asked(lambda: bucket.put(f"one/{size}/{number}", one, only="new"))

    def pack(number: int) -> object:
        return asked(lambda: bucket.put(f"pack/{size}/{number}", b"".join(data), only="new"))

    def get(number: int) -> object:
        return asked(lambda: bucket.get(f"one/{size}/{number}", lambda _, pieces: b"".join(pieces)))

    puts = rate(threads, put, count)
    packed = rate(threads, pack, packs, PACKED)
    found = [bucket.look(f"pack/{size}/{number}") for number in range(packs)]

    def part(number: int) -> object:
        start = number % PACKED * size
        return asked(lambda: bucket.part(found[number // PACKED % packs], start, start + size))

    return [puts, packed, rate(threads, get, count), rate(threads, part, count)]


def main() -> None:
    """Measure, and print a table in Markdown."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=1024)
    options.add_argument("--delay", type=float, default=0.0)
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    print("| bytes | put, one a key | put, packed by 64 | get, one a key | get, by range |")
    print("| --- | --- | --- | --- | --- |")
    with (
        tempfile.TemporaryDirectory() as folder,
        SeaweedFS(Path(folder)) as server,
        ThreadPoolExecutor(AT_ONCE) as threads,
    ):
        for size in SIZES:
            rounds = [
                measured(Bucket(server.place()), size, chosen.count, chosen.delay, threads)
                for _ in range(chosen.rounds)
            ]
            best = [max(column) for column in zip(*rounds, strict=True)]
            print(f"| {size} | " + " | ".join(f"{one:.0f}/s" for one in best) + " |", flush=True)


if __name__ == "__main__":
    main()
