"""How long an object takes in ``zscp reindex``, ``fsck`` and ``verify``, with PostgreSQL and a bucket.

``python -m bench.rebuild`` starts a PostgreSQL and a SeaweedFS on loopback, stores some objects, and reads
them all in each way; it prints a table. ``--delay 0.02`` adds a pause to each request, as of a distant store.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from objects import Shape, phantom
from servers_postgresql import PostgreSQL
from servers_seaweedfs import SeaweedFS

from scp.archive.archive import Archive
from scp.background.progress import Silent
from scp.config.link import link
from scp.config.settings import Settings
from scp.lifecycle.fsck import fsck
from scp.lifecycle.reindex import reindex
from scp.lifecycle.verify import verify
from scp.model import Received
from scp.node.build import open_archive
from scp.objects.bucket import Bucket


def objects(count: int, side: int) -> Iterator[Received]:
    """Different objects of side × side pixels of 16 bits."""
    for number in range(count):
        one = phantom(Shape(rows=side, columns=side, seed=number))
        yield replace(one, received_at=datetime.now(UTC))


def delayed(delay: float) -> None:
    """Let each request to a bucket take longer."""

    def slow(verb: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(verb)
        def asked(*given: Any, **named: Any) -> Any:
            time.sleep(delay)
            return verb(*given, **named)

        return asked

    for name in ("get", "look"):
        setattr(Bucket, name, slow(getattr(Bucket, name)))


def measured(name: str, count: int, work: Callable[[], object]) -> object:
    """Do some work, and print what each object took of it."""
    begun, processor = time.perf_counter(), time.process_time()
    done = work()
    took, used = time.perf_counter() - begun, time.process_time() - processor
    print(f"| {name} | {took / count * 1000:.1f} | {used / count * 1000:.1f} |", flush=True)
    return done


def opened(database: PostgreSQL, storage: dict[str, Any], folder: Path) -> Archive:
    """The archive in a bucket, with an index that is new, and a spool that is."""
    spool = {"spool": f"file://{folder}", "backlog": 0, "reserve": 0}
    index = database.tables(database.database(made=False))
    tables = {
        "storage": {**storage, **spool},
        **index,
        "policy": [{"name": "all", "stages": [{"form": "zstd"}]}],
    }
    return open_archive(link(Settings.model_validate(tables, by_alias=True, by_name=False))[0], repairs=True)


def main() -> None:
    """Measure, and print a table in Markdown."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=600)
    options.add_argument("--side", type=int, default=240)
    options.add_argument("--delay", type=float, default=0.0)
    chosen = options.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = stack.enter_context(PostgreSQL())
        storage = stack.enter_context(SeaweedFS(folder / "weed")).storage()
        archive = opened(database, storage, folder / "first")
        for one in objects(chosen.count, chosen.side):
            archive.ingest(one)
        archive.close()
        delayed(chosen.delay)
        archive = opened(database, storage, folder / "second")
        print("| | ms an object | ms of processor time |\n| --- | --- | --- |")
        found: Any = measured("reindex", chosen.count, lambda: reindex(archive, Silent()))
        again: Any = measured("reindex once more", chosen.count, lambda: reindex(archive, Silent()))
        seen: Any = measured("fsck", chosen.count, lambda: list(fsck(archive, Silent())))
        checked: Any = measured("verify", chosen.count, lambda: list(verify(archive, archive.all())))
        archive.close()
    faults = [*found.damaged, *again.damaged, *seen, *(one for one in checked if one.fault)]
    if faults or found.recorded != chosen.count:
        sys.exit(f"{found.recorded} of {chosen.count} were recorded; {faults[:3]}")


if __name__ == "__main__":
    main()
