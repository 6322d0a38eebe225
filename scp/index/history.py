"""What came in, went out and was kept over time: figures by hour, day and month, of bounded number.

All of these are of UTC. Nothing here can be made again from the stored files.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, Protocol

Span = Literal["hour", "day", "month"]
HOURS_ARE_KEPT, DAYS_ARE_KEPT = timedelta(days=14), timedelta(days=5 * 365)
# Rows of an hour of a node, of a day, or of a month; and of one look at what is kept. The smallest of more
# become one.
MOST_TRAFFIC_ROWS, MOST_KEPT_ROWS = 400, 200
OTHER = "other"

# What figures may be told apart by; a name that is not asked for is empty in what is found.
TrafficBy = Literal["start", "service", "peer", "modality"]
KeptBy = Literal["start", "modality", "form", "store", "calling_aet"]


@dataclass(frozen=True, slots=True)
class TrafficRow:
    """What peers asked for, sent and were sent from ``start`` on, for an hour, a day or a month.

    ``peer`` is the AE title of who sent the request; of objects that went out, of who got them. ``service``
    is that of the request: objects come in by ``c-store``, and go out by ``c-move``, ``c-get`` and
    ``forward``. ``failures`` are the requests that ended with a failure. ``instances`` were accepted, by
    this node or by the peer. Sizes are bytes of their datasets: ``wire_size`` on the wire, ``received_size``
    as they were received at first, ``stored_size`` as they were stored at that moment. The last two of an
    object that was sent here again are 0: nothing was kept of it.
    """

    start: datetime | None
    service: str
    peer: str
    modality: str
    requests: int = 0
    failures: int = 0
    instances: int = 0
    wire_size: int = 0
    received_size: int = 0
    stored_size: int = 0


@dataclass(frozen=True, slots=True)
class KeptRow:
    """What was kept at the last look of the hour, day or month that began at ``start``; sizes in bytes.

    ``calling_aet`` is who sent the objects; ``store`` is empty for the first.
    """

    start: datetime | None
    modality: str
    form: str
    store: str
    calling_aet: str
    instances: int = 0
    received_size: int = 0
    stored_size: int = 0


@dataclass(frozen=True, slots=True)
class RetentionRow:
    """Objects that a rule of retention lets go from the day on that begins at ``start``.

    Days that are far ahead are those of a month, under its first day. ``rule`` is empty, and ``start`` None,
    for what no rule lets go. A study goes as a whole, when all of its objects may.
    """

    rule: str
    start: datetime | None
    instances: int
    stored_size: int


class History(Protocol):
    """The figures in the index. Every method raises :class:`scp.errors.OutOfResources` as an index does."""

    def put_traffic(self, node: str, run: int, rows: Sequence[TrafficRow]) -> None:
        """Write what one ``run`` of a node has counted in the hours of the rows, in the place of what it had.

        So it may be written as often as wanted, and counts once. ``run`` is new each time the node starts.
        """

    def put_kept(self, start: datetime, rows: Iterable[KeptRow]) -> None:
        """Write what is kept now, as that of the hour that began at ``start``, and of its day."""

    def traffic(
        self, span: Span, by: Collection[TrafficBy], since: datetime, services: Collection[str] = ()
    ) -> list[TrafficRow]:
        """The sums over all nodes of what began at ``since`` or later, in the order of ``by``.

        Only of some ``services``, if any are named. Hours are there of the last HOURS_ARE_KEPT. A day counts
        as a whole; a month of which ``since`` is a later day counts from that day on.
        """

    def kept(self, span: Span, by: Collection[KeptBy], since: datetime) -> list[KeptRow]:
        """What was kept at the looks of ``since`` or later, in the order of ``by``, which has ``start``."""

    def last_look(self) -> datetime | None:
        """The hour of the last look at what is kept; None where there was none yet."""

    def last_received(self) -> datetime | None:
        """When the newest of the rows that were written last was received; None where nothing is held."""

    def look(self, stores: Mapping[str, str]) -> list[KeptRow]:
        """What is kept now. This reads all rows of the index; ``stores`` is as for ``Index.statistics``."""

    def fold(self, now: datetime) -> None:
        """Sum up days and months that are over; remove hours older than HOURS_ARE_KEPT, and what is too old.

        What a node writes of a day later on counts from the next time on. Safe to stop at any moment,
        and to run again; one process at a time.
        """

    def put_retention(self, at: datetime, rows: Iterable[RetentionRow]) -> None:
        """Write what may go when, as it was looked up ``at`` a moment, in the place of all before."""

    def retention(self) -> tuple[datetime | None, list[RetentionRow]]:
        """What may go when, in the order of days, and when that was looked up; None: never yet."""

    def modalities(self, series: Collection[str]) -> dict[str, str]:
        """The modality of each of these series, by its UID."""


def bounded_traffic(rows: Iterable[TrafficRow], known: Collection[str] = ()) -> list[TrafficRow]:
    """At most MOST_TRAFFIC_ROWS rows of one hour, day or month, with the same sums of each service.

    The rows of peers that are ``known`` stay before others, and those with most requests and bytes.
    """
    ordered = sorted(rows, key=lambda one: (one.peer in known, one.requests + one.wire_size), reverse=True)
    most = MOST_TRAFFIC_ROWS
    if len(ordered) > most:
        most -= 2 * len({one.service for one in ordered})  # each may have two others
    others = (replace(one, peer=OTHER, modality=one.modality and OTHER) for one in ordered[most:])
    return summed_traffic([*ordered[:most], *others])


def summed_traffic(rows: Iterable[TrafficRow]) -> list[TrafficRow]:
    """One row for each beginning, service, peer and modality."""
    sums: dict[tuple[datetime | None, str, str, str], list[int]] = defaultdict(lambda: [0] * 6)
    for one in rows:
        known = sums[one.start, one.service, one.peer, one.modality]
        known[0] += one.requests
        known[1] += one.failures
        known[2] += one.instances
        known[3] += one.wire_size
        known[4] += one.received_size
        known[5] += one.stored_size
    return [TrafficRow(*key, *amounts) for key, amounts in sums.items()]


def bounded_kept(rows: Iterable[KeptRow]) -> list[KeptRow]:
    """At most MOST_KEPT_ROWS rows of one look, with the same sums in each store."""
    ordered = sorted(rows, key=lambda one: one.received_size, reverse=True)
    most = MOST_KEPT_ROWS
    if len(ordered) > most:
        most -= len({one.store for one in ordered})
    others = (replace(one, modality=OTHER, form=OTHER, calling_aet=OTHER) for one in ordered[most:])
    sums: dict[tuple[datetime | None, str, str, str, str], list[int]] = defaultdict(lambda: [0] * 3)
    for one in (*ordered[:most], *others):
        known = sums[one.start, one.modality, one.form, one.store, one.calling_aet]
        known[0] += one.instances
        known[1] += one.received_size
        known[2] += one.stored_size
    return [KeptRow(*key, *amounts) for key, amounts in sums.items()]
