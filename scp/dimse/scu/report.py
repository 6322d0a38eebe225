"""Results of storage commitment that are not reported on the association of their request.

A query finds what is due, and a process claims what it works on (:class:`scp.index.queue.Commitments`). So
any number of processes may do this, and be killed: each result is reported by one, and none is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog

from scp import telemetry
from scp.archive.archive import Archive
from scp.background.back_off import BackOff
from scp.background.doorbell import Doorbell
from scp.background.lookup import unexpected
from scp.background.loop import Task
from scp.config.peers import Peer
from scp.config.settings import Settings
from scp.dimse.identifier import write_identifier
from scp.dimse.scu.associate import ReportLine, report_line
from scp.dimse.status import is_success
from scp.dimse.verdict import Verdict, describe, judge
from scp.dimse.wire.messages import N_EVENT_REPORT_RSP
from scp.dimse.wire.upper_layer import Ended
from scp.errors import DestinationUnreachable, OutOfResources
from scp.index.queue import Lease, renewing
from scp.model import Commitment

# For one association: a peer that was away for a night may have asked for dozens.
_MOST = 16
_LONGEST_PAUSE = 3600.0  # seconds; the first is the configuration's
_MESSAGE_ID = 1  # one request at a time


class Reporter(Task):
    """Reports results to the peers that asked for them."""

    name = "reporting"

    def __init__(self, archive: Archive, settings: Callable[[], Settings], bell: Doorbell) -> None:
        super().__init__(bell)
        self._archive = archive
        self._settings = settings
        self._line: ReportLine | None = None

    def stop(self) -> None:
        """Stop; what is under way is tried again at the next start."""
        super().stop()
        if (line := self._line) is not None:
            line.layer.break_off()

    def reconfigured(self) -> None:
        """The peers may have changed: try at once all that waits for its next time."""
        with suppress(OutOfResources):  # then each in its own time
            self._archive.commitments.hasten(datetime.now(UTC))

    def turn(self) -> float | None:
        """Report all that is due; the seconds until something is, None where nothing is outstanding."""
        outstanding = self._archive.commitments
        while not self.stopping.is_set():
            lease = Lease.begin()
            claimed = outstanding.claim(lease, _MOST)
            if not claimed:
                break
            with renewing(outstanding, lease):
                self._report_all(claimed)
        due = outstanding.next_due()
        return None if due is None else max((due - datetime.now(UTC)).total_seconds(), 0.0)

    def _report_all(self, claimed: list[Commitment]) -> None:
        """Report all results for one AE, over one association as long as it lasts."""
        aet = claimed[0].calling_aet
        peer = self._settings().peer_named(aet)
        if peer is None:
            for commitment in claimed:
                self._put_off(commitment, f"no [[peer]] has the AE title {aet}; add one with its address")
            return
        left = list(claimed)
        try:
            while left and not self.stopping.is_set():
                if not self._report_some(peer, left):
                    return
        finally:
            self._hang_up()
            for commitment in left:  # stopped, or failed in a way that is nobody's fault
                self._archive.commitments.postpone(commitment, datetime.now(UTC))

    def _report_some(self, peer: Peer, left: list[Commitment]) -> bool:
        """Report the first of ``left``, and take it off; where the peer is not there, put all of them off."""
        commitment = left[0]
        try:
            self._connect(peer)
            try:
                verdict = self._judged(commitment)
            except OutOfResources:
                raise
            except Exception as error:  # a fault of zscp, at this one: the peer's others must not wait for it
                log = structlog.get_logger("zscp")
                log.error("commitment not judged", transaction=commitment.transaction_uid, exc_info=error)
                self._put_off(left.pop(0), unexpected(error))
                return True
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
        # Once the peer is there, and again for each try: a promise must be true when it is made.
        unknown_too = self._settings().access.unknown_sop_classes
        verdict = judge(self._archive, commitment, unknown_too, self.stopping.is_set)
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
        """Report it, over a new association if the peer ended the first; returns what is wrong, if it failed.

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
                    if again and not self.stopping.is_set():
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
        """Send it, and wait for the answer; returns its status. Raises Ended."""
        settings = self._settings()
        dataset = write_identifier(verdict.information(settings.node.aet), line.transfer_syntax)
        line.layer.send(line.context_id, {**verdict.command, "MessageID": _MESSAGE_ID}, (dataset,))
        while True:
            message = line.layer.receive(settings.limits.dimse_seconds)
            if message.number("CommandField") == N_EVENT_REPORT_RSP:
                return message.number("Status")

    def _put_off(self, commitment: Commitment, fault: str) -> None:
        """Have it tried again, after a longer pause each time; or give it up."""
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
        pause = BackOff(choices.retry_seconds, _LONGEST_PAUSE).after(commitment.attempts)
        log.warning("commitment not reported", **told, attempts=commitment.attempts + 1, retry_seconds=pause)
        outstanding.postpone(commitment, now + timedelta(seconds=pause), fault)
