"""The history in the index against what was sent to a real node of two workers, killed and started again."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from bench.processes import descendants
from scp.index.history import KeptRow, TrafficRow
from scp.index.sql import SqlIndex

from .conftest import NodeProcess
from .peers import (
    CT_IMAGE,
    EXPLICIT,
    MR_IMAGE,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    VERIFICATION,
    Scu,
    Sent,
    Sink,
    identifier,
    image,
)

CONTEXTS = [
    (name, [EXPLICIT]) for name in (VERIFICATION, STUDY_FIND, STUDY_GET, STUDY_MOVE, CT_IMAGE, MR_IMAGE)
]
STUDY = identifier("STUDY", StudyInstanceUID="1.2.3")
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


# What the node has counted is in the index after a moment.
_SERVES = textwrap.dedent("""
    from scp.lifecycle import history
    history.WRITE_SECONDS, history._TIMES_AS_LONG = 0.2, 0
    from scp.cli.main import main
    main()
""")


class Keeping(NodeProcess):
    def command(self) -> list[str]:
        return [sys.executable, "-c", _SERVES, "serve", "-c", str(self.config)]

    def kill_children(self) -> None:
        assert self.process is not None
        for pid in descendants(self.process.pid):
            if pid != self.process.pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def keeping(tmp_path: Path) -> Iterator[Callable[..., Keeping]]:
    made: list[Keeping] = []

    def make(**tables: Any) -> Keeping:
        made.append(Keeping(tmp_path, **tables))
        return made[-1]

    yield make
    for one in made:
        one.kill()


def mr(number: int) -> Sent:
    return image(instance=f"1.2.3.1.{number}", InstanceNumber=number, seed=number)


def ct(number: int) -> Sent:
    more = {"Modality": "CT", "series": "1.2.3.2", "sop_class": CT_IMAGE}
    return image(instance=f"1.2.3.2.{number}", InstanceNumber=number, seed=number, **more)  # type: ignore[arg-type]


def bytes_of(*sent: Sent) -> int:
    return sum(len(one.data) for one in sent)


class Reader:
    """Reads the history of a node as others do."""

    def __init__(self, node: NodeProcess) -> None:
        self._url = f"sqlite:///{node.root}/index.db"

    def traffic(self) -> dict[tuple[str, str, str], TrafficRow]:
        index = SqlIndex.open(self._url)
        try:
            found = index.history.traffic("hour", ["service", "peer", "modality"], LONG_AGO)
        finally:
            index.close()
        return {(one.service, one.peer, one.modality): one for one in found}

    def kept(self) -> list[KeptRow]:
        index = SqlIndex.open(self._url)
        try:
            return index.history.kept("day", ["start", "modality", "calling_aet"], LONG_AGO)
        finally:
            index.close()

    def has(self, key: tuple[str, str, str], requests: int) -> bool:
        return (found := self.traffic().get(key)) is not None and found.requests >= requests


def test_sums_are_exactly_what_was_sent_and_outlive_every_process(
    keeping: Callable[..., Keeping],
) -> None:
    first, second = [mr(1), mr(2), mr(3)], [ct(1), ct(2)]
    with Sink() as sink:
        node = keeping(node={"workers": 2}, peer=[{"aet": "SINK", "host": "127.0.0.1", "port": sink.port}])
        node.start()
        reader = Reader(node)
        for calling, objects in (("MR1", first), ("CT1", second), ("MR1", first[:1])):  # the last one twice
            with Scu(node.address, CONTEXTS, calling=calling) as scu:
                assert [scu.store(one).status for one in objects] == [0] * len(objects)
        with Scu(node.address, CONTEXTS, calling="VIEWER", roles=[CT_IMAGE, MR_IMAGE]) as scu:
            assert scu.echo() == 0
            assert len(scu.find(STUDY_FIND, STUDY)) == 2  # a match, and the end
            got = scu.get(STUDY_GET, STUDY)
            moved = scu.move(STUDY_MOVE, STUDY, "SINK")
            assert (got.final.status, moved.final.status) == (0, 0)
            assert scu.move(STUDY_MOVE, STUDY, "NOBODY").final.status == 0xA801
        until(lambda: reader.has(("c-move", "VIEWER", ""), 2), "the history is written")

        found = reader.traffic()
        sizes = {"received_size": bytes_of(*first), "wire_size": bytes_of(*first, first[0])}
        stored = found["c-store", "MR1", "MR"]
        assert {name: getattr(stored, name) for name in sizes} == sizes
        assert (stored.requests, stored.failures, stored.instances) == (4, 0, 4)
        told = [one for one in node.events() if one.get("outcome") == "kept" and one["calling_aet"] == "MR1"]
        assert stored.stored_size == sum(one["bytes_kept"] for one in told) > 0
        assert found["c-store", "CT1", "CT"].received_size == bytes_of(*second)
        assert found["c-echo", "VIEWER", ""].requests == 1
        assert found["c-find", "VIEWER", ""].requests == 1
        assert found["c-get", "VIEWER", ""].requests == 1
        asked = found["c-move", "VIEWER", ""]
        assert (asked.requests, asked.failures, asked.instances) == (2, 1, 0)
        for way, peer, taken in (("c-get", "VIEWER", got.objects), ("c-move", "SINK", sink.objects.values())):
            for modality, sop_class, series in (("MR", MR_IMAGE, first), ("CT", CT_IMAGE, second)):
                sent = found[way, peer, modality]
                assert (sent.requests, sent.instances) == (0, len(series))
                assert sent.wire_size == bytes_of(*(one for one in taken if one.sop_class == sop_class))
                assert sent.received_size == bytes_of(*series)
        assert len(found) == 10

        node.kill_children()
        with Scu(node.address, CONTEXTS, calling="MR1") as scu:
            assert scu.store(mr(4)).status == 0
        until(lambda: reader.has(("c-store", "MR1", "MR"), 5), "the next processes go on")
        assert reader.traffic()["c-store", "MR1", "MR"].requests == 5
        until(lambda: sum(one.instances for one in reader.kept()) == 6, "a look at what is kept")
        kept = {(one.modality, one.calling_aet): one for one in reader.kept()}
        assert kept["MR", "MR1"].received_size == bytes_of(*first, mr(4))
        assert kept["CT", "CT1"].received_size == bytes_of(*second)

        node.lose_power()
        node.start()
        with Scu(node.address, CONTEXTS, calling="MR1") as scu:
            assert scu.store(mr(5)).status == 0
        assert node.kill(signal.SIGTERM) == 0  # the last figures are written when it stops
        found = reader.traffic()
        assert (found["c-store", "MR1", "MR"].requests, len(found)) == (6, 10)
