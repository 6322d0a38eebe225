"""Pictures of all views of a node's page, for docs/web.md: ``python -m scripts.screenshots [FOLDER]``.

A node is started in a temporary folder. It stores the objects below FOLDER (../shared/corpus, or else the
test files that pydicom brings along: all of them public), and one study is retrieved. What came in and went
out before today is made up, and written through the index's own history. Chromium then takes a picture of
each row of ``scp/web/page/views/table.py``. What is kept and planned today is real.
"""

from __future__ import annotations

import getpass
import io
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pydicom
from PIL import Image
from pydicom.errors import InvalidDicomError

from scp.index.history import KeptRow, TrafficRow
from scp.index.sql import SqlIndex
from scp.web.page.views.table import VIEWS, View
from scripts.demo import Contexts, associated, bundled, get
from scripts.demo import Study as Files
from scripts.sections import renewed

ROOT = Path(__file__).resolve().parents[1]
PAGE, IMAGES = ROOT / "docs" / "web.md", ROOT / "docs" / "images"
CORPUS = ROOT.parent / "shared" / "corpus"
MOST_BYTES = 200_000
_SIZE = {"width": 1280, "height": 1400}
_WAIT_SECONDS = 300.0
_LONGEST_AET = 16
_NO_ANSWER, _WARNING = 0xFFFF, 0xB  # the first digit of a status: it is kept, and something is odd (PS3.7 C)
_DAYS, _WORKING_HOURS = 720, range(7, 19)
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
# As `zscp serve`, but under a name that is no machine's, and with figures in the index after a moment.
_SERVE = """
import socket
socket.gethostname = lambda: "archive1"
from scp.lifecycle import history
history.WRITE_SECONDS, history._TIMES_AS_LONG = 1.0, 0
from scp.cli.main import main
main()
"""
# The later stages are due at once, in hours that are not now: so there is something to plan.
_CONFIGURATION = """
[node]
host = "127.0.0.1"
port = 0
workers = 2
[storage]
url = "{folder}/objects"
[index]
url = "sqlite:///{folder}/index.db"
[http]
port = {port}
page = "on"
[lifecycle]
hours = "{hours}"
[[peer]]
aet = "CT1"
host = "127.0.0.1"
port = 11113
[[peer]]
aet = "VIEWER"
host = "127.0.0.1"
port = 11114
[[retention]]
name = "secondary captures: one year"
match = {{ Modality = ["OT", "SC"] }}
after = "1y"
[[retention]]
name = "thirty years"
match = {{ Modality = ["CT", "MR", "MG", "XA", "US", "NM"] }}
after = "30y"
[[policy]]
name = "CT and MR"
match = {{ Modality = ["CT", "MR"] }}
stages = [{{ form = "htj2k" }}, {{ form = ["jpegxl", "htj2k"], after = "0s", wrap = "auto", level = 9 }}]
[[policy]]
name = "all others"
stages = [{{ form = "htj2k" }}]
"""


class Failed(Exception):
    """No pictures can be taken; the text says why."""


def files_of(folder: Path | None) -> dict[str, Files]:
    """The objects to store, by modality."""
    chosen = folder or (CORPUS if CORPUS.exists() else None)
    if chosen is None:
        studies = bundled().values()
        paths = [path for study in studies for path in study.files]
    else:
        paths = sorted(path for path in chosen.rglob("*") if path.is_file())
    found: dict[str, Files] = defaultdict(Files)
    for path in paths:
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=True)
            context = (str(dataset.SOPClassUID), str(dataset.file_meta.TransferSyntaxUID))
        except (InvalidDicomError, AttributeError, OSError, ValueError):
            continue
        group = found[str(dataset.get("Modality", "")) or "OT"]
        group.files.append(path)
        group.contexts.add(context)
    if not found:
        raise Failed(f"{chosen}: there are no DICOM objects")
    return found


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for something that the node does. Raises Failed."""
    end = time.monotonic() + _WAIT_SECONDS
    while not (value := condition()):
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {_WAIT_SECONDS:.0f} s")
        time.sleep(0.5)
    return value


class Pictured:
    """A node that runs, and what its API says."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, http: int) -> None:
        self.process, self.folder, self.base = process, folder, f"http://127.0.0.1:{http}"

    def says(self, path: str) -> Any:
        """An answer of the API; None while there is none."""
        try:
            with urllib.request.urlopen(f"{self.base}{path}", timeout=30) as answer:  # noqa: S310 - of ours
                return json.load(answer)
        except OSError:
            return None

    def port(self) -> int:
        """Where it listens for DICOM; 0 while it does not. Raises Failed where it has ended."""
        if self.process.poll() is not None:
            raise Failed(f"the node has ended:\n{(self.folder / 'log').read_text()}")
        for line in (self.folder / "log").read_text().splitlines():
            if line.startswith("{") and line.endswith("}") and json.loads(line)["event"] == "listening":
                return int(json.loads(line)["port"])
        return 0


