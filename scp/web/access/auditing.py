"""What the page tells the audit trail: who came and went, and who may not do what they tried."""

from __future__ import annotations

from scp.audit import events, messages
from scp.audit.actors import operator, this_process
from scp.audit.events import AuditOutcome, Code, Participant, Subject
from scp.audit.repeats import Repeats
from scp.audit.trail import AuditTrail
from scp.web.access.sessions import Visitor

_UNKNOWN = "unknown user"


def participant(visitor: Visitor, address: str, role: Code | None = None) -> Participant:
    """A visitor, as one who acts: for messages about what was done on the page."""
    if not visitor.name:
        return operator(role)
    return Participant(visitor.name, True, role, name=visitor.name, address=address)


def record_use(
    trail: AuditTrail, visitor: Visitor, address: str, what: str, subject: Subject, done: bool = True
) -> None:
    """Tell the trail that a visitor did, or tried, what an admin alone may do."""
    who = (participant(visitor, address), _node())
    outcome = AuditOutcome.SUCCESS if done else AuditOutcome.MINOR
    trail.record(messages.alert(events.RESTRICTED_FUNCTION, who, subject, what, outcome))


class AccessAudit:
    """Tells the trail of visitors; refusals that repeat are told once a minute."""

    def __init__(self, trail: AuditTrail) -> None:
        self._trail, self._repeats = trail, Repeats()

    def login(self, name: str, address: str, why: str = "") -> None:
        """A user was let in, or ``why`` not; ``name`` is empty for one that is no user's.

        What was typed there may be a password.
        """
        left_out = self._left_out(address, ("login", name), why)
        if left_out is not None:
            who = Participant(name or _UNKNOWN, True, name=name, address=address)
            self._trail.record(messages.login(who, _node(), why + _more(left_out)))

    def logout(self, visitor: Visitor, address: str) -> None:
        """A user has left."""
        if self._trail.on:
            self._trail.record(messages.logout(participant(visitor, address), _node()))

    def denied(self, visitor: Visitor, address: str, what: str) -> None:
        """A visitor may not do this."""
        self.refused(participant(visitor, address), address, what)

    def refused(self, one: Participant, address: str, what: str) -> None:
        """Somebody may not do this."""
        left_out = self._left_out(address, ("denied", one.user_id, what), what)
        if left_out is not None:
            who = (one, _node())
            subject = messages.node_subject(address)
            told = what + _more(left_out)
            self._trail.record(messages.alert(events.RESTRICTED_FUNCTION, who, subject, told))

    def _left_out(self, address: str, kind: tuple[str, ...], why: str) -> int | None:
        if not self._trail.on:
            return None
        return self._repeats.since(address, kind) if why else 0


def _node() -> Participant:
    return this_process(name="zscp page")


def _more(left_out: int) -> str:
    return f" ({left_out} more of this address in the minute before are left out)" if left_out else ""
