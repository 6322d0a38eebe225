"""What a node, a command or a test sets for its whole process, and the next test in it must not meet."""

from __future__ import annotations

import errno
import gc
import os
import select
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pynetdicom.transport

from scp import spool
from scp.resources import bounds, budget, room

_SET = ((bounds, "_used"), (budget, "_budget"), (room, "_rooms"), (spool, "_room"))


@contextmanager
def put_back() -> Iterator[None]:
    """Afterwards it is as it was before."""
    before = [getattr(module, name) for module, name in _SET]
    try:
        yield
    finally:
        for (module, name), value in zip(_SET, before, strict=True):
            setattr(module, name, value)


# A node's parts refer to each other, so its 16 descriptors stay until they are collected, which is rare
# (tests/conftest.py). On many systems a process may have 1024.
_MANY_MORE = 250
_fewest = 0


def collect_descriptors() -> None:
    """Close what nobody has any more, once there are many more descriptors than there were."""
    global _fewest  # noqa: PLW0603 - of the process, as they are
    if (count := _descriptors()) > _fewest + _MANY_MORE:
        gc.collect()
        _fewest = _descriptors()
    else:
        _fewest = min(_fewest, count) or count


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a third of the time, after each of 14,000 tests


def wait_on_any_descriptor() -> None:
    """Let pynetdicom's peers wait by poll().

    select() knows no descriptor above 1023, which pynetdicom takes for a connection that was lost: it aborted
    each association of a process that had so many, and the last tests of a long run failed as if their node
    had not answered.
    """
    vars(pynetdicom.transport)["select"] = SimpleNamespace(select=_selected)


def _selected(
    readers: Sequence[Any], writers: Sequence[Any], _: Sequence[Any], seconds: float
) -> tuple[list[Any], list[Any], list[Any]]:
    """As select.select() of descriptors to read from; raises ValueError and OSError as that does."""
    assert not writers
    found = select.poll()
    for each in readers:
        found.register(each, select.POLLIN)
    states = dict(found.poll(seconds * 1000))
    if any(state & select.POLLNVAL for state in states.values()):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return [each for each in readers if states.get(each.fileno())], [], []
