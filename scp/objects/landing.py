"""The landing log: small objects are written to append-only segments first, and share syncs.

A file of its own costs an object two syncs and three directory entries: 0.52 ms for 25 KB. A record in a
segment that was written before costs 0.13 ms (ext4, NVMe), and records of several associations share one
sync. After the response objects move from here to files of their own: as received, and then they are encoded
first, or in the form that they were given before the response (docs/decisions/0199).

``.landing/<node>-<process>/<serial>.log`` holds a header block and records, each starting at a multiple of
4096 bytes, so that no block of a valid record is ever written again. A record is a header, and a Part 10 file
(:mod:`scp.objects.segments`). Blocks that were written before are overwritten without a change to the file
system's metadata: 0.13 ms a sync, while room that is only reserved takes 0.3 ms. So spare segments are
written with zeros beforehand (:mod:`scp.objects.spares`). Both headers carry a random number, which is new
each time a segment is used: data of its former use is no record.

A record is over when it was withdrawn, or is settled: its object is durable elsewhere. Its header says so. A
segment is freed, and used again, only when it is full and every record in it is over. A record that no index
row names is not over for that: the index may be missing, or an older copy of itself.

A process's folder is locked while it lives. After its death its segments stay until all records are over.
"""

from __future__ import annotations

import itertools
import os
import secrets
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import structlog

from scp.errors import ObjectDamaged, ObjectMissing, OutOfResources
from scp.metrics import counting
from scp.objects.folders import ASIDE, claim, folders_of_the_dead, make_folder, sync_file, sync_folder
from scp.objects.names import LANDING, file_name, landed_key, landed_name, segment_of
from scp.objects.segments import (
    BLOCK,
    HEADER,
    MAGIC,
    SEGMENT_HEADER,
    aligned,
    exclusive,
    free_segment,
    is_over,
    is_whole,
    keys_in,
    mark_over,
    name_of,
    read_record,
    record_header,
    write_at,
)
from scp.objects.spares import Spares
from scp.objects.sync import GroupSync
from scp.resources.room import Room
from scp.spool import Buffer

SEGMENT = 32 << 20
LARGEST = 8 << 20  # of a record, in bytes; a larger object is better written to its own file


