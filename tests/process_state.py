"""What a node, a command or a test sets for its whole process, and the next test in it must not meet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
