"""``zscp advise`` for the page of a running node: a process of its own, which can be looked at and ended.

Comparing codecs takes all of a core and much memory. It does so in a process with low priority, as the typed
command does: what breaks there, or takes too long, leaves the node alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from scp.node.beside import begin, end
from scp.web.reports import AdviceReport

# Beside measuring, objects are read, dictionaries trained, and the chart drawn.
_GRACE_SECONDS = 120.0
_STOP_SECONDS = 12.0  # somewhat longer than a process is asked to end
_MOST_FAULT = 2000  # characters of what the command says where it fails


class Advising:
    """One comparison at a time; any thread may call. ``config`` is the configuration file of the node."""

    def __init__(self, config: Path | None, command: tuple[str, ...] = (sys.executable, "-m", "scp")) -> None:
        self._config, self._command = config, command
        self._lock = threading.Lock()
        self._report = AdviceReport()
        self._process: subprocess.Popen[bytes] | None = None
        self._begun, self._cancelled = 0.0, False
        self._follower = threading.Thread()

    def start(self, seconds: float, chart: bool = True) -> bool:
        """Begin to compare, for about so long; False where a comparison runs already."""
        with self._lock:
            if self._process is not None:
                return False
            folder = tempfile.TemporaryDirectory(prefix="zscp-advice-")
            drawn = Path(folder.name) / "chart.svg" if chart and _draws() else None
            with (Path(folder.name) / "fault").open("wb") as fault:
                out = (Path(folder.name) / "advice.json").open("wb")
                self._process = self._started(seconds, drawn, out, fault)
                out.close()
            self._cancelled = False
            self._begun, self._report = time.monotonic(), AdviceReport("running", of=seconds)
            following = (self._process, folder, seconds)
            self._follower = threading.Thread(target=self._follow, args=following, daemon=True)
            self._follower.start()
            return True

    def _started(
        self, seconds: float, drawn: Path | None, out: IO[bytes], fault: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        asked = ["advise", "--stored", "--json", "--seconds", f"{seconds:g}"]
        asked += ["--config", str(self._config)] if self._config else []
        asked += ["--chart", str(drawn)] if drawn else []
        return begin([*self._command, *asked], out, fault)

    def _follow(
        self, process: subprocess.Popen[bytes], folder: tempfile.TemporaryDirectory[str], seconds: float
    ) -> None:
        with folder as place:
            try:
                status = process.wait(seconds + _GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                end(process)
                status = process.wait()
            found = _outcome(status, Path(place), time.monotonic() - self._begun, seconds)
        with self._lock:
            if self._cancelled:
                found = AdviceReport("ended", found.seconds, seconds)
            self._report, self._process = found, None

    def report(self) -> AdviceReport:
        """How far it is."""
        with self._lock:
            if self._process is None:
                return self._report
            return AdviceReport("running", time.monotonic() - self._begun, self._report.of)

    def cancel(self) -> None:
        """End the comparison that runs, if one does."""
        with self._lock:
            if self._process is not None:
                self._cancelled = True
                threading.Thread(target=end, args=(self._process,), daemon=True).start()

    def stop(self) -> None:
        """End the comparison that runs, and wait for its end: it would outlive this process."""
        self.cancel()
        if self._follower.is_alive():
            self._follower.join(_STOP_SECONDS)


def _outcome(status: int, place: Path, took: float, of: float) -> AdviceReport:
    said = (place / "fault").read_text(encoding="utf-8", errors="replace")[-_MOST_FAULT:]
    try:
        advice = json.loads((place / "advice.json").read_bytes())
    except ValueError:
        return AdviceReport("failed", took, of, fault=said or f"it ended with status {status}")
    chart = place / "chart.svg"
    drawn = chart.read_text(encoding="utf-8") if chart.exists() else ""
    return AdviceReport("done", took, of, advice, drawn)


def _draws() -> bool:
    """Whether charts can be drawn, without loading what draws them."""
    return find_spec("matplotlib") is not None
