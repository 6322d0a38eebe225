"""Leases, claims on instances, and queues of what is due for peers: who works on what, and until when.

A claim ends by itself unless it is renewed, so that another process takes over the work of a dead one.
Every method of a protocol here raises :class:`scp.errors.OutOfResources` as an index does.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar
from uuid import uuid4

from scp.errors import OutOfResources
from scp.identity import Identity
from scp.index.promises import Promises
from scp.model import Commitment, Instance, QueuedSend, SendState

# After so long another process takes over from a dead one; a claim in use is renewed three times in it.
LEASE_SECONDS = 9.0

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Lease:
    """A claim that ``holder`` makes at ``now`` lasts until ``until``."""

    holder: str
    now: datetime
    until: datetime

    @classmethod
    def begin(cls, holder: str = "", seconds: float = LEASE_SECONDS) -> Lease:
        """A lease from now on; without a ``holder`` under a unique name."""
        now = datetime.now(UTC)
        return cls(holder or uuid4().hex, now, now + timedelta(seconds=seconds))

    def again(self) -> Lease:
        """A lease of the same length, from now on."""
        return Lease.begin(self.holder, self.seconds)

    def later(self, seconds: int) -> Lease:
        """The same lease, begun and ended ``seconds`` later."""
        late = timedelta(seconds=seconds)
        return replace(self, now=self.now + late, until=self.until + late)

    @property
    def seconds(self) -> float:
        """The length of the lease in seconds."""
        return (self.until - self.now).total_seconds()


class Renewed(Protocol):
    """Something with claims that can be renewed."""

    def renew(self, lease: Lease) -> None:
        """Let all claims of the lease's holder last until the end of the lease."""


@contextmanager
def renewing(claims: Renewed, lease: Lease) -> Iterator[None]:
    """Renew the claims of a lease's holder while the block runs."""
    over = threading.Event()

    def renew() -> None:
        while not over.wait(lease.seconds / 3):
            with suppress(OutOfResources):  # the next renewal may succeed; else another process tries too
                claims.renew(lease.again())

    thread = threading.Thread(target=renew, name="claims", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Claims(Renewed, Protocol):
    """Claims on instances, for carrying out a stage, checking a file, or deleting."""

    def claim(self, lease: Lease, instances: Iterable[Instance]) -> list[Instance]:
        """Claim instances, except those that others have claimed; returns them as they are now.

        Earlier claims of the holder are given up. The lease counts from when the claim is written. A claim
        on an instance covers all instances of its SOP Instance UID.
        """

    def release(self, holder: str) -> None:
        """Give up all claims of ``holder``."""

    def hold(self, uids: Iterable[str], until: datetime) -> None:
        """Keep claimed instances from everybody ``until`` then: something was wrong with them."""


@contextmanager
def claimed(claims: Claims, lease: Lease, instances: Iterable[Instance]) -> Iterator[list[Instance]]:
    """Claim those of some instances that nobody else has, while the block runs."""
    found = claims.claim(lease, instances)
    try:
        with renewing(claims, lease):
            yield found
    finally:
        with suppress(OutOfResources):  # the claim ends by itself; what the block did or raised counts
            claims.release(lease.holder)


class ClaimedQueue(Renewed, Protocol[Row]):
    """Work that is due for peers. A claimed row names its ``holder``, and is ``due`` when the claim ends."""

    def claim(self, lease: Lease, most: int, busy: Collection[str] = ()) -> list[Row]:
        """Claim at most ``most`` due rows, all for one peer that is not ``busy``.

        It is the peer of the most urgent row.
        """

    def postpone(self, row: Row, due: datetime, fault: str = "") -> bool:
        """Give a claim back, for another try when ``due``; a ``fault`` counts as an attempt.

        False if the claim has ended and another holder has the row, or another row replaced this one: then
        nothing is changed.
        """

    def hasten(self, due: datetime) -> None:
        """Make all rows that wait for another try, or were given up, due by then; not claimed ones."""

    def next_due(self, busy: Collection[str] = ()) -> datetime | None:
        """When the first row is due, or the first claim ends, for peers that are not ``busy``."""

    def outstanding(self) -> int:
        """How many rows are not done."""

    def all(self, most: int | None = None) -> list[Row]:
        """The rows that are not done, in the order of arrival; None: all."""


class Commitments(ClaimedQueue[Commitment], Protocol):
    """Requests for storage commitment whose result is not reported yet (PS3.4 J.3)."""

    @property
    def promises(self) -> Promises:
        """For which instances a result was reported that promises their safekeeping."""

    def add(self, commitment: Commitment) -> Commitment | None:
        """Record a request, claimed by its ``holder`` until ``due`` if it has one.

        Returns it with its ``number``, and with ``duplicate`` set if another request of the AE is recorded
        under its transaction UID. A request with the same references is not recorded again: its ``holder``
        takes over the claim on the recorded one; if another holder has that claim, None is returned.
        """

    def remove(self, commitment: Commitment) -> bool:
        """Remove a request that is done; False as for :meth:`postpone`."""


@dataclass(frozen=True, slots=True)
class SendSum:
    """What is yet to be sent to one destination by one rule; ``state`` is ``waiting`` or ``given up``.

    ``bytes`` are those stored now; of objects that share a SOP Instance UID within a study, those of the
    largest. ``queued_at`` is when the first was queued, ``attempts`` the most that any had. The first is
    tried again at ``next_attempt``: None where all are under way, or given up. ``fault`` is the last one.
    """

    destination: str
    rule: str
    state: SendState
    objects: int
    bytes: int
    queued_at: datetime
    attempts: int
    next_attempt: datetime | None
    fault: str


class SendQueue(ClaimedQueue[QueuedSend], Protocol):
    """Objects that are to be sent to peers.

    For one destination, objects are sent in the order of priority number, of failures, and of arrival.
    """

    def add(self, sends: Sequence[QueuedSend]) -> int:
        """Record entries whose object and destination are not recorded together yet; returns how many."""

    def ask(self, sends: Sequence[QueuedSend]) -> int:
        """Record entries that somebody asks for; one that is recorded is replaced, unless it is claimed.

        Returns how many were recorded: the others are being sent.
        """

    def waits_for(self, of: Identity) -> bool:
        """Whether an object is yet to be sent to any peer, or was given up and may be hastened."""

    def give_up(self, queued: QueuedSend, fault: str) -> bool:
        """Let an entry wait for :meth:`hasten`; False as for :meth:`postpone`."""

    def done(self, sends: Sequence[QueuedSend], now: datetime, remember: datetime | None = None) -> None:
        """Remove sent entries, or only from ``remember`` on; but not those whose claim has ended."""

    def sums(self) -> list[SendSum]:
        """What is not sent, by destination, rule and state; some 10 µs an entry."""
