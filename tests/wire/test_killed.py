"""Processes that carry out the lifecycle, killed at random moments, again and again.

Each child is forked from one process that has imported everything, so that dozens of them take seconds. It
encodes anew, moves to another store or back, and deletes, all at once, and is killed in the midst of it. It
is killed after some writes to the disk, not after a time, so that as much gets done on a busy machine.
"""

from __future__ import annotations

import contextlib
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import forked
import pytest

from scp.background.progress import Silent
from scp.config.settings import Settings
from scp.lifecycle.deletion import Deletion
from scp.lifecycle.fsck import fsck
from scp.lifecycle.recovery import recover
from scp.lifecycle.stages import Stages
from scp.lifecycle.verify import verify
from scp.node.build import open_archive
from scp.objects.names import store_of

from .aging import FAST, carry_out, policy
from .configured import as_toml, environment, free_claims, journal, settings_of, tables_of
from .conftest import Starter
from .peers import EXPLICIT, Sent, image

pytestmark = pytest.mark.slow

KILLS, COUNT, STUDIES = 25, 240, 24
# One policy encodes anew, another moves as well, the third moves alone; each child changes it once more.
SMALL = policy({"form": "jpegls", "wrap": "none"})
THERE = policy(FAST, {"after": "1s", "form": "htj2k", "wrap": "none", "store": "cold"})
BACK = policy({"form": "htj2k", "wrap": "none"})

_KILLED = """
    import json, os, random, signal, sys, time
    from concurrent.futures import ThreadPoolExecutor
    from datetime import UTC, datetime, timedelta
    from pathlib import Path
    from threading import Thread

    from scp.config.load import load
    from scp.index.queue import Lease
    from scp.lifecycle.deletion import Deletion
    from scp.lifecycle.recovery import recover
    from scp.lifecycle.stages import Stages
    from scp.node.build import open_archive

    kills, doomed = int(sys.argv[1]), sys.argv[2].split(",")
    chance = random.Random(20)

    def counted(work, written):
        def sync(descriptor):
            work(descriptor)
            os.write(written, b".")
        return sync

    def work(number, written):
        settings = load(Path(f"{number % 3}.toml"), {})
        archive = open_archive(settings)
        later = datetime.now(UTC) + timedelta(hours=1)
        archive.index.claims.claim(Lease("nobody", later, later), [])  # the claims of the dead have ended
        recover(archive)
        deletion = Deletion(archive, settings.folders)

        def delete():
            deletion.resume()
            for one in list(archive.index.all()):
                if one.study_instance_uid == doomed[number // 4 % len(doomed)]:
                    deletion.delete([one], "test")

        with ThreadPoolExecutor(2) as pool:
            stages = Stages(archive, f"worker {number}", pool)
            thread = Thread(target=delete)
            os.fsync, os.fdatasync = counted(os.fsync, written), counted(os.fdatasync, written)
            thread.start()
            while True:
                found = stages.round()
                if not found.tried and not stages.plan() and not thread.is_alive():
                    break
        os._exit(0)

    killed = number = 0
    while killed < kills and number < 3 * kills:
        number += 1
        reads, written = os.pipe()
        child = os.fork()
        if not child:
            try:
                work(number, written)
            finally:
                os._exit(1)
        os.close(written)
        syncs = chance.randint(1, 60)
        while syncs > 0 and (more := os.read(reads, syncs)):
            syncs -= len(more)
        time.sleep(chance.uniform(0, 0.005))
        os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.close(reads)
        killed += status == -9
        print("\\nended", status, flush=True)
"""


@pytest.mark.long
def test_killed_again_and_again_in_the_midst_of_it(
    tmp_path: Path, start: Starter, made: Callable[..., Stages]
) -> None:
    """Nothing is missing, nothing is done twice, and fsck and verify --deep find nothing."""
    objects = [
        image(study=f"1.2.9.{n % STUDIES}", instance=f"1.2.9.{n % STUDIES}.1.{n}", seed=n)
        for n in range(COUNT)
    ]
    sent = {one.instance: one for one in objects}
    doomed = {f"1.2.9.{n}" for n in range(12)}
    filled = start(policy=policy(FAST), lifecycle={"workers": 0})
    filled.keep(*sent.values())
    filled.node.stop()
    (tmp_path / "killed").mkdir()
    filled.root.rename(tmp_path / "killed" / "data")
    tiers = [{"name": "cold", "url": "file://data/cold", "reserve": 0}]
    configured = [tables_of(Path("data"), {"policy": one, "tiers": tiers}) for one in (SMALL, THERE, BACK)]
    with contextlib.chdir(tmp_path / "killed"):
        for number, one in enumerate(configured):
            Path(f"{number}.toml").write_text(as_toml(one))
        Path("killed.py").write_text(textwrap.dedent(_KILLED))
        time.sleep(1.1)
        command = [sys.executable, "killed.py", KILLS, ",".join(sorted(doomed))]
        done = forked.run(command, timeout=250, env=environment())
        assert done.returncode == 0, done.stderr
        ends = Counter(line for line in done.stdout.splitlines() if line.startswith("ended"))
        assert ends.pop("ended 0", 0) < KILLS / 5  # it had done all there was to do
        assert ends == {"ended -9": KILLS}
        _all_is_well(settings_of(configured[1]), sent, doomed, made)


def _all_is_well(
    settings: Settings, sent: dict[str, Sent], doomed: set[str], made: Callable[..., Stages]
) -> None:
    archive = open_archive(settings)
    deletion = Deletion(archive, settings.folders)
    recover(archive)
    deletion.resume()
    free_claims(archive.index)
    assert list(fsck(archive, Silent(), deletion=deletion)) == []
    assert not any(verdict.fault for verdict in verify(archive, archive.index.all(), deep=True))
    trashed = Counter(one.sop_instance_uid for one in deletion.trash.entries())
    held = Counter(one.sop_instance_uid for one in archive.index.all())
    assert set((trashed + held).values()) == {1}  # each once: here, or in the trash
    assert set(trashed + held) == set(sent)
    for one in archive.index.all():
        assert b"".join(archive.fetch(one, [EXPLICIT]).chunks) == sent[one.sop_instance_uid].data
    assert {one.study_instance_uid for one in deletion.trash.entries()} <= doomed
    assert 0 < len(trashed) <= COUNT / 2
    stages = made(archive)
    assert set(carry_out(stages).values()) <= {1}
    # What was alone in the slots of two processes that were killed counts as what they died of, as nobody can
    # tell (docs/decisions/0113): it stays as it is, and gets its stage when an admin asks for that.
    refused = archive.index.checks.refused()
    assert {one.refused for one in refused if "processes died" not in one.refused} == set()
    assert 2 * len(refused) <= KILLS  # each costs two deaths
    assert {store_of(one.key) for one in archive.index.all() if not one.refused} == {"cold"}
    for one in refused:
        archive.trials.allow(one)
    again = carry_out(stages)
    assert set(again) <= {one.sop_instance_uid for one in refused}
    assert set(again.values()) <= {1}
    assert {store_of(one.key) for one in archive.index.all()} == {"cold"}
    assert list(fsck(archive, Silent(), deletion=deletion)) == []
    for folder in settings.folders.values():
        assert journal(folder) == []
    archive.close()
