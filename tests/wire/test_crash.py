"""Killed at any moment: what was acknowledged is there, what was not is there whole or not at all."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import forked
import pytest

from scp.config.load import load
from scp.lifecycle.deletion import Deletion
from scp.lifecycle.recovery import recover
from scp.node.build import open_archive

from .configured import environment, journal, stored_files, trashed_contents
from .conftest import NodeProcess
from .peers import (
    EXPLICIT,
    MR_IMAGE,
    PATIENT_GET,
    SECONDS,
    Scu,
    Sent,
    as_file,
    dcmtk_command,
    dcmtk_environment,
    identifier,
    image,
    until,
)
from .steps import cut_power, state_of

pytestmark = [pytest.mark.slow, pytest.mark.peer]

_RANDOM = random.Random(20260727)


class _Sender(threading.Thread):
    """Stores objects until the node is gone, and remembers each that was acknowledged."""

    def __init__(self, node: NodeProcess, objects: list[Sent]) -> None:
        super().__init__()
        self.node, self.objects = node, objects
        self.acknowledged: list[Sent] = []
        self.tried: list[Sent] = []
        self.faults: list[tuple[int, str]] = []

    def has_begun(self) -> bool:
        """Whether one was acknowledged, or none will be."""
        return bool(self.acknowledged) or not self.is_alive()

    def run(self) -> None:
        scu = Scu(self.node.address, [(MR_IMAGE, [EXPLICIT])])
        if not scu.established:
            return
        for sent in self.objects:
            self.tried.append(sent)
            scu.begin_store(sent)
            response = scu.association.dimse.get_msg(block=True)[1]
            if response is None:
                break
            if response.Status == 0:
                self.acknowledged.append(sent)
            else:
                self.faults.append((response.Status, str(response.ErrorComment)))
        scu.association.abort()


# What a kill leaves after each step of one store is looked at below; here others are under way beside it.
@pytest.mark.parametrize("kills", [4, pytest.param(12, marks=pytest.mark.long)])
def test_killed_again_and_again(process: Callable[..., NodeProcess], kills: int) -> None:
    node = process(query={"hierarchy": "lenient"}, node={"workers": 2})
    acknowledged: set[str] = set()
    # Contents that an instance may have: the one acknowledged last, and those sent since without an answer.
    possible: dict[str, set[bytes]] = {}
    unsure: dict[str, Sent] = {}
    for round_ in range(kills):
        node.start()
        assert journal(node.root / "objects") == []
        # What had no answer is sent again, something that had one comes with other content, the rest is new.
        work = dict(unsure)
        for uid in _RANDOM.sample(sorted(acknowledged), min(2, len(acknowledged))):
            work.setdefault(uid, image(instance=uid, seed=round_, rows=48))
        for n in range(1, 60):
            one = image(instance=f"1.2.3.{round_}.{n}", seed=n, InstanceNumber=n, rows=48)
            work[one.instance] = one
        senders = [_Sender(node, list(work.values())[half::2]) for half in range(2)]
        for sender in senders:
            sender.start()
        if round_ % 4:  # else perhaps before the first is acknowledged
            until(senders[0].has_begun, "one is acknowledged")
        time.sleep(_RANDOM.uniform(0.05, 0.7))
        node.kill()
        for sender in senders:
            sender.join(SECONDS)
            assert sender.faults == []
            for sent in sender.tried:
                possible.setdefault(sent.instance, set()).add(sent.data)
                unsure[sent.instance] = sent
            for sent in sender.acknowledged:
                possible[sent.instance] = {sent.data}
                acknowledged.add(sent.instance)
                del unsure[sent.instance]
    assert len(acknowledged) > kills
    node.start()
    _holds(node, acknowledged, possible)


def _holds(node: NodeProcess, acknowledged: set[str], possible: dict[str, set[bytes]]) -> None:
    objects = node.root / "objects"
    assert journal(objects) == []
    verdict = json.loads(node.run("verify", "--deep", "--json").stdout)
    assert verdict["damaged"] == 0
    assert verdict["sound"] == len(stored_files(objects))
    with Scu(node.address, [(PATIENT_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT])], roles=[MR_IMAGE]) as scu:
        done = scu.get(PATIENT_GET, identifier("PATIENT", PatientID="WIRE1"))
    assert done.final.status == 0
    back = {one.instance: one.data for one in done.objects}
    assert len(back) == len(done.objects) == verdict["sound"]
    assert acknowledged <= set(back)
    for uid, data in back.items():
        assert data in possible[uid], uid


def test_killed_while_dcmsend_sends(process: Callable[..., NodeProcess], tmp_path: Path) -> None:
    """A peer that is not ours: what it counts as sent is there."""
    node = process(node={"workers": 2})
    files = [
        as_file(image(instance=f"1.2.3.{n}", seed=n, InstanceNumber=n, rows=128), tmp_path / f"{n}.dcm")
        for n in range(1, 200)
    ]
    report = tmp_path / "report"
    node.start()
    command = dcmtk_command("dcmsend", "-v", "-aec", "ZSCP", "+crf", report, *node.address, *files)
    with (tmp_path / "dcmsend.log").open("w") as log:
        sending = subprocess.Popen(command, stdout=log, stderr=log, env=dcmtk_environment())
        until(lambda: (tmp_path / "dcmsend.log").read_text().count("(Success)") > 20, "some are sent")
        node.kill()
        sending.wait(60)
    lines = (tmp_path / "dcmsend.log").read_text()
    acknowledged = lines.count("C-STORE Response (Success)")
    node.start()
    verdict = json.loads(node.run("verify", "--deep", "--json").stdout)
    assert acknowledged <= verdict["sound"] <= acknowledged + 1
    assert verdict["damaged"] == 0
    assert 0 < acknowledged < len(files)


# -- at each step ----------------------------------------------------------------------------------------

# What is on the disk at each step is copied: see steps.py.
_STEPS = """
    import os, sys
    from datetime import UTC, datetime
    from functools import partial
    from pathlib import Path

    import structlog

    from scp.archive import behind as recorded
    from scp.config.load import load
    from scp.background.doorbell import Doorbell
    from scp.index.sql import SqlIndex
    from scp.lifecycle.encoder import Encoder
    from scp.model import Received
    from scp.node.build import open_archive
    from scp.objects import landing
    from wire.steps import copy_at_each_step, remember_synced, run_to_the_end, stand_still

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    base, replacing, behind, follows = Path(sys.argv[1]), *(word == "True" for word in sys.argv[2:5])
    recorded.WINDOW_SECONDS = 3600.0  # what is recorded behind is acknowledged before, on any machine
    landing.SEGMENT = 1 << 16
    SYSTEM = ("fsync", "fdatasync", "posix_fadvise", "pwritev", "pwrite", "posix_fallocate", "link",
              "replace", "rename", "unlink", "mkdir", "rmdir")

    def store(data, stands_still=False):
        remember_synced(Path("zscp-data/index.db"))
        archive = open_archive(load(base / "zscp.toml", {}), Doorbell() if behind else None)
        if archive.store.log:
            archive.store.log._size = 1 << 16
        archive.store.inner.inner.room.reserve = archive.store.log.room.reserve = 0
        archive.index.sync()
        if not data:
            return
        if stands_still:
            stand_still((os, SYSTEM), (SqlIndex, ("record", "add", "add_many", "change_many", "sync")))
        uids = ("1.2.840.10008.5.1.4.1.1.4", "1.2.3.1.1", "1.2.840.10008.1.2.1")
        sender = recorded.Unrecorded()
        follow = sender.add if follows else None
        archive.ingest(Received(*uids, data, "A", "B", datetime.now(UTC)), follow=follow)
        Path("acknowledged").write_bytes(data)
        assert sender.wait()
        assert bool(archive.index.count_pending().instances) == behind
        if behind:
            encoder = Encoder(archive, Doorbell())
            while encoder.round():
                pass
            # Others fill the segment, so that it can be freed.
            while any(segment.unrecorded == 0 for segment in archive.store.log._open.values()):
                filler = archive.store.log.write(b"head", bytes(20_000))
                archive.store.log.withdraw(filler)
                archive.store.log.recorded(filler)
                if len(archive.store.log._open) == 1 and archive.store.log._current.end > 1 << 15:
                    break
            encoder.free()

    begun = base / "begun"
    begun.mkdir()
    run_to_the_end(partial(store, (base / "old").read_bytes() if replacing else b""), begun)
    (begun / "acknowledged").unlink(missing_ok=True)
    copy_at_each_step(partial(store, (base / "new").read_bytes(), stands_still=True), begun, base)
