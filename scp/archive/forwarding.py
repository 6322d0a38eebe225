"""Which objects to send to peers when an object or a query arrives, and which loops to wake for that."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from scp.background.doorbell import Doorbell
from scp.config.settings import Settings
from scp.model import Facts, QueuedSend
from scp.policy.forwarding import Occasion, forwards, occasion

# One search for earlier studies serves the study's other objects too, and a reader's queries of a whole day.
REMEMBERED = 12 * 3600.0
_MOST_REMEMBERED = 10_000


class Forwarding:
    """Applies the forwarding rules. ``bell`` wakes the forwarder.

    Only a process that ``prefetches`` collects occasions to send earlier studies.
    """

    def __init__(self, settings: Settings, bell: Doorbell | None = None, prefetches: bool = False) -> None:
        self._bell = bell
        self._prefetches = prefetches
        self._lock = threading.Lock()
        self._met: OrderedDict[tuple[str, str, str, str], float] = OrderedDict()
        self.occasions: deque[Occasion] = deque(maxlen=_MOST_REMEMBERED)
        self.occasion_bell = Doorbell()
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """Apply these rules from now on."""
        self._forward, self._prefetch = settings.forward, settings.prefetch

    def of(self, facts: Facts) -> tuple[QueuedSend, ...]:
        """The queue entries to record together with an arriving object."""
        return forwards(self._forward, facts, datetime.now(UTC)) if self._forward else ()

    def recorded(self, sends: Sequence[QueuedSend], facts: Facts, study: str) -> None:
        """Note that an object of ``study`` was recorded: wake the forwarder and the prefetching."""
        if sends:
            self.announce()
        if self._prefetch:
            self.notice("store", facts, study)

    def announce(self) -> None:
        """Wake the forwarder."""
        if self._bell is not None:
            self._bell.ring()

    def notice(self, what: str, facts: Facts, study: str = "") -> None:
        """Note a "store" or a "query": an occasion to prefetch earlier studies, once for each study.

        ``study`` is the Study Instance UID of an object, which its dataset may lack.
        """
        for rule in self._prefetch if self._prefetches else ():
            found = occasion(rule, facts) if what in rule.on else None
            found = replace(found, study=study) if found is not None and study else found
            if found is not None and self._is_new(found):
                self.occasions.append(found)
                self.occasion_bell.ring()

    def _is_new(self, found: Occasion) -> bool:
        key, now = (found.rule.name, found.patient_id, found.issuer, found.study), time.monotonic()
        with self._lock:
            met = self._met.get(key)
            if met is not None and now - met < REMEMBERED:
                return False
            self._met[key] = now
            self._met.move_to_end(key)
            while len(self._met) > _MOST_REMEMBERED:
                self._met.popitem(last=False)
            return True
