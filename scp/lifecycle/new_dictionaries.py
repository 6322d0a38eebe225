"""Has the objects of a SOP class planned again when it got another zstd dictionary (docs/decisions/0211).

Each hour it also reads all dictionaries and their copies.

What is packed anew is then a stage that is due, as any other: found, claimed, proven and replaced by
:mod:`scp.lifecycle.stages`. Order: the dictionary is durable and the newest → rows are planned again → that
is noted in the index. A process that dies in between leaves no note, and the next one does it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from scp.archive.archive import Archive

_LOOK_SECONDS = 60.0
_COPIES_SECONDS = 3600.0
# Other processes pack with the former dictionary for 5 s (scp.objects.dictionaries), and plan nothing for the
# new one.
_KNOWN_TO_ALL_SECONDS = 10.0


class NewDictionaries:
    """Looks for classes whose newest dictionary is not the one that their objects were planned for."""

    def __init__(self, archive: Archive, clock: Callable[[], float] = time.monotonic) -> None:
        self._archive = archive
        self._clock = clock
        self._next = self._copies = 0.0
        self._seen: dict[tuple[str, int], float] = {}

    def look(self) -> None:
        """Plan again what has to be, at most once a minute. Raises OutOfResources."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + _LOOK_SECONDS
        if now >= self._copies:  # whatever the policy asks for: stored objects may need them
            self._copies = now + _COPIES_SECONDS
            self._archive.dictionaries.keep_copies()
        if not self._archive.policy.asks_for_dictionaries():
            return
        held, noticed = self._archive.dictionaries, self._archive.stages.noticed_dictionaries()
        for uid in {entry.sop_class_uid for entry in held.entries()}:
            newest = held.newest_id(uid)
            if not newest or (uid in noticed and noticed[uid].id == newest):
                continue
            if now - self._seen.setdefault((uid, newest), now) < _KNOWN_TO_ALL_SECONDS:
                self._next = now + _KNOWN_TO_ALL_SECONDS
            else:
                self._plan(uid, newest)

    def _plan(self, uid: str, newest: int) -> None:
        with self._archive.exclusive("dictionaries", wait=False) as alone:
            if alone:
                planned = self._archive.stages.plan_for_dictionary(uid, newest, time.time())
                log = structlog.get_logger("zscp")
                log.info("planned for a dictionary", sop_class=uid, dictionary=newest, objects=planned)
