"""What the policy would do, looked up for the page beside the node: when asked for, and not too often."""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from objects import Shape, phantom
from waiting import until

from scp.background.loop import Loop
from scp.config.link import link
from scp.config.settings import Settings
from scp.node import beside
from scp.node.build import open_archive
from scp.node.page_savings import PlanLooks
from scp.web.plans import PlanLook

# In the place of the program: it says what is wrong; or it takes long, and writes that it has begun.
FAILS = "import sys; sys.stdin.buffer.read(); sys.exit('a line\\nthe index cannot be used')"
LASTS = "import sys, time; open(sys.argv[1], 'w').close(); time.sleep(600)"
LATER = {"name": "all", "stages": [{"form": "zstd"}, {"form": "htj2k", "after": "30d"}]}


@pytest.fixture(autouse=True)
def _as_soon_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a program of low priority did not end within a minute."""
    monkeypatch.setattr(beside, "_NICE", 0)


@contextmanager
def running(looks: PlanLooks) -> Iterator[PlanLooks]:
    loop = Loop(looks)
    loop.start()
    try:
        yield looks
    finally:
        loop.stop()
        loop.join(20)


def looked(looks: PlanLooks) -> PlanLook:
    """What is found by a look that this begins, or that is under way."""
    looks.latest()
    until(lambda: not looks._latest.running, "the look has ended", 60)
    return looks._latest


def test_a_look_plans_by_the_settings_in_force_and_changes_nothing(tmp_path: Path) -> None:
    storage = {"url": f"file://{tmp_path}/data", "reserve": 0}
    tables = {"storage": storage, "index": {"url": f"sqlite:///{tmp_path}/index.db"}, "policy": [LATER]}
    settings, _ = link(Settings.model_validate(tables))
    archive = open_archive(settings)
    for seed in range(3):
        long_ago = datetime.now(UTC) - timedelta(days=60)
        archive.ingest(replace(phantom(Shape(seed=seed, rows=200, columns=200)), received_at=long_ago))
    with running(PlanLooks(lambda: settings)) as looks:
        assert looks.latest().running
        found = looked(looks)
    forms = {one.form for one in archive.all()}
    archive.close()
    assert found.fault == ""
    assert found.plan is not None
    assert (found.plan.looked_at, found.plan.objects, len(found.plan.groups)) == (3, 3, 1)
    group = found.plan.groups[0]
    assert (group.rule, group.form, group.becomes) == ("all", "zstd", "htj2k")
    assert group.measured.objects == 3
    assert (group.saved or 0) > 0
    assert group.stage == {"form": ["htj2k"], "after": 30 * 86_400}
    assert forms == {"zstd"}


def test_why_a_look_failed_is_said_and_the_next_one_waits() -> None:
    with running(PlanLooks(Settings, (sys.executable, "-c", FAILS))) as looks:
        assert looked(looks).fault == "the index cannot be used"
        assert not looks.latest().running


def test_another_policy_is_looked_at_at_once() -> None:
    settings = Settings()
    with running(PlanLooks(lambda: settings, (sys.executable, "-c", FAILS))) as looks:
        looked(looks)
        settings = settings.model_copy(update={"policy": settings.policy[:-1]})
        assert looks.latest().running


def test_a_node_that_stops_ends_the_program(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    looks = PlanLooks(Settings, (sys.executable, "-c", LASTS, str(begun)))
    with running(looks):
        looks.latest()
        until(begun.exists, "the program has begun", 60)
        stopped = time.monotonic()
    assert not looks._latest.running
    assert looks._latest.fault
    assert time.monotonic() - stopped < 20


def test_nothing_is_looked_at_where_nobody_asks(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    looks = PlanLooks(Settings, (sys.executable, "-c", LASTS, str(begun)))
    looks.turn()
    assert not begun.exists()


def test_a_look_that_fails_unexpectedly_says_so_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def pickled(_: object) -> bytes:
        raise pickle.PicklingError("a bug")

    monkeypatch.setattr("scp.node.page_savings.pickle.dumps", pickled)
    looks = PlanLooks(Settings, (sys.executable, "-c", ""))
    looks.latest()
    with pytest.raises(pickle.PicklingError):
        looks.turn()
    assert looks.latest().fault == "an unexpected PicklingError: the node's log has more"
    assert not looks.latest().running
