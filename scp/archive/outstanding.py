"""Requests for storage commitment whose results are yet to be reported, as an admin looks at them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from scp.index.queue import Commitments
from scp.model import Commitment


@dataclass(frozen=True, slots=True)
class OutstandingCommitment:
    """A request for storage commitment whose result is not reported yet; under way without a next attempt."""

    transaction_uid: str
    calling_aet: str
    instances: int
    received_at: datetime
    attempts: int
    next_attempt: datetime | None
    fault: str


def outstanding_commitments(commitments: Commitments, most: int | None) -> list[OutstandingCommitment]:
    """At most ``most`` of them, None: all; those that came first. Raises OutOfResources."""
    return [_outstanding(one) for one in commitments.all(most)]


def _outstanding(one: Commitment) -> OutstandingCommitment:
    return OutstandingCommitment(
        one.transaction_uid,
        one.calling_aet,
        len(one.references),
        one.received_at,
        one.attempts,
        None if one.holder else one.due,
        one.fault,
    )
