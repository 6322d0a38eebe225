"""What code calls to count; each call takes some microseconds, and none of them fails.

A process of a node counts into figures that its parent shares (:class:`NodeFigures`), any other into its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from scp.metrics.board import Trouble
from scp.metrics.catalogue import OTHER
from scp.metrics.figures import Figures

_MOST_PEERS = 200

_figures = Figures()
_peers: frozenset[str] = frozenset()


def use(figures: Figures) -> None:
    """Count into these from now on, in this process."""
    global _figures  # noqa: PLW0603 - one for the process, set by who forked it
    figures.take_up()
    _figures = figures


def current() -> Figures:
    """Those of this process."""
    return _figures


def know_peers(aets: Iterable[str]) -> None:
    """The AE titles that may be labels: those of the configuration. All others are counted together."""
    global _peers  # noqa: PLW0603 - as the configuration has them, for the process
    _peers = frozenset(sorted(aets)[:_MOST_PEERS])


def count(name: str, *labels: str, amount: float = 1.0) -> None:
    """Add to a counter or a gauge of :data:`scp.metrics.catalogue.COUNTED`."""
    _figures.add(name, labels, amount)


def observe(name: str, *labels: str, value: float) -> None:
    """Count a value in a histogram."""
    _figures.observe(name, labels, value)


def limit(key: str) -> None:
    """A limit was reached; one with a key is called by that, such as ``limits.associations``."""
    _figures.add("zscp_limit_reached_total", (key,))


def request(service: str, status: str, seconds: float, known: Mapping[str, object]) -> None:
    """A request has ended; ``known`` is what its line in the log says."""
    figures, peer = _figures, str(known.get("calling_aet") or known.get("destination") or "")
    figures.add("zscp_requests_total", (service, status))
    figures.observe("zscp_request_seconds", (service,), seconds)
    label = peer if peer in _peers else OTHER
    figures.observe("zscp_peer_request_seconds", (service, label), seconds)
    if isinstance(kept := known.get("bytes_kept"), int):
        figures.add("zscp_kept_bytes_total", (), kept)
        if isinstance(received := known.get("bytes_received"), int):
            figures.add("zscp_received_bytes_total", (), received)
    if isinstance(sent := known.get("bytes_sent"), int):
        figures.add("zscp_sent_bytes_total", (service,), sent)


def trouble(level: str, event: str, reason: str, about: str) -> None:
    """A warning or an error was logged."""
    _figures.board.note(Trouble(time.time(), level, event, reason, about))


def alive() -> None:
    """This process is alive: its loops turn."""
    _figures.alive = time.monotonic()


class NodeFigures:
    """The figures of all processes of a node by name, and of the one that forks them; when it ``began``."""

    def __init__(self) -> None:
        self.began = time.time()
        self.own = Figures()
        self._of: dict[str, Figures] = {}

    def reserve(self, name: str) -> None:
        """Have figures for a process; only those that are forked later share them."""
        self._of.setdefault(name, Figures())

    def of(self, name: str) -> Figures:
        """Those of one process."""
        return self._of[name]

    def begin(self, name: str) -> None:
        """In a process that begins: count there."""
        use(self._of[name])

    def ended(self, name: str) -> None:
        """In the parent: a process has ended."""
        self._of[name].end()

    def restarted(self, name: str) -> None:
        """In the parent: a process is started again."""
        self.own.add("zscp_process_restarts_total", (name.split(maxsplit=1)[0],))

    def processes(self) -> dict[str, Figures]:
        """The figures of each process by its name, without the parent's."""
        return dict(self._of)

    def all(self) -> list[Figures]:
        """Those of every process."""
        return [self.own, *self._of.values()]
