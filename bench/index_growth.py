"""How an index grows: its size, how fast it answers C-FIND, how fast it records, on SQLite and on PostgreSQL.

    python -m bench.index_growth FOLDER --instances 1000000 5000000 20000000 [--a-study 21]
        [--on SQLite PostgreSQL] [--queries 200] [--fill] [--keep] [--out bench/results]

fills an index of so many instances in FOLDER (a kilobyte each), on a PostgreSQL server of its own, unless it
is there; asks both databases in turn, first with nothing of them in memory, then the same again; records new
instances, each durable before the next, and removes them; and removes the index unless it is to be kept.
What was measured joins what index_growth.json has, from which index_growth.md and index_growth.svg are made.
With --fill it only fills.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from bench import index_growth_report as report
from bench import index_places
from bench.index_find import FINDS, RETRIEVES, _new
from bench.index_places import Place
from bench.index_rows import SHAPES, Shape, study
from bench.index_server import spread_niceness
from bench.machine import of_this_one
from scp.index.sql import SqlIndex
from scp.model import Query

SECONDS = 20.0  # for a kind of query, in one state: those that read all studies take seconds each
RECORDED = 1000


def first_matches(index: SqlIndex, kind: str, queries: list[Query]) -> list[float]:
    """Median and p95 of the time to the first match, in ms, of as many queries as there is time for."""
    times: list[float] = []
    begun = time.perf_counter()
    for query in queries:
        began = time.perf_counter()
        if kind in FINDS:
            with closing(index.find(query)) as matches:
                next(matches, None)
                times.append(time.perf_counter() - began)
        else:
            index.instances(query)
            times.append(time.perf_counter() - began)
        if time.perf_counter() - begun > SECONDS:
            break
    ordered = sorted(times)
    return [round(ordered[int(len(ordered) * share)] * 1000, 2) for share in (0.5, 0.95)]


def asked(
    places: dict[str, Place], kinds: list[str], studies: int, queries: int
) -> dict[str, dict[str, Any]]:
    """Database → kind → "cold" and "warm" → median and p95 in ms."""
    results: dict[str, dict[str, Any]] = {name: {} for name in places}
    for kind in kinds:
        random.seed(kind)
        made = {**FINDS, **RETRIEVES}[kind]
        these = [made(study(random.randint(1, studies), studies)) for _ in range(queries)]
        for name, place in places.items():
            place.evict()
            with closing(SqlIndex.open(place.database)) as index:
                index.pending(1)  # opens the connection
                place.favour()
                times = {state: first_matches(index, kind, these) for state in ("cold", "warm")}
            results[name][kind] = times
            print(f"{kind}: {name} {times}", flush=True)
    return results


def recorded(place: Place, threads: int) -> float:
    """Instances recorded in a second by so many threads, each of them durable before its next one."""
    each = RECORDED // threads
    items = [[_new(thread * 100_000 + number) for number in range(each + 1)] for thread in range(threads)]
    with closing(SqlIndex.open(place.database)) as index, ThreadPoolExecutor(threads) as pool:

        def record(mine: list[Any]) -> None:
            for instance, attributes in mine:
                index.record(instance, attributes)
                index.sync()

        list(pool.map(record, [mine[:1] for mine in items]))  # opens the connections
        place.favour()
        began = time.perf_counter()
        list(pool.map(record, [mine[1:] for mine in items]))
        seconds = time.perf_counter() - began
        for instance, _ in (one for mine in items for one in mine):
            index.remove(instance.sop_instance_uid)
    return round(threads * each / seconds, 1)


def point(folder: Path, names: list[str], instances: int, shape: Shape, queries: int) -> list[dict[str, Any]]:
    """What is measured of an index of one size on the databases."""
    studies = instances // shape.mean
    places = {name: index_places.place(folder, name, studies, shape) for name in names}
    for place in places.values():
        place.fill()
        place.start()
    found = []
    for name, place in places.items():
        with closing(SqlIndex.open(place.database)) as index:
            held = index.counts().instances
            index_names(index, name)
        given = {"database": name, "instances": held, "studies": studies, "a_study": shape.mean}
        found.append(given | {"bytes": place.sizes()})
    times = asked(places, [*FINDS, *RETRIEVES], studies, queries)
    for one in found:
        one["ms"] = times[one["database"]]
        one["recorded"] = {str(n): recorded(places[one["database"]], n) for n in (1, 8)}
        print(one["database"], one["instances"], one["recorded"], flush=True)
    for place in places.values():
        place.stop()
    return found


def index_names(index: SqlIndex, name: str) -> None:
    """Index the names, as a node does."""
    indexed = index.index_names()
    while not indexed.fault and indexed.again < 5:  # there is more to do at once
        indexed = index.index_names()
    if indexed.fault:
        print(f"{name}: {indexed.fault}", flush=True)


def with_priority() -> None:
    """Let the niceness that this process was given count among all sessions of the machine."""
    with suppress(PermissionError):  # it leads a session already
        os.setsid()
    spread_niceness(os.getpid())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--instances", type=int, nargs="*", default=[])
    parser.add_argument(
        "--a-study", type=int, choices=[shape.mean for shape in SHAPES], default=SHAPES[0].mean
    )
    parser.add_argument("--on", nargs="+", choices=list(index_places.KINDS), default=list(index_places.KINDS))
    parser.add_argument("--queries", type=int, default=200, help="of each kind")
    parser.add_argument("--fill", action="store_true")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    given = parser.parse_args()
    with_priority()
    shape = next(shape for shape in SHAPES if shape.mean == given.a_study)
    for instances in given.instances:
        studies = instances // shape.mean
        if given.fill:
            for name in given.on:
                seconds = index_places.place(given.folder, name, studies, shape).fill()
                print(f"{name}: {studies} studies of {shape.mean} instances in {seconds:.0f} s", flush=True)
            continue
        points = point(given.folder, given.on, instances, shape, given.queries)
        report.join(given.out, of_this_one(), points)
        if not given.keep:
            for name in given.on:
                index_places.remove(given.folder, name, studies, shape)
    if not given.fill:
        report.write(given.out)


if __name__ == "__main__":
    main()
