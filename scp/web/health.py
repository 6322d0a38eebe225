"""Liveness and readiness: whether the node is to be started again, and whether peers can be served now."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from scp.metrics.counting import NodeFigures
from scp.web.looks import LOOK_SECONDS, Look

# Every process says that it is alive each 1 to 5 s. A machine that swaps is slow, not dead.
_HUNG_SECONDS, _SILENT_SECONDS = 60.0, 20.0
# A look may wait for the index, and the next one for it.
_OLD_SECONDS = 6 * LOOK_SECONDS


class Health:
    """Whether the node lives and is ready, by what its processes and the last look say.

    ``shortage`` says why associations are rejected for a lack of memory; empty where they are not.
    """

    def __init__(
        self,
        figures: NodeFigures,
        latest: Callable[[], Look],
        clock: Callable[[], float] = time.monotonic,
        shortage: Callable[[], str] = lambda: "",
    ) -> None:
        self._figures, self._latest, self._clock = figures, latest, clock
        self._shortage = shortage

    def silent_seconds(self) -> dict[str, float | None]:
        """For how long each process has not said that it is alive; None where it has not begun."""
        now = self._clock()
        return {
            name: now - one.alive if one.alive else None for name, one in self._figures.processes().items()
        }

    def index_age(self) -> float | None:
        """How many seconds ago the index last answered; None where it has not yet."""
        at = self._latest().index_at
        return self._clock() - at if at else None

    def not_alive(self) -> list[str]:
        """Why the node is to be started again; empty where it lives."""
        own = self._figures.own
        silent = self._clock() - own.alive
        if silent > _HUNG_SECONDS and not own.stopping:  # then it waits for the others to end
            return [f"the supervisor has not turned for {silent:.0f} s; start the node again"]
        return []

    def not_ready(self) -> list[str]:
        """Why peers cannot be served now, a sentence each; empty where they can."""
        found, latest, now = self.not_alive(), self._latest(), self._clock()
        if self._figures.own.stopping:
            found.append("the node is stopping")
        if not self._some_worker_serves():
            found.append("no worker serves; the log says why workers end")
        if latest.index_fault:
            found.append(f"the index cannot be used: {latest.index_fault}")
        elif now - latest.index_at > _OLD_SECONDS:
            found.append(f"the index has not answered for {now - latest.index_at:.0f} s")
        if latest.store_fault:
            found.append(f"nothing can be stored: {latest.store_fault}")
        if shortage := self._shortage():
            found.append(f"associations are rejected: {shortage}")
        return found

    def _some_worker_serves(self) -> bool:
        return any(
            silent is not None and silent <= _SILENT_SECONDS
            for name, silent in self.silent_seconds().items()
            if name.startswith("worker ")
        )

    def live(self) -> tuple[int, bytes]:
        """Status and JSON of ``/live``."""
        return _answer("live", self.not_alive())

    def ready(self) -> tuple[int, bytes]:
        """Status and JSON of ``/ready``."""
        return _answer("ready", self.not_ready())


def _answer(name: str, faults: list[str]) -> tuple[int, bytes]:
    body = {name: not faults, "faults": faults}
    return (503 if faults else 200), json.dumps(body).encode() + b"\n"
