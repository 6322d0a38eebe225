"""Sends to peers what is queued for them: objects that rules forward, and prefetched ones.

A query finds what is due, and a process claims what it works on (:class:`scp.index.queue.SendQueue`), as for
the reports of :mod:`scp.dimse.scu.report`. Each peer has a thread while there is something for it, so that a
slow or absent peer holds up no other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import structlog

from scp.archive.archive import Archive
from scp.audit.trail import NO_TRAIL, AuditTrail
from scp.background.back_off import BackOff
from scp.background.doorbell import Doorbell
from scp.background.loop import Task
from scp.config.settings import Settings
from scp.dimse.patience import PAUSES
from scp.dimse.scu.send_batch import Away, SendBatch
from scp.errors import OutOfResources
from scp.index.queue import Lease, renewing

# Objects in one claim: a series; and at worst, so many are sent again after a crash.
_MOST = 128
_LOOK_SECONDS = 60.0  # what a command imports rings no bell
_SOON_SECONDS = 0.05  # between two looks at least


class Forwarder(Task):
    """Sends what is due; ``back_off`` is for an object that was refused, and for a peer that is not there."""

    name = "forwarding"

    def __init__(
        self,
        archive: Archive,
        settings: Callable[[], Settings],
        bell: Doorbell,
        back_off: BackOff = PAUSES.send,
        trail: AuditTrail = NO_TRAIL,
    ) -> None:
        super().__init__(bell)
        self._trail = trail
        self._archive, self._settings = archive, settings
        self._away = Away(back_off)
        self._lock = threading.Lock()
        self._working: dict[str, tuple[threading.Thread, SendBatch]] = {}  # by destination

    def stop(self) -> None:
        """Stop; what is under way is tried again at the next start."""
        super().stop()
        with self._lock:
            for _, batch in self._working.values():
                batch.stop()

    def reconfigured(self) -> None:
        """The peers may have changed: try again at once all that failed."""
        self._away.clear()
        with suppress(OutOfResources):  # then each in its own time
            self._archive.send_queue.hasten(datetime.now(UTC))

    def close(self) -> None:
        """Wait for what is being broken off."""
        for thread, _ in list(self._working.values()):
            thread.join()

    def turn(self) -> float:
        """Begin to send all that is due; returns the seconds until there may be more."""
        queue = self._archive.send_queue
        while not self.stopping.is_set():
            lease = Lease.begin()
            claimed = queue.claim(lease, _MOST, self._busy())
            if not claimed:
                break
            self._begin(lease, SendBatch(self._archive, self._settings(), claimed, self._away, self._trail))
        waits = [_LOOK_SECONDS, *self._away.left().values()]
        if (due := queue.next_due(self._busy())) is not None:
            waits.append((due - datetime.now(UTC)).total_seconds())
        return max(min(waits), _SOON_SECONDS)

    def _busy(self) -> list[str]:
        """The destinations for which nothing is begun now."""
        with self._lock:
            return [*self._working, *self._away.left()]

    def _begin(self, lease: Lease, batch: SendBatch) -> None:
        name = f"to {batch.destination}"
        thread = threading.Thread(target=self._send, args=(lease, batch), name=name, daemon=True)
        with self._lock:
            if self.stopping.is_set():
                batch.stop()
            thread.start()
            self._working[batch.destination] = (thread, batch)

    def _send(self, lease: Lease, batch: SendBatch) -> None:
        try:
            with renewing(self._archive.send_queue, lease):
                batch.send()
        except Exception as error:  # noqa: BLE001 - its claims end by themselves
            told = {"destination": batch.destination, "exc_info": error}
            structlog.get_logger("zscp").error("forwarding failed", **told)
            self._away.failed(batch.destination)
        finally:
            with self._lock:
                self._working.pop(batch.destination, None)
            self.bell.ring()
