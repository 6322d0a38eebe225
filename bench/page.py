"""What a page that is open costs a node, and how soon a view is there: ``python -m bench.page --help``.

**Load.** 16 associations store, in turn with and without a client that does what a browser does: it keeps the
event stream open, and asks for each view, its part of the API, and the files of the page, one after another.
The p95 of its requests by address, and the throughput of both as a ratio of medians.

**A large archive** (``--studies``). A node on an index of so many studies (bench.index_fill) and a history
with as many rows as one may have. Chromium opens each view: the first time after the start, and then again.

It uses loopback only, and ends only what it started. The figures of a busy machine say nothing.
"""

from __future__ import annotations

import argparse
import http.client
import json
import shutil
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import clients, processes
from bench.index_fill import filled
from bench.index_rows import FLAT
from bench.measure import settle
from bench.objects import Objects
from bench.processes import LOOPBACK, ROOT, BenchError
from bench.receivers import RECEIVERS, Running, started
from scp.config.load import load
from scp.index.history import MOST_KEPT_ROWS, MOST_TRAFFIC_ROWS
from scp.index.schema import KEPT, TRAFFIC
from scp.index.sql import SqlIndex
from scp.node.build import open_archive
from scp.web.page.views.table import VIEWS

# What is asked for by a click, and reads large parts of the index; and what only an admin is told.
_NOT_BY_ITSELF = {"/api/health/conflicts", "/api/policy/file"}
_DAYS, _DAY_SECONDS, _CHROMIUM = 730, 86_400, ("chromium", "chromium-browser", "google-chrome")
_READY_SECONDS, _OPENED = 300.0, 5


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.page", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of both, with and without a browser; 0: none")
    parser.add_argument("--associations", type=int, default=16)
    parser.add_argument("--objects", default="ct3", help="a set of bench/objects.py: ct, ct3, small")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the objects; below 1 to try it")
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between two requests")
    parser.add_argument("--corpus", type=Path, help="folder with real objects; without it, generated ones")
    parser.add_argument(
        "--studies", type=int, default=0, help="also open the views of so large an archive, one instance each"
    )
    parser.add_argument("--disk", type=Path, help="a folder on the disk to use; default: the checkout")
    return parser.parse_args(given)


def say(text: str) -> None:
    print(text, flush=True)


@dataclass
class Asking:
    """Asks a page as an open browser does, in two threads; ``seconds`` by address."""

    port: int
    pause: float
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    faults: list[str] = field(default_factory=list)
    events: int = 0
    _paths: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Ask for as long as the block takes; what there is to ask for is known before."""
        self._paths = addresses(self.port)
        threads = [threading.Thread(target=one, daemon=True) for one in (self._ask, self._listen)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join(60)

    def _ask(self) -> None:
        while not self._over.is_set():
            for path in self._paths:
                self._time(path)
                if self._over.wait(self.pause):
                    return

    def _time(self, path: str) -> None:
        begun = time.perf_counter()
        try:
            status, body = answer(self.port, path)
        except OSError as error:
            self.faults.append(f"{path}: {error}")
            return
        self.seconds[path].append(time.perf_counter() - begun)
        if status >= 400:
            self.faults.append(f"{path}: {status} {body[:200]!r}")

    def _listen(self) -> None:
        """Keep the stream of Now open, and count its events."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=10)
        try:
            connection.request("GET", "/now/stream")
            lines = connection.getresponse()
            while not self._over.is_set():
                self.events += lines.readline().startswith(b"event: now")
        except OSError as error:
            self.faults.append(f"/now/stream: {error}")
        finally:
            connection.close()


