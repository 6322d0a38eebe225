"""What the audit trail is told of retrieved objects, as on the DIMSE side (PS3.15 A.5.3.7)."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from scp.audit import events, messages
from scp.audit.actors import this_process
from scp.audit.events import Action, Participant
from scp.audit.studies import StudyCounts
from scp.model import Instance
from scp.web.dicomweb.asked import Asked

# A viewer asks for a thousand frames one by one: the trail is told once in a while who looks at a study.
_AGAIN_SECONDS, _MOST = 300.0, 10_000


class Transfer:
    """Counts what one request sends, and tells the trail at its end."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._sent, self._left = StudyCounts(), StudyCounts()
        self._why = ""

    def sent(self, instance: Instance) -> None:
        """An instance was sent."""
        self._sent.add(instance)

    def left_out(self, instance: Instance, why: str) -> None:
        """An instance was not."""
        self._left.add(instance)
        self._why = why

    def end(self) -> None:
        """The request is over."""
        _record(self._asked, self._sent, "")
        _record(self._asked, self._left, self._why)


class Looks:
    """Tells the trail that somebody gets parts of a study: once in five minutes."""

    def __init__(self) -> None:
        self._told: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        self._changes = threading.Lock()

    def is_due(self, asked: Asked, instance: Instance) -> bool:
        """Whether the trail is to be told of a part of an instance, which takes its time."""
        told = self._told.get(_look(asked, instance), -_AGAIN_SECONDS)
        return asked.desk.trail.on and time.monotonic() - told >= _AGAIN_SECONDS

    def note(self, asked: Asked, instance: Instance) -> None:
        """A part of an instance is sent."""
        if not asked.desk.trail.on:
            return
        key, now = _look(asked, instance), time.monotonic()
        with self._changes:
            if now - self._told.get(key, -_AGAIN_SECONDS) < _AGAIN_SECONDS:
                return
            self._told[key] = now
            self._told.move_to_end(key)
            while len(self._told) > _MOST:
                self._told.popitem(last=False)
        _record(asked, StudyCounts([instance]), "")


looks = Looks()


def _look(asked: Asked, instance: Instance) -> tuple[str, str, str]:
    """Who looks at which study."""
    return asked.caller.name, asked.caller.address, instance.study_instance_uid


def _record(asked: Asked, counts: StudyCounts, why: str) -> None:
    trail = asked.desk.trail
    if not trail.on:
        return
    for key in counts:
        trail.record(messages.transferred(Action.READ, _who(asked), counts.subjects(key), why))


def _who(asked: Asked) -> tuple[Participant, ...]:
    aet = asked.desk.settings().node.aet
    node = this_process(aet, role=events.SOURCE, requestor=False, name="zscp DICOMweb")
    return node, asked.caller.participant(events.DESTINATION)
