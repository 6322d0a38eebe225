"""What is to be sent away because of what arrives or is asked for, and who is woken for it."""

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

# One look for earlier studies serves a study's other objects too, and what a reader asks all day.
REMEMBERED = 12 * 3600.0
_MOST_REMEMBERED = 10_000


class Forwarding:
    """Applies the rules for that. ``bell`` wakes the forwarder.

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
        """From now on these rules count."""
        self._forward, self._prefetch = settings.forward, settings.prefetch

    def of(self, facts: Facts) -> tuple[QueuedSend, ...]:
        """What is to be recorded together with an arriving object."""
        return forwards(self._forward, facts, datetime.now(UTC)) if self._forward else ()

    def recorded(self, sends: Sequence[QueuedSend], facts: Facts, study: str) -> None:
        """The object is in the index, in this study: tell who sends, and who looks for earlier studies."""
        if sends:
            self.announce()
        if self._prefetch:
            self.notice("store", facts, study)

    def announce(self) -> None:
        """Wake who sends."""
        if self._bell is not None:
            self._bell.ring()

    def notice(self, what: str, facts: Facts, study: str = "") -> None:
        """A "store" or a "query": an occasion to send earlier studies ahead, once for each study.

        ``study`` is the one that an object is in, which it may not say itself.
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