"""


@dataclass(frozen=True)
class _Steps:
    """What stood on the disk after each step, in a folder each, and the exit status of the process."""

    root: Path
    statuses: dict[str, int]
    replacing: bool
    found: dict[str, tuple[list[bytes], list[str]]] = field(default_factory=dict)  # after a restart, by state


_OLD, _NEW = image(instance="1.2.3.1.1"), image(instance="1.2.3.1.1", seed=1)


# As by default, and encoded first, but that zstd needs no codec process, which each child would start anew.
_BEHIND = '[{ form = "received" }, { after = "0s", form = "zstd" }]'
_FIRST = '[{ form = "zstd" }]'


@pytest.fixture(
    scope="module",
    params=[
        (False, False, False, _BEHIND),
        (False, True, True, _FIRST),
        (False, True, True, _BEHIND),
        (True, False, False, _BEHIND),
        (True, True, False, _BEHIND),
        (True, True, True, _BEHIND),
    ],
    ids=[
        "first-encoded before",
        "first-encoded before, recorded behind",
        "first-recorded behind",
        "replacing-encoded before",
        "replacing-encoded behind",
        "replacing-recorded behind",
    ],
)
def steps(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> _Steps:
    replacing, behind, follows, stages = request.param
    root = tmp_path_factory.mktemp("steps")
    script = root / "steps.py"
    script.write_text(textwrap.dedent(_STEPS))
    (root / "zscp.toml").write_text(f'[[policy]]\nname = "all"\nstages = {stages}\n')
    (root / "old").write_bytes(_OLD.data)
    (root / "new").write_bytes(_NEW.data)
    command = [sys.executable, script, root, replacing, behind, follows]
    done = forked.run(command, timeout=300, env=environment(helpers=True))
    assert done.returncode == 0, done.stderr
    lines = (line.split() for line in done.stdout.splitlines())
    return _Steps(root, {folder: int(status) for folder, status in lines}, replacing)


@pytest.mark.parametrize("power", [False, True], ids=["killed", "power cut"])
def test_dies_at_each_step_of_a_store(tmp_path: Path, steps: _Steps, power: bool) -> None:
    """After it the object is there whole or not at all; what it was to replace is there until then.

    Once acknowledged it is there, also when the power fails and what the index committed since its last
    sync is gone.
    """
    old, new, outcomes = _OLD, _NEW, set()
    for folder, status in steps.statuses.items():
        left = tmp_path / folder
        # Not shutil: what is on its way into the store is known by its hard link.
        subprocess.run(["cp", "-a", steps.root / folder, left], check=True)
        if power and status:
            cut_power(left, Path("zscp-data/index.db"))
        state = state_of(left)
        if state not in steps.found:
            steps.found[state] = _after_restart(left)
        held, trashed = steps.found[state]
        replaced = [hashlib.sha256(old.data).hexdigest()] if steps.replacing and held == [new.data] else []
        assert sorted(set(trashed)) == replaced, folder
        assert held in ([], [old.data], [new.data]), folder
        assert held or not steps.replacing, folder
        assert status or held == [new.data], folder
        if (left / "acknowledged").exists():
            assert held == [new.data], folder
        outcomes.add(b"".join(held))
    assert sum(map(bool, steps.statuses.values())) > 15
    assert outcomes == {old.data if steps.replacing else b"", new.data}


def _after_restart(root: Path) -> tuple[list[bytes], list[str]]:
    """What is held after a recovery as the next start does it, each proven; and what is in the trash."""
    data = root / "zscp-data"
    urls = {"ZSCP_STORAGE__URL": f"file://{data}/objects", "ZSCP_INDEX__URL": f"sqlite:///{data}/index.db"}
    archive = open_archive(load(None, urls))
    try:
        recover(archive)
        Deletion(archive, {"": data / "objects"}).resume()
        waiting = archive.index.pending(10)
        archive.replace([archive.encode(one) for one in waiting])
        held = list(archive.index.all())
        assert journal(data / "objects") == []
        assert len(stored_files(data / "objects")) == len(held)
        for instance in held:
            archive.verify(instance, deep=True)
        contents = [b"".join(archive.fetch(instance, [EXPLICIT]).chunks) for instance in held]
        return contents, trashed_contents(data / "objects")
    finally:
        archive.close()
