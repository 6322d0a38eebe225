"""How an input ends a target, in a process that may die of it; and the smallest that ends it so."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress

from fuzz.targets import TARGETS

MEMORY = 3 << 30  # of address space: what asks for more gets none
SOUND = "sound"


def fate(target: str, data: bytes, seconds: int = 20) -> str:
    """``sound``; the signal that ended it; or the error that it raised, and where."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        os.write(writer, _told(target, data, seconds).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        return told
    number = os.WTERMSIG(status)
    return f"more than {seconds} s" if number == signal.SIGALRM else signal.Signals(number).name


def _told(target: str, data: bytes, seconds: int) -> str:
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # what a library says as it dies is not for the terminal
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    signal.alarm(seconds)
    try:
        TARGETS[target].check(data)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is told
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {where.name}, line {where.lineno}"
    return SOUND


def smallest(target: str, data: bytes, seconds: float) -> bytes:
    """The smallest input that was found within ``seconds`` to end as ``data`` does."""
    wanted, until = fate(target, data), time.monotonic() + seconds
    if wanted == SOUND or wanted.startswith("more than"):  # each try of one that hangs takes so long
        return data
    progress = True
    while progress and time.monotonic() < until:
        progress = False
        for candidate in _smaller(data):
            if time.monotonic() > until:
                break
            if fate(target, candidate) == wanted:
                data, progress = candidate, True
                break
    return data


def _smaller(data: bytes) -> Iterator[bytes]:
    """The input without some of it: first halves, last single bytes."""
    size = len(data) // 2
    while size:
        for at in range(0, len(data), size):
            yield data[:at] + data[at + size :]
        size //= 2