class _Segment:
    """A segment that is being filled, or waits for the index rows of its last records."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.use = secrets.token_bytes(16)
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
        self.sync = GroupSync(self.descriptor)
        self.end = BLOCK
        self.unrecorded = 0
        self.full = False
        os.posix_fallocate(self.descriptor, 0, size)
        os.pwrite(self.descriptor, SEGMENT_HEADER.pack(MAGIC, self.use), 0)


class LandingLog:
    """The landing log below ``root``; threads may share it, each process has its own.

    ``segment`` is the size of a segment in bytes. ``reserve`` bytes of the file system are left free. The
    keys name ``node``, the node that has the log; those of older versions name none.
    """

    def __init__(self, root: Path, reserve: int = 0, segment: int = SEGMENT, node: str = "") -> None:
        self.root, self.node = root, node
        self.room = Room(root, reserve)
        self._size = segment
        self._lock = threading.Lock()
        self._spares = Spares(self._locked_folder, segment, self.room)
        self._serials = itertools.count(1)
        self._own: Path | None = None
        self._own_lock = -1
        self._current: _Segment | None = None
        self._open: dict[str, _Segment] = {}
        self._unsettled: set[str] = set()

    def prepare(self) -> None:
        """Make spare segments while nothing is received, in a separate thread."""
        self._spares.prepare()

    def write(self, head: bytes, dataset: Buffer) -> str:
        """Write a Part 10 file, and return its key; ``head`` is what is before its dataset.

        The file is durable after :meth:`sync`. When the index names it, or it is given up, :meth:`recorded`
        must be called. Raises OutOfResources.
        """
        size = len(head) + len(dataset)
        self._spares.received()
        with self._lock, _no_room():
            segment = self._with_room_for(HEADER + size)
            at = segment.end
            segment.end = aligned(at + HEADER + size)
            segment.unrecorded += 1
        key = landed_key(name_of(segment.path), at + HEADER, size)
        try:
            with self._given_up_if_it_fails(segment):
                write_at(segment.descriptor, at, [record_header(segment.use, size, head) + head, dataset])
                # On this advice Linux begins to write the pages, and has written most of them when the sync
                # comes 0.2 ms later: that takes 0.06 ms instead of 0.13 (25 KB) or 0.3 (530 KB).
                os.posix_fadvise(segment.descriptor, at, segment.end - at, os.POSIX_FADV_DONTNEED)
        except BaseException:
            self.recorded(key)
            raise
        return key

    def sync(self, key: str) -> None:
        """Return when a record is durable; records share syncs. Raises OutOfResources."""
        segment = self._open[segment_of(key)]
        with self._given_up_if_it_fails(segment):
            segment.sync.wait()

    def withdraw(self, key: str) -> None:
        """Withdraw a record that the index does not name; before :meth:`recorded`."""
        segment = self._open[segment_of(key)]
        with self._given_up_if_it_fails(segment):
            mark_over(segment.descriptor, landed_name(key))
            segment.sync.wait()

    def settle(self, keys: Iterable[str]) -> None:
        """Mark records of any process durably as over, as their objects are durable elsewhere.

        All records in a segment share a sync. Records that are settled already, or gone, are skipped. What
        fails is tried again next time: a deleted object whose record is not over would be taken up again.
        """
        self._unsettled.update(keys)
        for segment, group in groupby(sorted(self._unsettled), key=segment_of):
            settled = tuple(group)
            with _no_room(), exclusive(self._path(segment)) as descriptor:
                if descriptor is not None:
                    for key in settled:
                        mark_over(descriptor, landed_name(key))
                    os.fdatasync(descriptor)
            self._unsettled.difference_update(settled)

    def recorded(self, key: str) -> None:
        """Note that the index names ``key``, or never will."""
        with self._lock:
            segment = self._open[segment_of(key)]
            segment.unrecorded -= 1
            self._seal_full()

    def get(self, key: str) -> bytes:
        """The Part 10 file under a key; only the part before its dataset is checked.

        Raises ObjectMissing, ObjectDamaged.
        """
        header, file = read_record(self._path(segment_of(key)), key)
        if is_over(header):
            raise ObjectMissing(f"{key} has moved on, or was withdrawn")
        if not is_whole(header, file):
            raise ObjectDamaged(f"{key} is not what was written; restore it from a copy")
        return file

    def counts(self, key: str) -> bool:
        """Whether the record under a key is there, whole and not over."""
        try:
            self.get(key)
        except (ObjectMissing, ObjectDamaged):
            return False
        return True

    def is_over(self, key: str) -> bool:
        """Whether a record is over, or gone; not of one that is damaged. Raises ObjectUnreadable."""
        try:
            return is_over(read_record(self._path(segment_of(key)), key)[0])
        except (ObjectMissing, ObjectDamaged) as error:
            return isinstance(error, ObjectMissing)

    def keys(self) -> Iterator[str]:
        """The keys of all records of all processes that are not over, in no order."""
        for path in sorted((self.root / LANDING).glob("*/*.log")):
            yield from _keys_in(path)

    def strays(self, named: set[str]) -> Iterator[str]:
        """Keys of records that are not over, but that are missing in the index.

        ``named`` are the keys that the index names. All segments of dead processes are read, and unfinished
        records count; of live processes only full segments that nothing names.
        """
        for folder in folders_of_the_dead(self.root / LANDING):
            for path in sorted(folder.glob("*.log")):
                yield from (key for key in _keys_in(path) if key not in named)
        segments = set(map(segment_of, named))
        for sealed in sorted((self.root / LANDING).glob("*/*.sealed")):
            path = sealed.with_suffix(".log")
            if name_of(path) not in segments:
                yield from _keys_in(path)

    def set_aside(self, key: str) -> None:
        """Keep a copy of the record under ``key``, sound or not, in ``.damaged``; raises ObjectMissing."""
        _, file = read_record(self._path(segment_of(key)), key)
        folder = self.root / ASIDE
        with _no_room():
            make_folder(folder)
            path = folder / file_name(key)
            self.room.check(len(file))
            path.write_bytes(file)
            sync_file(path)
            sync_folder(folder)

    def free(self, named: set[str]) -> None:
        """Free full segments in which every record is over.

        ``named`` are segments that the index names: these are not read.
        """
        self.settle(())
        for sealed in (self.root / LANDING).glob("*/*.sealed"):
            path = sealed.with_suffix(".log")
            if name_of(path) not in named:
                free_segment(path, self.root / ASIDE)
        for folder in folders_of_the_dead(self.root / LANDING):
            for path in sorted(folder.glob("*.log")):
                if name_of(path) not in named:
                    free_segment(path, self.root / ASIDE)
            if next(folder.glob("*.log"), None) is None:
                for path in sorted(folder.iterdir()):
                    path.unlink()
                folder.rmdir()

    def close(self) -> None:
        """Close the log. Records that have no file of their own yet stay."""
        self._spares.close()
        with self._lock:
            own, self._own = self._own, None
            if own is None:
                return
            for segment in self._open.values():
                os.close(segment.descriptor)
            self._open, self._current = {}, None
            os.close(self._own_lock)

    def _path(self, segment: str) -> Path:
        return self.root / f"{segment}.log"

    def _with_room_for(self, size: int) -> _Segment:
        """The segment that is being filled, or the next one if that has too little room."""
        segment = self._current
        if segment is not None and segment.end + size <= self._size:
            return segment
        if segment is not None:
            segment.full, self._current = True, None
            self._seal_full()
        self._current = self._next()
        return self._current

    def _next(self) -> _Segment:
        own = self._folder()
        path = own / f"{next(self._serials):06}.log"
        if not self._spares.take(own, path):
            self.room.check(self._size)
        segment = _Segment(path, self._size)
        self._check_again(segment)
        sync_folder(own)
        self._open[name_of(path)] = segment
        self.prepare()
        return segment

    def _check_again(self, segment: _Segment) -> None:
        """Check the reserve again with the new segment allocated: several may be made at the same time."""
        try:
            self.room.check(0)
        except OutOfResources:
            os.close(segment.descriptor)
            segment.path.unlink()
            raise

    def _locked_folder(self) -> Path:
        with self._lock:
            return self._folder()

    def _folder(self) -> Path:
        if self._own is None:
            make_folder(self.root / LANDING)
            self._own, self._own_lock = claim(self.root / LANDING, f"{self.node}-" if self.node else "")
            sync_folder(self._own.parent)
        return self._own

    @contextmanager
    def _given_up_if_it_fails(self, segment: _Segment) -> Iterator[None]:
        """Write no more to a segment that failed: after a failed sync the next one may succeed falsely."""
        try:
            with _no_room():
                yield
        except OutOfResources:
            with self._lock:
                segment.full = True
                if self._current is segment:
                    self._current = None
            raise

    def _seal_full(self) -> None:
        """Seal segments that are full and whose records are all in the index: any process may free them now.

        One that cannot be sealed, for lack of room, is when the next record is noted, or with the process.
        """
        for segment in [one for one in self._open.values() if one.full and not one.unrecorded]:
            try:
                segment.path.with_suffix(".sealed").touch()
            except OSError as error:
                structlog.get_logger("zscp").error(
                    "segment of the landing log not sealed yet", path=str(segment.path), reason=str(error)
                )
                continue
            del self._open[name_of(segment.path)]
            os.close(segment.descriptor)


def _keys_in(path: Path) -> Iterator[str]:
    """As :func:`keys_in`; none for a segment that is missing, no file, or cannot be read."""
    try:
        yield from keys_in(path)
    except FileNotFoundError:
        pass
    except (ObjectDamaged, OSError) as error:
        structlog.get_logger("zscp").error(
            "segment of the landing log unreadable", path=str(path), reason=str(error)
        )


@contextmanager
def _no_room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        counting.count("zscp_store_errors_total", "landing")
        raise OutOfResources(f"cannot store in the landing log: {error.strerror}") from error
