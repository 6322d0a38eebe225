"""Encoding behind the response: acknowledged as received, findable and retrievable at once, encoded later."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from objects import bundled_file

from scp.archive.replacement import Change
from scp.background.doorbell import Doorbell
from scp.background.loop import Loop
from scp.background.progress import Silent
from scp.encoding.codecs import table
from scp.encoding.codecs.lossless.jpeg2000 import HTJ2K_CODEC
from scp.errors import CannotEncode
from scp.lifecycle.encoder import Encoder
from scp.lifecycle.recovery import Recovered, recover
from scp.lifecycle.reindex import reindex
from scp.node.tasks import Bells
from scp.objects import landing, part10
from scp.objects.names import is_landed

from .configured import journal, left_by_the_dead
from .conftest import NodeProcess, RunningNode, Starter
from .peers import (
    EXPLICIT,
    IMPLICIT,
    MR_IMAGE,
    STUDY_FIND,
    STUDY_GET,
    VERIFICATION,
    Scu,
    Sent,
    as_file,
    dcmtk,
    identifier,
    image,
    of_file,
    until,
)

pytestmark = pytest.mark.slow

_BACKLOG = {"backlog": "1GB"}
_PATIENCE = 120.0  # who encodes and trains yields to whatever else this machine does
_LARGE_ROWS = 2100  # 8.8 MB: more than what lands


class Held:
    """Holds the encoders back until they are let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.work = Encoder.round

    def round(self, encoder: Encoder) -> bool:
        return self.go.is_set() and self.work(encoder)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    one = Held()
    monkeypatch.setattr(Encoder, "round", lambda encoder: one.round(encoder))  # noqa: PLW0108 - binds
    yield one
    one.go.set()


@pytest.fixture
def node(held: Held, start: Starter) -> RunningNode:
    """A node whose encoder waits for :class:`Held`."""
    return start(storage=_BACKLOG)


def _let_go(held: Held, node: RunningNode) -> None:
    held.go.set()
    node.archive.wake_encoder()
    until(lambda: node.archive.index.count_pending().instances == 0, "all is encoded")
    until(lambda: journal(node.root / "objects") == [], "what it replaced is gone")


def _back(node: RunningNode, syntax: str = EXPLICIT) -> list[bytes]:
    with node.scu((STUDY_GET, [EXPLICIT]), (MR_IMAGE, [syntax]), roles=[MR_IMAGE]) as scu:
        done = scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID="1.2.3"))
        assert done.final.status == 0
    return [one.data for one in done.objects]


