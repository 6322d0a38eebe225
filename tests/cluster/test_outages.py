"""Two nodes, one index in PostgreSQL, one bucket, HAProxy in front: all fails in turn under eight senders.

The helpers of the servers are imported when they are used: what they need is there only for ``make cluster``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from .senders import Compared, Senders, compare
from .topology import Topology

pytestmark = pytest.mark.cluster

# An outage of a server under all nodes, in seconds.
_OUTAGE = 20.0
_BACK_SECONDS = 60.0


class Whole:
    """Everything that compose.cluster.yml starts, but for Prometheus and Grafana."""

    def __init__(self, folder: Path, database: Any, store: Any, backlog: str | int) -> None:
        self.database, self.store = database, store
        index = database.tables(database.database(made=False))["index"]
        self.nodes = Topology(
            folder,
            own=lambda root: {"storage": {"spool": f"file://{root}/spool"}},
            storage={**store.storage(), "backlog": backlog},
            index=index,
        )

    def lose_power(self) -> None:
        """All of it ends at once, but for HAProxy."""
        for node in self.nodes.nodes.values():
            node.lose_power()
        self.database.kill()
        self.store.kill()

    def restart(self) -> None:
        """All of it, after :meth:`lose_power`."""
        self.database.start()
        self.store.start()
        for node in self.nodes.nodes.values():
            node.start()
        self.nodes.all_up()


@pytest.fixture(params=[0, "1GB"], ids=["bucket first", "spool first"])
def whole(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Whole]:
    with ExitStack() as stack:
        # What is killed here has to survive that.
        database = stack.enter_context(import_module("servers_postgresql").PostgreSQL(durable=True))
        store = stack.enter_context(import_module("servers_seaweedfs").SeaweedFS(tmp_path / "store"))
        made = Whole(tmp_path, database, store, request.param)
        stack.enter_context(made.nodes)
        yield made


def stored_more(senders: Senders, count: int = 40) -> None:
    before = senders.stored()
    until(lambda: senders.stored() >= before + count, "objects are stored again", _BACK_SECONDS)


def a_node_loses_power(whole: Whole, senders: Senders) -> None:
    node = whole.nodes.nodes["node1"]
    node.lose_power()
    stored_more(senders)
    node.start()
    whole.nodes.all_up()


def the_database_stops(whole: Whole, senders: Senders) -> None:
    whole.database.stop()
    time.sleep(_OUTAGE)
    whole.database.start()


def the_store_stops(whole: Whole, senders: Senders) -> None:
    whole.store.stop()
    time.sleep(_OUTAGE)
    whole.store.start()


def everything_loses_power(whole: Whole, senders: Senders) -> None:
    whole.lose_power()
    whole.restart()


_FAULTS: tuple[Callable[[Whole, Senders], None], ...] = (
    a_node_loses_power, the_database_stops, the_store_stops, everything_loses_power,
)  # fmt: skip


def test_nothing_acknowledged_is_lost_whatever_fails(whole: Whole, tmp_path: Path) -> None:
    with Senders(whole.nodes.address, tmp_path, pause=0.3) as senders:
        stored_more(senders)
        for fault in _FAULTS:
            fault(whole, senders)
            begun = time.monotonic()
            stored_more(senders)
            print(fault.__name__, f"40 objects {time.monotonic() - begun:.1f} s later")  # noqa: T201 - pytest -s
        whole.nodes.all_up()
    assert senders.seen.faults == []
    print(dict(senders.seen.counts), f"longest without a Success: {senders.seen.longest_gap():.1f} s")  # noqa: T201
    compared = compare(senders.ledger, [whole.nodes.address])
    assert compared == Compared(same=senders.stored())
