"""The lock of the trash is lost while a node works under it, as where PostgreSQL is restarted.

A lock by name is one of a connection to the server. Another node takes it at once, and both work on one
object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from servers_postgresql import PostgreSQL
from several_nodes import OneNode, Uploading, an_object, know_each_other, trashed

from scp.background.progress import Silent
from scp.errors import OutOfResources
from scp.lifecycle.deletion import Deletion
from scp.lifecycle.fsck import fsck
from scp.node.build import take_up
from scp.objects.stores import places
from scp.objects.trash_folder import FolderCan

pytestmark = pytest.mark.usefixtures("codecs_here")


class Made:
    """Two nodes, and ``lose``, which takes the locks from those that have them."""

    def __init__(self, make: Callable[[str], OneNode], lose: Callable[[OneNode], None]) -> None:
        self._make = make
        self.a, self.b = make("a"), make("b")
        know_each_other([self.a, self.b])
        self.lose = lambda: lose(self.b)

    def started_again(self) -> None:
        """The nodes are killed, started, and do what there is to do."""
        self.close()
        self.a, self.b = self._make("a"), self._make("b")
        know_each_other([self.a, self.b])
        for node in (self.a, self.b):  # b needs what a has in its landing log
            take_up(node.archive)
            Deletion(node.archive, places(node.settings)).resume()
            while node.encoder.round():
                pass
            node.encoder.free()

    def close(self) -> None:
        for node in (self.a, self.b):
            node.close()


@pytest.fixture(params=["taken away", pytest.param("restart", marks=pytest.mark.cluster)])
def made(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    with ExitStack() as ends:
        if request.param == "restart":
            server = ends.enter_context(PostgreSQL())
            tables = server.tables(server.database())
            monkeypatch.setattr(FolderCan, "lock", lambda _: nullcontext())  # as a bucket has none of its own

            def restart(_: OneNode) -> None:
                server.kill()
                server.start()

            both = Made(lambda name: OneNode(tmp_path, name, **tables), restart)
        else:
            both = Made(lambda name: OneNode(tmp_path, name), lambda b: without_lock(b, monkeypatch))
        yield both
        both.close()


def without_lock(node: OneNode, patch: pytest.MonkeyPatch) -> None:
    safekeeping = node.archive.recorder._safekeeping
    assert safekeeping is not None
    patch.setattr(safekeeping.trash, "lock", nullcontext)


def once(patch: pytest.MonkeyPatch, target: object, verb: str, act: Callable[[], None]) -> None:
    """``act`` once, after the ``verb`` was done for the first time."""
    work, todo = getattr(target, verb), [act]

    def done(*given: Any) -> Any:
        result = work(*given)
        if todo:
            todo.pop()()
        return result

    patch.setattr(target, verb, done)


def test_two_replacements_at_once(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was replaced lay in the landing log of the other node: it was in neither place then."""
    first, second, third = (an_object(1, noise) for noise in (0.1, 0.2, 0.3))
    a, b = made.a, made.b
    a.keep(first)

    def meanwhile() -> None:
        made.lose()
        b.keep(third)

    with Uploading(a), Uploading(b):
        once(monkeypatch, a.archive.replacer, "own_file", meanwhile)
        with suppress(OutOfResources):  # then the sender sends it again
            a.keep(second)
        if not any(one.received_sha256 == second.sha256 for one in a.archive.all()):
            a.keep(second)
    made.started_again()
    (held,) = made.a.archive.all()
    assert sorted([held.received_sha256, *trashed(made.a)]) == sorted(
        one.sha256 for one in (first, second, third)
    )
    wanted = second if held.received_sha256 == second.sha256 else third
    assert made.a.content(wanted) == made.b.content(wanted) == wanted.dataset
    assert list(fsck(made.a.archive, Silent())) == []


def test_a_replacement_in_a_deletion(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent while its object was deleted is not deleted with it."""
    first, second = an_object(1, 0.1), an_object(1, 0.2)
    a, b = made.a, made.b
    a.keep(first)
    deletion = Deletion(a.archive, places(a.settings))

    def meanwhile() -> None:
        made.lose()
        b.keep(second)

    once(monkeypatch, deletion.trash, "begin", meanwhile)
    with suppress(OutOfResources):
        deletion.delete(a.archive.named(first.sop_instance_uid), "a test")
    made.started_again()
    assert made.a.content(second) == made.b.content(second) == second.dataset
    assert set(trashed(made.a)) == {first.sha256}
    assert list(fsck(made.a.archive, Silent())) == []
