"""Watches that the index that a running process has open is still the one that belongs to the stores.

An index file that is removed, or replaced by another, goes on being written to by those who have it open:
what they record then is not found by the next start, which has to read all files again. So the process is
ended, and its successor opens what is there and, where that lacks anything, makes it anew first.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from scp.archive.pairing import Pairing
from scp.errors import IndexDamaged, OutOfResources

LOOK_SECONDS = 5.0
# Where nothing tells whether anything was written.
_LOOKS_A_COUNT = 12


class Guard:
    """Calls ``end`` once when the index must not be used on; :meth:`watch` is called every LOOK_SECONDS.

    One for a node ``counts``: an index that was copied before is then known to be older
    (:meth:`scp.archive.pairing.Pairing.advance`).
    """

    def __init__(self, pairing: Pairing, end: Callable[[], None], counts: bool = False) -> None:
        self._pairing, self._end, self._counts = pairing, end, counts
        self._looks = 0
        self._ended = False

    def watch(self) -> None:
        """Look, and end the process where that is needed."""
        if not self._ended and (fault := self.look()):
            structlog.get_logger("zscp").error("the index is opened anew", reason=fault)
            self._ended = True
            self._end()

    def look(self) -> str:
        """What is wrong, if anything; counts on where nothing is."""
        try:
            if fault := self._pairing.fault():
                return fault
            self._looks += 1
            if self._counts:
                self._pairing.advance_if_changed(always=self._looks % _LOOKS_A_COUNT == 0)
        except IndexDamaged as error:
            self._pairing.suspect()
            return str(error)
        except OutOfResources as error:
            structlog.get_logger("zscp").error("the index was not looked at", reason=str(error))
        return ""
