"""What the page shows and does of policy and peers: built for the process that serves it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from scp.archive.archive import Archive
from scp.audit.trail import AuditTrail
from scp.background.lookup import LookUp
from scp.background.loop import Task
from scp.config.saving import ConfigurationFile
from scp.config.settings import Settings
from scp.errors import OutOfResources
from scp.index.index import SenderCount
from scp.index.queue import SendSum
from scp.index.watch import Watch
from scp.lifecycle.holdings import holdings
from scp.metrics.counting import NodeFigures
from scp.node.advising import Advising
from scp.node.peers import PeersDesk
from scp.node.policy_desk import PolicyDesk
from scp.node.reloading import Reloading
from scp.policy.reports import Holdings
from scp.web.page.admin import AdminDesk

# Of more objects some are picked: these take some 4 s of a core, of however many (docs/decisions/0183).
_PICKED = 200_000
# How old what is shown may be; each look takes a twentieth of the time at most. What is queued is few rows.
_HELD_SECONDS, _SENDERS_SECONDS, _QUEUE_SECONDS = 300.0, 300.0, 2.0


@dataclass(frozen=True, slots=True)
class Origin:
    """How a node was started: from which configuration, and the process that supervises it."""

    file: ConfigurationFile
    supervisor: int


class PageAdmin:
    """The desk for the page, the ``tasks`` that look things up for it, and their end."""

    def __init__(
        self,
        origin: Origin,
        settings: Callable[[], Settings],
        archive: Callable[[], Archive],
        figures: NodeFigures,
        trail: AuditTrail,
    ) -> None:
        self._settings, self._archive = settings, archive
        self._held = LookUp("counting what rules hold", _HELD_SECONDS, self._holdings)
        senders = LookUp("counting senders", _SENDERS_SECONDS, self._senders)
        queue = LookUp("counting what is to be sent", _QUEUE_SECONDS, self._queue)
        self.tasks: list[Task] = [self._held, senders, queue]
        self._advising = Advising(origin.file.path)
        reload = Reloading(figures, origin.supervisor).ask
        policy = PolicyDesk(origin.file, settings, archive, reload, trail, self._held.latest)
        peers = PeersDesk(settings, senders.latest, queue.latest, figures.contacts)
        self.desk = AdminDesk(policy, peers, self._advising)

    def _senders(self) -> list[SenderCount]:
        return self._archive().senders()

    def _queue(self) -> list[SendSum]:
        return self._archive().send_queue.sums()

    def _holdings(self) -> Holdings:
        return holdings(self._archive(), self._settings(), _PICKED, Watch(inf, self._check))

    def _check(self) -> None:
        if self._held.stopping.is_set():
            raise OutOfResources("this process ends")

    def stop(self) -> None:
        """End what was started beside this process."""
        self._advising.stop()
