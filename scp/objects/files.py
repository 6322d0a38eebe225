"""Files that somebody else may have put, replaced or cut off, read so that none of them harms the process.

A FIFO in a stored file's place would hold up its reader for ever; it, a folder and a device are no files. A
map of a file that is cut off meanwhile, or whose disk gives nothing, ends the process with SIGBUS. So a large
file is mapped only under a lease (fcntl(2), F_SETLEASE), which makes whoever would write to it or cut it off
wait; its digest asks for its pages, which raises OSError where there are none, before it reads them; and
where there is no lease to be had it is copied. docs/decisions/0124 has what each costs.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
from pathlib import Path

from scp.errors import ObjectDamaged, ObjectUnreadable, OutOfResources
from scp.objects.store import check_size
from scp.spool import IN_MEMORY, Buffer, FileMap, copied_from

# What tells that something else than a file lies there, or that the disk does not give it back.
_NO_FILE = (errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EISDIR)
_KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"))
# A note or a mark is a few hundred bytes; more is none of ours.
_LONGEST_NOTE = 1 << 20


def read(path: Path, maps: bool = True, leased: bool = True, size: int | None = None) -> Buffer:
    """A file's content: read where it is small, else mapped or copied, as the module says.

    Without ``maps`` it is copied: a lease does not help where the medium itself may go away. Without
    ``leased`` it is mapped also where there is no lease: for a process that serves nobody. Raises
    ObjectDamaged where there is no regular file or one of another ``size`` than it has to have,
    FileNotFoundError, OutOfResources, and OSError.
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
        except OutOfResources:  # a full disk: what is there can be read all the same
            if not maps:
                raise
            return _mapped(path, descriptor)
    finally:
        os.close(descriptor)


def _mapped(path: Path, descriptor: int) -> Buffer:
    """A map of as much as the file has now: it may have been cut off before there was a lease."""
    try:
        return memoryview(FileMap.of(os.dup(descriptor), os.fstat(descriptor).st_size))
    except ValueError as error:  # nothing is left, or less than a moment ago
        raise ObjectDamaged(f"{path.name} was cut off while it was read: {error}") from None


def opened(path: Path) -> int:
    """A descriptor of a regular file, to read from. Raises ObjectDamaged where it is none, OSError."""
    # O_NONBLOCK: a FIFO is opened at once, instead of waiting for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    kind = next((name for test, name in _KINDS if test(mode)), "a device")
    raise ObjectDamaged(f"{path.name} is {kind}, and no file; restore it from a copy")


def unreadable(key: str, error: OSError) -> ObjectDamaged | ObjectUnreadable:
    """What a stored file that cannot be read is: damaged, or only out of reach."""
    if error.errno in _NO_FILE:
        return ObjectDamaged(f"{key} is no file ({error.strerror}); restore it from a copy")
    if error.errno == errno.EIO:
        return ObjectDamaged(
            f"{key}: its disk does not give it back ({error.strerror}); restore it from a copy"
        )
    return ObjectUnreadable(f"{key} cannot be read: {error.strerror}; see to its permissions and its disk")


def small(path: Path, most: int = _LONGEST_NOTE) -> bytes:
    """A file of ours, of ``most`` bytes at most. Raises ObjectDamaged for others, and OSError."""
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
    """Up to so many bytes: a file that was cut off meanwhile gives fewer."""
    parts = []
    while most > 0 and (part := os.read(descriptor, most)):
        parts.append(part)
        most -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _is_leased(descriptor: int) -> bool:
    """Whether nobody writes to a file, and whoever begins to has to wait until it is closed (45 s on Linux).

    Not on file systems without leases, and of other users' files.
    """
    try:
        # SIGIO, which is sent otherwise to who is waited for, ends a process; this one does nothing.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except (OSError, AttributeError):
        return False
    return True
