"""What a node does besides serving: loops that run in threads until they are stopped, and single calls."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Protocol, TypeVar

Result = TypeVar("Result")

# How long an ending process waits for what is under way; it is done, or tried again, at the next start.
_STOP_SECONDS = 10.0


class Loop(Protocol):
    """One of them. It sleeps while there is nothing to do, and survives being killed at any moment."""

    def run(self) -> None:
        """Work, and wait for work, until stopped."""

    def stop(self) -> None:
        """Make :meth:`run` return soon."""

    def hasten(self) -> None:
        """Look again at what there is to do: the configuration has changed."""


class Background:
    """Some loops, a thread each."""

    def __init__(self, loops: Iterable[Loop]) -> None:
        self._loops = tuple(loops)
        self._threads = [
            threading.Thread(target=loop.run, name=type(loop).__name__.lower(), daemon=True)
            for loop in self._loops
        ]

    def start(self) -> None:
        """Start them all."""
        for thread in self._threads:
            thread.start()

    def hasten(self) -> None:
        """Tell them that the configuration has changed."""
        for loop in self._loops:
            loop.hasten()

    def stop(self) -> None:
        """Tell them to stop, and wait for that a while, for all together."""
        for loop in self._loops:
            loop.stop()
        until = time.monotonic() + _STOP_SECONDS
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))


def beside(call: Callable[[], Result]) -> Future[Result]:
    """Run a call in a thread of its own; a process that ends does not wait for it, as it would for a pool."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            future.set_exception(error)

    try:
        threading.Thread(target=run, daemon=True).start()
    except RuntimeError:  # the machine gives no more threads: this one does it
        run()
    return future
