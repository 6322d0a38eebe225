"""What the commands print: tables for people, JSON for programs, progress for who waits."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from scp.background.progress import Progress
from scp.telemetry import CONTROLS, printable
from scp.web.wording import number as number  # noqa: PLC0414 - commands take it from here
from scp.web.wording import percent as percent  # noqa: PLC0414 - commands take it from here
from scp.web.wording import size as size  # noqa: PLC0414 - commands take it from here

_LOG_EVERY_SECONDS = 10.0
_MOST_FAULTS = 20


def as_json(value: Any) -> None:
    """One JSON document on standard output; what would control a terminal is escaped as JSON has it."""
    told = json.dumps(value, default=_plain, ensure_ascii=False, indent=2)
    sys.stdout.write(CONTROLS.sub(lambda found: json.dumps(found[0])[1:-1], told) + "\n")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value.hex() if isinstance(value, bytes) else str(value)


class _Terminal(Console):
    """Prints what peers and objects say as text: neither as control characters nor as rich's markup."""

    def __init__(self, width: int | None = None) -> None:
        super().__init__(width=width, markup=False, emoji=False)

    def render_str(self, text: str, **choices: Any) -> Text:
        """Every cell, title and line goes through here."""
        return super().render_str(printable(text), **choices)


def terminal() -> Console:
    """Standard output; a pipe gets whole lines, however wide."""
    return _Terminal() if sys.stdout.isatty() else _Terminal(width=10_000)


def show(*what: Any) -> None:
    """Tables and lines on standard output."""
    for one in what:
        terminal().print(one)


def show_rows(table: Table, none: str) -> None:
    """A table on standard output or, where it has no rows, a sentence that says so."""
    show(table if table.row_count else none)


class _LoggedProgress:
    """A log line every few seconds, where no terminal shows a bar."""

    def __init__(self, doing: str, unit: str) -> None:
        self._doing, self._unit = doing, unit
        self._done, self._total, self._last_told = 0, 0, time.monotonic()

    def total(self, count: int) -> None:
        self._total = count

    def advance(self, count: int = 1) -> None:
        self._done += count
        if time.monotonic() - self._last_told >= _LOG_EVERY_SECONDS:
            self._last_told = time.monotonic()
            told = {"done": self._done, "total": self._total, "unit": self._unit}
            structlog.get_logger("zscp").info(self._doing, **told)


class _ShownProgress:
    def __init__(self, bar: Bar, task: TaskID) -> None:
        self._bar, self._task = bar, task

    def total(self, count: int) -> None:
        self._bar.update(self._task, total=count)

    def advance(self, count: int = 1) -> None:
        self._bar.advance(self._task, count)


@contextmanager
def progress(doing: str, unit: str) -> Iterator[Progress]:
    """A bar on a terminal's standard error, log lines where there is none."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _LoggedProgress(doing, unit)
        return
    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        yield _ShownProgress(bar, bar.add_task(doing, total=None))


def tell_faults(lines: Iterable[str]) -> None:
    """The first of many lines about what went wrong."""
    lines = list(lines)
    console = terminal()
    for line in lines[:_MOST_FAULTS]:
        console.print(line, highlight=False)
    if len(lines) > _MOST_FAULTS:
        console.print(f"… and {len(lines) - _MOST_FAULTS} more; --json lists all")