@contextmanager
def node(folder: Path) -> Iterator[Pictured]:
    """A node with a page, which is ended afterwards."""
    http, now = free_port(), datetime.now().astimezone()  # the configuration has local time
    hours = f"{now + timedelta(hours=8):%H}:00-{now + timedelta(hours=12):%H}:00"
    config = folder / "zscp.toml"
    config.write_text(_CONFIGURATION.format(folder=folder, port=http, hours=hours), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ZSCP_LOG__FORMAT": "json"}
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-c", _SERVE, "serve", "--config", str(config)]
        process = subprocess.Popen(command, cwd=folder, env=environment, stderr=log)  # noqa: S603 - of ours
    try:
        yield Pictured(process, folder, http)
    finally:
        process.terminate()
        process.wait(60)


def store(port: int, groups: dict[str, Files]) -> list[Path]:
    """Store each modality's objects as a device of its own; those that were not taken."""
    refused = []
    for modality, group in groups.items():
        with associated(port, group.contexts, {}, f"{modality}1"[:_LONGEST_AET]) as association:
            refused += [path for path in group.files if not _is_taken(association, path)]
    return refused


def _is_taken(association: Any, path: Path) -> bool:
    try:
        status = association.send_c_store(path).get("Status", _NO_ANSWER)
    except (AttributeError, ValueError):  # it cannot be sent as it is, or the node takes no such thing
        return False
    return status == 0 or status >> 12 == _WARNING


def retrieve(port: int, group: Files) -> None:
    """Get the study of the first object back."""
    study = str(pydicom.dcmread(group.files[0], stop_before_pixels=True).StudyInstanceUID)
    get(port, study, group, "VIEWER")


def make_history(folder: Path, today: Sequence[KeptRow], now: datetime) -> None:
    """What might have been before today: more each day, less at weekends; written as a node writes it."""
    chance = random.Random(16)  # noqa: S311 - the same pictures each time
    index = SqlIndex.open(f"sqlite:///{folder}/index.db")
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for back in range(_DAYS, 0, -1):
        day, share = midnight - timedelta(days=back), 0.1 + 0.9 * (1 - back / _DAYS) ** 2
        busy = 0.2 if day.weekday() > 4 else 1.0  # a weekend
        amounts = [(row, busy * chance.uniform(0.5, 1.5) / 5 / len(_WORKING_HOURS)) for row in today]
        rows = [
            row
            for hour in _WORKING_HOURS
            for kept, amount in amounts
            for row in _traffic(day + timedelta(hours=hour), kept, amount)
        ]
        index.history.put_traffic("made up", back, rows)
        index.history.put_kept(
            day,
            [replace(row, **{name: int(getattr(row, name) * share) for name in _AMOUNTS}) for row in today],
        )
    index.history.fold(now)
    index.close()


_AMOUNTS = ("instances", "received_size", "stored_size")


def _traffic(start: datetime, kept: KeptRow, share: float) -> Iterator[TrafficRow]:
    count, received, stored = (1 + int(getattr(kept, name) * share) for name in _AMOUNTS)
    sizes = (count, received, received, stored)
    yield TrafficRow(start, "c-store", kept.calling_aet, kept.modality, count, 0, *sizes)
    yield TrafficRow(start, "c-move", "VIEWER", kept.modality, 0, 0, 1 + count // 2, received // 2)
    yield TrafficRow(start, "c-find", "VIEWER", "", 1 + count // 10)


def prepare(pictured: Pictured, groups: dict[str, Files]) -> None:
    """Store, retrieve, make history, and wait until the page has all of it."""
    port = until(pictured.port, "the node listens")
    store(port, groups)
    retrieve(port, max(groups.values(), key=lambda one: len(one.files)))

    def encoded() -> bool:
        now = pictured.says("/api/now")
        return bool(now and now["ready"] and not now["pending_objects"])

    until(encoded, "all objects are encoded")
    time.sleep(3)  # the next look at what is kept
    found = until(lambda: pictured.says("/api/savings"), "the page answers")
    index = SqlIndex.open(f"sqlite:///{pictured.folder}/index.db")
    by = ["start", "modality", "form", "store", "calling_aet"]
    today = index.history.kept("hour", by, datetime.fromisoformat(found["looked_at"]))  # type: ignore[arg-type]
    index.close()
    make_history(pictured.folder, today, datetime.now(UTC))
    pictured.process.send_signal(signal.SIGHUP)  # retention looks again
    until(lambda: (pictured.says("/api/retention") or {}).get("looked_at"), "retention has looked")
    until(lambda: (pictured.says("/api/plan") or {}).get("plan"), "the plan is looked up")


def small(picture: bytes) -> bytes:
    """The picture with a palette, with as many colours as there is room for. Raises Failed."""
    whole = Image.open(io.BytesIO(picture)).convert("RGB")
    for colours in (256, 128, 64, 32):
        file = io.BytesIO()
        whole.quantize(colours, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
        if file.tell() < MOST_BYTES:
            return file.getvalue()
    raise Failed(f"a picture has more than {MOST_BYTES} bytes")


def name_of(view: View) -> str:
    """The name of a view's picture."""
    return f"{view.entry.title.lower().replace(' ', '-')}.png"


def take(pictured: Pictured, groups: dict[str, Files]) -> None:
    """A picture of each view, while some associations are open."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - make screenshots installs it

    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if chromium is None:
        raise Failed("Chromium is not installed: scripts/install-browser.sh installs it")
    IMAGES.mkdir(exist_ok=True)
    port = pictured.port()
    with sync_playwright() as playwright, ExitStack() as opened:
        for modality, group in list(groups.items())[:3]:
            contexts: Contexts = group.contexts
            association = opened.enter_context(associated(port, contexts, {}, f"{modality}1"))
            association.send_c_store(group.files[0])
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        opened.callback(browser.close)
        page = browser.new_page(viewport=_SIZE, color_scheme="light")
        for view in VIEWS:
            page.goto(f"{pictured.base}{view.entry.path}")
            page.wait_for_selector("h1")
            page.wait_for_timeout(4000)  # charts are drawn, and what changes by itself has come once
            _check(page.content(), pictured.folder)
            (IMAGES / name_of(view)).write_bytes(small(page.screenshot()))
            sys.stdout.write(f"{name_of(view)}: {(IMAGES / name_of(view)).stat().st_size} bytes\n")


def _check(html: str, folder: Path) -> None:
    """Raises Failed where a page names the machine, its folders or its user."""
    for word in (str(folder), str(ROOT), socket.gethostname(), f"{getpass.getuser()}@"):
        if word in html:
            raise Failed(f"a page shows {word!r}")


def section() -> str:
    """The part of docs/web.md that shows the pictures which there are."""
    shown = [view for view in VIEWS if (IMAGES / name_of(view)).exists()]
    lines = [f"\n![The view {view.entry.title}](images/{name_of(view)})\n" for view in shown]
    return "".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Take all pictures; the exit status."""
    groups = files_of(Path(arguments[0]) if arguments else None)
    try:
        with tempfile.TemporaryDirectory(prefix="zscp-") as name, node(Path(name)) as pictured:
            prepare(pictured, groups)
            take(pictured, groups)
    except (Failed, RuntimeError) as error:  # pynetdicom's, where an association has ended
        sys.stderr.write(f"{error}\n")
        return 1
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(renewed(text, {"pictures": section}), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
