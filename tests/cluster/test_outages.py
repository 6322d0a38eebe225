"""Each part fails in turn under eight senders, where a node answers when an object is in the bucket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .outages import (
    Fault,
    Whole,
    each_fault,
    everything,
    nothing_acknowledged_is_lost,
    the_database_stops,
    the_store_stops,
)

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with everything(tmp_path_factory.mktemp("outages"), landing=False) as whole:
        yield whole


# Success says that both have it: each is away in turn. Of power, the spool has more to lose.
@each_fault(the_database_stops, the_store_stops)
def test_nothing_acknowledged_is_lost(whole: Whole, fault: Fault) -> None:
    nothing_acknowledged_is_lost(whole, fault)
