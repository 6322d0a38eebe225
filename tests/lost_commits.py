"""A standby of the index, and what tests of lost commits ask a node."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from several_nodes import OneNode, an_object

from scp.metrics import counting
from scp.model import Received


class Standby:
    """A copy of the index; ``takes_over`` breaks the connection of a node, and lacks what came since."""

    def __init__(self, root: Path) -> None:
        self._index, self._copy = root / "index.db", root / "standby.db"
        self._copied(self._index, self._copy)

    def takes_over(self, *nodes: OneNode) -> None:
        for node in nodes:
            node.archive.index._writer.close()  # type: ignore[attr-defined]
        self._copied(self._copy, self._index)

    def _copied(self, source: Path, target: Path) -> None:
        with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
            one.backup(other)


def encoded(node: OneNode) -> None:
    while node.encoder.round():
        pass


def counted() -> float:
    read = counting.current().read()
    return sum(sum(one.numbers) for one in read if one.metric.name == "zscp_lost_commits_total")


def kept(node: OneNode, *seeds: int) -> list[Received]:
    sent = [an_object(seed) for seed in seeds]
    for one in sent:
        node.keep(one)
    return sent
