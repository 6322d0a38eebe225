"""The rights that a codec process gives up for ever, before it sees its first codestream.

No descriptor can be made (so no file opened and no socket made), no file written, no process made, traced or
signalled where Landlock knows how to forbid it, and no more memory taken than its limit. seccomp is left out:
its one binding on PyPI needs a system library, and a filter a list of calls for every libc and codec. There
is none for Landlock either, but that takes three system calls, with the same numbers on every machine
(docs/decisions/0110).
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import signal
import struct
from contextlib import suppress
from pathlib import Path

# linux/prctl.h
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
# linux/landlock.h; the system calls' numbers are those of asm-generic/unistd.h, and of x86.
_CREATE_RULESET, _RESTRICT_SELF, _VERSION_FLAG = 444, 446, 1
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # how many there are, by the kernel's version of Landlock
_NET_RIGHTS, _SCOPES = 0b11, 0b11  # TCP bind and connect; abstract Unix sockets and signals

# No descriptor, no byte of a file, and no process or thread but this one (that is not kept from root).
_NOTHING_OF = (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_NPROC)


def end_with(parent: int) -> None:
    """Have this process killed when ``parent``, which made it, ends; also where it has already."""
    _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def give_up_rights(memory: int) -> int:
    """Give up all that a codec does not need; ``memory`` is the most that it may ever take, in bytes.

    Returns the size of the process before it took any, in bytes.
    """
    with suppress(OSError):  # where memory is short, this goes before the process that serves
        Path("/proc/self/oom_score_adj").write_bytes(b"1000")
    base = int(Path("/proc/self/statm").read_bytes().split()[0]) * mmap.PAGESIZE
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)
    _restrict_by_landlock()
    limit_memory(base + memory, base + memory)
    for limit in _NOTHING_OF:
        resource.setrlimit(limit, (0, 0))
    return base


def limit_memory(now: int, ever: int) -> None:
    """Bytes that this process may take now, and ever; fewer where it was allowed fewer before."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        now, ever = min(now, hard), min(ever, hard)
    resource.setrlimit(resource.RLIMIT_AS, (now, ever))


def _restrict_by_landlock() -> None:
    """No right to any file, to TCP, or to signal others; as far as the kernel has Landlock."""
    version = _call("syscall", _CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG)
    if version < 1:
        return  # an older kernel, or one that was started without it
    files = (1 << _FILE_RIGHTS.get(version, max(_FILE_RIGHTS.values()))) - 1
    fields = [files, *([_NET_RIGHTS] if version >= 4 else []), *([_SCOPES] if version >= 6 else [])]
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    rules = _call("syscall", _CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if rules >= 0:
        _call("syscall", _RESTRICT_SELF, rules, 0)
        os.close(rules)


_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> int:
    return int(getattr(_libc, name)(*arguments))
