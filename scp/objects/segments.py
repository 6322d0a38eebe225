"""The segments of the landing log: their records, whole or torn, and which of them are over.

docs/format.md section 9 describes them byte by byte. A record is over when it was withdrawn, or when its
object is durable elsewhere. Then its header says so; only this allows its room to be used again.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from scp.errors import ObjectDamaged, ObjectMissing
from scp.objects import files
from scp.objects.folders import make_folder, sync_folder
from scp.objects.names import LandedName, file_name, landed_key, landed_name, segment_name
from scp.objects.spares import keep_as_spare
from scp.spool import Buffer

BLOCK = 4096
MAGIC = b"zscp-log"
_OVER = b"zscp-old"
SEGMENT_HEADER = struct.Struct("<8s16s")
_RECORD = struct.Struct("<8s16sQLL")  # magic, use, size of the file, of its head, CRC-32 of the head
_CRC = struct.Struct("<L")  # of the record header before it, as it was written
HEADER = _RECORD.size + _CRC.size
# A segment has 32 MB, unless another size was asked for; a file larger than this is not zscp's.
LARGEST_SEGMENT = 1 << 30
# Whole, over, or unclear: begun but not readable, as it was torn by a power cut, or damaged.
State = Literal["whole", "over", "unclear"]


def name_of(path: Path) -> str:
    """The name of a segment from its path, as :func:`scp.objects.names.segment_name` gives it."""
    return segment_name(path.parent.name, path.stem)


def aligned(at: int) -> int:
    """The next multiple of the block size, or ``at`` itself."""
    return -(-at // BLOCK) * BLOCK


def record_header(use: bytes, size: int, head: bytes) -> bytes:
    """The header of a record with a file of ``size`` bytes that begins with ``head``."""
    record = _RECORD.pack(MAGIC, use, size, len(head), zlib.crc32(head))
    return record + _CRC.pack(zlib.crc32(record))


def keys_in(path: Path) -> Iterator[str]:
    """The keys of a segment's records that are not over. Raises FileNotFoundError, ObjectDamaged, OSError."""
    for at, size, state in _records(path):
        if state == "whole":
            yield landed_key(name_of(path), at + HEADER, size)


def _records(path: Path) -> Iterator[tuple[int, int, State]]:
    """Of each record: where its header begins, the size of its file, and its state; other data is skipped."""
    descriptor = files.opened(path)
    try:
        length = os.fstat(descriptor).st_size
        if length < BLOCK:
            return
        if length > LARGEST_SEGMENT:
            yield BLOCK, 0, "unclear"
            return
        magic, use = SEGMENT_HEADER.unpack_from(os.pread(descriptor, BLOCK, 0))
        at = BLOCK
        while magic == MAGIC and at + HEADER <= length:
            size, state = _record_at(descriptor, at, use, length)
            if state:
                yield at, size, state
            at = aligned(at + HEADER + size)
    finally:
        os.close(descriptor)


def _record_at(descriptor: int, at: int, use: bytes, length: int) -> tuple[int, State | None]:
    """The size of the file in the record at ``at``, or 0, and the record's state; None if none begins there.

    It is read, not mapped: if somebody truncates a mapped segment, its reader's process ends.
    """
    header = os.pread(descriptor, HEADER, at)
    if len(header) < HEADER:
        return 0, None
    magic, drawn, size, head, crc = _RECORD.unpack_from(header)
    if drawn != use:
        return 0, None
    if not _header_is_sound(header) or not 0 < head <= size <= length - at - HEADER:
        return 0, "unclear"
    if magic == _OVER:
        return size, "over"
    if magic != MAGIC or zlib.crc32(os.pread(descriptor, head, at + HEADER)) != crc:
        return 0, "unclear"
    return size, "whole"


def _header_is_sound(header: bytes) -> bool:
    written = MAGIC + header[len(MAGIC) : _RECORD.size]
    return len(header) == HEADER and _CRC.unpack_from(header, _RECORD.size)[0] == zlib.crc32(written)


def is_over(header: bytes) -> bool:
    """Whether a record's header says that it is over."""
    return header.startswith(_OVER) and _header_is_sound(header)


def is_whole(header: bytes, file: bytes) -> bool:
    """Whether a record's header is what was written, and the file's size and head agree with it."""
    if not header.startswith(MAGIC) or not _header_is_sound(header):
        return False
    _, _, size, head, crc = _RECORD.unpack_from(header)
    return bool(size == len(file) and zlib.crc32(file[:head]) == crc)


def read_record(path: Path, key: str) -> tuple[bytes, bytes]:
    """The header and the file of a record in a segment, sound or not. Raises ObjectMissing, ObjectDamaged."""
    name = landed_name(key)
    try:
        descriptor = files.opened(path)
    except (FileNotFoundError, NotADirectoryError):
        raise ObjectMissing(f"{key} is not in the landing log") from None
    except OSError as error:
        raise files.unreadable(key, error) from error
    try:
        length = os.fstat(descriptor).st_size
        if length > LARGEST_SEGMENT:
            raise ObjectDamaged(f"{key} lies in a segment of {length} bytes, which is none; set it aside")
        size = min(name.size, length)  # a key may name more bytes than there are
        return os.pread(descriptor, HEADER, max(name.at - HEADER, 0)), os.pread(descriptor, size, name.at)
    except OSError as error:
        raise files.unreadable(key, error) from error
    finally:
        os.close(descriptor)


def mark_over(descriptor: int, place: LandedName) -> None:
    """Mark a record as over in its header, unless the header is another record's. Not synced."""
    at = place.at - HEADER
    header = os.pread(descriptor, HEADER, at)
    sound = header.startswith(MAGIC) and _header_is_sound(header)
    if sound and _RECORD.unpack_from(header)[2] == place.size:
        write_at(descriptor, at, [_OVER])


@contextmanager
def exclusive(path: Path) -> Iterator[int | None]:
    """A segment's descriptor, while nobody else may mark or free it; None if it is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        yield None
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor if _is_at(path, descriptor) else None
    finally:
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file still has this name: a freed segment gets another one."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def write_at(descriptor: int, at: int, parts: list[Buffer]) -> None:
    """Write ``parts`` one after another from ``at`` on; short writes are continued."""
    wanted = sum(map(len, parts))
    written = os.pwritev(descriptor, parts, at)
    while written < wanted:  # a signal, or a disk that is nearly full
        written += os.pwrite(descriptor, b"".join(parts)[written:], at + written)


def free_segment(path: Path, aside: Path) -> None:
    """Give a segment back to its process, or remove it, if every record in it is over.

    A segment with an unclear record is moved to the folder ``aside`` unchanged. Readers of its records look
    them up again.
    """
    with exclusive(path) as descriptor, suppress(FileNotFoundError):
        states = {state for _, _, state in _records(path)} if descriptor is not None else {"whole"}
        if "whole" in states:
            return
        if "unclear" in states:
            make_folder(aside)
            path.rename(aside / f"{file_name(name_of(path))}.log")
            sync_folder(aside)
        elif not keep_as_spare(path):
            path.unlink()
        path.with_suffix(".sealed").unlink()
