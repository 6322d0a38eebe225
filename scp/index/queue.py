"""Who works on what, and until when: leases, claims on instances, and queues of what is due for a peer.

A claim ends by itself unless it is renewed, so that what a process leaves that dies is taken up by another.
Every method of a protocol here raises :class:`scp.errors.OutOfResources` as an index does.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar
from uuid import uuid4

from scp.errors import OutOfResources
from scp.model import Commitment, Instance, QueuedSend

# After so long another process takes up what one has left that died; a claim in use is renewed thrice in it.
LEASE_SECONDS = 9.0

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Lease:
    """What ``holder`` claims at ``now`` is its own until then."""

    holder: str
    now: datetime
    until: datetime

    @classmethod
    def begin(cls, holder: str = "", seconds: float = LEASE_SECONDS) -> Lease:
        """One from now on; without a ``holder`` under a name that nobody else has."""
        now = datetime.now(UTC)
        return cls(holder or uuid4().hex, now, now + timedelta(seconds=seconds))

    def again(self) -> Lease:
        """As long a one, from now on."""
        return Lease.begin(self.holder, self.seconds)

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return (self.until - self.now).total_seconds()


class Renewed(Protocol):
    """Where claims are."""

    def renew(self, lease: Lease) -> None:
        """Let all claims of its holder last until its end."""


@contextmanager
def kept(claims: Renewed, lease: Lease) -> Iterator[None]:
    """Renew the claims of a lease's holder as long as the block takes."""
    over = threading.Event()

    def renew() -> None:
        while not over.wait(lease.seconds / 3):
            with suppress(OutOfResources):  # the next time it may go; else another tries too
                claims.renew(lease.again())

    thread = threading.Thread(target=renew, name="claims", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Claims(Renewed, Protocol):
    """Claims on instances, of who carries out a stage, checks a file, or deletes."""

    def claim(self, lease: Lease, instances: Iterable[Instance]) -> list[Instance]:
        """Claim instances, but for those that others have; returns them as they are now.

        What the holder had claimed before is given up. Who claims an instance keeps others from all that are
        held of its SOP Instance UID.
        """

    def release(self, holder: str) -> None:
        """Give up all claims of ``holder``."""

    def hold(self, uids: Iterable[str], until: datetime) -> None:
        """Let claimed instances be nobody's until then: something was wrong with them."""


@contextmanager
def claimed(claims: Claims, lease: Lease, instances: Iterable[Instance]) -> Iterator[list[Instance]]:
    """Claim what nobody else has of some instances, as long as the block takes."""
    found = claims.claim(lease, instances)
    try:
        with kept(claims, lease):
            yield found
    finally:
        claims.release(lease.holder)


class ClaimedQueue(Renewed, Protocol[Row]):
    """What is due for peers. Who claims a row is its ``holder``, and it is ``due`` when the claim ends."""

    def claim(self, lease: Lease, most: int, busy: Collection[str] = ()) -> list[Row]:
        """Claim at most ``most`` of those that are due, all for one peer that is not ``busy``.

        It is that of the most urgent row.
        """

    def postpone(self, row: Row, due: datetime, fault: str = "") -> bool:
        """Give a claim back, for another try when ``due``; a ``fault`` counts as an attempt.

        False where the claim has ended and was taken by another, or where another row took this one's place:
        then nothing is changed.
        """

    def hasten(self, due: datetime) -> None:
        """Let all that wait for another try, or were given up, be due by then; not what is claimed."""

    def next_due(self, busy: Collection[str] = ()) -> datetime | None:
        """When the first is due, or the first claim ends, of peers that are not ``busy``."""

    def all(self) -> list[Row]:
        """All that are not done, in the order of their coming."""


class Commitments(ClaimedQueue[Commitment], Protocol):
    """Requests for storage commitment whose result is not reported yet (PS3.4 J.3)."""

    def add(self, commitment: Commitment) -> Commitment | None:
        """Record a request, claimed by its ``holder`` until ``due`` if it has one.

        Returns it with its ``number``, and with ``duplicate`` set where another request of its AE is
        recorded under its transaction UID. One that is the same in all its references is not recorded
        again: its ``holder`` takes over the claim on that one or, where another has that, None is returned.
        """

    def remove(self, commitment: Commitment) -> bool:
        """Forget one that is done; False as for :meth:`postpone`."""


class SendQueue(ClaimedQueue[QueuedSend], Protocol):
    """Objects that are to be sent to peers.

    Of one destination's, those of a lower priority number, that failed less often and that came first go
    before others.
    """

    def add(self, sends: Sequence[QueuedSend]) -> int:
        """Record those whose object and destination are not recorded together yet; how many that were."""

    def give_up(self, queued: QueuedSend, fault: str) -> bool:
        """Let one wait for :meth:`hasten`; False as for :meth:`postpone`."""

    def done(self, sends: Sequence[QueuedSend], now: datetime, remember: datetime | None = None) -> None:
        """Forget those that were sent, or only from ``remember`` on; but for those whose claim has ended."""

    def outstanding(self) -> int:
        """How many are not sent."""
