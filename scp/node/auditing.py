"""What a node tells the audit trail of itself: start, stop, and which keys of its configuration change."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

from scp.audit import events, messages
from scp.audit.actors import host, operator, this_process
from scp.audit.changes import changed_keys, is_of_security
from scp.audit.events import AuditEvent, AuditOutcome, Participant
from scp.audit.trail import AuditTrail
from scp.background.loop import Task
from scp.config.settings import Settings


def started(trail: AuditTrail, settings: Settings, pid: int) -> None:
    """Record that the node of process ``pid`` starts, and which keys of its configuration are set."""
    trail.record(messages.application(_node(settings, pid), operator(events.LAUNCHER), starts=True))
    keys = changed_keys(Settings(), settings)
    trail.record(_configured(settings, keys, "started with keys that differ from the defaults: ", pid))


def stopped(trail: AuditTrail, settings: Settings, pid: int) -> None:
    """Record that the node stops."""
    trail.record(messages.application(_node(settings, pid), operator(events.LAUNCHER), starts=False))


def _node(settings: Settings, pid: int) -> Participant:
    names = (settings.node.aet, *settings.node.aliases)
    return replace(this_process(*names, role=events.APPLICATION), user_id=str(pid))


def _configured(settings: Settings, keys: list[str], what: str, pid: int) -> AuditEvent:
    """An informative alert that names keys, and no value: some are secrets."""
    kind = events.SECURITY_CONFIGURATION if is_of_security(keys) else events.SOFTWARE_CONFIGURATION
    node = messages.node_subject(f"{settings.node.aet}@{host()}")
    told = what + (", ".join(keys) or "none")
    return messages.alert(kind, (_node(settings, pid),), node, told, AuditOutcome.SUCCESS)


class ConfigurationWatch(Task):
    """Records which keys changed when the configuration was read again and came into force."""

    name = "auditing the configuration"

    def __init__(self, trail: AuditTrail, settings: Callable[[], Settings]) -> None:
        super().__init__()
        self._trail, self._settings = trail, settings
        self._known = settings()

    def turn(self) -> None:
        """See :class:`scp.background.loop.Task`."""
        now = self._settings()
        keys = changed_keys(self._known, now) if self._trail.on else []
        self._known = now
        if keys:
            self._trail.record(_configured(now, keys, "changed keys: ", os.getpid()))
