"""An archive with a policy of one lossy stage, for tests of what becomes of its objects."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lossy_stages import DAYS, as_sent, configured, opened
from wire.configured import stored_files
from wire.peers import Sent

from scp.audit.events import AuditEvent
from scp.lifecycle import loss_audit
from scp.lifecycle.deletion import Deletion
from scp.lifecycle.recovery import recover
from scp.lifecycle.stages import Stages
from scp.model import Instance
from scp.objects.stores import places


class Site:
    """An archive, with a policy of one lossy stage, and what works on it."""

    def __init__(self, root: Path, stage: dict[str, Any], **tables: Any) -> None:
        self.root = root
        self.settings = configured(root, stage, **tables)
        self.archive = opened(self.settings)
        self.pool = ThreadPoolExecutor(1)
        self.events: list[AuditEvent] = []
        self.on = True  # it is an audit trail, too

    def record(self, event: AuditEvent) -> None:
        self.events.append(event)

    def handed_over(self, seconds: float) -> bool:
        return True

    @property
    def deletion(self) -> Deletion:
        return Deletion(self.archive, places(self.settings))

    def keep(self, sent: Sent, days: float = DAYS) -> Instance:
        return self.archive.ingest(as_sent(sent, days)).instance

    def carry_out(self) -> int:
        """Until nothing is to be planned or done; how many stages were carried out."""
        stages = Stages(self.archive, "test", self.pool, audit=loss_audit.by_itself(self, "ZSCP"))
        done = 0
        while True:
            found = stages.round()
            done += sum(1 for change in found.changes if change.stage)
            if not found.tried and not stages.plan():
                return done

    @property
    def held(self) -> list[Instance]:
        return list(self.archive.all())

    @property
    def one(self) -> Instance:
        (one,) = self.archive.all()
        return one

    def again(self, stage: dict[str, Any] | None = None) -> None:
        """Another process opens it, and takes up what this one left."""
        self.archive.close()
        if stage is not None:
            self.settings = configured(self.root, stage)
        self.archive = opened(self.settings, knows_promises=False)
        recover(self.archive)
        self.deletion.resume()

    def close(self) -> None:
        self.pool.shutdown()
        self.archive.close()


def files_of(here: Site) -> list[Path]:
    """The files of objects."""
    return [path for path in stored_files(here.root / "objects") if ".holds" not in path.parts]
