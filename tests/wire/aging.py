"""What tests of the lifecycle share: objects, policies, and processes that die at each step."""

from __future__ import annotations

import contextlib
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked

from scp.archive.archive import Archive
from scp.config.rules import Stage
from scp.config.settings import Settings
from scp.lifecycle.recovery import recover
from scp.lifecycle.stages import Stages
from scp.node.build import open_archive
from scp.objects.names import store_of

from .configured import as_toml, environment, journal, settings_of, tables_of
from .peers import EXPLICIT, Sent, image
from .steps import cut_power, state_of

DAY = 86_400
FAST = {"form": "rle"}
SMALL = {"after": "30d", "form": "jpegls", "wrap": "none"}
SLOW = {"after": "30d", "form": "jpegxl", "effort": 9, "wrap": "none"}
AT_ONCE = {**SMALL, "after": "0s"}


def policy(*stages: dict[str, Any], **match: Any) -> list[dict[str, Any]]:
    return [{"name": "rule", "match": match, "stages": list(stages)}]


def stage(written: dict[str, Any]) -> Stage:
    return Stage.model_validate(written)


OBJECTS = [image(instance=f"1.2.3.4.{n}", seed=n, rows=48, InstanceNumber=n) for n in range(20)]


def use(archive: Archive, *stages: dict[str, Any]) -> None:
    archive.use_policy(settings_of({"policy": policy(*stages)}).policy)


def carry_out(stages: Stages) -> Counter[str]:
    """Until nothing is to be planned or done; how often each instance was encoded."""
    done: Counter[str] = Counter()
    while True:
        found = stages.round()
        done.update(change.after.sop_instance_uid for change in found.changes if change.stage)
        if not found.tried and not stages.plan():
            return done


def restored(archive: Archive) -> dict[str, bytes]:
    return {
        one.sop_instance_uid: b"".join(archive.fetch(one, [EXPLICIT]).chunks) for one in archive.index.all()
    }


def is_sound(archive: Archive, *objects: Sent) -> None:
    for one in archive.index.all():
        archive.verify(one, deep=True)
    assert restored(archive) == {one.instance: one.data for one in objects}
    assert sorted(archive.files.keys()) == sorted(one.key for one in archive.index.all())


def forms(archive: Archive) -> Counter[tuple[str, str]]:
    return Counter((one.form, one.outcome) for one in archive.index.all())


# What is on the disk at each step is copied: see steps.py.
_STEPS = """
    import os, sys
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from scp.config.load import load
    from scp.index.sql import SqlIndex
    from scp.index.sql_queue import SqlClaims
    from scp.index.stages import SqlStages
    from scp.lifecycle.stages import Stages
    from scp.node.build import open_archive
    from wire.steps import copy_at_each_step, remember_synced, stand_still

    base, power = Path(sys.argv[1]), sys.argv[2] == "True"
    SYSTEM = ("fsync", "posix_fadvise", "link", "replace", "rename", "unlink", "mkdir", "rmdir")

    def stage():
        if power:
            remember_synced(Path("data/index.db"))
        archive = open_archive(load(Path("zscp.toml"), {}))
        archive.index.sync()
        stand_still((os, SYSTEM), (SqlIndex, ("change_many", "sync")), (SqlStages, ("plan",)),
                    (SqlClaims, ("claim", "release")))
        with ThreadPoolExecutor(1) as pool:
            stages = Stages(archive, "killed", pool)
            while stages.round().tried or stages.plan():
                pass

    copy_at_each_step(stage, base / "filled", base)
"""


def die_at_each_step(
    tmp_path: Path,
    start: Callable[..., Any],
    made: Callable[..., Stages],
    power: bool,
    changed: dict[str, Any],
    prepare: Callable[[Path], object] = bool,
) -> Counter[tuple[str, str, int]]:
    """Have ``changed`` carried out on one object, by processes that are killed at each step, or lose power.

    Before that, ``prepare`` is given the folder of the objects.
    Returns how often it was found in which store and form after a recovery, and then encoded how often.
    """
    sent = OBJECTS[0]
    filled = start(policy=policy(FAST), lifecycle={"workers": 0})
    filled.keep(sent)
    filled.node.stop()
    prepare(filled.root / "objects")
    time.sleep(1.1)  # what is due after a second is due
    (tmp_path / "filled").mkdir()
    filled.root.rename(tmp_path / "filled" / "data")
    (tmp_path / "filled" / "zscp.toml").write_text(as_toml(tables_of(Path("data"), changed)))
    script = tmp_path / "steps.py"
    script.write_text(textwrap.dedent(_STEPS))
    done = forked.run([sys.executable, script, tmp_path, power], timeout=250, env=environment(helpers=True))
    assert done.returncode == 0, done.stderr
    seen: Counter[tuple[str, str, int]] = Counter()
    states: dict[str, tuple[str, str, int]] = {}
    for line in done.stdout.splitlines():
        folder, status = line.split()
        if power and status == "9":
            cut_power(tmp_path / folder, Path("data/index.db"))
        state = state_of(tmp_path / folder)
        with contextlib.chdir(tmp_path / folder):
            if state not in states:
                states[state] = _after_death(settings_of(tables_of(Path("data"), changed)), sent, made)
        seen[states[state]] += 1
    return seen


def _after_death(settings: Settings, sent: Sent, made: Callable[..., Stages]) -> tuple[str, str, int]:
    archive = open_archive(settings)
    try:
        (held,) = archive.index.all()
        archive.verify(held, deep=True)  # at once, as a reader that was there all the while
        recover(archive)
        is_sound(archive, sent)
        (held,) = archive.index.all()
        encoded = carry_out(made(archive, "killed"))[sent.instance]
        is_sound(archive, sent)
        for folder in settings.folders.values():
            assert journal(folder) == []
        return store_of(held.key), held.form, encoded
    finally:
        archive.close()
