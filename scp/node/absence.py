"""When a process of a node cannot begin, as its index or its store is away, and when the next one tries."""

from __future__ import annotations

import errno

from scp.background.back_off import BackOff
from scp.errors import OutOfResources

# The exit status of such a process (EX_TEMPFAIL of sysexits.h).
STATUS = 75
# Before the next one begins: without a pause, a node whose disk is gone starts its processes for ever.
PAUSES = BackOff(5.0, 30.0)
# What a disk says that was taken away, became read-only or full, or fails.
_AWAY = (
    *(errno.EIO, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ESTALE),
    *(errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.ETIMEDOUT),
)
# One that ends by itself sooner has not served: its index is not, or no longer, the one of its store.
STEADY_SECONDS = 60.0
_TELL_EACH = 10  # of the tries of one process: every 5 minutes at last


def is_away(error: Exception) -> bool:
    """Whether an error of a process that begins says that its index or a store is away."""
    return isinstance(error, OutOfResources) or (isinstance(error, OSError) and error.errno in _AWAY)


def is_told(tries: int) -> bool:
    """Whether the failure of a try is logged; ``tries`` counts those before it."""
    return tries % _TELL_EACH == 0


class Absences:
    """How many processes of each name in a row could not begin, or ended by themselves soon after."""

    def __init__(self) -> None:
        self._tries: dict[str, int] = {}

    def tries(self, name: str) -> int:
        """How many there were; 0: the next one begins at once."""
        return self._tries.get(name, 0)

    def ended(self, name: str, away: bool, by_itself: bool) -> None:
        """Count one; the first that ends by itself is followed at once, by one that makes its index again."""
        if away or (by_itself and name in self._tries):
            self._tries[name] = self._tries.get(name, 0) + 1
        elif by_itself:
            self._tries[name] = 0
        else:
            self._tries.pop(name, None)
