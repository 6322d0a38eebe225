"""How much is held, and how much work is outstanding: the figures of the command, a page and the metrics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scp.index.index import EntityCounts, Index, PendingCount, Statistic
from scp.objects.names import prefixes


@dataclass(frozen=True, slots=True)
class Statistics:
    """What is held, by level and ``by_form``; sizes in bytes.

    ``pending`` objects are yet to be encoded, or to get files of their own. ``commitments`` counts the
    results of storage commitment that are yet to be reported, ``send_queue`` the objects that are yet to be
    sent to peers. ``damaged`` counts missing files, too. ``refused`` objects are not encoded or decoded any
    more.
    """

    counts: EntityCounts
    received_size: int
    stored_size: int
    pending: PendingCount
    commitments: int
    send_queue: int
    damaged: int
    refused: int
    by_form: tuple[Statistic, ...]


def statistics_of(index: Index, tiers: Iterable[str]) -> Statistics:
    """The statistics by the index; ``tiers`` are the stores beside the first. Raises OutOfResources."""
    by_form = tuple(index.statistics(prefixes(tiers)))
    return Statistics(
        index.counts(),
        sum(row.received_size for row in by_form),
        sum(row.stored_size for row in by_form),
        index.count_pending(),
        index.commitments.outstanding(),
        index.send_queue.outstanding(),
        index.checks.count_damaged(),
        index.checks.count_refused(),
        by_form,
    )
