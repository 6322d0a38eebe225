"""A reload that one process of a node asks for, and what came of it in all others.

The supervisor reads the configuration again on SIGHUP, and passes it on only where it can be used. Each
process counts the reloads that it has taken up in the memory that all share, so that nobody has to answer.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from scp.metrics.counting import NodeFigures
from scp.web.reports import ReloadReport

_LOOK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Reloading:
    """Asks the process ``supervisor``, if this process is its child: else its id may be another's by now."""

    figures: NodeFigures
    supervisor: int
    parent: Callable[[], int] = os.getppid

    def ask(self, seconds: float = 10.0) -> ReloadReport:
        """Have the node read its configuration again, and wait so long at most until its processes use it."""
        if self.parent() != self.supervisor:
            return ReloadReport("not asked", "the supervisor has ended; start the node again")
        until, own = time.monotonic() + seconds, self.figures.own
        known = {name: one.reloads for name, one in self.figures.processes().items() if one.alive}
        before = own.reloads
        os.kill(self.supervisor, signal.SIGHUP)
        if not _wait(lambda: own.reloads > before, until):
            told = "the supervisor has not taken the configuration up; the log says why"
            return ReloadReport("not taken up", told)
        _wait(lambda: not self._missing(known), until)
        missing = self._missing(known)
        told = "these processes have not taken it up yet; the log says why" if missing else ""
        return ReloadReport("not taken up" if missing else "taken up", told, missing)

    def _missing(self, known: dict[str, int]) -> tuple[str, ...]:
        """Those that lived when it was asked for; one that ended since begins with the new configuration."""
        now = self.figures.processes()
        return tuple(name for name, count in known.items() if now[name].alive and now[name].reloads <= count)


def _wait(holds: Callable[[], bool], until: float) -> bool:
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(_LOOK_SECONDS)
    return True
