"""Sends the objects of one C-MOVE, over several associations, which are opened again where they break.

What was under way when an association broke is sent once more, after all others, one object at a time: so it
shows at which of them the destination breaks off. An object at which it breaks off twice fails alone
(docs/decisions/0098).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, wait
from functools import partial

import structlog

from scp.background.parallel import beside
from scp.config.peers import Peer
from scp.config.settings import Settings
from scp.dimse.patience import PAUSES, Patience, Pauses
from scp.dimse.scu.associate import Destination, associated
from scp.dimse.scu.fetch_ahead import Work
from scp.dimse.services.suboperations import FetchFor, Suboperations
from scp.errors import DestinationUnreachable, NothingAccepted
from scp.model import Instance

_LOOK_SECONDS = 0.2  # how often C-CANCEL is looked for

Contexts = list[tuple[str, str]]


class Move:
    """Sends objects to one destination; ``origin`` is the calling AE title and Message ID of the C-MOVE."""

    def __init__(
        self,
        operations: Suboperations,
        peer: Peer,
        settings: Settings,
        origin: tuple[str, int],
        fetch: FetchFor,
        pauses: Pauses = PAUSES,
    ) -> None:
        self._operations, self._fetch = operations, fetch
        self._peer, self._settings, self._origin = peer, settings, origin
        self._patience = Patience(settings.limits.move_retry_seconds, back_off=pauses.move)
        # Half of the time in which a stopping node waits for this: the requester is answered in the other.
        self._grace = min(pauses.cancel, settings.limits.stop_seconds / 2)
        self._reached = False  # a destination that was never there is not waited for
        self._lock = threading.Lock()
        self._broken: list[Instance] = []  # what was under way where an association broke
        self._open: set[Destination] = set()
        self.reason = ""  # why the destination was given up

    def send(self, batch: list[Instance], contexts: Contexts) -> None:
        """Send objects that one association's contexts are enough for; all are counted in the end."""
        work = Work(batch)
        self._spread(work, self._opened(contexts, work), contexts)
        if not self._operations.stopped:
            self._operations.fail_all(work.left(), self.reason)
            self._supervise([beside(partial(self._send_again, contexts))])

    # ---- associations ----

    def _opened(self, contexts: Contexts, work: Work) -> Sequence[Destination]:
        """Open as many associations as the destination may have; none where it is not there."""
        first = self._first(contexts, work)
        if first is None:
            return ()
        carriers = [first]
        try:
            while len(carriers) < min(self._peer.associations, len(work.left())):
                carriers.append(self._associated(contexts))
        except DestinationUnreachable as error:
            # The destination takes fewer than it may have: those that are open do the work.
            self._log("fewer associations", associations=len(carriers), reason=str(error))
        except BaseException:
            for carrier in carriers:
                carrier.close()
            raise
        return carriers

    def _first(self, contexts: Contexts, work: Work) -> Destination | None:
        try:
            return self._associated(contexts)
        except DestinationUnreachable as error:
            self.reason = str(error)
            hopeless = isinstance(error, NothingAccepted) or not self._reached
            return None if hopeless else self._again(contexts, work)

    def _associated(self, contexts: Contexts) -> Destination:
        """Open an association, and watch the requester meanwhile. Raises DestinationUnreachable."""
        opening = beside(partial(associated, self._peer, contexts, self._settings, self._origin))
        while not wait([opening], _LOOK_SECONDS).done:
            if self._operations.watch():
                opening.add_done_callback(_let_go)
                raise DestinationUnreachable("the request was cancelled")
        carrier = opening.result()
        self._reached = True
        return carrier

    def _again(self, contexts: Contexts, work: Work) -> Destination | None:
        """An association in place of one that broke; None where there is nothing for it to do, or no hope."""
        attempt = 0
        while (pause := self._patience.pause(self._operations.answered, attempt)) is not None:
            if not self._wait(pause, work):
                return None
            try:
                return self._associated(contexts)
            except DestinationUnreachable as error:
                self.reason, attempt = str(error), attempt + 1
                if isinstance(error, NothingAccepted):
                    break
        self._log("destination given up", objects=len(work.left()), reason=self.reason)
        return None

    def _wait(self, seconds: float, work: Work) -> bool:
        """Wait, and watch the requester; returns whether there is still something to send."""
        until = time.monotonic() + seconds
        while work.left() and not self._operations.watch():
            if (left := until - time.monotonic()) <= 0:
                return True
            time.sleep(min(_LOOK_SECONDS, left))
        return False

    def _log(self, what: str, **more: object) -> None:
        structlog.get_logger("zscp").warning(what, destination=self._peer.aet, **more)

    # ---- objects ----

    def _spread(self, work: Work, carriers: Sequence[Destination], contexts: Contexts) -> None:
        """Have associations take from the same work, each in a thread."""
        share = len(carriers)
        self._supervise([beside(partial(self._carry, work, one, contexts, share)) for one in carriers])

    def _supervise(self, parts: Sequence[Future[None]]) -> None:
        """Wait for the threads that send, and watch the requester.

        When the requester wants no more, what is under way has a while to be answered; then the associations
        are broken off, whatever they wait for.
        """
        until: float | None = None
        while wait(parts, _LOOK_SECONDS).not_done:
            if not self._operations.watch():
                continue
            until = until or time.monotonic() + self._grace
            if time.monotonic() > until:
                with self._lock:
                    for carrier in self._open:
                        carrier.layer.break_off()
        for part in parts:
            part.result()  # a bug in one of them fails the request

    def _carry(self, work: Work, first: Destination, contexts: Contexts, share: int) -> None:
        """One association's part of the work, to its end, opened again as often as it breaks."""
        carrier: Destination | None = first
        while carrier is not None:
            broken = self._carried(work, carrier, share)
            with self._lock:
                self._broken += broken
            over = carrier.ended is None or self._operations.stopped
            carrier = None if over else self._again(contexts, work)

    def _send_again(self, contexts: Contexts) -> None:
        """Send again what was under way when an association broke, one at a time, on one association."""
        work, self._broken = Work(self._broken), []
        while work.left() and (carrier := self._again(contexts, work)) is not None:
            twice = self._carried(work, carrier, alone=True)
            if not self._operations.stopped:
                self._operations.fail_all(twice, f"{self._peer.aet} broke off twice at an object")
        if not self._operations.stopped:
            self._operations.fail_all(work.left(), self.reason)

    def _carried(
        self, work: Work, carrier: Destination, share: int = 1, alone: bool = False
    ) -> list[Instance]:
        """Send what there is over an association, and close it; returns what was under way if it broke."""
        with self._lock:
            self._open.add(carrier)
        try:
            broken = self._operations.carry(work, carrier, self._fetch, share, alone)
        finally:
            with self._lock:
                self._open.discard(carrier)
            carrier.close()
        if carrier.ended is not None and not self._operations.stopped:
            self.reason = f"{self._peer.aet} ended the association: {carrier.ended}"
            under_way = [instance.sop_instance_uid for instance in broken]
            self._log("association broke", reason=str(carrier.ended), under_way=under_way, again=not alone)
        return broken


def _let_go(opening: Future[Destination]) -> None:
    """Close an association that was established when nobody wanted it any more."""
    if opening.exception() is None:
        opening.result().layer.break_off()
        opening.result().layer.close()
