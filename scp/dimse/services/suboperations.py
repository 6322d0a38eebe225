"""The sub-operations of one C-MOVE or C-GET: sent, counted and reported (PS3.4 C.4.2, C.4.3)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import structlog
from pydicom.dataset import Dataset

from scp.archive.deliver import Outgoing
from scp.dimse.exchange import STOPPING, Exchange, SuboperationCounts
from scp.dimse.identifier import write_identifier
from scp.dimse.scu.carrier import Carrier, Taken
from scp.dimse.scu.fetch_ahead import Ahead, Fetched, Work
from scp.dimse.status import (
    CANCELLED,
    PENDING,
    SUCCESS,
    UNABLE_SUBOPERATIONS,
    WARNING_SUBOPERATIONS,
    comment_of,
    is_warning,
)
from scp.dimse.wire.upper_layer import Ended
from scp.errors import ZscpError, public
from scp.model import Instance
from scp.telemetry import RequestEvent, is_failure

# Fetches an object in the best transfer syntax that the carrier's peer accepted.
FetchFor = Callable[[Instance, Carrier], Outgoing]
# A requester whose C-MOVE makes no progress gets a pending response so often: many wait only for 30 s.
_PENDING_SECONDS = 5.0
# One that reads gets them so far apart: they may be left out (PS3.4 C.4.2.3.1), and each takes 33 µs, a
# system call's wait, and the requester's time.
_BETWEEN_SECONDS = 0.1
_ASSOCIATION_ENDED = "the association ended"


class Suboperations:
    """The sub-operations of one C-MOVE or C-GET: their counts, responses and end.

    Several carriers may work at a time, each in a thread of its own.
    """

    def __init__(
        self, exchange: Exchange, event: RequestEvent, instances: list[Instance], taken: Taken | None = None
    ) -> None:
        self._exchange, self._event, self._taken = exchange, event, taken
        self._order = {instance.sop_instance_uid: n for n, instance in enumerate(instances)}
        self._counting = threading.Lock()
        self._watching = threading.Lock()  # one thread at a time reads what the requester sends
        self.remaining = len(instances)
        self.answered = 0  # by those that the objects were sent to
        self.completed = self.warning = self.bytes_sent = self.lossy = 0
        self.failed: list[str] = []
        self.reason = ""
        self.cancelled = self._refuses = False
        self._unsettled = {instance.key: instance for instance in instances}
        self._gone: Ended | None = None
        self._last_told, self._next_tell = time.monotonic(), 0.0

    @property
    def stopped(self) -> bool:
        """Whether no more is to be sent: cancelled, the requester is gone, or the node is stopping."""
        return self.cancelled or self._refuses or self._gone is not None

    def unsent(self) -> set[str]:
        """The SOP Instance UIDs of what has failed, or was not answered."""
        with self._counting:
            return {*self.failed, *(one.sop_instance_uid for one in self._unsettled.values())}

    def raise_if_gone(self) -> None:
        """Raise Ended when the requester is gone."""
        if self._gone is not None:
            raise self._gone

    def carry(
        self, work: Work, carrier: Carrier, fetch: FetchFor, share: int = 1, alone: bool = False
    ) -> list[Instance]:
        """Send objects over one association, until none is left, or it ends, or the request is cancelled.

        Returns what was under way where it ended, which is counted neither as done nor as failed. With
        ``alone``, each object is answered before the next is sent.
        """
        most = 0 if alone else carrier.window - 1
        sent, shown = 0, self._exchange.association.shown
        carrier.taken = self._taken or carrier.taken
        try:
            with Ahead(work, lambda instance: fetch(instance, carrier), share, self.watch) as ahead:
                for fetched in self._while_wanted(ahead, work, lambda: self._settle(carrier, most)):
                    self._send(carrier, fetched)
                    shown.sent(carrier.bytes_sent - sent)
                    sent = carrier.bytes_sent
                self._settle(carrier, 0)
        except Ended as ended:
            carrier.ended = ended
            with suppress(Ended):  # what was answered before it broke counts
                self._settle(carrier, len(carrier.flying))
        finally:
            with self._counting:
                self.bytes_sent += carrier.bytes_sent
                carrier.bytes_sent = 0
        broken = list(carrier.flying.values())
        carrier.flying.clear()
        return broken

    def _while_wanted(self, ahead: Ahead, work: Work, settle: Callable[[], None]) -> Iterator[Fetched]:
        """Objects, until the request is cancelled or the requester is gone.

        ``settle`` is called before each: those before it were answered while it was fetched. Raises Ended.
        """
        if self.watch():
            return
        for fetched in ahead:
            try:
                settle()
                wanted = not self.watch()
            except Ended:
                work.put_back([fetched.instance])
                raise
            if not wanted:
                work.put_back([fetched.instance])
                return
            yield fetched

    def watch(self) -> bool:
        """Look for a C-CANCEL, unless another thread does, and for a stop; returns whether to stop.

        A requester that has had no response for a while is sent a pending one.
        """
        self._refuses = self._refuses or self._exchange.stopping
        if not self.stopped and self._watching.acquire(blocking=False):
            try:
                self.cancelled = self._exchange.cancelled
            except Ended as ended:
                self._gone = ended
            finally:
                self._watching.release()
        if not self.stopped and time.monotonic() - self._last_told > _PENDING_SECONDS:
            with self._counting:
                self._tell_pending()
        return self.stopped

    def _send(self, carrier: Carrier, fetched: Fetched) -> None:
        """One sub-operation; what cannot be read or sent fails alone, and is logged."""
        try:
            if fetched.error is not None:
                raise fetched.error
            carrier.begin(fetched.instance, fetched.transfer_syntax, fetched.chunks, fetched.copy_uid)
            if fetched.copy_uid:
                self._note_copy(fetched)
        except Ended as ended:
            if ended.how == "failed":  # in the middle of the object: its association had to be aborted
                self._failed(fetched.instance, ended.__cause__ or ended, "association aborted")
                carrier.forget(fetched.instance)
                self._count(fetched.instance, UNABLE_SUBOPERATIONS)
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, the other objects are sent
            self._failed(fetched.instance, error, "sub-operation failed")
            self._count(fetched.instance, UNABLE_SUBOPERATIONS)

    def _note_copy(self, fetched: Fetched) -> None:
        """Log which instance was sent as which copy, for those who find the copy somewhere."""
        with self._counting:
            self.lossy += 1
        structlog.get_logger("zscp").info(
            "lossy copy",
            sop_instance=fetched.instance.sop_instance_uid,
            copy=fetched.copy_uid,
            transfer_syntax=fetched.transfer_syntax,
        )

    def _failed(self, instance: Instance, error: BaseException, what: str) -> None:
        bug = {} if isinstance(error, ZscpError) else {"exc_info": error}
        structlog.get_logger("zscp").warning(
            what,
            sop_instance=instance.sop_instance_uid,
            key=instance.key,
            outcome=type(error).__name__,
            reason=error,
            **bug,
        )
        self.reason = public(error)

    def _settle(self, carrier: Carrier, most: int) -> None:
        """Count what was answered, and wait until at most so many are not."""
        while carrier.flying:
            for instance, status in carrier.answered(wait=len(carrier.flying) > most):
                self._note_refusal(instance, status)
                self._count(instance, status)
            if len(carrier.flying) <= most:
                return

    def _note_refusal(self, instance: Instance, status: int) -> None:
        """Count an answer; a failure is an answer too, and the object is not sent again."""
        with self._counting:
            self.answered += 1
        if is_failure(status):
            self.reason = f"an object was answered with status {status:04X}H"
            log = structlog.get_logger("zscp")
            log.warning("object refused", sop_instance=instance.sop_instance_uid, status=f"0x{status:04X}")

    def fail_all(self, instances: list[Instance], reason: str = _ASSOCIATION_ENDED) -> None:
        """Count objects as failed that were not sent, or not answered."""
        with self._counting:
            if instances:
                self.reason = reason
            self.failed += [instance.sop_instance_uid for instance in instances]
            for instance in instances:
                self._unsettled.pop(instance.key, None)
            self.remaining -= len(instances)

    def _count(self, instance: Instance, status: int) -> None:
        """Count one, and now and then send a pending response, in the order of the counts."""
        with self._counting:
            self.remaining -= 1
            self._unsettled.pop(instance.key, None)
            if status == SUCCESS:
                self.completed += 1
            elif is_warning(status):
                self.warning += 1
            else:
                self.failed.append(instance.sop_instance_uid)
            if self.remaining and time.monotonic() >= self._next_tell:
                self._tell_pending()

    def _tell_pending(self) -> None:
        # A requester that reads none of them must not hold up what it asked for.
        self._last_told = time.monotonic()
        self._next_tell = self._last_told + _BETWEEN_SECONDS
        if self._gone is None and self._exchange.is_read:
            try:
                self._exchange.respond(PENDING, counts=self._counts(self.remaining))
            except Ended as ended:
                self._gone = ended

    def finish(self) -> None:
        """The final response (PS3.4 C.4.2.1.5, C.4.3.1.4). Raises Ended.

        What a stopping node did not begin has failed: the requester may ask for it again.
        """
        self.raise_if_gone()
        if self._refuses and not self.cancelled:
            self.fail_all(list(self._unsettled.values()), STOPPING)
        status = self._final_status()
        failed = None
        if self.failed and status != SUCCESS:
            identifier = Dataset()
            identifier.FailedSOPInstanceUIDList = sorted(self.failed, key=lambda uid: self._order[uid])
            failed = write_identifier(identifier, self._exchange.transfer_syntax)
        counts = self._counts(self.remaining if self.cancelled else None)
        comment = comment_of(self.reason) if self.failed and self.reason else ""
        self._exchange.respond(status, dataset=failed, counts=counts, comment=comment)
        if self.failed:
            self._event.warn(self.reason)
        self._event.add(
            status=status,
            completed=self.completed,
            failed=len(self.failed),
            warning=self.warning,
            bytes_sent=self.bytes_sent,
            **({"lossy": self.lossy} if self.lossy else {}),
        )

    def _final_status(self) -> int:
        if self.cancelled:
            return CANCELLED
        if not self.failed:
            return SUCCESS if not self.warning else WARNING_SUBOPERATIONS
        return WARNING_SUBOPERATIONS if self.completed or self.warning else UNABLE_SUBOPERATIONS

    def _counts(self, remaining: int | None) -> SuboperationCounts:
        return SuboperationCounts(remaining, self.completed, len(self.failed), self.warning)
