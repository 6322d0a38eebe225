"""The answer to a COMMIT is lost, and the commit is done later: no file goes that a row names then."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from several_nodes import an_object, nodes

from scp.archive.replacement import Change
from scp.errors import OutOfResources
from scp.index import sqlite
from scp.index.rows import texts
from scp.index.sql import SqlIndex
from scp.index.writer import CHANGES, patient_name
from scp.model import Instance

pytestmark = pytest.mark.usefixtures("codecs_here", "_as_a_server")

_UNDECIDED_SECONDS = 0.3


@pytest.fixture
def _as_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite stands for a server that finishes a COMMIT whose connection broke."""
    monkeypatch.setattr(sqlite, "FINISHES_LATE", True)


class LosingIndex:
    """Writes on a connection whose COMMIT is done after it was given up, as where a disk is slow."""

    def __init__(self, index: SqlIndex) -> None:
        self._writer = index._writer
        self._thread = threading.Thread()

    def change_many(self, changes: Sequence[tuple[Instance, Instance]]) -> NoReturn:
        self._lose(CHANGES, lambda _: [self._writer.change(*one) for one in changes])

    def record(self, instance: Instance, attributes: Mapping[str, str], _sends: Any = ()) -> NoReturn:
        item = (instance, texts(instance, attributes))
        self._lose([patient_name(instance)], lambda connection: self._writer.record(connection, item))

    def decided(self) -> None:
        self._thread.join()

    def _lose(self, names: Sequence[str], write: Any) -> NoReturn:
        begun = threading.Event()

        def commit() -> None:
            with self._writer.transaction(names) as connection:
                write(connection)
                begun.set()
                time.sleep(_UNDECIDED_SECONDS)

        self._thread = threading.Thread(target=commit)
        self._thread.start()
        assert begun.wait(30)
        raise OutOfResources("the answer was lost")


@contextmanager
def losing(index: SqlIndex, other: SqlIndex, verb: str) -> Iterator[LosingIndex]:
    lost = LosingIndex(other)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, verb, getattr(lost, verb))
        yield lost


def test_the_new_form_stays_and_the_old_one_goes(tmp_path: Path) -> None:
    one = an_object(1)
    with nodes(tmp_path, "a", "b") as (a, b):
        old = a.keep(one).instance
        change = a.archive.encode(old)
        assert isinstance(change, Change)
        with (
            losing(a.archive.index, b.archive.index, "change_many") as lost,
            pytest.raises(OutOfResources, match="lost"),
        ):
            a.archive.replace([change])
        lost.decided()
        assert a.key(one) == change.after.key
        a.archive.remove_replaced()
        assert not a.archive.files.has(old.key)
        for node in (a, b):
            assert node.content(one) == one.dataset


def test_what_is_left_of_an_object_is_not_removed(tmp_path: Path) -> None:
    """Whatever took the new file: the old one goes only where the new one is there."""
    one = an_object(1)
    with nodes(tmp_path, "a", "b") as (a, b):
        old = a.keep(one).instance
        change = a.archive.encode(old)
        with losing(a.archive.index, b.archive.index, "change_many") as lost, pytest.raises(OutOfResources):
            a.archive.replace([change])
        lost.decided()
        a.archive.files.discard(change.after.key)
        a.archive.remove_replaced()
        assert a.archive.files.has(old.key)


def test_new_content_stays_that_was_not_acknowledged(tmp_path: Path) -> None:
    first, second = an_object(1), an_object(1, noise=0.2)
    with nodes(tmp_path, "a", "b") as (a, b):
        a.keep(first)
        while a.encoder.round():
            pass
        with losing(a.archive.index, b.archive.index, "record") as lost, pytest.raises(OutOfResources):
            a.keep(second)
        lost.decided()
        assert a.content(second) == second.dataset


def test_a_turn_that_cannot_be_had_withdraws_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = an_object(1)
    with nodes(tmp_path, "a", "b") as (a, b):
        old = a.keep(one).instance
        change = a.archive.encode(old)
        index = a.archive.index

        def no_turn(*_: object) -> NoReturn:
            raise OutOfResources("no turn")

        with losing(index, b.archive.index, "change_many") as lost, monkeypatch.context() as patch:
            patch.setattr(index, "are_named", no_turn)
            with pytest.raises(OutOfResources, match="no turn"):
                a.archive.replace([change])
            with pytest.raises(OutOfResources, match="no turn"):
                a.archive.remove_replaced()
        lost.decided()
        assert all(a.archive.files.has(key) for key in (old.key, change.after.key))
        a.archive.remove_replaced()
        assert a.content(one) == one.dataset
