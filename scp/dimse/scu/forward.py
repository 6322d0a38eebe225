"""Sends to peers what is queued for them: what rules send on, and what is sent ahead.

What is due is a query, who works on it a claim (:class:`scp.index.queue.SendQueue`), as for the reports of
:mod:`scp.dimse.scu.report`. Each peer has a thread while there is something for it, so that one that is
slow or away holds up no other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog

from scp import telemetry
from scp.archive.archive import Archive
from scp.archive.forwarding import REMEMBERED
from scp.background.back_off import BackOff
from scp.background.doorbell import Doorbell
from scp.background.loop import Task
from scp.config.settings import Settings
from scp.dimse.patience import PAUSES
from scp.dimse.scu.sender import Sender
from scp.errors import DestinationUnreachable, OutOfResources
from scp.identity import Identity
from scp.index.queue import Lease, kept
from scp.model import PREFETCH, Instance, QueuedSend

# For one claim: a series, and no more than is sent again after a crash at worst.
_MOST = 128
_LOOK_SECONDS = 60.0  # what a command imports rings no bell


class Forwarder(Task):
    """Sends what is due; ``back_off`` is for an object that was refused, and for a peer that is not there."""

    name = "forwarding"

    def __init__(
        self,
        archive: Archive,
        settings: Callable[[], Settings],
        bell: Doorbell,
        back_off: BackOff = PAUSES.send,
    ) -> None:
        super().__init__(bell)
        self._archive, self._settings, self._back_off = archive, settings, back_off
        self._lock = threading.Lock()
        self._working: dict[str, threading.Thread] = {}
        self._sending: dict[str, Sender] = {}
        self._away: dict[str, tuple[int, float]] = {}  # how often in a row, and until when

    def stop(self) -> None:
        """What it is about is tried again at the next start."""
        super().stop()
        with self._lock:
            for sender in self._sending.values():
                sender.stop()

    def reconfigured(self) -> None:
        """Try all at once that failed: peers have changed."""
        with self._lock:
            self._away.clear()
        with suppress(OutOfResources):  # then each in its own time
            self._archive.send_queue.hasten(datetime.now(UTC))

    def close(self) -> None:
        """Wait for what is being broken off."""
        for thread in list(self._working.values()):
            thread.join()

    def turn(self) -> float:
        """Have all sent that is due; the seconds until there may be more."""
        outstanding = self._archive.send_queue
        while not self.stopping.is_set():
            lease = Lease.begin()
            claimed = outstanding.claim(lease, _MOST, self._busy())
            if not claimed:
                break
            self._start(lease, claimed)
        due = outstanding.next_due(self._busy())
        moment = time.monotonic()
        waits = [until - moment for _, until in self._away.copy().values() if until > moment]
        if due is not None:
            waits.append((due - datetime.now(UTC)).total_seconds())
        return max(min([*waits, _LOOK_SECONDS]), 0.05)

    def _busy(self) -> list[str]:
        """The destinations that nothing is to be begun for now."""
        now = time.monotonic()
        with self._lock:
            return [*self._working, *(aet for aet, (_, until) in self._away.items() if until > now)]

    def _start(self, lease: Lease, claimed: list[QueuedSend]) -> None:
        aet = claimed[0].destination
        thread = threading.Thread(target=self._deliver, args=(lease, claimed), name=f"to {aet}", daemon=True)
        with self._lock:
            self._working[aet] = thread
        thread.start()

    def _deliver(self, lease: Lease, claimed: list[QueuedSend]) -> None:
        """One claim, to its end."""
        aet = claimed[0].destination
        try:
            with kept(self._archive.send_queue, lease):
                self._send_all(aet, claimed)
        except Exception as error:  # noqa: BLE001 - its claims end by themselves
            structlog.get_logger("zscp").error("forwarding failed", destination=aet, exc_info=error)
            self._keep_away(aet)
        finally:
            with self._lock:
                self._working.pop(aet, None)
                self._sending.pop(aet, None)
            self.bell.ring()

    def _send_all(self, aet: str, claimed: list[QueuedSend]) -> None:
        peer, left = self._settings().peer_named(aet), {one.number: one for one in claimed}
        if peer is None:
            self._failed(aet, left, f"no [[peer]] has the AE title {aet}; add one with its address")
            return

        def told(taken: list[QueuedSend], refused: list[tuple[QueuedSend, str]]) -> None:
            for one in (*taken, *(each for each, _ in refused)):
                left.pop(one.number, None)
            if taken:
                self._settled(taken)
            for one, fault in refused:
                self._put_off(one, fault, self._back_off.after(one.attempts))

        objects = self._objects(left)
        sender = Sender(self._archive, self._settings(), peer, told)
        with self._lock:
            self._sending[aet] = sender
        if self.stopping.is_set():
            sender.stop()
        with telemetry.request("forward", destination=aet, objects=len(objects)) as event:
            try:
                reason = sender.send(objects)
            except DestinationUnreachable as error:
                event.fail(error)
                self._failed(aet, left, str(error))
                return
            event.add(sent=len(claimed) - len(left))
        self._give_back(aet, left, reason)

    def _objects(self, left: dict[int, QueuedSend]) -> list[tuple[QueuedSend, Instance]]:
        """What is held of them; what is not any more is forgotten."""
        found: list[tuple[QueuedSend, Instance]] = []
        known: set[Identity] = set()
        for one in list(left.values()):
            instance = self._archive.queued_instance(one)
            if instance is None or instance.identity in known:
                self._archive.send_queue.done([left.pop(one.number)], datetime.now(UTC))
            else:
                known.add(instance.identity)
                found.append((one, instance))
        return found

    def _settled(self, taken: list[QueuedSend]) -> None:
        """What was sent ahead is remembered a while, so that it is not sent ahead again."""
        now, outstanding = datetime.now(UTC), self._archive.send_queue
        ahead = [one for one in taken if one.priority == PREFETCH]
        outstanding.done([one for one in taken if one.priority != PREFETCH], now)
        if ahead:
            outstanding.done(ahead, now, now + timedelta(seconds=REMEMBERED))
        with self._lock:
            self._away.pop(taken[0].destination, None)

    def _give_back(self, aet: str, left: dict[int, QueuedSend], reason: str) -> None:
        """Those that were not tried; where the association broke, after a pause."""
        wait = self._keep_away(aet) if reason else 0.0
        for one in left.values():
            self._archive.send_queue.postpone(one, datetime.now(UTC) + timedelta(seconds=wait))

    def _failed(self, aet: str, left: dict[int, QueuedSend], fault: str) -> None:
        """The peer is not there: all of them wait as long as it is left alone."""
        wait = self._keep_away(aet)
        log = structlog.get_logger("zscp")
        log.warning("not forwarded", destination=aet, objects=len(left), reason=fault, retry_seconds=wait)
        for one in left.values():
            self._put_off(one, fault, wait)

    def _keep_away(self, aet: str) -> float:
        """Begin nothing for a peer for a while, longer each time; how long, in seconds."""
        with self._lock:
            times, _ = self._away.get(aet, (0, 0.0))
            wait = self._back_off.after(times)
            self._away[aet] = (times + 1, time.monotonic() + wait)
        return wait

    def _put_off(self, one: QueuedSend, fault: str, wait: float) -> None:
        """Have it tried again, or give it up."""
        now, limit = datetime.now(UTC), self._limit(one)
        if limit is None or now - one.queued_at < timedelta(seconds=limit):
            self._archive.send_queue.postpone(one, now + timedelta(seconds=wait), fault)
            return
        told = {"sop_instance": one.sop_instance_uid, "destination": one.destination, "rule": one.rule}
        structlog.get_logger("zscp").error("forwarding given up", **told, reason=fault)
        self._archive.send_queue.give_up(one, fault)

    def _limit(self, one: QueuedSend) -> int | None:
        """After how many seconds one is given up: by its rule or, where that is gone, after a week."""
        settings = self._settings()
        rules = settings.prefetch if one.priority == PREFETCH else settings.forward
        return next((rule.give_up for rule in rules if rule.name == one.rule), 7 * 86_400)
