"""The same index on SQLite and on PostgreSQL: how fast each answers C-FIND, and records.

    ZSCP_INDEX__PASSWORD=… python -m bench.index_databases FOLDER postgresql+psycopg://user@host/postgres
        [--studies 50000] [--queries 100] [--json FILE]

makes an index in FOLDER (bench.index_fill; 20 instances a study), copies it into a new database of the server
with what ``zscp migrate-index`` does, asks both in turn, and prints a Markdown table: median and 95th
percentile in ms to the first match, and their ratio. What both record is removed again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import text

from bench.index_fill import filled
from bench.index_find import FINDS, _asked, _new, _summary
from bench.index_rows import study
from scp.background.progress import Silent
from scp.index.databases import Database
from scp.index.dialect import connect
from scp.index.move import move
from scp.index.sql import SqlIndex

# What is measured of all that bench.index_find asks: the whole of it takes an hour on a large index.
KINDS = (
    "AccessionNumber",
    "PatientID, a year, modality",
    "PatientName `DOE*`, a week, modality",
    "PatientName `DOE*`, a year, modality",
    "PatientName `D*`, a day, modality",
    "PatientName `NOBODY*`, a year",
    "a day, modality",
    "a year, modality",
    "series of a study",
    "instances of a series",
)


def copied(source: str, server: Database, name: str) -> tuple[Database, float]:
    """The copy of an index in a database of a server, made if it is not there; seconds it took."""
    target = replace(server, url=server.url.rsplit("/", 1)[0] + f"/{name}")
    engine = connect(server)
    with engine.connect() as connection:
        named = text("SELECT 1 FROM pg_database WHERE datname = :name")
        there = connection.execute(named, {"name": name}).first()
        if there is None:
            connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE template0")
    engine.dispose()
    began = time.perf_counter()
    if there is None:
        move(Database(source), target, Silent())
        _settled(target)
    return target, time.perf_counter() - began


def _settled(where: Database) -> None:
    """As a database is that was filled over years: autovacuum has run."""
    engine = connect(where)
    with engine.connect() as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
    engine.dispose()


def size(where: Database) -> int:
    """Bytes on the disk."""
    if where.url.startswith("sqlite"):
        return Path(where.url.removeprefix("sqlite:///")).stat().st_size
    engine = connect(where)
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one()
    engine.dispose()
    return int(found)


def finds(places: dict[str, Database], studies: int, queries: int) -> dict[str, dict[str, list[float]]]:
    """Kind → database → median and p95 to the first, then to the last match, in ms; each asked twice."""
    indexes = {name: SqlIndex.open(where) for name, where in places.items()}
    results: dict[str, dict[str, list[float]]] = {}
    for kind in KINDS:
        random.seed(kind)
        asked = [FINDS[kind](study(random.randint(1, studies), studies)) for _ in range(queries)]
        for index in indexes.values():
            _asked(index, kind, asked)
        results[kind] = {name: _summary(_asked(index, kind, asked)) for name, index in indexes.items()}
        print(_row(kind, results[kind]), flush=True)
    for index in indexes.values():
        index.close()
    return results


def _row(kind: str, result: dict[str, list[float]]) -> str:
    one, other = result.values()
    cells = [f"{value:.1f}" for value in (*one[:2], *other[:2])]
    return f"| {kind} | {' | '.join(cells)} | {other[1] / one[1]:.2f} |"


def inserts(where: Database, threads: int, each: int) -> float:
    """Instances recorded in a second by so many threads, ``each`` of them so many."""
    index = SqlIndex.open(where)
    items = [[_new(thread * 100_000 + number) for number in range(each)] for thread in range(threads)]

    def record(mine: list[Any]) -> None:
        for instance, attributes in mine:
            index.record(instance, attributes)

    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(record, items))
    seconds = time.perf_counter() - began
    for instance, _ in (one for mine in items for one in mine):
        index.remove(instance.sop_instance_uid)
    index.close()
    return threads * each / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("server")
    parser.add_argument("--studies", type=int, default=50_000)
    parser.add_argument("--queries", type=int, default=100, help="of each kind")
    parser.add_argument("--json", type=Path, help="write the numbers there too")
    given = parser.parse_args()
    url, filling = filled(given.folder, given.studies)
    server = Database(given.server, os.environ.get("ZSCP_INDEX__PASSWORD", ""))
    target, copying = copied(url, server, f"bench_{given.studies}")
    places = {"sqlite": Database(url), "postgresql": target}
    print(f"filled in {filling:.0f} s, copied and compared in {copying:.0f} s\n")
    print("| first match, ms | SQLite: median | p95 | PostgreSQL: median | p95 | ratio of p95 |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    found = finds(places, given.studies, given.queries)
    rates = {
        name: {threads: inserts(where, threads, 1000 // threads) for threads in (1, 8)}
        for name, where in places.items()
    }
    sizes = {name: size(where) for name, where in places.items()}
    print(f"\nrecorded a second, by threads: {rates}\nbytes: {sizes}")
    if given.json:
        numbers = {"studies": given.studies, "filled_s": filling, "copied_s": copying, "bytes": sizes}
        given.json.write_text(json.dumps(numbers | {"ms": found, "recorded": rates}, indent=1))


if __name__ == "__main__":
    main()
