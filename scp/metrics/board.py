"""What a process shows of its present: the associations that it serves, and what went wrong last.

A page reads it from another process (:class:`scp.metrics.counting.NodeFigures`). It is for people who look at
the node: unlike figures, it names peers and gives reasons, and none of it outlives the node.
"""

from __future__ import annotations

import mmap
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from scp.metrics.records import Records

# A process may serve more; those beyond are counted (zscp_associations_open), and not shown one by one.
_MOST_ASSOCIATIONS, _ASSOCIATION_BYTES = 256, 512
_MOST_TROUBLES, _TROUBLE_BYTES = 48, 1024
# Numbers of one association: they change with each request, and writing them takes a microsecond.
_AT, _SERVICE, _BUSY, _REQUESTS, _RECEIVED, _SENT, _NUMBERS = range(7)
_SERVICES = ("", "c-echo", "c-store", "c-find", "c-move", "c-get", "n-action", "other")
_DOUBLE = 8


@dataclass(frozen=True, slots=True)
class OpenAssociation:
    """An association that is under way; ``since``, and ``at`` of the last change, are seconds since 1970.

    ``service`` is what the peer asked for last, such as ``c-store``; ``busy`` where it is not answered yet.
    Bytes are those of datasets.
    """

    name: str
    calling_aet: str
    called_aet: str
    address: str
    since: float
    at: float = 0.0
    service: str = ""
    busy: bool = False
    requests: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0


@dataclass(frozen=True, slots=True)
class Trouble:
    """A warning or an error of the log, with its ``event`` and ``reason``.

    ``at`` is when it was last logged, in seconds since 1970, ``times`` how often. ``about`` names the peer,
    the object or the process.
    """

    at: float
    level: str
    event: str
    reason: str = ""
    about: str = ""
    times: int = 1


class Board:
    """Shared memory for one process, which its parent makes before it forks."""

    def __init__(self) -> None:
        self._texts = Records(_MOST_ASSOCIATIONS, _ASSOCIATION_BYTES)
        self._memory = mmap.mmap(-1, _MOST_ASSOCIATIONS * _NUMBERS * _DOUBLE)
        self._numbers = memoryview(self._memory).cast("d")
        self._troubles = Records(_MOST_TROUBLES, _TROUBLE_BYTES)
        self.take_up()

    def take_up(self) -> None:
        """Go on in this process: nothing of a predecessor's is open any more; its troubles stay."""
        self._lock = threading.Lock()
        self._free = list(range(_MOST_ASSOCIATIONS))
        self._known: dict[tuple[str, str, str], int] = {}  # the oldest first
        self.end()

    def end(self) -> None:
        """The process has ended."""
        for place in range(_MOST_ASSOCIATIONS):
            self._texts.clear(place)

    # -- associations ------------------------------------------------------------------------------------

    def show(self, name: str, calling: str, called: str, address: str) -> ShownAssociation:
        """Show an association that begins."""
        with self._lock:
            place = self._free.pop() if self._free else None
        if place is None:
            return ShownAssociation()
        numbers = self._numbers[place * _NUMBERS : (place + 1) * _NUMBERS]
        numbers[:] = memoryview(bytes(_NUMBERS * _DOUBLE)).cast("d")
        now = numbers[_AT] = time.time()
        told = {"name": name, "calling_aet": calling, "called_aet": called, "address": address, "since": now}
        self._texts.put(place, {**told, "place": place})
        return ShownAssociation(self, place, numbers)

    def remove(self, place: int) -> None:
        """An association is over."""
        self._texts.clear(place)
        with self._lock:
            self._free.append(place)

    def associations(self) -> Iterator[OpenAssociation]:
        """Those that are under way; from any process."""
        for told in self._texts.all():
            at = int(told.pop("place")) * _NUMBERS
            numbers = self._numbers[at : at + _NUMBERS].tolist()
            yield OpenAssociation(
                **told,
                at=numbers[_AT],
                service=_SERVICES[int(numbers[_SERVICE])],
                busy=numbers[_BUSY] > 0,
                requests=int(numbers[_REQUESTS]),
                bytes_received=int(numbers[_RECEIVED]),
                bytes_sent=int(numbers[_SENT]),
            )

    # -- troubles ----------------------------------------------------------------------------------------

    def note(self, trouble: Trouble) -> None:
        """Keep a warning or an error; one that is like an earlier one adds to that."""
        alike = (trouble.event, trouble.reason, trouble.about)
        with self._lock:
            place = self._known.pop(alike, None)
            if place is None:
                full = len(self._known) >= _MOST_TROUBLES
                place = self._known.pop(next(iter(self._known))) if full else self._place()
                told: Mapping[str, Any] = asdict(trouble)
            else:
                before = next((one for one in self._troubles.all() if one["place"] == place), {"times": 0})
                told = {**asdict(trouble), "times": before["times"] + trouble.times}
            self._known[alike] = place
            self._troubles.put(place, {**told, "place": place})

    def _place(self) -> int:
        """A place for a trouble: the one of the oldest, which may be a predecessor's."""
        taken = {one["place"]: one["at"] for one in self._troubles.all()}
        own = set(self._known.values())
        free = [place for place in range(_MOST_TROUBLES) if place not in own]
        return min(free, key=lambda place: taken.get(place, 0.0))

    def troubles(self) -> list[Trouble]:
        """Those that are kept, the latest first; from any process."""
        found = [Trouble(**{k: v for k, v in one.items() if k != "place"}) for one in self._troubles.all()]
        return sorted(found, key=lambda one: one.at, reverse=True)


class ShownAssociation:
    """An association on the board, from its begin to :meth:`end`; any thread may call.

    Without a board, as before its request was accepted, nobody sees it.
    """

    def __init__(
        self, board: Board | None = None, place: int | None = None, numbers: memoryview[float] | None = None
    ) -> None:
        self._board, self._place = board, place
        unseen = memoryview(bytearray(_NUMBERS * _DOUBLE)).cast("d")
        self._numbers = unseen if numbers is None else numbers
        self._lock = threading.Lock()

    def begins(self, service: str) -> None:
        """A request begins."""
        known = service if service in _SERVICES else _SERVICES[-1]
        with self._lock:
            self._numbers[_SERVICE] = _SERVICES.index(known)
            self._add(_BUSY, 1)

    def answered(self, received: int = 0) -> None:
        """A request has ended; so many bytes of datasets came with it."""
        with self._lock:
            self._add(_BUSY, -1)
            self._add(_REQUESTS, 1)
            self._add(_RECEIVED, received)

    def sent(self, count: int) -> None:
        """So many bytes of datasets were sent as the peer asked."""
        with self._lock:
            self._add(_SENT, count)

    def _add(self, number: int, amount: float) -> None:
        self._numbers[number] += amount
        self._numbers[_AT] = time.time()

    def end(self) -> None:
        """It is over; nothing is shown of it any more."""
        with self._lock:
            place, self._place = self._place, None
        if self._board is not None and place is not None:
            self._board.remove(place)
