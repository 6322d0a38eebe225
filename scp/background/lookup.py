"""What takes too long for whoever asks: looked up in a loop of its own while somebody asks for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from scp.background.loop import Task
from scp.errors import ZscpError, public

T = TypeVar("T")
# A look may take a twentieth of the time at most; one that failed is repeated soon.
_TIMES_AS_LONG, _AFTER_FAULT_SECONDS = 20, 5.0


@dataclass(frozen=True, slots=True)
class LookedUp(Generic[T]):
    """What the last look found: None before the first. ``fault`` says why the last one found nothing."""

    value: T | None = None
    fault: str = ""


def unexpected(error: Exception) -> str:
    """What is told of an error that nobody raises on purpose; its message may quote what is stored."""
    return f"an unexpected {type(error).__name__}: the node's log has more"


class LookUp(Task, Generic[T]):
    """Looks when :meth:`latest` is asked for, and the last look is older than ``seconds``.

    So nobody waits, and nothing is looked up where nobody asks. ``look`` may raise any error.
    """

    def __init__(self, name: str, seconds: float, look: Callable[[], T]) -> None:
        super().__init__()
        self.name = name
        self._seconds, self._look = seconds, look
        self._found: LookedUp[T] = LookedUp()
        self._wanted, self._next = False, 0.0

    def latest(self) -> LookedUp[T]:
        """What the last look found; begins another one where that is due. Waits for nothing."""
        if not self._wanted and time.monotonic() >= self._next:
            self._wanted = True
            self.bell.ring()
        return self._found

    def turn(self) -> None:
        """See :class:`scp.background.loop.Task`: a look, if one is wanted."""
        if not self._wanted:
            return
        begun, pause = time.monotonic(), _AFTER_FAULT_SECONDS
        self._next = begun
        try:
            self._found, pause = LookedUp(self._look()), self._seconds
        except ZscpError as error:
            self._found = LookedUp(self._found.value, public(error))
        except Exception as error:  # the loop writes it into the log
            self._found = LookedUp(self._found.value, unexpected(error))
            raise
        finally:
            ended = time.monotonic()
            if self._next:  # nothing has changed meanwhile
                self._next = ended + max(pause, _TIMES_AS_LONG * (ended - begun))
            self._wanted = False

    def reconfigured(self) -> None:
        """See :class:`scp.background.loop.Task`: what was found may be of another configuration."""
        self._next = 0.0
