"""What one process serves in this hour and in the one before, by service, AE title and modality.

It lies in memory that the process shares with its parent and its siblings, as :mod:`scp.metrics.figures`
does; one of them writes it into the index each minute (:mod:`scp.lifecycle.history`). Labels are what peers
say of themselves, so there is a bound for those of an hour: what is beyond it is counted as ``other``.
"""

from __future__ import annotations

import mmap
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from scp.metrics.catalogue import OTHER

HOUR = 3600
# In an hour: AE titles beside those of the configuration, and modalities; some thirty are in use.
_MOST_STRANGERS, _MOST_MODALITIES = 50, 40
# Rows of an hour. The last ones are for what has no other label than its service.
_MOST_ROWS, _SPARE = 1000, 40
_LONGEST = 16  # of a label: that of an AE title, and of a modality
_WIDTH, _HOUR, _USED, _FIRST = 6, 0, 1, 2
_BETWEEN, _BEHIND = "\x1f", "\n"
_NAMES = _MOST_ROWS * 3 * (_LONGEST + 1)


class TrafficLabel(NamedTuple):
    """What is counted together: ``peer`` is an AE title, ``modality`` is empty where there is none."""

    service: str
    peer: str
    modality: str


class Amounts(NamedTuple):
    """Requests that have ended, those of them that failed, and the objects that were received or sent.

    Sizes are bytes of datasets: ``wire_size`` as they were on the wire, ``received_size`` as they were
    received at first, ``stored_size`` as they are stored. The last two of an object that came again are 0.
    """

    requests: int = 0
    failures: int = 0
    instances: int = 0
    wire_size: int = 0
    received_size: int = 0
    stored_size: int = 0


Counted = dict[TrafficLabel, Amounts]


class TrafficTable:
    """Amounts by label. Any thread of the process that took this up may count; others read."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._banks = (_Bank(), _Bank())  # this hour's and the last one's
        self.take_up()

    def take_up(self) -> None:
        """Go on with what a predecessor has counted, in this process."""
        self._lock = threading.Lock()
        for bank in self._banks:
            bank.take_up()

    def count(self, label: TrafficLabel, amounts: Amounts, known: Collection[str] = ()) -> None:
        """Add to this hour's amounts; AE titles that are ``known`` have a label of their own."""
        now = int(self._clock())
        hour = now - now % HOUR
        bank = self._banks[hour // HOUR % 2]
        with self._lock:
            if bank.hour != hour:
                bank.begin(hour)
            bank.add(TrafficLabel(*map(_clean, label)), amounts, known)

    def read(self) -> dict[int, Counted]:
        """What was counted, by the beginning of its hour in seconds since 1970; from any process."""
        found = {}
        for bank in self._banks:
            hour, counted = bank.hour, bank.read()
            if hour and counted and bank.hour == hour:  # else it began another hour meanwhile
                found[hour] = counted
        return found


class _Bank:
    """The amounts of one hour."""

    def __init__(self) -> None:
        numbers = 8 * (_FIRST + _WIDTH * _MOST_ROWS)
        self._memory = mmap.mmap(-1, numbers + _NAMES)  # shared with whatever is forked from here on
        self._numbers = memoryview(self._memory)[:numbers].cast("q")
        self._names = numbers

    @property
    def hour(self) -> int:
        """The beginning of the hour; 0 where none has begun."""
        return self._numbers[_HOUR]

    def take_up(self) -> None:
        """See :class:`TrafficTable`."""
        self._at: dict[TrafficLabel, int] = {}
        self._peers: set[str] = set()
        self._modalities: set[str] = set()
        for label, at in self._places():
            self._remember(label, at)

    def begin(self, hour: int) -> None:
        """Forget the hour before the last one."""
        self._numbers[_HOUR] = self._numbers[_USED] = 0
        self.take_up()
        self._numbers[_HOUR] = hour

    def add(self, label: TrafficLabel, amounts: Amounts, known: Collection[str]) -> None:
        at = self._at.get(label)
        if at is None:
            label = self._bounded(label, known)
            at = self._at.get(label)
        if at is None:
            at = self._begun(label)
        for place, amount in enumerate(amounts):
            if amount:
                self._numbers[at + place] += amount

    def _bounded(self, label: TrafficLabel, known: Collection[str]) -> TrafficLabel:
        """The label that there is room for."""
        service, peer, modality = label
        is_new = peer not in known and peer not in self._peers
        if is_new and len(self._peers.difference(known)) >= _MOST_STRANGERS:
            peer = OTHER
        if modality not in self._modalities and len(self._modalities) >= _MOST_MODALITIES:
            modality = OTHER
        label = TrafficLabel(service, peer, modality)
        if label not in self._at and len(self._at) >= _MOST_ROWS - _SPARE:
            return TrafficLabel(service, OTHER, OTHER if modality else "")
        return label

    def _begun(self, label: TrafficLabel) -> int:
        """Where the amounts of a new label are."""
        used, at = self._numbers[_USED], _FIRST + _WIDTH * len(self._at)
        line = (_BETWEEN.join(label) + _BEHIND).encode()
        place = self._names + used
        self._memory[place : place + len(line)] = line
        for number in range(at, at + _WIDTH):
            self._numbers[number] = 0
        self._numbers[_USED] = used + len(line)  # last: a reader, or a successor, sees all of it or nothing
        self._remember(label, at)
        return at

    def _remember(self, label: TrafficLabel, at: int) -> None:
        self._at[label] = at
        self._peers.add(label.peer)
        self._modalities.add(label.modality)

    def read(self) -> Counted:
        return {label: Amounts(*self._numbers[at : at + _WIDTH]) for label, at in self._places()}

    def _places(self) -> Iterator[tuple[TrafficLabel, int]]:
        text = self._memory[self._names : self._names + self._numbers[_USED]].decode()
        for number, line in enumerate(text.split(_BEHIND)[:-1]):
            yield TrafficLabel(*line.split(_BETWEEN)), _FIRST + _WIDTH * number


def total(parts: Iterable[Mapping[TrafficLabel, Amounts]]) -> Counted:
    """The sums of several tables."""
    found: Counted = {}
    for part in parts:
        for label, amounts in part.items():
            found[label] = added(found.get(label, Amounts()), amounts)
    return found


def added(one: Amounts, other: Amounts) -> Amounts:
    """The sum of two amounts."""
    return Amounts(*map(sum, zip(one, other, strict=True)))


def _clean(label: str) -> str:
    """A label that every database can store, in one line; most need no change."""
    if len(label) <= _LONGEST and label.isascii() and label.isprintable():
        return label
    plain = label[:_LONGEST].encode("ascii", "replace").decode()
    return "".join(letter if letter.isprintable() else "?" for letter in plain)
