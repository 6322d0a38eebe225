"""A node says that it lives, and hears of the others: of their associations, and what they run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from importlib.metadata import version

import structlog

from scp.archive.archive import Archive
from scp.background.back_off import BackOff
from scp.background.loop import Task
from scp.config.fingerprint import fingerprint
from scp.config.settings import Settings
from scp.errors import ConfigurationError, OutOfResources
from scp.index.nodes import BEAT_SECONDS, EXPIRES_SECONDS, KnownNode, NodeReport
from scp.node.itself import Itself, itself, own_folder
from scp.node.seats import SharedSeats

# Counting what is pending reads all such rows: it may take a twentieth of the time at most.
_TIMES_AS_LONG = 20
_WAIT_SECONDS = 0.5


class Heartbeat(Task):
    """The heartbeat of a node, in one of its processes; ``start`` is the same for all of them."""

    name = "heartbeat"
    again = BackOff(BEAT_SECONDS, BEAT_SECONDS)

    def __init__(
        self, archive: Archive, settings: Callable[[], Settings], start: str, seats: SharedSeats | None = None
    ) -> None:
        super().__init__()
        self._archive, self._settings, self._start, self._seats = archive, settings, start, seats
        self._itself = itself(own_folder(settings()))
        self._pending, self._count_at = 0, float("-inf")
        self._warned: set[str] = set()

    def turn(self) -> float | None:
        """See :class:`scp.background.loop.Task`. Raises OutOfResources: then the own limits alone hold."""
        if not self._itself.id:
            return None
        try:
            known = self._beat()
        except OutOfResources:
            self._tell_seats(())
            raise
        cluster = self._archive.elsewhere.cluster
        cluster.heard(known)
        self._tell_seats(cluster.living())
        self._warn(known)
        return BEAT_SECONDS

    def close(self) -> None:
        """Say that this node has ended; the others need not wait for its silence."""
        try:
            if self._itself.id:
                self._archive.elsewhere.cluster.nodes.stop(self._itself.id, self._start)
        except OutOfResources as error:
            structlog.get_logger("zscp").warning("the end was not told", reason=str(error))

    def _beat(self) -> list[KnownNode]:
        self._count()
        settings, me = self._settings(), self._itself
        held = self._seats.held() if self._seats is not None else {}
        said = report(settings, me, self._start, held, self._pending)
        return self._archive.elsewhere.cluster.nodes.beat(said)

    def _count(self) -> None:
        if (now := time.monotonic()) >= self._count_at:
            self._pending = self._archive.count_pending().size
            took = time.monotonic() - now
            self._count_at = now + max(BEAT_SECONDS, _TIMES_AS_LONG * took)

    def _tell_seats(self, living: Iterable[KnownNode]) -> None:
        if self._seats is not None:
            self._seats.use_others(one.report.associations for one in living)

    def _warn(self, known: Iterable[KnownNode]) -> None:
        """Once for each state that an admin should look at."""
        own = fingerprint(self._settings())
        now = set[str]()
        for one in known:
            said = one.report
            if said.id != self._itself.id and one.lives and said.fingerprint != own:
                now.add(f"node {one.report.name} ({said.id}) runs another configuration, {said.fingerprint}")
            if said.id == self._itself.id and one.lives and _is_another(said, self._itself, self._start):
                now.add(_copied(one))
        for told in now - self._warned:
            structlog.get_logger("zscp").warning("nodes differ", fingerprint=own, reason=told)
        self._warned = now


def report(settings: Settings, me: Itself, start: str, held: dict[str, int], pending: int = 0) -> NodeReport:
    """What a node says of itself."""
    address = f"{settings.node.host}:{settings.node.port}"
    told = (me.id, me.name, start, me.place, address, version("zscp"), fingerprint(settings))
    return NodeReport(*told, held, pending)


def register(archive: Archive, settings: Settings, start: str) -> None:
    """Say for the first time that a node lives: when it is ready to serve. Raises OutOfResources."""
    me = itself(own_folder(settings))
    if me.id:
        archive.elsewhere.cluster.nodes.beat(report(settings, me, start, {}))


def check_alone(archive: Archive, settings: Settings, start: str) -> None:
    """Check that no other living node has this one's id, as a node does that was started on a copied folder.

    A row that is fresh may be of this node's own last run, on a machine that was lost: then it ages within
    EXPIRES_SECONDS. Raises ConfigurationError, OutOfResources.
    """
    me = itself(own_folder(settings))
    if not me.id and settings.index.path is None:
        where = own_folder(settings)
        raise ConfigurationError(f"{where} cannot be written: a node that shares an index keeps its id there")
    youngest, until = EXPIRES_SECONDS, time.monotonic() + EXPIRES_SECONDS
    while me.id:
        known = archive.elsewhere.cluster.nodes.all()
        own = next((one for one in known if one.report.id == me.id and one.lives), None)
        if own is None or not _is_another(own.report, me, start):
            return
        if own.age + _WAIT_SECONDS / 2 < youngest < EXPIRES_SECONDS or time.monotonic() > until:
            raise ConfigurationError(_copied(own))  # it has said something since
        youngest = min(youngest, own.age)
        time.sleep(_WAIT_SECONDS)


def _is_another(said: NodeReport, me: Itself, start: str) -> bool:
    return said.start != start and said.place != me.place


def _copied(one: KnownNode) -> str:
    return (
        f"another living node, {one}, has the id of this one: its folder was copied. Stop one of them, and"
        " remove .zscp/node in the copy, where storage.url or storage.spool says; it gets an id of its own"
    )
