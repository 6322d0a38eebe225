"""What goes wrong in the index, the store, scrubbing and encoding is counted, where it does."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from scp.errors import OutOfResources
from scp.index.sql import SqlIndex
from scp.lifecycle import scrub
from scp.metrics import counting
from scp.objects.local import LocalStore
from scp.resources.in_use import used_by_all
from scp.resources.locked_bytes import LockedBytes
from scp.resources.room import Room
from scp.web.exposition import counted

pytestmark = [pytest.mark.quick, pytest.mark.usefixtures("figures")]


def found(name: str) -> dict[str, float]:
    """What was counted, by its label."""
    values = counted([counting.current()])[name]
    return {labels[0]: numbers[0] for labels, numbers in values.items() if numbers[0]}


def test_errors_of_the_index(tmp_path: Path) -> None:
    index = SqlIndex.open(f"sqlite:///{tmp_path}/index.db")
    index.close()
    (tmp_path / "index.db").rename(tmp_path / "away")
    (tmp_path / "index.db").mkdir()
    with pytest.raises(OutOfResources):
        SqlIndex.open(f"sqlite:///{tmp_path}/index.db")
    assert found("zscp_index_errors_total") == {"open": 1}


def test_errors_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    store.put("one", b"1")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("scp.objects.local.sync_file", full)
    with pytest.raises(OutOfResources):
        store.put("two", b"2")
    assert found("zscp_store_errors_total") == {"put": 1}


def test_a_disk_without_room_is_counted_where_something_is_refused_for_it(tmp_path: Path) -> None:
    room = Room(tmp_path, reserve=2**62)
    assert not room.holds(1)
    assert found("zscp_store_errors_total") == {}
    with pytest.raises(OutOfResources):
        room.check(1)
    assert found("zscp_store_errors_total") == {"room": 1}


def test_what_scrubbing_finds() -> None:
    scrub._count(scrub.Checked(read=10, damaged=3, repaired=1, size=1000), 9)
    results = found("zscp_scrubbed_files_total")
    assert results == {"sound": 6, "damaged": 2, "repaired": 1, "unread": 1}
    assert counted([counting.current()])["zscp_scrubbed_bytes_total"] == {(): (1000.0,)}


def test_locks_of_others_are_seen_and_left_alone() -> None:
    locks = LockedBytes()
    assert locks.lock(3)
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        seen = [locks.is_locked_elsewhere(at) for at in range(5)]
        os.write(writes, bytes(seen))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reads, 9) == bytes([0, 0, 0, 1, 0])
    assert not locks.is_locked_elsewhere(3)  # it is our own
    used, limit = used_by_all()
    assert 0 <= used < limit
