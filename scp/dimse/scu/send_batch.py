"""The part of the send queue in one claim: it is sent to its destination, and each result is recorded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from scp import telemetry
from scp.archive.archive import Archive
from scp.archive.forwarding import REMEMBERED
from scp.audit import events
from scp.audit.actors import peer as receiver
from scp.audit.actors import this_process
from scp.audit.trail import NO_TRAIL, AuditTrail
from scp.background.back_off import BackOff
from scp.config.settings import Settings
from scp.dimse.auditing import record_sent
from scp.dimse.scu.sender import Sender
from scp.errors import DestinationUnreachable
from scp.identity import Identity
from scp.model import PREFETCH, Instance, QueuedSend

_GIVE_UP_SECONDS = 7 * 86_400  # where the rule that says it is no longer configured


class Away:
    """Peers that are left alone, as they were absent or broke off: for longer after each failure in a row."""

    def __init__(self, back_off: BackOff, clock: Callable[[], float] = time.monotonic) -> None:
        self.back_off = back_off
        self._clock = clock
        self._lock = threading.Lock()
        self._peers: dict[str, tuple[int, float]] = {}  # how often in a row, and until when

    def failed(self, aet: str) -> float:
        """Leave a peer alone; returns for how many seconds."""
        with self._lock:
            times, _ = self._peers.get(aet, (0, 0.0))
            seconds = self.back_off.after(times)
            self._peers[aet] = (times + 1, self._clock() + seconds)
        return seconds

    def answered(self, aet: str) -> None:
        """The peer is there: leave it alone no longer."""
        with self._lock:
            self._peers.pop(aet, None)

    def clear(self) -> None:
        """Try all of them at once."""
        with self._lock:
            self._peers.clear()

    def left(self) -> dict[str, float]:
        """The peers that are left alone, and for how many seconds yet."""
        with self._lock:
            now = self._clock()
            return {aet: until - now for aet, (_, until) in self._peers.items() if until > now}


class SendBatch:
    """Rows of one destination. Those that have no answer when it ends are given back.

    ``settings`` are those of its beginning: what a reload changes, as ``give_up``, holds from the next on.
    """

    def __init__(
        self,
        archive: Archive,
        settings: Settings,
        queued: list[QueuedSend],
        away: Away,
        trail: AuditTrail = NO_TRAIL,
    ) -> None:
        self._trail, self._taken = trail, set[int]()
        self._archive, self._settings, self._away = archive, settings, away
        self.destination = queued[0].destination
        self._left = {one.number: one for one in queued}
        peer = settings.peer_named(self.destination)
        self._sender = Sender(archive, settings, peer, self._answered) if peer is not None else None

    def stop(self) -> None:
        """Make :meth:`send` return soon."""
        if self._sender is not None:
            self._sender.stop()

    def send(self) -> None:
        """Send all of it, as far as the peer takes it. Raises OutOfResources."""
        aet, count = self.destination, len(self._left)
        if self._sender is None:
            self._unreachable(f"no [[peer]] has the AE title {aet}; add one with its address")
            return
        objects = self._objects()
        with telemetry.request("forward", destination=aet, objects=len(objects)) as event:
            try:
                broken = self._sender.send(objects)
            except DestinationUnreachable as error:
                event.fail(error)
                self._unreachable(str(error))
                return
            finally:
                event.add(bytes_sent=self._sender.bytes_sent)
                self._record([instance for one, instance in objects if one.number in self._taken])
            event.add(sent=count - len(self._left))
        self._give_back(self._away.failed(aet) if broken else 0.0)

    def _record(self, taken: list[Instance]) -> None:
        """Tell the audit trail what the peer has now."""
        if (peer := self._settings.peer_named(self.destination)) is not None:
            aet = self._settings.node.aet
            sender = this_process(aet, role=events.SOURCE, requestor=True)
            record_sent(self._trail, (sender, receiver(peer.aet, peer.host, events.DESTINATION)), taken, "")

    def _objects(self) -> list[tuple[QueuedSend, Instance]]:
        """The objects of the rows that are still held; other rows are removed from the queue."""
        found: dict[Identity, tuple[QueuedSend, Instance]] = {}
        for one in list(self._left.values()):
            instance = self._archive.queued_instance(one)
            if instance is None or instance.identity in found:
                self._archive.send_queue.done([self._left.pop(one.number)], datetime.now(UTC))
            else:
                found[instance.identity] = (one, instance)
        return list(found.values())

    def _answered(self, taken: list[QueuedSend], refused: list[tuple[QueuedSend, str]]) -> None:
        """See :data:`scp.dimse.scu.sender.Told`."""
        for one in (*taken, *(each for each, _ in refused)):
            self._left.pop(one.number, None)
        if taken:
            self._done(taken)
        for one, fault in refused:
            self._put_off(one, fault, self._away.back_off.after(one.attempts))

    def _done(self, taken: list[QueuedSend]) -> None:
        """Remember prefetched objects for a while, so that they are not prefetched again."""
        self._taken.update(one.number for one in taken)
        now, queue = datetime.now(UTC), self._archive.send_queue
        ahead = [one for one in taken if one.priority == PREFETCH]
        queue.done([one for one in taken if one.priority != PREFETCH], now)
        if ahead:
            queue.done(ahead, now, now + timedelta(seconds=REMEMBERED))
        self._away.answered(self.destination)

    def _give_back(self, seconds: float) -> None:
        """Give back the rows that were not tried, for another try after so many seconds."""
        for one in self._left.values():
            self._archive.send_queue.postpone(one, datetime.now(UTC) + timedelta(seconds=seconds))

    def _unreachable(self, fault: str) -> None:
        """The peer is not there: all rows wait as long as it is left alone."""
        seconds = self._away.failed(self.destination)
        told = {"destination": self.destination, "objects": len(self._left), "reason": fault}
        structlog.get_logger("zscp").warning("not forwarded", **told, retry_seconds=seconds)
        for one in self._left.values():
            self._put_off(one, fault, seconds)

    def _put_off(self, one: QueuedSend, fault: str, seconds: float) -> None:
        """Have it tried again, or give it up."""
        now, limit = datetime.now(UTC), self._limit(one)
        if limit is None or now - one.queued_at < timedelta(seconds=limit):
            self._archive.send_queue.postpone(one, now + timedelta(seconds=seconds), fault)
            return
        told = {"sop_instance": one.sop_instance_uid, "destination": one.destination, "rule": one.rule}
        structlog.get_logger("zscp").error("forwarding given up", **told, reason=fault)
        self._archive.send_queue.give_up(one, fault)

    def _limit(self, one: QueuedSend) -> int | None:
        """After how many seconds a row is given up; None: never."""
        rules = self._settings.prefetch if one.priority == PREFETCH else self._settings.forward
        return next((rule.give_up for rule in rules if rule.name == one.rule), _GIVE_UP_SECONDS)
