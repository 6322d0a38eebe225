"""Results of storage commitment, reported on the association of the request while that stays open.

The standard lets the peer release it at any time after the N-ACTION's response (PS3.4 J.3.2.1.2), and peers
that handle one request at a time cannot take ours among their own. So a report waits until the association
has been quiet for a while; what cannot be reported on it is left to the reporter
(:mod:`scp.dimse.scu.report`), on an association of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from scp import telemetry
from scp.archive.archive import Archive
from scp.background.doorbell import Doorbell
from scp.config.settings import Settings
from scp.dimse.exchange import Exchange, Requester
from scp.dimse.identifier import write_identifier
from scp.dimse.status import is_success
from scp.dimse.verdict import Verdict, describe, judge
from scp.dimse.wire.upper_layer import Ended
from scp.index.queue import Lease, renewing
from scp.model import Commitment
from scp.telemetry import RequestEvent

# Requests that are worked on beside their associations, by a thread each; the reporter has no such bound.
_MOST = 16
# How long a report waits for a busy association, where there is another way to the peer.
_MOST_PATIENCE = 30.0
_STOP_SECONDS = 5.0


class AssociationReporter:
    """Reports for one process that serves associations; ``bell`` wakes the reporter, wherever that runs."""

    def __init__(self, archive: Archive, settings: Callable[[], Settings], bell: Doorbell) -> None:
        self._archive = archive
        self._settings = settings
        self._bell = bell
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()

    def has_room(self) -> bool:
        """Whether another request may be begun here."""
        with self._lock:
            return len(self._threads) < _MOST

    def sync(self) -> None:
        """Make what was recorded outlive a power cut. Raises OutOfResources."""
        self._archive.sync()

    def begin(self, exchange: Exchange, commitment: Commitment) -> None:
        """Work on a request that this process has claimed."""
        thread = threading.Thread(
            target=self._run, args=(exchange, commitment), name="commitment", daemon=True
        )
        try:
            with self._lock:
                thread.start()
                self._threads.add(thread)
        except RuntimeError:  # the machine gives no more threads
            self.leave(commitment)

    def leave(self, commitment: Commitment) -> None:
        """Leave a request to the reporter, at once."""
        self._archive.commitments.postpone(commitment, datetime.now(UTC))
        self._bell.ring()

    def stop(self) -> None:
        """Wait for what is under way; the associations have ended, so that it ends too."""
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(_STOP_SECONDS)

    def _run(self, exchange: Exchange, commitment: Commitment) -> None:
        outstanding = self._archive.commitments
        try:
            with renewing(outstanding, Lease.begin(commitment.holder)):
                reported = self._report(exchange, commitment)
            if reported:
                outstanding.remove(commitment)
            else:
                self.leave(commitment)
        except Exception as error:  # noqa: BLE001 - whatever it was: its claim ends, and the reporter tries
            structlog.get_logger("zscp").error("commitment not reported", exc_info=error)
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())

    def _report(self, exchange: Exchange, commitment: Commitment) -> bool:
        association, settings = exchange.association, self._settings()
        other_way = settings.peer_named(commitment.calling_aet) is not None
        patience = _MOST_PATIENCE if other_way else float("inf")
        wait, unknown_too = settings.commitment.wait_seconds, settings.access.unknown_sop_classes
        if not _is_quiet(association, wait, patience):
            return False  # most peers that leave do so at once: nothing was read in vain
        verdict = judge(self._archive, commitment, unknown_too, lambda: association.own.over)
        if verdict is None or not _is_quiet(association, wait, patience):
            return False
        self._archive.sync()
        bound = {"association": association.name, "calling_aet": commitment.calling_aet}
        with telemetry.request("n-event-report", **bound) as event:
            try:
                return self._send(exchange, verdict, event)
            except Ended as ended:
                event.fail(ended)
                return False

    def _send(self, exchange: Exchange, verdict: Verdict, event: RequestEvent) -> bool:
        """Send it, and wait for the answer; returns whether the peer accepted it. Raises Ended."""
        describe(event, verdict)
        association, settings = exchange.association, self._settings()
        dataset = write_identifier(verdict.information(settings.node.aet), exchange.transfer_syntax)
        response = association.own.send(
            association.upper_layer,
            exchange.request.context_id,
            verdict.command,
            (dataset,),
            settings.limits.dimse_seconds,
        )
        status = response.number("Status")
        event.add(status=status)
        return is_success(status)


def _is_quiet(association: Requester, seconds: float, patience: float) -> bool:
    """Wait until the peer has asked for nothing for so long; False when it ends, or is never quiet."""
    until = time.monotonic() + seconds + patience
    while not association.own.over:
        left = seconds - association.quiet_seconds
        if left <= 0:
            return True
        if time.monotonic() > until:
            return False
        association.own.wait_for_end(left)
    return False
