"""Faults that are injected at each call in turn: of the operating system, the object store, or the index."""

from __future__ import annotations

import errno
import io
import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from scp.errors import OutOfResources

# What a disk says: broken, full, mounted read-only, not permitted.
NUMBERS = (errno.EIO, errno.ENOSPC, errno.EROFS, errno.EACCES)
# All that the objects' files go through; SQLite makes its own calls.
_CALLS = (
    "fsync fdatasync link replace rename unlink mkdir rmdir pwritev pwrite posix_fallocate write open stat"
).split()
_DELAY = 0.02


@dataclass
class Plan:
    """Counts calls, and fails one: the one numbered ``at``, from 0 on, in the way ``fail``."""

    at: int = -1
    fail: Callable[[str], None] = lambda _: None
    counts: bool = False
    count: int = 0
    failed: str = ""
    names: list[str] = field(default_factory=list)

    def step(self, name: str) -> bool:
        """One more call; True where it is the one, which is noted."""
        if not self.counts:
            return False
        number, self.count = self.count, self.count + 1
        self.names.append(name)
        if number == self.at:
            self.failed = name
        return number == self.at


def raising(number: int) -> Callable[[str], None]:
    def fail(name: str) -> None:
        raise OSError(number, os.strerror(number), name)

    return fail


def out_of_resources(name: str) -> None:
    raise OutOfResources(f"{name} does not answer")


def late(_: str) -> None:
    time.sleep(_DELAY)


@contextmanager
def failing_system(plan: Plan, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """The plan's call of the operating system fails; one that writes may do so after half of it."""

    def wrapped(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            if plan.step(name):
                plan.fail(name)
            return work(*given, **named)

        return call

    with patch.context() as inner:
        for name in _CALLS:
            inner.setattr(os, name, wrapped(name, getattr(os, name)))
        inner.setattr(io, "open", wrapped("io.open", io.open))
        yield


@contextmanager
def short_writes(plan: Plan, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """The plan's write writes only the first byte, which is no error (write(2))."""
    pwritev, pwrite, write = os.pwritev, os.pwrite, os.write

    def short_pwritev(descriptor: int, parts: Any, at: int, *more: int) -> int:
        if plan.step("pwritev"):
            return pwritev(descriptor, [b"".join(parts)[:1]], at)
        return pwritev(descriptor, parts, at, *more)

    def short_pwrite(descriptor: int, data: Any, at: int) -> int:
        return pwrite(descriptor, bytes(data)[:1] if plan.step("pwrite") else data, at)

    def short_write(descriptor: int, data: Any) -> int:
        return write(descriptor, bytes(data)[:1] if plan.step("write") else data)

    with patch.context() as inner:
        inner.setattr(os, "pwritev", short_pwritev)
        inner.setattr(os, "pwrite", short_pwrite)
        inner.setattr(os, "write", short_write)
        yield


class Faulty:
    """Decorates an object store or an index, and all that they give: the plan's call fails.

    Where ``after`` is set it fails once it has been carried out, as when an answer is lost on its way.
    """

    def __init__(self, decorated: Any, plan: Plan, name: str, after: bool = False) -> None:
        self._decorated, self._plan, self._name, self._after = decorated, plan, name, after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._decorated, name)
        told = f"{self._name}.{name}"
        if callable(found) and not isinstance(found, type):
            return self._call(told, found)
        if type(found).__module__.startswith("scp.index"):  # its parts, as its claims
            return Faulty(found, self._plan, told, self._after)
        return found

    def _call(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            fails = self._plan.step(name)
            if fails and not self._after:
                self._plan.fail(name)
            found = work(*given, **named)
            if fails and self._after:
                self._plan.fail(name)
            if isinstance(found, Iterator) and not hasattr(found, "__enter__"):
                return self._iterated(name, found)
            return found

        return call

    def _iterated(self, name: str, found: Iterator[Any]) -> Iterator[Any]:
        for number in itertools.count():
            if number < 2 and self._plan.step(f"{name} {number}"):
                self._plan.fail(name)
            try:
                one = next(found)
            except StopIteration:
                return
            yield one
