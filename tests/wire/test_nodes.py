"""Two node processes with one index and one store, each with a landing log of its own."""

from __future__ import annotations

import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from scp.index.nodes import EXPIRES_SECONDS
from scp.index.sql import SqlIndex

from .conftest import NodeProcess
from .peers import EXPLICIT, MR_IMAGE, STUDY_GET, Answer, Scu, Sent, identifier, image

# The node's own folder comes first; then, for a node whose encoder is kept busy, a word.
_SERVES = textwrap.dedent("""
    import sys
    from pathlib import Path
    from scp.lifecycle.encoder import Encoder
    from scp.node import build, heartbeat, service

    own, busy = Path(sys.argv.pop(1)), sys.argv.pop(1) == "busy"
    for module in (build, heartbeat, service):
        module.own_folder = lambda settings: own
    if busy:
        Encoder.turn = lambda self: 60.0
    from scp.cli.main import main
    main()
""")


class OneOfSeveral(NodeProcess):
    """A node with a folder of its own below the root that it shares with others."""

    def __init__(self, root: Path, name: str, busy: bool = False, **tables: Any) -> None:
        super().__init__(root, shipped=True, **tables)
        self.own = root / name
        self.own.mkdir()
        self.config, self.log, self.busy = self.own / "zscp.toml", self.own / "serve.log", busy
        self.write_config()

    def command(self) -> list[str]:
        told = "busy" if self.busy else "free"
        return [sys.executable, "-c", _SERVES, str(self.own), told, "serve", "-c", str(self.config)]

    @property
    def id(self) -> str:
        return (self.own / ".zscp" / "node").read_text().strip()

    def sees(self, other: OneOfSeveral) -> bool:
        """Whether the other node counts as living, by the index that both share."""
        index = SqlIndex.open(f"sqlite:///{self.root}/index.db")
        try:
            return any(one.report.id == other.id and one.lives for one in index.nodes.all())
        finally:
            index.close()


@pytest.fixture
def several(tmp_path: Path) -> Iterator[Callable[..., OneOfSeveral]]:
    """Starts nodes that share a folder and an index."""
    made: list[OneOfSeveral] = []

    def start(name: str, **more: Any) -> OneOfSeveral:
        made.append(OneOfSeveral(tmp_path, name, **{"node": {"workers": 1}, **more}))
        made[-1].start()
        return made[-1]

    yield start
    for one in made:
        one.kill()


def store(node: OneOfSeveral, *objects: Sent) -> None:
    with Scu(node.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
        assert [scu.store(one).status for one in objects] == [0] * len(objects)


def got(node: OneOfSeveral) -> tuple[dict[str, bytes], Answer]:
    """What a C-GET of the study brings, by SOP Instance UID, and the final response."""
    with Scu(node.address, [(STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT])], roles=[MR_IMAGE]) as scu:
        found = scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID="1.2.3"))
    return {one.instance: one.data for one in found.objects}, found.final


@pytest.mark.parametrize("busy", [False, True], ids=["encodes at once", "its encoder is busy"])
def test_one_node_gives_what_the_other_just_acknowledged(
    several: Callable[..., OneOfSeveral], busy: bool
) -> None:
    a, b = several("a"), several("b", busy=busy)
    sent = [image(seed=seed) for seed in range(20)]
    store(b, *sent)
    found, final = got(a)
    assert final.status == 0, final
    assert found == {one.instance: one.data for one in sent}


def test_what_a_killed_node_has_is_there_when_it_is_back(several: Callable[..., OneOfSeveral]) -> None:
    a, b = several("a"), several("b", busy=True)
    sent = [image(seed=seed) for seed in range(3)]
    store(b, *sent)
    b.lose_power()
    found, final = got(a)
    assert (found, final.status) == ({}, 0xA702)
    assert any(b.id in one["reason"] for one in a.events() if "sub-operation" in one["event"]), a.events()
    until(lambda: not a.sees(b), "the other one counts as dead")
    begun = time.monotonic()
    assert got(a)[1].status == 0xA702
    assert time.monotonic() - begun < EXPIRES_SECONDS / 2  # nobody waits for a node that is known to be dead
    b.busy = False
    b.start()
    until(lambda: got(a)[1].status == 0, "the other one is heard of again")
    assert got(a)[0] == {one.instance: one.data for one in sent}


def test_what_a_stopped_node_had_is_there_meanwhile(several: Callable[..., OneOfSeveral]) -> None:
    a, b = several("a"), several("b", busy=True)
    sent = [image(seed=seed) for seed in range(3)]
    store(b, *sent)
    until(lambda: b.sees(a), "the nodes know of each other")
    assert b.kill(signal.SIGTERM, 60) == 0
    found, final = got(a)
    assert final.status == 0, final
    assert found == {one.instance: one.data for one in sent}
