"""The audit trail of one process: messages wait in memory until a thread has handed them over.

Nobody waits for the collector: :meth:`Trail.record` takes some 50 µs, whatever happens there. While it is
away, messages wait, and are sent in their order when it is back. What finds no room in the queue is lost,
which is counted, logged, and told to the collector itself (docs/decisions/0141).
"""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol

import structlog

from scp.audit import events, messages
from scp.audit.actors import host, this_process
from scp.audit.events import AuditEvent, AuditOutcome, AuditSource
from scp.audit.rendering import to_xml
from scp.audit.syslog import AuditMessage
from scp.audit.transports import AuditFile, AuditTransport, SyslogTls, SyslogUdp
from scp.background.back_off import BackOff
from scp.background.loop import Loop, Task
from scp.config.audit import AuditSettings
from scp.config.settings import Settings
from scp.config.tls import client_context
from scp.metrics import counting

_PAUSES = BackOff(0.5, 30.0)
# An ending process waits so long for what is queued; a service manager waits for 90 s.
_CLOSE_SECONDS, _LAST_PAUSE_SECONDS = 5.0, 0.1
_LOOK_SECONDS = 0.002  # a file takes a message in less
_QUEUE = "audit.queue"


class AuditTrail(Protocol):
    """What services and commands know of the audit trail. Each event is whole when it is recorded."""

    @property
    def on(self) -> bool:
        """Whether anything is recorded: without that, nothing need be counted."""

    def record(self, event: AuditEvent) -> None:
        """Record an event; never raises, and never waits."""

    def handed_over(self, seconds: float) -> bool:
        """Wait at most so long until all that was recorded is handed over; whether it is."""


