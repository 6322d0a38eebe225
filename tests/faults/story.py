"""A whole story: store, encode, stage, query, retrieve, delete, verify. A fault may come anywhere in it."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import objects

from scp.archive.archive import Archive
from scp.background.doorbell import Doorbell
from scp.background.progress import Silent
from scp.config.settings import Settings
from scp.dimse.status import status_of
from scp.index.queue import Lease
from scp.lifecycle.deletion import Deletion
from scp.lifecycle.encoder import Encoder
from scp.lifecycle.fsck import fsck
from scp.lifecycle.stages import Stages
from scp.model import Query, QueryKey, Received
from scp.node.build import open_archive, take_up
from scp.syntaxes import EXPLICIT

from .injected import Plan

# How a C-STORE may be refused: out of resources, which its sender tries again (PS3.4 B.2.3).
REFUSED = 0xA700
_RLE, _JPEGLS = ({"form": form, "wrap": "none"} for form in ("rle", "jpegls"))
_FIRST = [{"name": "all", "stages": [{"form": "received"}, {"after": "0s", **_RLE}]}]
_THEN = [{"name": "all", "stages": [_JPEGLS]}]


def settings_in(root: Path, policy: list[dict[str, Any]]) -> Settings:
    storage = {"url": f"file://{root}/objects", "reserve": 0, "backlog": 10**6}
    index = {"url": f"sqlite:///{root}/index.db"}
    tables = {"storage": storage, "index": index, "cache": {"bytes": 0}, "policy": policy}
    return Settings.model_validate(tables)


def objects_of(count: int) -> dict[str, Received]:
    made = {}
    for number in range(count):
        uid = f"1.2.3.{number}"
        dataset = objects.described(objects.Shape(rows=16, columns=16), uid)
        data = objects.written(dataset, explicit=True, little=True)
        made[uid] = objects.as_received(data, EXPLICIT, sop_instance=uid)
    return made


class Here(Executor):
    """Work that is done at once, by the thread that asks for it: calls have the same order each time."""

    def submit(self, call: Any, /, *given: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(call(*given, **named))
        except Exception as error:  # noqa: BLE001 - raised where the result is asked for
            future.set_exception(error)
        return future


class Story:
    """An archive whose parts do what a node does, one after the other."""

    def __init__(self, root: Path, sent: dict[str, Received]) -> None:
        self.root, self.settings, self.sent = root, settings_in(root, _FIRST), sent
        self.acknowledged: set[str] = set()
        self.deleted: set[str] = set()
        self.doubtful: set[str] = set()
        self.statuses: list[int] = []
        self.errors: list[BaseException] = []
        self._open()

    def _open(self) -> None:
        self.archive: Archive = open_archive(self.settings, Doorbell())
        take_up(self.archive)
        self.archive.prepare()
        clock = iter(range(0, 10**9, 10**6))  # what was put off has its turn again
        self.encoder = Encoder(self.archive, Doorbell(), clock=lambda: float(next(clock)))
        self.encoder._pool.shutdown()
        self.encoder._pool = Here()  # type: ignore[assignment]
        self.stages = Stages(self.archive, "story", Here())
        self.deletion = Deletion(self.archive, self.settings.folders)

    def live(self, plan: Plan) -> None:
        """The story; what fails in it is noted, and the next step follows."""
        plan.counts = True
        for uid in self.sent:
            self.store(uid)
        self._attempt(self.encode)
        self._attempt(self.stage)
        self._attempt(self.query)
        self._attempt(self.retrieve)
        self._attempt(lambda: self.delete(next(iter(self.sent))))
        self._attempt(self.verify)
        plan.counts = False

    def _attempt(self, step: Any) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001 - each loop of a node goes on after a turn that raised
            self.errors.append(error)

    def store(self, uid: str) -> None:
        try:
            self.archive.ingest(self.sent[uid])
        except Exception as error:  # noqa: BLE001 - whatever it is, a peer is answered with it
            self.errors.append(error)
            self.statuses.append(status_of(error))
        else:
            self.acknowledged.add(uid)

    def encode(self) -> None:
        while self.encoder.round():
            pass
        self.encoder.free()

    def stage(self) -> None:
        self.settings = settings_in(self.root, _THEN)
        self.archive.use_policy(self.settings.policy)
        while self.stages.plan() or self.stages.round().tried:
            pass

    def query(self) -> None:
        found = list(self.archive.find(Query("STUDY", "IMAGE", (QueryKey("SOPInstanceUID", "UI", ""),))))
        assert {one["SOPInstanceUID"] for one in found} >= self.acknowledged

    def retrieve(self) -> None:
        for uid in self.acknowledged - self.deleted - self.doubtful:
            (held,) = self.archive.named(uid)
            assert b"".join(self.archive.fetch(held, [EXPLICIT]).chunks) == bytes(self.sent[uid].dataset)

    def delete(self, uid: str) -> None:
        if uid not in self.acknowledged:
            return
        self.doubtful.add(uid)
        removal = self.deletion.delete(self.archive.named(uid), "test")
        if uid in removal.deleted:
            self.deleted.add(uid)

    def verify(self) -> None:
        for one in list(self.archive.all()):
            self.archive.verify(one, deep=True)

    def goes_on(self) -> None:
        """After the fault: what the loops do at their next turns, and what a sender sends again."""
        for uid in self.sent:
            if uid not in self.acknowledged:
                self.archive.ingest(self.sent[uid])
                self.acknowledged.add(uid)
        until = datetime.now(UTC) + timedelta(hours=1)
        self.archive.claims.claim(Lease("nobody", until, until), [])  # the claims of what failed have ended
        self.encode()
        self.stage()
        self.deletion.resume()

    def all_is_well(self) -> None:
        self.query_finds_each_once()
        self.retrieve()
        self.verify()
        findings = list(fsck(self.archive, Silent(), deletion=self.deletion))
        assert findings == [], findings

    def query_finds_each_once(self) -> None:
        held = sorted(one.sop_instance_uid for one in self.archive.all())
        trashed = sorted(one.sop_instance_uid for one in self.deletion.trash.entries() if one.state == "gone")
        assert sorted([*held, *trashed]) == sorted(self.sent), (held, trashed)
        assert set(trashed) <= self.doubtful

    def start_again(self) -> None:
        self.close()
        self._open()
        self.deletion.resume()

    def close(self) -> None:
        with suppress(Exception):
            self.archive.close()
