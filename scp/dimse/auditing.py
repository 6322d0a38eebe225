"""What one association adds to the audit trail: its services say what they did, and know no syslog.

Stored objects are counted by study, and told together: when the association ends, after five minutes, or when
there are many studies. So a C-STORE costs a count.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager

from scp.audit import events, messages
from scp.audit.actors import peer, this_process
from scp.audit.events import Action, Code, Participant
from scp.audit.repeats import Repeats
from scp.audit.stored import StoredCounts
from scp.audit.studies import StudyCounts
from scp.audit.trail import NO_TRAIL, AuditTrail
from scp.dimse.negotiation.association_request import Titles
from scp.model import Instance, Kept
from scp.spool import Buffer

_MOST_SECONDS, _MOST_STUDIES = 300.0, 256
_UNSENT = "not sent, or not taken by the destination"


class AssociationAudit:
    """The audit trail as one association sees it; any thread may call. ``titles`` are those of its request.

    ``user`` is the name that the peer gave, where it was checked.
    """

    def __init__(
        self,
        trail: AuditTrail = NO_TRAIL,
        titles: Callable[[], Titles] = lambda: Titles("", ""),
        address: str = "",
        repeats: Repeats | None = None,
    ) -> None:
        self._trail, self._titles, self._address = trail, titles, address
        self._repeats = repeats or Repeats()
        self.user = ""
        self._lock = threading.Lock()
        self._since = 0.0
        self._stored = StoredCounts()
        self._over = False

    # ---- who ----

    def _peer(self, role: Code | None = None, requestor: bool = True) -> Participant:
        return peer(self._titles().calling, self._address, role, requestor, self.user)

    def _node(self, role: Code | None = None, requestor: bool = False) -> Participant:
        return this_process(self._titles().called, role=role, requestor=requestor)

    def identified(self, name: str, why: str) -> None:
        """A peer's user was let in by name, or not, and ``why``; then its name is nowhere."""
        self.user = "" if why else name
        if not self._trail.on:
            return
        left_out = self._left_out("login", why) if why else 0
        if left_out is not None:
            self._trail.record(messages.login(self._peer(), self._node(), why + _more(left_out)))

    def refused(self, why: str) -> None:
        """The association was rejected, or never came to be."""
        self._alert(events.NODE_AUTHENTICATION, why)

    def denied(self, why: str) -> None:
        """A request was refused, as the peer may not do this."""
        self._alert(events.RESTRICTED_FUNCTION, why)

    def _alert(self, kind: Code, why: str) -> None:
        left_out = self._left_out(kind, why) if self._trail.on else None
        if left_out is None:
            return
        who = (self._node(), self._peer(requestor=False))
        subject = messages.node_subject(self._address)
        self._trail.record(messages.alert(kind, who, subject, why + _more(left_out)))

    def _left_out(self, kind: Hashable, why: str) -> int | None:
        return self._repeats.since(self._address, (kind, self._titles(), why))

    # ---- what was stored ----

    def stored(self, kept: Kept) -> None:
        """An object was kept, or was held already."""
        if not self._trail.on:
            return
        with self._lock:
            self._since = self._since or time.monotonic()
            studies = self._stored.add(kept)
            due = studies > _MOST_STUDIES or time.monotonic() - self._since > _MOST_SECONDS or self._over
        if due:
            self.flush()

    def not_stored(self, why: str) -> None:
        """An object was refused: which study it is of is not known."""
        with self._lock:
            self._stored.refused(why)

    def end(self) -> None:
        """Record what was counted: the association is over. What was recorded later follows at once."""
        self._over = True
        self.flush()

    def flush(self) -> None:
        """Record what was counted until now."""
        with self._lock:
            stored, self._stored, self._since = self._stored, StoredCounts(), 0.0
        stored.record(self._trail, (self._peer(events.SOURCE), self._node(events.DESTINATION)))

    # ---- what was asked for, and sent ----

    def queried(self, sop_class: str, identifier: Buffer, syntax: str) -> None:
        """A query came in; ``identifier`` as it came."""
        if self._trail.on:
            who = (self._peer(events.SOURCE), self._node(events.DESTINATION))
            self._trail.record(messages.queried(*who, sop_class, bytes(identifier), syntax))

    @contextmanager
    def sending(
        self,
        instances: Sequence[Instance],
        unsent: Callable[[], set[str]],
        destination: tuple[str, str] | None = None,
    ) -> Iterator[None]:
        """Record that instances are about to be sent, and at the end of the block which were.

        ``unsent`` gives the SOP Instance UIDs of the others. ``destination`` is the AE title and host of a
        C-MOVE's; without it, the peer itself gets them.
        """
        if not self._trail.on:
            yield
            return
        who: tuple[Participant, ...] = (self._node(events.SOURCE), self._peer(events.DESTINATION))
        if destination is not None:
            who = (self._node(events.SOURCE), peer(*destination, events.DESTINATION), self._peer())
        meant = StudyCounts(instances)
        for key in meant:
            self._trail.record(messages.transferring(who, meant.subjects(key)))
        try:
            yield
        finally:
            left = unsent()
            sent = [one for one in instances if one.sop_instance_uid not in left]
            record_sent(self._trail, who, sent, "")
            record_sent(self._trail, who, [one for one in instances if one.sop_instance_uid in left], _UNSENT)


def _more(left_out: int) -> str:
    return (
        f" ({left_out} more refusals of this address in the minute before are left out)" if left_out else ""
    )


def record_sent(
    trail: AuditTrail, who: tuple[Participant, ...], instances: Sequence[Instance], why: str
) -> None:
    """Record that instances were sent to another node, or ``why`` not: a message for each study."""
    counts = StudyCounts(instances)
    for key in counts:
        trail.record(messages.transferred(Action.READ, who, counts.subjects(key), why))