class NoTrail:
    """Nothing is recorded."""

    on = False

    def record(self, event: AuditEvent) -> None:
        """Do nothing."""

    def handed_over(self, seconds: float) -> bool:  # noqa: ARG002 - as AuditTrail has it
        """Nothing waits."""
        return True

    def start(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


NO_TRAIL = NoTrail()


class Trail:
    """Takes events from any thread, and hands them over in a thread of its own from :meth:`start` on.

    Before that it only queues, so that a process may fork.
    """

    on = True

    def __init__(self, transport: AuditTransport, source: AuditSource, most_bytes: int) -> None:
        self._source = source
        self._sending = _Sending(transport, most_bytes, self.record)
        self._loop = Loop(self._sending)

    def record(self, event: AuditEvent) -> None:
        """See :class:`AuditTrail`."""
        try:
            message = AuditMessage(
                to_xml(event, self._source), event.at, event.outcome is not AuditOutcome.SUCCESS
            )
        except Exception as error:  # noqa: BLE001 - a bug here must not fail what is recorded
            structlog.get_logger("zscp").error("audit message not made", exc_info=error)
            return
        self._sending.put(message)

    def handed_over(self, seconds: float) -> bool:
        """See :class:`AuditTrail`."""
        return self._sending.is_done(seconds)

    def start(self) -> None:
        """Begin to send."""
        self._loop.start()

    def close(self, seconds: float = _CLOSE_SECONDS) -> None:
        """Send what waits, for at most so long; what is left then is lost, counted and logged."""
        self._sending.until = time.monotonic() + seconds
        self._loop.stop()
        self._loop.join(seconds)
        self._sending.give_up()


# Room for the message that others were lost: it has 1.2 KB, and the least queue 64 KB.
_OF_AN_ALERT = 4096


class _Sending(Task):
    """The queue, and who empties it. ``until`` ends what is tried when the process ends."""

    name = "audit"

    def __init__(self, transport: AuditTransport, most: int, record: Callable[[AuditEvent], None]) -> None:
        super().__init__()
        self._transport, self._most = transport, most
        self._record = record
        self._lock = threading.Lock()
        self._waiting: deque[AuditMessage] = deque()
        self._bytes = self._lost = self._failures = 0
        self.until = 0.0

    def put(self, message: AuditMessage) -> None:
        """Queue a message, or count it as lost where the queue is full."""
        with self._lock:
            full = self._bytes + len(message.xml) > self._most
            first = full and not self._lost
            self._lost += full
            if not full:
                self._bytes += len(message.xml)
                self._waiting.append(message)
        if full:
            counting.limit(_QUEUE)
        if first:
            told = "messages are lost until the collector takes some; raise the key, or see why it is away"
            structlog.get_logger("zscp").error("audit queue is full", limit=_QUEUE, reason=told)
        self.bell.ring()

    def is_done(self, seconds: float) -> bool:
        """Wait at most so long until nothing waits; whether nothing does."""
        until = time.monotonic() + seconds
        while self._waiting:
            if time.monotonic() > until:
                return False
            time.sleep(_LOOK_SECONDS)
        return True

    def turn(self) -> float | None:
        """See :class:`scp.background.loop.Task`."""
        while self._waiting:
            if self.stopping.is_set() and time.monotonic() > self.until:
                return None
            try:
                self._send(self._waiting[0])
            except OSError as error:
                return self._failed(error)
            self._sent()
        return None

    def _send(self, message: AuditMessage) -> None:
        try:
            self._transport.send(message)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:  # a datagram that no network takes would be tried for ever
                raise
            counting.limit("audit message")
            told = {"bytes": len(message.xml), "reason": "too long for UDP; use syslog+tls or a file"}
            structlog.get_logger("zscp").error("audit message lost", **told)

    def _failed(self, error: OSError) -> float:
        pause = _PAUSES.after(self._failures)
        if not self._failures:
            log = structlog.get_logger("zscp")
            log.error("audit trail waits", reason=str(error), waiting=len(self._waiting))
        self._failures += 1
        return pause

    def _sent(self) -> None:
        """Drop what was handed over; where messages were lost, tell that as soon as there is room."""
        with self._lock:
            self._bytes -= len(self._waiting.popleft().xml)
            lost = self._lost if self._bytes + _OF_AN_ALERT <= self._most else 0
            self._lost -= lost
        if self._failures or lost:
            structlog.get_logger("zscp").warning("audit trail goes on", lost=lost, tries=self._failures)
        self._failures = 0
        if lost:
            self._tell_lost(lost)

    def _tell_lost(self, lost: int) -> None:
        """Have the trail itself say that it has a gap."""
        told = f"{lost} audit messages were lost while the collector was away, and {_QUEUE} was full"
        node = messages.node_subject(host())
        reporter = (this_process(),)
        self._record(messages.alert(events.RECORDING_STOPPED, reporter, node, told, AuditOutcome.SERIOUS))

    def close(self) -> None:
        """See :class:`scp.background.loop.Task`: try to send what is left, as long as there is time."""
        while self.turn() is not None and time.monotonic() < self.until:
            time.sleep(_LAST_PAUSE_SECONDS)
        self._transport.close()

    def give_up(self) -> None:
        """Count and log what was not sent."""
        with self._lock:
            left = len(self._waiting) + self._lost
            self._waiting.clear()
            self._bytes = self._lost = 0
        for _ in range(left):
            counting.limit(_QUEUE)
        if left:
            log = structlog.get_logger("zscp")
            log.error(
                "audit messages lost", lost=left, reason="the process ended, and the collector was away"
            )


def trail_of(settings: Settings) -> Trail | NoTrail:
    """The trail that the configuration asks for, not yet started."""
    transport = _transport(settings)
    if transport is None:
        return NO_TRAIL
    audit = settings.audit
    return Trail(transport, AuditSource(audit.source or settings.node.aet, audit.site), audit.queue)


def _transport(settings: Settings) -> AuditTransport | None:
    audit: AuditSettings = settings.audit
    if audit.path is not None:
        return AuditFile(audit.path)
    if audit.collector is None:
        return None
    if not audit.secure:
        return SyslogUdp(*audit.collector)
    tls = settings.tls
    # RFC 5425 5.2: unlike a peer, a collector is configured by its name.
    context = partial(client_context, tls.certificate, tls.key, audit.ca or tls.ca, check_host=True)
    return SyslogTls(*audit.collector, context)


@contextmanager
def recording(settings: Settings) -> Iterator[AuditTrail]:
    """The trail, for as long as a command works."""
    trail = trail_of(settings)
    trail.start()
    try:
        yield trail
    finally:
        trail.close()
