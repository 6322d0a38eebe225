"""Deleting, holding and restoring as an admin does it, and what peers see of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from .aging import FAST, OBJECTS, policy
from .conftest import NodeProcess, RunningNode, Starter
from .peers import EXPLICIT, MR_IMAGE, STUDY_FIND, STUDY_GET, Scu, as_file, identifier, image, until


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

    def get() -> list[bytes]:
        with Scu(node.address, [(STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT])], roles=[MR_IMAGE]) as scu:
            done = scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID="1.2.3"))
        assert done.final.status == 0
        return sorted(one.data for one in done.objects)

    with Scu(node.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
        assert [scu.store(one).status for one in OBJECTS[:4]] == [0] * 4
    everything = sorted(one.data for one in OBJECTS[:4])
    node.here("delete", "1.2.3", status=2)  # without a reason
    node.here("delete", "--reason", "no name", status=2)
    shown = node.here("delete", "1.2.3", "--reason", "test", "--dry-run")
    assert "1.2.3" in shown
    listed = json.loads(
        node.here("delete", "1.2.3", "--level", "study", "--reason", "x", "--dry-run", "--json")
    )
    assert {one["sop_instance_uid"] for one in listed} == {one.instance for one in OBJECTS[:4]}
    assert get() == everything
    assert "study 1.2.3 is under a hold" in node.here("hold", "add", "1.2.3", "--reason", "court")
    assert "court" in node.here("hold", "list")
    told = json.loads(node.here("delete", "1.2.3", "--reason", "test", "--yes", "--json", status=1))
    assert (len(told["deleted"]), len(told["held"])) == (0, 4)
    assert get() == everything
    assert "1 hold on 1.2.3 removed" in node.here("hold", "remove", "1.2.3")
    one = OBJECTS[0].instance
    told = json.loads(node.here("delete", one, "--reason", "wrong patient", "--yes", "--json"))
    assert told["deleted"] == [one]
    assert get() == sorted(sent.data for sent in OBJECTS[1:4])
    assert "wrong patient" in node.here("trash", "list")
    assert "1 object restored" in node.here("trash", "restore", one)
    assert get() == everything
    assert "4 objects moved to the trash" in node.here("delete", "1.2.3", "--reason", "done with", "--yes")
    assert get() == []
    assert json.loads(node.here("stats", "--json"))["counts"]["instances"] == 0
    assert len(json.loads(node.here("trash", "list", "--json"))) == 4
    node.here("fsck")
    assert node.here("reindex").startswith("0 recorded")
    node.here("trash", "purge")
    assert len(json.loads(node.here("trash", "list", "--json"))) == 4  # not old enough
    assert "4 objects removed from the trash" in node.here("trash", "purge", "--now")
    assert json.loads(node.here("trash", "list", "--json")) == []
    assert json.loads(node.here("trash", "restore", "1.2.3", "--json", status=1)) == []
    newer = image(instance=one, seed=9)
    with Scu(node.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
        assert [scu.store(sent).status for sent in (OBJECTS[0], newer)] == [0, 0]
    (entry,) = json.loads(node.here("trash", "list", "--json"))
    assert entry["reason"] == "replaced by an object from TESTER"
    node.here("trash", "restore", entry["id"], status=1)  # only with --replace
    node.here("trash", "restore", entry["id"], "--replace")
    assert get() == [OBJECTS[0].data]
    assert node.kill(15) == 0


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("trash", "restore", "1.2.3"), "1.2.3 is not in the trash"),
        (("delete", "1.2.3", "--reason", "x", "--yes"), "1.2.3 is not stored"),
        (("hold", "remove", "1.2.3"), "there is no such hold on 1.2.3; zscp hold list shows all"),
        (
            ("explain", "1.2.3"),
            "1.2.3 is no SOP Instance UID that is held, and no file; "
            "`zscp trash list` has what was deleted, replaced or made lossy",
        ),
    ],
)
def test_a_uid_that_is_unknown_is_told(
    process: Callable[..., NodeProcess], command: tuple[str, ...], told: str
) -> None:
    assert process().run(*command, status=1).stderr.splitlines() == [f"zscp: {told}"]


def test_moments_in_json_are_utc(process: Callable[..., NodeProcess], tmp_path: Path) -> None:
    node = process()
    node.here("import", as_file(OBJECTS[0], tmp_path / "one.dcm"))
    node.here("delete", OBJECTS[0].instance, "--reason", "test", "--yes")
    node.here("hold", "add", "1.2.3", "--reason", "court")
    (entry,) = json.loads(node.here("trash", "list", "--json"))
    (held,) = json.loads(node.here("hold", "list", "--json"))
    for moment in (entry["at"], held["since"]):
        assert datetime.fromisoformat(moment).utcoffset() == timedelta()


def test_recompress_says_that_nothing_is_due(process: Callable[..., NodeProcess]) -> None:
    assert process().here("recompress", "--now") == "Nothing is due.\n"


def test_retention_shows_what_would_go(process: Callable[..., NodeProcess]) -> None:
    rules = [{"name": "old", "after": "10y", "match": {"Modality": "MR"}}]
    node = process(policy=policy(FAST), lifecycle={"workers": 0}, retention=rules)
    shown = json.loads(node.run("retention", "--json").stdout)
    assert shown == {"studies": [], "held": 0, "schedule": []}
    node.write_config(retention=[{"name": "always", "after": "0s", "delete": "when full"}])
    assert "has no effect without storage.high_watermark" in node.run("check").stdout
