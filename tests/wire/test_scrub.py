"""A node that reads what it stores, and what its commands tell of it."""

from __future__ import annotations

import json
from collections.abc import Callable

from scp.lifecycle.scrub import Scrubber

from .aging import FAST, OBJECTS, policy
from .conftest import NodeProcess, Starter
from .peers import EXPLICIT, MR_IMAGE, STUDY_GET, Scu, identifier, until


def test_a_node_finds_what_is_damaged_and_serves_the_rest(start: Starter) -> None:
    node = start(policy=policy(FAST), scrub={"interval": "1s"})
    node.keep(*OBJECTS[:5])
    path = node.path(OBJECTS[2])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    node.reload(scrub={"interval": "1s"})
    (scrubber,) = (loop for loop in node.node.loops if isinstance(loop.task, Scrubber))

    def found() -> list[str]:
        scrubber.wake()
        return [one.sop_instance_uid for one in node.archive.index.checks.damaged()]

    until(lambda: found() == [OBJECTS[2].instance], "it is found")
    with node.scu((STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT]), roles=[MR_IMAGE]) as scu:
        done = scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID="1.2.3"))
    assert done.final.status == 0xB000
    assert "is not wha" in done.final.comment  # it has 64 characters
    sound = {one.instance for one in OBJECTS[:5]} - {OBJECTS[2].instance}
    assert {one.instance for one in done.objects} == sound
    node.keep(OBJECTS[2])  # who sends it again mends it
    until(lambda: found() == [], "it is sound")


def test_commands_find_mend_and_tell(process: Callable[..., NodeProcess]) -> None:
    node = process(policy=policy(FAST), lifecycle={"workers": 0}, scrub={"interval": "0s"})
    node.start()
    with Scu(node.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
        assert [scu.store(one).status for one in OBJECTS[:3]] == [0] * 3
    assert node.kill(15) == 0
    node.here("export", node.root / "backup", "--syntax", "received")
    assert "agree" in node.here("fsck")
    paths = sorted((node.root / "objects").glob("*/*/*/*"))
    damaged, missing = paths[0], paths[1]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    missing.unlink()
    told = json.loads(node.here("verify", "--json", status=1))
    assert (told["sound"], told["damaged"]) == (1, 2)
    assert json.loads(node.here("stats", "--json"))["damaged"] == 2
    assert "2 objects are damaged or missing: verify --damaged" in node.here("stats")
    assert json.loads(node.here("verify", "--damaged", "--json", status=1))["damaged"] == 2
    found = json.loads(node.here("fsck", "--repair", "--json", status=1))["findings"]
    assert [(one["kind"], one["repaired"]) for one in found] == [("row without a file", "")]
    assert "not repaired" in node.here("fsck", status=1)
    told = json.loads(node.here("verify", "--restore-from", node.root / "backup", "--json"))
    assert (told["sound"], told["damaged"], told["repaired"]) == (3, 0, 2)
    node.here("verify", "--deep")
    assert "agree" in node.here("fsck")
    assert len(list((node.root / "objects" / ".damaged").iterdir())) == 1
