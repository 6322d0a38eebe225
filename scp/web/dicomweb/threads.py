"""Few threads that a service of DICOMweb works in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

import anyio

T = TypeVar("T")


class Threads:
    """At most ``most`` threads; more work waits for its turn.

    anyio's threads do the same, but each of their turns lets the event loop go round more often
    (docs/decisions/0219).
    """

    def __init__(self, name: str, most: int) -> None:
        self._pool = ThreadPoolExecutor(most, f"dicomweb {name}")

    async def run(self, work: Callable[[], T]) -> T:
        """What ``work`` returns, or raises, in a thread. What is bound to the log is bound there, too.

        Who waits is not cancelled by anyio until the work is done, as the thread cannot be.
        """
        running = asyncio.get_running_loop().run_in_executor(self._pool, copy_context().run, work)
        with anyio.CancelScope(shield=True):
            made = await running
        return made  # noqa: RET504 - to mypy, a scope may swallow what leaves it

    def begin(self, work: Callable[[], None]) -> None:
        """Have something done in a thread, for which nobody waits; it raises nothing."""
        self._pool.submit(work)
