"""A test that failed in one run in twenty met the limits of another one that had run before it."""

from __future__ import annotations

import gc
import os
import resource
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pynetdicom.transport
import pytest
from process_state import collect_descriptors, put_back
from pynetdicom import AE
from pynetdicom.association import Association
from wire.configured import settings_of, tables_of
from wire.conftest import RunningNode
from wire.peers import VERIFICATION, _Awaiting, image

from scp import spool
from scp.config.peers import Peer
from scp.dimse.scu.echo import echo
from scp.node.build import open_archive
from scp.resources import bounds, budget, room

pytestmark = pytest.mark.quick


def _now() -> tuple[object, ...]:
    return bounds.bounds(), budget._budget, room._rooms, spool._room


def test_what_a_node_sets_for_its_process_is_put_back(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    before = _now()
    limits = {"inflated_bytes": "16MB", "memory": "300MB"}
    with put_back():
        open_archive(settings_of(tables_of(tmp_path, {"limits": limits}))).close()
        assert all(now != was for now, was in zip(_now(), before, strict=True))
    assert _now() == before


@pytest.mark.parametrize("turn", [1, 2])
def test_no_test_meets_what_another_set(turn: int) -> None:
    assert bounds.bounds() == bounds.DEFAULTS
    bounds.use(bounds.Bounds(inflated_bytes=turn))


class Cycle:
    """A socket that is closed once garbage is collected, and no sooner."""

    def __init__(self) -> None:
        self.itself, self.socket = self, socket.socket()


def test_descriptors_that_nobody_has_are_closed() -> None:
    collect_descriptors()
    for _ in range(300):
        last = Cycle()
    number = last.socket.fileno()
    del last
    collect_descriptors()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_a_bell_goes_with_an_upper_layer_that_never_ran() -> None:
    association = Association(AE(), "acceptor")
    _Awaiting.take_over(association.dul)
    bell = vars(association.dul)["_bell"]
    os.fstat(bell)
    del association
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(bell)


@pytest.fixture
def more_than_1024() -> Iterator[None]:
    """Has what is opened from now on a number above those that select() knows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2000:
        pytest.skip("a process may have no more descriptors here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    opened = [os.open(os.devnull, os.O_RDONLY)]
    while opened[-1] < 1024:
        opened.append(os.open(os.devnull, os.O_RDONLY))
    yield
    for each in opened:
        os.close(each)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_nodes_and_their_peers_take_descriptors_above_1023(
    tmp_path: Path, more_than_1024: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last tests of a long run failed as if their node had not answered."""
    node = RunningNode(tmp_path, {})
    try:
        with node.scu((VERIFICATION, ["1.2.840.10008.1.2"])) as scu:
            assert scu.association.dul.socket.socket.fileno() > 1023
            assert scu.echo() == 0
        node.keep(image())
        # Without what the tests change in pynetdicom: a node uses none of it, as SCP nor as SCU.
        monkeypatch.setattr(pynetdicom.transport, "select", select)
        host, port = node.address
        echo(Peer(aet="ZSCP", host=host, port=port), settings_of(tables_of(tmp_path, {})))
    finally:
        node.node.stop()