def answer(port: int, path: str) -> tuple[int, bytes]:
    """The status and body of one request over a connection of its own. Raises OSError."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=60)
    try:
        connection.request("GET", path)
        found = connection.getresponse()
        return found.status, found.read()
    finally:
        connection.close()


def addresses(port: int) -> list[str]:
    """Each view, and each operation of the API that only looks and needs no parameter."""
    described = json.loads(answer(port, "/api/openapi.json")[1])
    operations = [
        path
        for path, methods in described["paths"].items()
        if "get" in methods and path not in _NOT_BY_ITSELF
        if not any(one.get("required") for one in methods["get"].get("parameters", ()))
    ]
    files = ["/static/page.js", "/static/page.css", "/static/uPlot.iife.min.js"]
    return [*(view.entry.path for view in VIEWS), *operations, *files]


@contextmanager
def served(folder: Path, **tables: Any) -> Iterator[tuple[Running, int]]:
    """A node with a page, and the port of that."""
    port = processes.free_port()
    receiver = replace(RECEIVERS["zscp"], options={"http": {"port": port, "page": "on"}, **tables})
    try:
        with started(receiver, folder) as running:
            processes.until(lambda: is_ready(port), "the node is ready", _READY_SECONDS, 0.2)
            yield running, port
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_ready(port: int) -> bool:
    try:
        return answer(port, "/ready")[0] == 200
    except OSError:
        return False


def load_round(
    asked: argparse.Namespace, folder: Path, objects: Objects, browser: bool
) -> tuple[float, Asking]:
    """Objects a second, and what the browser saw."""
    sent = objects[asked.objects]
    with served(folder / f"node-{time.monotonic_ns()}") as (running, port):
        clients.send(running, objects["warm"], asked.associations)
        running.drain()
        settle()
        asking = Asking(port, asked.pause)
        if browser:
            with asking.open():
                seconds = clients.send(running, sent, asked.associations)
        else:
            seconds = clients.send(running, sent, asked.associations)
        running.check_count(objects["warm"].count + sent.count)
    return sent.count / seconds, asking


def p95(values: Sequence[float]) -> float:
    return sorted(values)[max(0, -(-95 * len(values) // 100) - 1)]


def measure_load(asked: argparse.Namespace, folder: Path) -> None:
    objects = Objects(folder / "objects", asked.corpus, asked.scale)
    speeds: dict[bool, list[float]] = {True: [], False: []}
    seconds: dict[str, list[float]] = defaultdict(list)
    faults: list[str] = []
    events = 0
    for number in range(asked.rounds):
        for browser in (False, True) if number % 2 == 0 else (True, False):
            speed, asking = load_round(asked, folder, objects, browser)
            speeds[browser].append(speed)
            faults += asking.faults
            events += asking.events
            for path, taken in asking.seconds.items():
                seconds[path] += taken
            say(f"round {number + 1}, {'with' if browser else 'without'} a browser: {speed:.1f} objects/s")
    with_, without = (statistics.median(speeds[one]) for one in (True, False))
    say(f"\nthroughput with / without: {with_ / without:.3f} ({with_:.1f} / {without:.1f} objects/s)")
    say(f"events of the stream: {events}")
    report(seconds)
    if faults:
        raise BenchError(f"{len(faults)} requests failed: {faults[0]}")


def report(seconds: dict[str, list[float]]) -> None:
    every = [one for taken in seconds.values() for one in taken]
    if not every:
        raise BenchError("no request was made: store more objects")
    for path, taken in [*seconds.items(), ("all", every)]:
        median, most = statistics.median(taken), max(taken)
        figures = (
            f"median {median * 1000:6.0f} ms, p95 {p95(taken) * 1000:6.0f} ms, most {most * 1000:6.0f} ms"
        )
        say(f"{path:40} {len(taken):5} requests, {figures}")


# -- a large archive ----------------------------------------------------------------------------------------


def fill_history(url: str) -> None:
    """As many rows of each day of two years as there may be, and of the hours of the last three days."""
    now = int(time.time()) // 3600 * 3600
    starts = [("day", now - now % _DAY_SECONDS - back * _DAY_SECONDS) for back in range(_DAYS, 0, -1)]
    starts += [("hour", now - back * 3600) for back in range(72, 0, -1)]
    traffic = [
        (span, start, "made", 0, "c-store", f"PEER{n % 100}", f"M{n // 100}", 9, 0, 9, 10**6, 10**6, 10**6)
        for span, start in starts
        for n in range(MOST_TRAFFIC_ROWS)
    ]
    kept = [
        (span, start, f"M{n % 4}", f"form {n // 100}", "", f"PEER{n}", 100, 10**8, 3 * 10**7)
        for span, start in starts
        for n in range(MOST_KEPT_ROWS)
    ]
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        for table, rows in ((TRAFFIC, traffic), (KEPT, kept)):
            names = ", ".join(table.c.keys())
            places = ", ".join("?" * len(table.c))
            connection.executemany(f"INSERT OR REPLACE INTO {table.name} ({names}) VALUES ({places})", rows)
        connection.commit()
    index = SqlIndex.open(url)
    index.history.fold(datetime.now(UTC))  # as a node does once a day
    index.close()


def measure_large(asked: argparse.Namespace, folder: Path) -> None:
    """Open each view in Chromium, on an index that is filled."""
    url, taken = filled(folder / "index", asked.studies, FLAT)
    say(f"an index of {asked.studies} studies, made in {taken:.0f} s")
    fill_history(url)
    tables = {"index": {"url": url}, "scrub": {"interval": "0s"}, "lifecycle": {"workers": 0}}
    pair(folder, url)
    with served(folder / "large", storage={"url": f"file://{folder}/objects-of-large"}, **tables) as (
        _,
        port,
    ):
        for title, paints in opened(port).items():
            shown = ", ".join(f"{one * 1000:.0f}" for one in paints)
            say(f"{title:12} first contentful paint, ms, the first time and then: {shown}")


def pair(folder: Path, url: str) -> None:
    """Have the index and an empty store name each other: files are not looked at here."""
    config = folder / "pair.toml"
    config.write_text(
        f'[storage]\nurl = "file://{folder}/objects-of-large"\n[index]\nurl = "{url}"\n', encoding="utf-8"
    )
    archive = open_archive(load(config, {}))
    if archive.pairing is not None:
        archive.pairing.pair()
    archive.close()


def opened(port: int) -> dict[str, list[float]]:
    """Seconds to the first contentful paint of each view, by its title."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - pip install -e '.[browser]'

    chromium = next(filter(None, map(shutil.which, _CHROMIUM)), None)
    if chromium is None:
        raise BenchError("Chromium is not installed: scripts/install-browser.sh installs it")
    found: dict[str, list[float]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for title, path in _to_open():
            found[title] = [_painted(browser, f"http://{LOOPBACK}:{port}{path}") for _ in range(_OPENED)]
        browser.close()
    return found


def _to_open() -> Iterator[tuple[str, str]]:
    for view in VIEWS:
        yield view.entry.title, view.entry.path
        if view.entry.path in {"/savings", "/traffic"}:
            yield f"{view.entry.title}, months", f"{view.entry.path}?by=month"


_PAINT = "() => performance.getEntriesByName('first-contentful-paint').map(one => one.startTime)[0] || 0"


def _painted(browser: Any, url: str) -> float:
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.goto(url)
    page.wait_for_function(f"({_PAINT})() > 0")
    milliseconds = float(page.evaluate(_PAINT))
    context.close()
    return milliseconds / 1000


def main(given: Sequence[str] | None = None) -> int:
    """Measure, and print; the exit status."""
    asked = arguments(given)
    steps: list[Callable[[argparse.Namespace, Path], None]] = []
    steps += [measure_load] if asked.rounds else []
    steps += [measure_large] if asked.studies else []
    with tempfile.TemporaryDirectory(prefix=".bench-page-", dir=asked.disk or ROOT) as name:
        try:
            for step in steps:
                step(asked, Path(name))
        except BenchError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
