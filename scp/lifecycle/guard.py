"""Check that the index which a running process has open is still the one that belongs to the stores.

If an index file is removed, or replaced by another, processes that have it open go on writing to it. The next
start does not find what they record then, and has to read all files again. So the process is ended; its
successor opens the index that is there, and rebuilds it first where it lacks anything.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from scp.archive.pairing import Pairing
from scp.errors import IndexDamaged, OutOfResources

LOOK_SECONDS = 5.0
# How many looks make a count, where nothing tells whether anything was written.
_LOOKS_A_COUNT = 12


class Guard:
    """Calls ``end`` once when the index must no longer be used; :meth:`watch` is called every LOOK_SECONDS.

    One of a node's guards ``counts``: an earlier copy of the index is then known to be older
    (:meth:`scp.archive.pairing.Pairing.advance`).
    """

    def __init__(self, pairing: Pairing, end: Callable[[], None], counts: bool = False) -> None:
        self._pairing, self._end, self._counts = pairing, end, counts
        self._looks = 0
        self._ended = False

    def watch(self) -> None:
        """Look, and end the process where that is needed."""
        if not self._ended and (fault := self.look()):
            structlog.get_logger("zscp").error("the index is opened again", reason=fault)
            self._ended = True
            self._end()

    def look(self) -> str:
        """What is wrong, if anything; where nothing is, advances the count."""
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
