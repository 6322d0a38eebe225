"""The same SOP instance again: with the same content, with another, and where the stored file is gone."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from scp.objects.local import LocalStore

from .configured import journal
from .conftest import RunningNode, Starter
from .peers import EXPLICIT, IMPLICIT, MR_IMAGE, STUDY_GET, Sent, identifier, image

_UID = "1.2.3.1.1"


def _one(seed: int = 0, **more: Any) -> Sent:
    return image(instance=_UID, seed=seed, **more)


def _back(node: RunningNode, syntax: str = EXPLICIT) -> list[bytes]:
    with node.scu((STUDY_GET, [EXPLICIT]), (MR_IMAGE, [syntax]), roles=[MR_IMAGE]) as scu:
        done = scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID="1.2.3"))
        assert done.final.status == 0
    return [one.data for one in done.objects]


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


@pytest.mark.parametrize("mode", ["replace", "keep", "reject"])
def test_same_content_is_stored_once(start: Starter, mode: str) -> None:
    node = start(storage={"duplicates": mode})
    node.keep(_one())
    before = _state(node.path(_one()))
    row = node.held(_one())
    node.keep(_one())
    assert _state(node.path(_one())) == before
    assert node.held(_one()) == row
    assert len(node.files()) == 1


@pytest.mark.parametrize(
    ("mode", "status", "stays"), [("replace", 0, "new"), ("keep", 0, "old"), ("reject", 0x0111, "old")]
)
def test_other_content(start: Starter, mode: str, status: int, stays: str) -> None:
    node = start(storage={"duplicates": mode})
    old, new = _one(), _one(seed=1)
    node.keep(old)
    (answer,) = node.store(new)
    assert answer.status == status
    assert bool(answer.comment) == (mode == "reject")
    assert _back(node) == [old.data if stays == "old" else new.data]
    assert len(node.files()) == 1
    assert journal(node.root / "objects") == []
    node.archive.verify(node.held(old), deep=True)


def test_of_another_study_it_is_another_object(node: RunningNode) -> None:
    """A Study Instance UID is not corrected by sending again: both are kept, each in its study."""
    node.keep(_one(study="1.2.9"))
    node.keep(_one())
    assert _back(node) == [_one().data]
    assert len(node.files()) == 2
    assert node.archive.index.counts().studies == 2


def test_another_transfer_syntax_is_other_content(node: RunningNode) -> None:
    node.keep(_one())
    again = _one(syntax=IMPLICIT)
    node.keep(again)
    assert node.held(again).received_transfer_syntax == IMPLICIT
    assert _back(node, IMPLICIT) == [again.data]
    assert len(node.files()) == 1


@pytest.mark.parametrize("mode", ["replace", "keep", "reject"])
@pytest.mark.parametrize("damage", ["missing", "cut off", "flipped bit"])
def test_sent_again_it_heals_what_is_lost(start: Starter, mode: str, damage: str) -> None:
    """A Success says that a sound copy is here, whatever was here before."""
    node = start(storage={"duplicates": mode})
    node.keep(_one())
    path = node.path(_one())
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(data[:-10] if damage == "cut off" else data[:-1] + bytes([data[-1] ^ 1]))
    node.keep(_one())
    node.archive.verify(node.held(_one()), deep=True)
    assert _back(node) == [_one().data]
    assert len(node.files()) == 1


def test_the_old_file_goes_last(node: RunningNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only when the new one is durable and has its row."""
    node.keep(_one())
    old = node.path(_one())
    seen: list[tuple[str, bool]] = []
    put, record, store = LocalStore.put, node.archive.index.record, node.archive.store.inner

    def noted(name: str, work: Any) -> Any:
        def noting(*arguments: Any) -> Any:
            seen.append((f"{name} begins", old.exists()))
            result = work(*arguments)
            seen.append((f"{name} ends", old.exists()))
            return result

        return noting

    monkeypatch.setattr(LocalStore, "put", noted("put", put))
    monkeypatch.setattr(store, "delete", noted("delete", store.delete))
    monkeypatch.setattr(node.archive.index, "record", noted("record", record))
    node.keep(_one(seed=1))
    assert seen == [
        ("put begins", True),
        ("put ends", True),
        ("record begins", True),
        ("record ends", True),
        ("delete begins", True),
        ("delete ends", False),
    ]
    monkeypatch.undo()
    assert list(old.parent.iterdir()) == [node.path(_one())]


def test_same_instance_from_many_senders_at_once(node: RunningNode) -> None:
    """Different contents of one instance, sent at the same time: one of them stays, whole."""
    versions = [_one(seed=n) for n in range(6)]
    statuses: list[int] = []

    def send(version: Sent) -> None:
        for _ in range(3):
            statuses.extend(answer.status for answer in node.store(version))

    threads = [threading.Thread(target=send, args=(version,)) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert statuses == [0] * 18
    (left,) = _back(node)
    assert left in [version.data for version in versions]
    assert len(node.files()) == 1
    assert journal(node.root / "objects") == []
