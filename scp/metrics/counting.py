"""What code calls to count; each call takes some microseconds, and none of them fails.

A process of a node counts into figures that its parent shares (:class:`NodeFigures`), any other into its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from scp.metrics.board import Trouble
from scp.metrics.catalogue import OTHER
from scp.metrics.contacts import Contact, Contacts, merged
from scp.metrics.figures import Figures
from scp.metrics.traffic import Amounts, TrafficLabel

_MOST_PEERS = 200
_NEW = ("kept", "replaced")  # outcomes of a C-STORE after which something is stored that was not before

_figures, _contacts = Figures(), Contacts()
_peers: frozenset[str] = frozenset()


def use(figures: Figures, contacts: Contacts | None = None) -> None:
    """Count into these from now on, in this process."""
    global _figures, _contacts
    figures.take_up()
    _figures, _contacts = figures, contacts or Contacts()
    _contacts.take_up()


def current() -> Figures:
    """Those of this process."""
    return _figures


def know_peers(aets: Iterable[str]) -> None:
    """The AE titles that may be labels: those of the configuration. All others are counted together."""
    global _peers  # noqa: PLW0603 - as the configuration has them, for the process
    named = sorted(aets)
    _peers = frozenset(named[:_MOST_PEERS])
    _contacts.know(named)


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
    came = 0
    if isinstance(kept := known.get("bytes_kept"), int):
        figures.add("zscp_kept_bytes_total", (), kept)
        if isinstance(received := known.get("bytes_received"), int):
            figures.add("zscp_received_bytes_total", (), received)
            came = received
    sent = known.get("bytes_sent")
    went = sent if isinstance(sent, int) else 0
    if went:
        figures.add("zscp_sent_bytes_total", (service,), went)
    _contact(peer, str(known.get("destination") or peer), came, went)
    _ended(TrafficLabel(service, peer, str(known.get("modality") or "")), status, known)


def _ended(label: TrafficLabel, status: str, known: Mapping[str, object]) -> None:
    """Count a request for the history; one that an object was accepted by, with the object."""
    sizes = known.get("bytes_received"), known.get("bytes_kept")
    amounts = Amounts(1, status == "failure")
    if isinstance(sizes[0], int) and isinstance(sizes[1], int):
        new = known.get("outcome") in _NEW
        amounts = Amounts(1, 0, 1, sizes[0], new and sizes[0], new and sizes[1])
    _figures.traffic.count(label, amounts, _peers)


def object_sent(service: str, peer: str, modality: str, sizes: tuple[int, int, int]) -> None:
    """Count an object that a peer has taken: its bytes on the wire, as received at first, and as stored."""
    _figures.traffic.count(TrafficLabel(service, peer, modality), Amounts(0, 0, 1, *sizes), _peers)


def _contact(peer: str, destination: str, came: int, went: int) -> None:
    """What a C-MOVE sends counts for its destination: that is where the bytes go."""
    if destination == peer:
        _contacts.request(peer, came, went)
        return
    _contacts.request(peer, came, 0)
    if went:
        _contacts.request(destination, 0, went)


def association(aet: str, address: str, refused: str = "") -> None:
    """A peer's association has ended, or was ``refused`` for this reason."""
    _contacts.association(aet, address, refused)


def trouble(level: str, event: str, reason: str, about: str) -> None:
    """A warning or an error was logged."""
    _figures.board.note(Trouble(time.time(), level, event, reason, about))


def alive() -> None:
    """This process is alive: its loops turn."""
    _figures.alive = time.monotonic()


class NodeFigures:
    """The figures of all processes of a node by name, and of the one that forks them; when it ``began``."""

    def __init__(self, own: Figures | None = None) -> None:
        self.began = time.time()
        self.own = own or Figures()
        self._of: dict[str, Figures] = {}
        self._contacts_of: dict[str, Contacts] = {}

    def reserve(self, name: str) -> None:
        """Have figures for a process; only those that are forked later share them."""
        self._of.setdefault(name, Figures())
        self._contacts_of.setdefault(name, Contacts())

    def of(self, name: str) -> Figures:
        """Those of one process."""
        return self._of[name]

    def begin(self, name: str) -> None:
        """In a process that begins: count there."""
        use(self._of[name], self._contacts_of[name])

    def ended(self, name: str) -> None:
        """In the parent: a process has ended."""
        self._of[name].end()

    def restarted(self, name: str) -> None:
        """In the parent: a process is started again."""
        self.own.add("zscp_process_restarts_total", (name.split(maxsplit=1)[0],))

    def processes(self) -> dict[str, Figures]:
        """The figures of each process by its name, without the parent's."""
        return dict(self._of)

    def contacts(self) -> list[Contact]:
        """Who was in contact with any process, by AE title; all others, whose title is empty, come first."""
        return merged(self._contacts_of.values())

    def all(self) -> list[Figures]:
        """Those of every process."""
        return [self.own, *self._of.values()]
