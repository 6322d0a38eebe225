"""Each part fails in turn under eight senders, where a node answers when an object is in its spool.

In a module of its own, as each is run by a process of its own beside the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .outages import (
    Fault,
    Whole,
    a_node_loses_power,
    each_fault,
    everything,
    everything_loses_power,
    nothing_acknowledged_is_lost,
)

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with everything(tmp_path_factory.mktemp("spooled"), landing=True) as whole:
        yield whole


@each_fault(a_node_loses_power, everything_loses_power)
def test_nothing_acknowledged_is_lost(whole: Whole, fault: Fault) -> None:
    nothing_acknowledged_is_lost(whole, fault)
