"""Files that others may have put, replaced or truncated are read so that none of them harms the process.

A FIFO in the place of a stored file would block its reader for ever: FIFOs, folders and devices are rejected.
If a mapped file is truncated, or its disk fails, reading the map ends the process with SIGBUS. So large files
are mapped only under a lease (fcntl(2), F_SETLEASE), which makes any process wait that would write to such a
file or truncate it. The digest requests the pages before it reads them, which raises OSError if the disk
fails. If there is no lease, the file is copied. docs/decisions/0124 has the cost of each.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

from scp.errors import ObjectDamaged, ObjectUnreadable, OutOfResources
from scp.objects.store import check_size, ends_of_pieces
from scp.spool import IN_MEMORY, Buffer, FileMap, copied_from

# Errors which show that there is something else than a file, or that the disk fails to read it.
_NO_FILE = (errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EISDIR)
_KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"))
# A note or a mark has a few hundred bytes; a longer one is not zscp's.
_LONGEST_NOTE = 1 << 20


def read(path: Path, maps: bool = True, leased: bool = True, size: int | None = None) -> Buffer:
    """A file's content: read where it is small, else mapped or copied, as the module says.

    Without ``maps`` it is copied: a lease does not help if the medium itself may be removed. Without
    ``leased`` it is mapped even if there is no lease: for a process that serves nobody. Raises ObjectDamaged
    if it is no regular file, or its size is not ``size``, FileNotFoundError, OutOfResources, and OSError.
    """
    descriptor = opened(path)
    try:
        found = os.fstat(descriptor).st_size
        check_size(path.name, found, size)
        if found <= IN_MEMORY:
            return _first(descriptor, found)
        if maps and (_is_leased(descriptor) or not leased):
            return _mapped(path, descriptor)
        try:
            return copied_from(descriptor)
        except OutOfResources:  # a full disk: stored files must still be readable
            if not maps:
                raise
            return _mapped(path, descriptor)
    finally:
        os.close(descriptor)


def pieces(path: Path, size: int) -> Iterator[bytes]:
    """A file's content in the pieces of a store (:func:`scp.objects.store.ends_of_pieces`); none is mapped.

    Raises ObjectDamaged if it is no regular file, its size is not ``size``, or it is cut off meanwhile,
    FileNotFoundError, and OSError.
    """
    descriptor = opened(path)
    try:
        check_size(path.name, os.fstat(descriptor).st_size, size)
        for begin, end in ends_of_pieces(size):
            piece = _first(descriptor, end - begin)
            check_size(path.name, begin + len(piece), end)
            yield piece
    finally:
        os.close(descriptor)


def _mapped(path: Path, descriptor: int) -> Buffer:
    """A map of the file with its current size: it may have been truncated before the lease was taken."""
    try:
        return memoryview(FileMap.of(os.dup(descriptor), os.fstat(descriptor).st_size))
    except ValueError as error:  # it is empty, or smaller than a moment ago
        raise ObjectDamaged(f"{path.name} was cut off while it was read: {error}") from None


def opened(path: Path) -> int:
    """A descriptor of a regular file, for reading. Raises ObjectDamaged if it is no such file, OSError."""
    # O_NONBLOCK: a FIFO is opened at once, instead of waiting for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    kind = next((name for test, name in _KINDS if test(mode)), "a device")
    raise ObjectDamaged(f"{path.name} is {kind}, and no file; restore it from a copy")


def unreadable(key: str, error: OSError) -> ObjectDamaged | ObjectUnreadable:
    """The error for a stored file that cannot be read: it is damaged, or only out of reach."""
    if error.errno in _NO_FILE:
        return ObjectDamaged(f"{key} is no file ({error.strerror}); restore it from a copy")
    if error.errno == errno.EIO:
        return ObjectDamaged(
            f"{key}: its disk does not give it back ({error.strerror}); restore it from a copy"
        )
    return ObjectUnreadable(f"{key} cannot be read: {error.strerror}; see to its permissions and its disk")


def small(path: Path, most: int = _LONGEST_NOTE) -> bytes:
    """The content of a file of at most ``most`` bytes. Raises ObjectDamaged if it is larger, and OSError."""
    descriptor = opened(path)
    try:
        data = _first(descriptor, most + 1)
    finally:
        os.close(descriptor)
    if len(data) > most:
        raise ObjectDamaged(f"{path.name} is larger than {most} bytes")
    return data


def note(path: Path) -> str:
    """The text of such a file. Raises as :func:`small`."""
    try:
        return small(path).decode()
    except UnicodeDecodeError:
        raise ObjectDamaged(f"{path.name} is no text") from None


def _first(descriptor: int, most: int) -> bytes:
    """Up to ``most`` bytes; fewer if the file was truncated meanwhile."""
    parts = []
    while most > 0 and (part := os.read(descriptor, most)):
        parts.append(part)
        most -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _is_leased(descriptor: int) -> bool:
    """Whether a lease was taken: no process writes to the file, and one that wants to has to wait.

    It waits until the file is closed, 45 s at most on Linux. There are no leases on some file systems, nor on
    other users' files.
    """
    try:
        # The kernel signals the holder of a lease. SIGIO, the default, would end it; SIGURG is ignored.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except (OSError, AttributeError):
        return False
    return True
