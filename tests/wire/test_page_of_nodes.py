"""Two nodes on one PostgreSQL, each with a page: both pages say the same of the archive."""

from __future__ import annotations

import json
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers_postgresql import PostgreSQL

from scp.index.sql import SqlIndex

from .conftest import NodeProcess
from .peers import CT_IMAGE, EXPLICIT, MR_IMAGE, Scu, Sent, free_port, image, until

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

_SECONDS = 150.0
# The node's own folder comes first. What it has counted is in the index after a moment, and its page has
# statistics of a moment ago, in place of a minute.
_SERVES = textwrap.dedent("""
    import sys
    from pathlib import Path
    from scp.lifecycle import history
    from scp.node import build, heartbeat, service, web
    from scp.web import looks

    own = Path(sys.argv.pop(1))
    for module in (build, heartbeat, service, web):
        module.own_folder = lambda settings: own
    history.WRITE_SECONDS, history._TIMES_AS_LONG = 0.5, 0
    looks._STATISTICS_SECONDS, looks._TIMES_AS_LONG = 1.0, 0
    from scp.cli.main import main
    main()
""")


class NodeWithPage(NodeProcess):
    """A node with a folder of its own below the root that it shares with the other, and a page."""

    def __init__(self, root: Path, name: str, **tables: Any) -> None:
        self.http = free_port()
        http = {"port": self.http, "page": "on"}
        super().__init__(root, shipped=True, node={"workers": 2}, http=http, **tables)
        self.own = root / name
        self.own.mkdir()
        self.config, self.log = self.own / "zscp.toml", self.own / "serve.log"
        self.write_config()

    def command(self) -> list[str]:
        return [sys.executable, "-c", _SERVES, str(self.own), "serve", "-c", str(self.config)]

    def says(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=60) as answer:
            return json.load(answer)

    def shows(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=60) as answer:
            text: str = answer.read().decode()
            return text

    def ready(self) -> bool:
        try:
            return bool(self.says("/ready"))
        except OSError:
            return False


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[NodeWithPage, NodeWithPage, Callable[[], SqlIndex]]]:
    with PostgreSQL() as server:
        database = server.database(made=False)
        tables = server.tables(database)
        made = [NodeWithPage(tmp_path, name, **tables) for name in ("first", "second")]
        try:
            for one in made:
                one.start()
                until(one.ready, "the node is ready", _SECONDS)
            yield made[0], made[1], lambda: SqlIndex.open(database)
        finally:
            for one in made:
                one.kill()


def sent(kind: str, number: int) -> Sent:
    uid = CT_IMAGE if kind == "CT" else MR_IMAGE
    more: dict[str, Any] = {"Modality": kind, "series": f"1.2.3.{len(kind)}.{ord(kind[0])}", "sop_class": uid}
    return image(instance=f"1.2.3.{ord(kind[0])}.{number}", InstanceNumber=number, seed=number, **more)


def store(node: NodeWithPage, kind: str, count: int) -> int:
    """Store as a device of that kind; the bytes that were sent."""
    objects = [sent(kind, number) for number in range(count)]
    with Scu(node.address, [(objects[0].sop_class, [EXPLICIT])], calling=f"{kind}1") as scu:
        assert [scu.store(one).status for one in objects] == [0] * count
    return sum(len(one.data) for one in objects)


def test_both_pages_say_the_same_of_the_archive(
    pair: tuple[NodeWithPage, NodeWithPage, Callable[[], SqlIndex]],
) -> None:
    first, second, index_of = pair
    sizes = {"MR": store(first, "MR", 3), "CT": store(second, "CT", 2)}

    def lives(node: NodeWithPage) -> bool:
        return [one["state"] for one in node.says("/api/now")["nodes"]] == ["lives", "lives"]

    def has_all(node: NodeWithPage) -> bool:
        traffic = node.says("/api/traffic?by=hour")["over_time"]["inbound"]
        kept = node.says("/api/savings?by=hour")["by_modality"]
        return sum(one["instances"] for one in traffic) == sum(one["instances"] for one in kept) == 5

    for node in (first, second):
        until(lambda node=node: lives(node), "it knows of both", _SECONDS)
        until(lambda node=node: has_all(node), "it has the figures of both", _SECONDS)
    ours, theirs = (one.says("/api/now") for one in (first, second))
    assert ours["node"] != theirs["node"]
    assert {one["id"] for one in ours["nodes"]} == {ours["node"], theirs["node"]}
    assert {one["id"] for one in theirs["nodes"]} == {ours["node"], theirs["node"]}
    for node in (first, second):
        traffic = node.says("/api/traffic?by=hour")
        assert {one["peer"]: one["wire_size"] for one in traffic["by_peer"]["inbound"]} == {
            f"{kind}1": size for kind, size in sizes.items()
        }
        kept = node.says("/api/savings?by=hour")
        for key, name in (("by_modality", "modality"), ("by_calling_aet", "calling_aet")):
            ending = "" if name == "modality" else "1"
            assert {one[name]: one["received_size"] for one in kept[key]} == {
                f"{kind}{ending}": size for kind, size in sizes.items()
            }
        assert all(peer in node.shows("/traffic?by=hour") for peer in ("MR1", "CT1"))
    index = index_of()
    # A new form would take the place of the one that is told to be damaged.
    until(lambda: not index.count_pending().instances, "all is encoded", _SECONDS)
    (damaged,) = index.named(sent("MR", 1).instance)
    index.checks.note([(damaged, "its digest differs")], time.time())
    index.close()

    def told(node: NodeWithPage) -> tuple[Any, ...]:
        found = node.says("/api/health")
        objects = [one["sop_instance_uid"] for one in found["damaged_objects"]]
        return found["ready"], found["damaged"], objects, found["refused"], found["forwards"]

    expected = (True, 1, [damaged.sop_instance_uid], 0, 0)
    for node in (first, second):
        until(lambda node=node: told(node) == expected, "its health tells of the damaged object", _SECONDS)
