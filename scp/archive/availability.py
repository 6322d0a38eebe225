"""Instance Availability (PS3.3 C.4.23.1.1): how readily an archive gives what a query matches."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing

from scp.index.index import RANK, Ranks
from scp.objects.names import prefixes
from scp.objects.store import Availability

_SLOWER: tuple[Availability, ...] = ("ONLINE", "NEARLINE", "OFFLINE")


def slowness(tiers: Mapping[str, Availability]) -> Ranks:
    """What to ask an index for, by the stores that are not online; empty where there are none."""
    ranks = {prefix: _SLOWER.index(tiers[name]) for prefix, name in prefixes(tiers).items()}
    return {prefix: rank for prefix, rank in ranks.items() if rank}


def with_availability(
    matches: Generator[dict[str, str], None, None],
) -> Generator[dict[str, str], None, None]:
    """Matches that were asked for with :func:`slowness`, each with the availability of its slowest part."""
    with closing(matches):
        for match in matches:
            yield {**match, "InstanceAvailability": _SLOWER[int(match.pop(RANK))]}
