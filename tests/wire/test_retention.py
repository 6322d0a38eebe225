"""Deleting, holding and restoring as an admin does it, and what peers see of it."""

from __future__ import annotations

import json
from collections.abc import Callable

from typer.testing import CliRunner

from scp.cli import app

from .aging import FAST, OBJECTS, policy
from .conftest import NodeProcess, RunningNode, Starter
from .peers import EXPLICIT, MR_IMAGE, STUDY_FIND, STUDY_GET, Scu, identifier, until


def studies(node: RunningNode) -> int:
    with node.scu((STUDY_FIND, [EXPLICIT])) as scu:
        return len(scu.find(STUDY_FIND, identifier("STUDY", StudyInstanceUID="1.2.3"))) - 1


def test_a_rule_deletes_by_itself(start: Starter) -> None:
    node = start(policy=policy(FAST), storage={"trash": "0s"})
    node.keep(*OBJECTS[:4])
    node.reload(retention=[{"name": "at once", "after": "0s"}])
    until(lambda: studies(node) == 0, "the study is deleted")
    until(lambda: not list((node.root / "objects" / ".trash").glob("*.dcm")), "it is purged")


def test_deleted_held_restored_and_purged_by_hand(process: Callable[..., NodeProcess]) -> None:
    node = process(policy=policy(FAST), lifecycle={"workers": 0})
    node.start()

    def run(*arguments: object, status: int = 0) -> str:
        """A command inside this process: a process each would take a minute."""
        done = CliRunner().invoke(app, [*map(str, arguments), "-c", str(node.config)])
        assert done.exit_code == status, done.output
        return done.stdout

    def get() -> list[bytes]:
        with Scu(node.address, [(STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT])], roles=[MR_IMAGE]) as scu:
            done = scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID="1.2.3"))
        assert done.final.status == 0
        return sorted(one.data for one in done.objects)

    with Scu(node.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
        assert [scu.store(one).status for one in OBJECTS[:4]] == [0] * 4
    everything = sorted(one.data for one in OBJECTS[:4])
    run("delete", "1.2.3", status=2)  # without a reason
    run("delete", "--reason", "no name", status=2)
    shown = run("delete", "1.2.3", "--reason", "test", "--dry-run")
    assert "1.2.3" in shown
    listed = json.loads(run("delete", "1.2.3", "--level", "study", "--reason", "x", "--dry-run", "--json"))
    assert {one["sop_instance_uid"] for one in listed} == {one.instance for one in OBJECTS[:4]}
    assert get() == everything
    run("hold", "add", "1.2.3", "--reason", "court")
    assert "court" in run("hold", "list")
    told = json.loads(run("delete", "1.2.3", "--reason", "test", "--yes", "--json", status=1))
    assert (len(told["deleted"]), len(told["held"])) == (0, 4)
    assert get() == everything
    run("hold", "remove", "1.2.3")
    one = OBJECTS[0].instance
    told = json.loads(run("delete", one, "--reason", "wrong patient", "--yes", "--json"))
    assert told["deleted"] == [one]
    assert get() == sorted(sent.data for sent in OBJECTS[1:4])
    assert "wrong patient" in run("trash", "list")
    run("trash", "restore", one)
    assert get() == everything
    run("delete", "1.2.3", "--reason", "done with", "--yes")
    assert get() == []
    assert json.loads(run("stats", "--json"))["counts"]["instances"] == 0
    assert len(json.loads(run("trash", "list", "--json"))) == 4
    run("fsck")
    assert run("reindex").startswith("0 recorded")
    run("trash", "purge")
    assert len(json.loads(run("trash", "list", "--json"))) == 4  # not old enough
    run("trash", "purge", "--now")
    assert json.loads(run("trash", "list", "--json")) == []
    run("trash", "restore", "1.2.3", status=1)
    assert node.kill(15) == 0


def test_retention_shows_what_would_go(process: Callable[..., NodeProcess]) -> None:
    rules = [{"name": "old", "after": "10y", "match": {"Modality": "MR"}}]
    node = process(policy=policy(FAST), lifecycle={"workers": 0}, retention=rules)
    assert json.loads(node.run("retention", "--json").stdout) == {"studies": [], "held": 0}
    node.write_config(retention=[{"name": "always", "after": "0s", "delete": "when full"}])
    assert "has no effect without storage.high_watermark" in node.run("check").stdout