def test_told_to_stop_while_it_looks_for_quiet(node: RunningNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ring that says so may be taken for that of an object: it ends all the same."""
    bell = Doorbell()
    encoder = Encoder(node.archive, bell)
    look, stopped = bell.wait, []

    def told_meanwhile(seconds: float | None = None) -> bool:
        if seconds == 0 and not stopped:
            stopped.append(Loop(encoder).stop())
        return look(5 if seconds is None else seconds)

    monkeypatch.setattr(bell, "wait", told_meanwhile)
    thread = threading.Thread(target=Loop(encoder).run)
    thread.start()
    thread.join(3)
    assert stopped
    assert not thread.is_alive()


def test_acknowledged_as_it_came_it_is_there_at_once(held: Held, node: RunningNode) -> None:
    sent = image(syntax=IMPLICIT)
    node.keep(sent)
    row = node.held(sent)
    assert (row.form, row.pending, is_landed(row.key)) == ("received", True, True)
    assert node.files() == []
    with node.scu((STUDY_FIND, [EXPLICIT])) as scu:
        assert len(scu.find(STUDY_FIND, identifier("STUDY", StudyInstanceUID="1.2.3"))) == 2
    assert _back(node, IMPLICIT) == [sent.data]
    node.archive.verify(row, deep=True)
    _let_go(held, node)
    row = node.held(sent)
    assert (row.form, row.pending, is_landed(row.key)) == ("htj2k", False, False)
    assert len(node.files()) == 1
    assert journal(node.root / "objects") == []
    assert _back(node, IMPLICIT) == [sent.data]
    node.archive.verify(row, deep=True)


def test_what_is_too_large_to_land_waits_in_a_file_of_its_own(held: Held, node: RunningNode) -> None:
    sent = image(rows=_LARGE_ROWS)
    assert len(sent.data) > landing.LARGEST
    node.keep(sent)
    row = node.held(sent)
    assert (row.form, row.pending, is_landed(row.key)) == ("received", True, False)
    assert _back(node) == [sent.data]
    _let_go(held, node)
    assert node.held(sent).form == "htj2k"
    assert len(node.files()) == 1
    assert _back(node) == [sent.data]


def test_what_came_compressed_moves_as_it_came(held: Held, node: RunningNode) -> None:
    sent = of_file(bundled_file("MR_small_RLE.dcm"))
    node.keep(sent)
    assert is_landed(node.held(sent).key)
    _let_go(held, node)
    row = node.held(sent)
    assert (row.form, is_landed(row.key)) == ("received", False)
    assert node.path(sent).suffix == ".zst"


def test_replaced_while_it_waits(held: Held, node: RunningNode) -> None:
    old, new = (image(instance="1.2.3.1.1", seed=seed) for seed in range(2))
    node.keep(old, new)
    assert _back(node) == [new.data]
    _let_go(held, node)
    assert _back(node) == [new.data]
    assert len(node.files()) == 1


def test_replaced_while_it_is_encoded(held: Held, node: RunningNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newer one stays, whatever the encoder made of the older."""
    old, new = (image(instance="1.2.3.1.1", seed=seed) for seed in range(2))
    node.keep(old)
    swap = node.archive.replace

    def late(changes: list[Change]) -> None:
        monkeypatch.setattr(node.archive, "replace", swap)
        node.keep(new)
        swap(changes)

    monkeypatch.setattr(node.archive, "replace", late)
    _let_go(held, node)
    assert _back(node) == [new.data]
    assert len(node.files()) == 1
    assert journal(node.root / "objects") == []


def test_a_settled_one_is_replaced_by_one_that_waits(held: Held, node: RunningNode) -> None:
    old, new = (image(instance="1.2.3.1.1", seed=seed) for seed in range(2))
    node.keep(old)
    _let_go(held, node)
    held.go.clear()
    node.keep(new)
    assert node.files() == []
    assert journal(node.root / "objects") == []
    assert _back(node) == [new.data]


def test_sent_again_while_it_waits_it_is_stored_once(held: Held, node: RunningNode) -> None:
    sent = image()
    node.keep(sent)
    row = node.held(sent)
    node.keep(sent)
    assert node.held(sent) == row


def test_with_a_full_backlog_it_is_encoded_first(held: Held, start: Starter) -> None:
    node = start(storage={"backlog": 5000})
    first, second = image(rows=48), image(rows=48)
    node.keep(first, second)
    assert [node.held(one).form for one in (first, second)] == ["received", "htj2k"]
    assert not node.held(second).pending
    _let_go(held, node)
    third = image(rows=48)
    until(lambda: node.archive.receiver._may_be_pending(4000), "there is room again")
    node.keep(third)
    assert sorted(_back(node)) == sorted(one.data for one in (first, second, third))


def test_what_cannot_be_encoded_falls_back_and_is_not_tried_again(
    held: Held, node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def refuses(*_: Any) -> bytes:
        tried.append(1)
        raise CannotEncode("not today")

    rows = tuple(
        replace(row, encode=refuses) if row.name == HTJ2K_CODEC.name else row for row in table.CODECS
    )
    monkeypatch.setattr(table, "CODECS", rows)
    sent = image()
    node.keep(sent)
    _let_go(held, node)
    assert node.held(sent).form == "zstd"
    assert node.archive.provenance(node.held(sent)).attempts[0].reason == "not today"
    assert len(tried) == 1
    assert _back(node) == [sent.data]


def test_what_stays_as_it_came_says_why(
    held: Held, node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of its own that no form makes smaller: one with its history is put in its place."""

    def refuses(*_: Any) -> bytes:
        raise CannotEncode("not today")

    rows = tuple(
        replace(row, encode=refuses) if row.name == HTJ2K_CODEC.name else row for row in table.CODECS
    )
    monkeypatch.setattr(table, "CODECS", rows)
    noise = np.random.default_rng(0).bytes(2 * _LARGE_ROWS**2)
    sent = image(rows=_LARGE_ROWS, PixelData=noise)
    node.keep(sent)
    key = node.held(sent).key
    _let_go(held, node)
    row = node.held(sent)
    assert (row.form, row.key, row.pending) == ("received", key, False)
    told = [(one.form, one.outcome) for one in node.archive.provenance(row).attempts]
    assert told == [("htj2k", "refused"), ("zstd", "larger"), ("received", "kept")]
    assert len(node.files()) == 1
    assert journal(node.root / "objects") == []
    node.archive.verify(row, deep=True)
    assert _back(node) == [sent.data]


def test_a_damaged_one_stops_no_other_and_is_never_served(held: Held, node: RunningNode) -> None:
    bad, good = image(rows=48), image(rows=48)
    node.keep(bad, good)
    row = node.held(bad)
    path = node.root / "objects" / f"{row.key.rpartition('/')[0]}.log"
    content = path.read_bytes()
    at = content.index(bad.data[-2000:])
    path.write_bytes(content[:at] + bytes(10) + content[at + 10 :])
    held.go.set()
    node.archive.wake_encoder()
    until(lambda: node.held(good).form == "htj2k", "the good one is encoded")
    until(lambda: node.held(bad).fault, "the bad one is told as damaged")
    assert replace(node.held(bad), fault="", checked=row.checked) == row
    assert node.archive.index.pending(10) == []  # it is not found again and again
    with node.scu((STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT]), roles=[MR_IMAGE]) as scu:
        done = scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID="1.2.3"))
    assert [one.data for one in done.objects] == [good.data]
    assert done.final.status == 0xB000
    node.keep(bad)  # sent again, it is mended
    assert sorted(_back(node)) == sorted([bad.data, good.data])


def test_readers_see_one_form_or_the_other(held: Held, start: Starter) -> None:
    node = start(storage=_BACKLOG)
    objects = [image(instance=f"1.2.3.4.{n}", seed=n, rows=64) for n in range(30)]
    node.keep(*objects)
    held.go.set()
    node.archive.wake_encoder()
    rounds = 0
    while node.archive.index.count_pending().instances or rounds < 2:
        assert sorted(_back(node)) == sorted(one.data for one in objects)
        rounds += 1
    assert {node.held(one).form for one in objects} == {"htj2k"}


def test_the_index_can_be_made_anew_while_some_wait(held: Held, node: RunningNode) -> None:
    settled, waiting, large = image(), image(), image(rows=_LARGE_ROWS)
    node.keep(settled)
    _let_go(held, node)
    held.go.clear()
    node.keep(waiting, large)
    before = {one.instance: node.held(one) for one in (settled, waiting, large)}
    for uid in before:
        node.archive.index.remove(uid)
    outcome = reindex(node.archive, Silent())
    assert outcome.damaged == []
    # A digest is computed where none was kept; when the file was last read is in no file.
    for one in (settled, waiting, large):
        now = replace(node.held(one), stored_sha256="", checked=0)
        assert now == replace(before[one.instance], stored_sha256="", checked=0)


def test_a_disk_without_room_to_land(node: RunningNode, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", full)
        (answer,) = node.store(image())
        assert answer.status == 0xA700
        assert "No space" in answer.comment
    node.keep(image())


# -- recovery --------------------------------------------------------------------------------------------


@pytest.fixture
def idle(start: Starter) -> RunningNode:
    """A node whose encoder does not run, and takes up nothing that the test is to take up."""
    return start({"bells": Bells()}, storage=_BACKLOG)


def test_what_landed_and_is_not_indexed_is_recorded(idle: RunningNode) -> None:
    node, sent = idle, image()
    left_by_the_dead(node.root, sent)
    assert recover(node.archive) == Recovered(recorded=1)
    assert _back(node) == [sent.data]
    assert recover(node.archive) == Recovered()


def test_what_was_refused_is_not_recorded(idle: RunningNode) -> None:
    """Its UIDs disagree: it may have been written, and the process have died before it was withdrawn."""
    left_by_the_dead(idle.root, image(), sop_instance_uid="9.9.9")
    assert recover(idle.archive) == Recovered(unfinished=1)
    assert idle.archive.index.counts().instances == 0


@pytest.mark.parametrize("mode", ["replace", "keep", "reject"])
def test_what_would_have_been_refused_replaces_nothing(start: Starter, mode: str) -> None:
    node = start({"bells": Bells()}, storage={**_BACKLOG, "duplicates": mode})
    old, new = (image(instance="1.2.3.1.1", seed=seed) for seed in range(2))
    node.keep(old)
    left_by_the_dead(node.root, new)
    recover(node.archive)
    assert _back(node) == [new.data if mode == "replace" else old.data]


def test_what_has_moved_on_is_left(held: Held, node: RunningNode) -> None:
    sent = image()
    node.keep(sent)
    _let_go(held, node)
    settled = node.held(sent)
    left_by_the_dead(node.root, sent, received_at=settled.received_at)
    assert recover(node.archive) == Recovered()
    assert node.held(sent) == settled


# -- as processes ----------------------------------------------------------------------------------------


def _children(process: NodeProcess) -> list[int]:
    assert process.process is not None
    found = Path(f"/proc/{process.process.pid}/task/{process.process.pid}/children").read_text().split()
    return [int(pid) for pid in found]


def _store(process: NodeProcess, *objects: Sent) -> None:
    with Scu(process.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
        assert [scu.store(one).status for one in objects] == [0] * len(objects)


def _stats(process: NodeProcess) -> Any:
    return json.loads(process.here("stats", "--json"))


def test_a_node_of_several_processes(process: Callable[..., NodeProcess], tmp_path: Path) -> None:
    """DCMTK stores over many associations at once; each process does its part; all is there, and small."""
    node = process(storage=_BACKLOG, node={"workers": 3})
    node.start()
    assert len(_children(node)) == 4
    files = [as_file(image(instance=f"1.2.3.{n}", seed=n, rows=64), tmp_path / f"{n}.dcm") for n in range(40)]
    threads = [
        threading.Thread(target=dcmtk, args=("dcmsend", "-aec", "ZSCP", *node.address, *files[part::4]))
        for part in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    node.encodes_all()
    found = _stats(node)
    assert [(row["form"], row["instances"]) for row in found["by_form"]] == [("htj2k", 40)]
    node.run("verify", "--deep")
    assert node.kill(signal.SIGTERM) == 0


def test_a_dictionary_trained_by_one_process_is_read_by_all(
    process: Callable[..., NodeProcess], tmp_path: Path
) -> None:
    """The encoder trains one from what comes; two workers, which did not, give out what it is needed for."""
    rule = {
        "name": "small",
        "stages": [{"form": "received"}, {"after": "0s", "form": "htj2k", "dictionary": True}],
    }
    node = process(storage=_BACKLOG, node={"workers": 2}, policy=[rule])
    node.start()
    objects = [image(instance=f"1.2.3.{n}", seed=n, rows=16) for n in range(100)]
    _store(node, *objects[:70])
    node.encodes_all(_PATIENCE)
    dictionaries = node.root / "objects" / "dictionaries"
    until(lambda: list(dictionaries.glob("*/*.zdict")), "one is trained", _PATIENCE)
    _store(node, *objects[70:])
    node.encodes_all(_PATIENCE)
    (entry,) = json.loads(node.run("dictionary", "list", "--json").stdout)
    assert (entry["sop_class_uid"], entry["newest"]) == (MR_IMAGE, True)
    stored = (node.root / "objects").rglob("*.dcm.zst")
    needing = [path for path in stored if part10.dictionary_id(path.read_bytes()) == entry["id"]]
    assert len(needing) >= 30
    for _ in range(2):  # associations are taken by whichever worker is free
        with (
            Scu(node.address, [(STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT])], roles=[MR_IMAGE]) as one,
            Scu(node.address, [(STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT])], roles=[MR_IMAGE]) as other,
        ):
            for scu in (one, other):
                done = scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID="1.2.3"))
                assert done.final.status == 0
                assert sorted(found.data for found in done.objects) == sorted(sent.data for sent in objects)
    node.run("verify", "--deep")
    node.run("reindex")
    assert node.kill(signal.SIGTERM) == 0


@pytest.mark.parametrize("which", [0, -1], ids=["a worker", "the encoder"])
def test_a_process_that_is_killed_is_started_again(process: Callable[..., NodeProcess], which: int) -> None:
    node = process(storage=_BACKLOG, node={"workers": 1})
    node.start()
    objects = [image(instance=f"1.2.3.{n}", seed=n, rows=64) for n in range(30)]
    _store(node, *objects[:15])
    first = _children(node)
    os.kill(first[which], signal.SIGKILL)
    until(lambda: len(_children(node)) == 2 and first[which] not in _children(node), "another is started")

    def stored() -> bool:
        with suppress(AssertionError):
            _store(node, *objects[15:])
            return True
        return False

    until(stored, "the node takes objects again")
    node.encodes_all()
    assert _stats(node)["counts"]["instances"] == 30
    node.run("verify", "--deep")


def test_all_killed_at_once_what_waited_is_encoded_by_the_next(process: Callable[..., NodeProcess]) -> None:
    node = process(storage=_BACKLOG, node={"workers": 2})
    node.start()
    objects = [image(instance=f"1.2.3.{n}", seed=n, rows=64) for n in range(30)]
    _store(node, *objects)
    for pid in (*_children(node), node.process.pid):  # type: ignore[union-attr]
        os.kill(pid, signal.SIGKILL)
    node.kill()
    node.start()
    node.encodes_all()
    assert _stats(node)["counts"]["instances"] == 30
    node.run("verify", "--deep")


def test_the_limit_of_associations_holds_for_all_processes(process: Callable[..., NodeProcess]) -> None:
    node = process(node={"workers": 3}, limits={"associations": 2})
    node.start()
    contexts = [(VERIFICATION, [IMPLICIT])]
    with Scu(node.address, contexts), Scu(node.address, contexts):
        assert not any(Scu(node.address, contexts).established for _ in range(6))

    def there_is_room() -> bool:
        scu = Scu(node.address, contexts)
        if not scu.established:
            return False
        scu.association.release()
        return True

    until(there_is_room, "a seat is free again")


def test_all_processes_reload(process: Callable[..., NodeProcess]) -> None:
    node = process(node={"workers": 3})
    node.start()
    contexts = [(VERIFICATION, [IMPLICIT])]
    assert Scu(node.address, contexts, calling="STRANGER").established
    node.write_config(access={"allow": "known"})
    assert node.process is not None
    node.process.send_signal(signal.SIGHUP)

    def closed() -> bool:
        found = [Scu(node.address, contexts, calling="STRANGER") for _ in range(6)]
        taken = [scu for scu in found if scu.established]
        for scu in taken:
            scu.association.release()
        return not taken

    until(closed, "no process takes strangers any more")
