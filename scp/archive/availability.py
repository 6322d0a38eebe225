"""Instance Availability (PS3.3 C.4.23.1.1): how soon the archive can send the matches of a query."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import replace

from scp.index.index import RANK, Ranks
from scp.index.pages import Page
from scp.objects.names import prefixes
from scp.objects.store import Availability

_SLOWER: tuple[Availability, ...] = ("ONLINE", "NEARLINE", "OFFLINE")


def slowness(tiers: Mapping[str, Availability]) -> Ranks:
    """The ranks to ask the index for, one for each store that is not online; empty where all are online."""
    ranks = {prefix: _SLOWER.index(tiers[name]) for prefix, name in prefixes(tiers).items()}
    return {prefix: rank for prefix, rank in ranks.items() if rank}


def with_availability(
    matches: Generator[dict[str, str], None, None],
) -> Generator[dict[str, str], None, None]:
    """Matches of a query with :func:`slowness` as ranks, each with the availability of its slowest part."""
    with closing(matches):
        yield from map(_available, matches)


def page_with_availability(page: Page) -> Page:
    """As :func:`with_availability`, for a page of matches."""
    told = (replace(entry, attributes=_available(dict(entry.attributes))) for entry in page.entries)
    return replace(page, entries=tuple(told))


def _available(match: dict[str, str]) -> dict[str, str]:
    return {**match, "InstanceAvailability": _SLOWER[int(match.pop(RANK))]}
