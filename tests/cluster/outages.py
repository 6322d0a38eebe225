"""Two nodes, one index in PostgreSQL, one bucket, HAProxy in front: all fails in turn under eight senders.

The helpers of the servers are imported when they are used: what they need is there only for ``make cluster``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from .senders import Compared, Senders, compare
from .topology import Topology

# An outage of a server under all nodes, in seconds.
_OUTAGE = 20.0
_BACK_SECONDS = 90.0


class Whole:
    """Everything that compose.cluster.yml starts, but for Prometheus and Grafana."""

    def __init__(self, folder: Path, database: Any, store: Any, landing: bool) -> None:
        self.database, self.store = database, store
        index = database.tables(database.database(made=False))["index"]
        self.nodes = Topology(
            folder,
            own=lambda root: {"storage": {"spool": f"file://{root}/spool"}},
            storage={**store.storage(), "backlog": "1GB", "landing": landing},
            index=index,
        )
        self._folder = folder
        self.all_senders: list[Senders] = []

    def senders(self) -> Senders:
        """New ones, of objects that none has sent before; all write one ledger."""
        first = 8 * len(self.all_senders)
        self.all_senders.append(Senders(self.nodes.address, self._folder, pause=0.5, first=first))
        return self.all_senders[-1]


@contextmanager
def everything(folder: Path, landing: bool) -> Iterator[Whole]:
    """All of it, running; with ``landing`` small objects go to a node's own disk first."""
    with ExitStack() as stack:
        # What is killed here has to survive that.
        database = stack.enter_context(import_module("servers_postgresql").PostgreSQL(durable=True))
        store = stack.enter_context(import_module("servers_seaweedfs").SeaweedFS(folder / "store"))
        whole = Whole(folder, database, store, landing)
        stack.enter_context(whole.nodes)
        yield whole


def a_node_loses_power(whole: Whole, senders: Senders) -> None:
    node = whole.nodes.nodes["node1"]
    node.lose_power()
    _stored_more(senders)
    node.start()
    whole.nodes.all_up()


def the_database_stops(whole: Whole, _: Senders) -> None:
    whole.database.stop()
    time.sleep(_OUTAGE)
    whole.database.start()


def the_store_stops(whole: Whole, _: Senders) -> None:
    whole.store.stop()
    time.sleep(_OUTAGE)
    whole.store.start()


def everything_loses_power(whole: Whole, _: Senders) -> None:
    """All of it ends at once, but for HAProxy, and is started again."""
    for node in whole.nodes.nodes.values():
        node.lose_power()
    whole.database.kill()
    whole.store.kill()
    whole.database.start()
    whole.store.start()
    whole.nodes.start_nodes()
    whole.nodes.all_up()


Fault = Callable[[Whole, Senders], None]
FAULTS: tuple[Fault, ...] = (
    a_node_loses_power,
    the_database_stops,
    the_store_stops,
    everything_loses_power,
)


def each_fault(*often: Fault) -> pytest.MarkDecorator:
    """Each of them; those that are not named in ``make long`` alone."""
    return pytest.mark.parametrize(
        "fault",
        [pytest.param(one, marks=[] if one in often else pytest.mark.long) for one in FAULTS],
        ids=[one.__name__.replace("_", " ") for one in FAULTS],
    )


def _stored_more(senders: Senders, count: int = 40) -> None:
    before = senders.stored()
    until(lambda: senders.stored() >= before + count, "objects are stored again", _BACK_SECONDS)


def nothing_acknowledged_is_lost(whole: Whole, fault: Fault) -> None:
    """Senders store before, during and after a fault; then all that was ever acknowledged is got back."""
    with whole.senders() as senders:
        _stored_more(senders)
        fault(whole, senders)
        begun = time.monotonic()
        _stored_more(senders)
        back = time.monotonic() - begun
    assert senders.seen.faults == []
    # pytest -s shows it; nothing is claimed of it, as the machine may be busy
    told = f"{dict(senders.seen.counts)}, longest without a Success {senders.seen.longest_gap():.1f} s"
    print(f"{told}, 40 objects {back:.1f} s after the end")  # noqa: T201 - pytest -s shows it
    whole.nodes.all_up()
    stored = sum(one.stored() for one in whole.all_senders)
    assert compare(senders.ledger, [whole.nodes.address]) == Compared(same=stored)
