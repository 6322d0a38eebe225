"""Results of storage commitment that are not reported on the association of their request.

What is due is a query, who works on it a claim (:class:`scp.index.index.Commitments`), so that any number of
processes may do this, and be killed: each result is reported by one, and none is forgotten.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog

from scp import telemetry
from scp.archive.archive import Archive
from scp.background.doorbell import Doorbell
from scp.config.settings import Peer, Settings
from scp.dimse.claims import LEASE, kept, new_holder
from scp.dimse.identifier import write_identifier
from scp.dimse.patience import pause_after
from scp.dimse.scu.associate import ReportLine, report_line
from scp.dimse.status import is_success
from scp.dimse.verdict import Verdict, describe, judge
from scp.dimse.wire.messages import N_EVENT_REPORT_RSP
from scp.dimse.wire.upper_layer import Ended
from scp.errors import DestinationUnreachable, OutOfResources
from scp.model import Commitment

# For one association: a peer that was away for a night may have asked for dozens.
_MOST = 16
_LONGEST_PAUSE = 3600.0  # seconds
_RETRY_SECONDS = 5.0  # where the index does not answer
_MESSAGE_ID = 1  # one request at a time


class Reporter:
    """Reports to the peers of whoever asked, until it is told to stop; in a thread of its own."""

    def __init__(self, archive: Archive, settings: Callable[[], Settings], bell: Doorbell) -> None:
        self._archive = archive
        self._settings = settings
        self._bell = bell
        self._stopped = threading.Event()
        self._line: ReportLine | None = None

    def stop(self) -> None:
        """Make :meth:`run` return soon; what it is about is tried again at the next start."""
        self._stopped.set()
        self._bell.ring()
        if (line := self._line) is not None:
            line.layer.break_off()

    def hasten(self) -> None:
        """Try all at once that waits for its next time: peers have changed."""
        with suppress(OutOfResources):  # then each in its own time
            self._archive.commitments.hasten(datetime.now(UTC))
        self._bell.ring()

    def run(self) -> None:
        """Report what is due, and wait for what will be, until stopped."""
        while not self._stopped.is_set():
            try:
                pause = self._work()
            except Exception as error:  # noqa: BLE001 - no room, or a bug: neither is cured by ending
                structlog.get_logger("zscp").error("reporting waits", exc_info=error)
                pause = _RETRY_SECONDS
            if not self._stopped.is_set():
                self._bell.wait(pause)

    def _work(self) -> float | None:
        """Report all that is due; the seconds until something is, None where nothing is outstanding."""
        outstanding = self._archive.commitments
        holder = new_holder()
        while not self._stopped.is_set():
            now = datetime.now(UTC)
            claimed = outstanding.claim(holder, now, now + LEASE, _MOST)
            if not claimed:
                break
            with kept(outstanding, holder):
                self._report_all(claimed)
        due = outstanding.next_due()
        return None if due is None else max((due - datetime.now(UTC)).total_seconds(), 0.0)

    def _report_all(self, claimed: list[Commitment]) -> None:
        """All of one AE, over one association where it holds."""
        aet = claimed[0].calling_aet
        peer = self._settings().peer_named(aet)
        if peer is None:
            for commitment in claimed:
                self._put_off(commitment, f"no [[peer]] has the AE title {aet}; add one with its address")
            return
        left = list(claimed)
        try:
            while left and not self._stopped.is_set():
                if not self._report_some(peer, left):
                    return
        finally:
            self._hang_up()
            for commitment in left:  # stopped, or failed in a way that is nobody's fault
                self._archive.commitments.postpone(commitment, datetime.now(UTC))

    def _report_some(self, peer: Peer, left: list[Commitment]) -> bool:
        """Report the first of ``left``, which it takes off; where the peer is not there, none of them."""
        commitment = left[0]
        try:
            self._connect(peer)
            verdict = self._judged(commitment)
            if verdict is None:
                return False
            fault = self._tell(peer, commitment, verdict)
        except DestinationUnreachable as error:
            while left:
                self._put_off(left.pop(0), str(error))
            return False
        left.pop(0)
        if fault:
            self._put_off(commitment, fault)
        else:
            self._archive.commitments.remove(commitment)
        return True

    def _judged(self, commitment: Commitment) -> Verdict | None:
        # Once the peer is there, and anew each time: what is promised must be true when it is said.
        unknown_too = self._settings().access.unknown_sop_classes
        verdict = judge(self._archive, commitment, unknown_too, self._stopped.is_set)
        self._archive.sync()
        return verdict

    def _connect(self, peer: Peer) -> ReportLine:
        """The association to ``peer``. Raises DestinationUnreachable."""
        if self._line is None:
            self._line = report_line(peer, self._settings())
        return self._line

    def _hang_up(self, broken: bool = False) -> None:
        line, self._line = self._line, None
        if line is None:
            return
        if broken:
            line.layer.break_off()
            line.layer.close()
        else:
            line.layer.release(self._settings().limits.acse_seconds)

    def _tell(self, peer: Peer, commitment: Commitment, verdict: Verdict) -> str:
        """Report it, over a new association where a peer did not wait so long; what is wrong, if it failed.

        Raises DestinationUnreachable.
        """
        bound = {"calling_aet": commitment.calling_aet, "peer": f"{peer.host}:{peer.port}"}
        with telemetry.request("n-event-report", **bound) as event:
            describe(event, verdict)
            for again in (True, False):
                try:
                    status = self._send(self._connect(peer), verdict)
                except Ended as ended:
                    self._hang_up(broken=True)
                    if again and not self._stopped.is_set():
                        continue
                    event.fail(ended)
                    return f"{peer.aet} ended the association: {ended}"
                except (ArithmeticError, LookupError, TypeError, ValueError) as error:
                    # A report that cannot be written is put off alone: the others must not wait for it.
                    event.fail(error)
                    return f"the report cannot be written: {error}"
                event.add(status=status)
                return "" if is_success(status) else f"{peer.aet} answered with status {status:04X}H"
        return ""

    def _send(self, line: ReportLine, verdict: Verdict) -> int:
        """Send it, and wait for the answer: its status. Raises Ended."""
        settings = self._settings()
        dataset = write_identifier(verdict.information(settings.node.aet), line.transfer_syntax)
        line.layer.send(line.context_id, {**verdict.command, "MessageID": _MESSAGE_ID}, (dataset,))
        while True:
            message = line.layer.receive(settings.limits.dimse_seconds)
            if message.number("CommandField") == N_EVENT_REPORT_RSP:
                return message.number("Status")

    def _put_off(self, commitment: Commitment, fault: str) -> None:
        """Have it tried again, later each time; or give it up."""
        choices, now = self._settings().commitment, datetime.now(UTC)
        told = {
            "calling_aet": commitment.calling_aet,
            "transaction": commitment.transaction_uid,
            "instances": len(commitment.references),
            "reason": fault,
        }
        log, outstanding = structlog.get_logger("zscp"), self._archive.commitments
        if choices.give_up is not None and now - commitment.received_at >= timedelta(seconds=choices.give_up):
            log.error("commitment given up", **told, attempts=commitment.attempts + 1)
            outstanding.remove(commitment)
            return
        pause = pause_after(commitment.attempts, choices.retry_seconds, _LONGEST_PAUSE)
        log.warning("commitment not reported", **told, attempts=commitment.attempts + 1, retry_seconds=pause)
        outstanding.postpone(commitment, now + timedelta(seconds=pause), fault)
