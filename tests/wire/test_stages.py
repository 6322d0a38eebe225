"""Later stages carried out on what is stored: by a node, by several processes, while others read."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

import forked
import pytest
import zstandard
from objects import bundled_file, received

from scp.archive.archive import Archive
from scp.archive.encode import keep
from scp.archive.refusal import Refusal, library_of
from scp.background.progress import Silent
from scp.config.rules import PolicyRule
from scp.encoding.codecs import table
from scp.encoding.codecs.codec import Codec
from scp.encoding.codecs.lossless.jpegls import JPEGLS_CODEC
from scp.encoding.facts import survey
from scp.errors import CannotEncode
from scp.index.sql import SqlIndex
from scp.lifecycle.planning import Planner
from scp.lifecycle.recompress import recompress
from scp.lifecycle.reindex import reindex
from scp.lifecycle.stages import Stages
from scp.model import Instance, Received
from scp.objects import part10
from scp.objects.dictionaries import Dictionaries
from scp.objects.local import LocalStore
from scp.policy.stages import NEVER, fingerprint

from .aging import (
    AT_ONCE,
    DAY,
    FAST,
    OBJECTS,
    SLOW,
    SMALL,
    carry_out,
    die_at_each_step,
    forms,
    is_sound,
    policy,
    stage,
    use,
)
from .configured import environment, free_claims, journal, settings_of, stored_files
from .conftest import NodeProcess, RunningNode, Starter, command
from .peers import EXPLICIT, MR_IMAGE, STUDY_GET, Scu, Sent, as_file, identifier, image, until

pytestmark = pytest.mark.slow

# ---- in one process ----


def test_a_stage_is_carried_out_when_its_time_has_come(archive: Archive, made: Callable[..., Stages]) -> None:
    clock = [time.time()]
    use(archive, FAST, SMALL)
    stages = made(archive, now=lambda: clock[0])
    assert carry_out(stages) == Counter()
    due = {one.due - int(one.received_at.timestamp()) for one in archive.index.all()}
    assert due == {30 * DAY}
    assert 29 * DAY < stages.seconds_until_due() <= 30 * DAY
    clock[0] += 31 * DAY
    stages.carry_out(archive.index.all())
    while done := stages.carry_out(one for one in archive.index.all() if one.form == "rle").tried:
        assert done <= 16
    assert forms(archive) == {("jpegls", ""): len(OBJECTS)}
    is_sound(archive, *OBJECTS)


def test_a_changed_policy_applies_to_what_is_stored(archive: Archive, made: Callable[..., Stages]) -> None:
    """Each object is encoded once for each change; what is undone is what was received, each time."""
    stages = made(archive)
    assert carry_out(stages) == Counter()  # kept by this policy: nothing to do
    for written, form in ((AT_ONCE, "jpegls"), ({**AT_ONCE, "form": "htj2k"}, "htj2k")):
        use(archive, {"form": "received"}, written)
        assert set(carry_out(stages).values()) == {1}
        assert forms(archive) == {(form, ""): len(OBJECTS)}
        is_sound(archive, *OBJECTS)
        assert carry_out(stages) == Counter()
    one = next(archive.index.all())
    assert one.stage == fingerprint(stage({**AT_ONCE, "form": "htj2k"}))
    assert (one.planned, one.due) == (archive.policy.fingerprint, NEVER)


def test_the_same_form_with_more_effort_takes_another_key(
    archive: Archive, made: Callable[..., Stages]
) -> None:
    """Under the old key the old file is read, until the index names the new one."""
    use(archive, {"form": "received"}, {"after": "0s", "form": "zstd", "level": 1})
    stages = made(archive)
    carry_out(stages)
    before = {one.sop_instance_uid: one for one in archive.index.all()}
    use(archive, {"form": "received"}, {"after": "0s", "form": "zstd", "level": 19})
    carry_out(stages)
    for one in archive.index.all():
        old = before[one.sop_instance_uid]
        assert one.stored_size < old.stored_size
        assert one.key != old.key
    is_sound(archive, *OBJECTS)
    archive.fetch(before["1.2.3.4.1"], [EXPLICIT])  # who looked it up before is led to the new one


def test_no_gain_is_remembered(archive: Archive, made: Callable[..., Stages]) -> None:
    """A later stage that would be larger changes nothing, and is not tried again until the policy changes."""
    use(archive, FAST, AT_ONCE)
    stages = made(archive)
    carry_out(stages)
    use(archive, AT_ONCE | {"after": None}, {"after": "1s", "form": "rle", "wrap": "none"})
    for one in archive.index.all():
        archive.index.change_many([(one, replace(one, received_at=one.received_at.replace(year=2020)))])
    assert set(carry_out(stages).values()) == {1}
    assert forms(archive) == {("jpegls", "no gain"): len(OBJECTS)}
    assert carry_out(stages) == Counter()
    is_sound(archive, *OBJECTS)


def planned_while(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Any]) -> None:
    """Let something happen once, after what is to be planned was read and before it is."""
    plan, done = Planner.next_due, []

    def planning(self: Planner, *given: Any) -> int:
        if not done:
            done.append(happens())
        return plan(self, *given)

    monkeypatch.setattr(Planner, "next_due", planning)


def test_a_retrieve_while_it_is_planned_brings_it_back(
    archive: Archive, made: Callable[..., Stages], monkeypatch: pytest.MonkeyPatch
) -> None:
    for one in archive.index.all():
        archive.index.change_many([(one, replace(one, received_at=one.received_at.replace(year=2020)))])
    use(archive, FAST, SMALL)
    stages = made(archive)
    carry_out(stages)
    assert forms(archive) == {("jpegls", ""): len(OBJECTS)}
    back = {**policy(FAST, SMALL)[0], "on_access": {"keep_for": "1h", "form": "rle"}}
    archive.use_policy(settings_of({"policy": [back]}).policy)
    planned_while(monkeypatch, lambda: archive.record_access(list(archive.index.all())))
    carry_out(stages)
    assert forms(archive) == {("rle", ""): len(OBJECTS)}


def test_what_is_refused_while_it_is_planned_is_not_due(
    archive: Archive, made: Callable[..., Stages], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be found again and again, and nothing done with it."""
    one = next(archive.index.all())
    use(archive, FAST, AT_ONCE)
    stages = made(archive)
    refusal = Refusal("decode", "no", library_of("decode"))
    planned_while(monkeypatch, lambda: archive.trials.refuse(one, refusal))
    for _ in range(10):
        done = stages.round()
        if not done.tried and not stages.plan():
            break
    assert not done.tried
    assert forms(archive) == {("jpegls", ""): len(OBJECTS) - 1, ("rle", ""): 1}
    assert archive.index.newest(one.sop_instance_uid).due == NEVER


def test_another_policy_while_it_plans_applies_as_well(
    archive: Archive, made: Callable[..., Stages], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the former one's rule says is not taken for what the new one's does."""
    use(archive, FAST, SMALL)
    make, begun = Planner.__init__, []

    def making(self: Planner, *given: Any) -> None:
        make(self, *given)
        if not begun:
            begun.append(use(archive, FAST, AT_ONCE))

    monkeypatch.setattr(Planner, "__init__", making)
    carry_out(made(archive))
    assert forms(archive) == {("jpegls", ""): len(OBJECTS)}


def test_another_policy_while_it_encodes_applies_as_well(
    archive: Archive, made: Callable[..., Stages], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(archive, {**AT_ONCE, "after": None}, {**SMALL, "form": "zstd"})
    form = archive.forms._formed

    def meanwhile(*given: Any) -> Any:
        use(archive, {**AT_ONCE, "after": None}, {**AT_ONCE, "form": "htj2k"})
        return form(*given)

    monkeypatch.setattr(archive.forms, "_formed", meanwhile)
    carry_out(made(archive))
    assert forms(archive) == {("htj2k", ""): len(OBJECTS)}


def double(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    codec: Codec = replace(JPEGLS_CODEC, **changes)
    rows = tuple(codec if row.name == JPEGLS_CODEC.name else row for row in table.CODECS)
    monkeypatch.setattr(table, "CODECS", rows)


def test_what_cannot_be_done_is_remembered(
    archive: Archive, made: Callable[..., Stages], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What all forms of a stage refuse keeps the one that it has, which is smaller than the last resort."""
    use(archive, FAST, {**AT_ONCE, "form": "htj2k"})
    stages = made(archive)
    carry_out(stages)
    tried = []

    def refuses(*_: Any) -> bytes:
        tried.append(1)
        raise CannotEncode("not today")

    double(monkeypatch, encode=refuses)
    use(archive, FAST, AT_ONCE)
    assert set(carry_out(stages).values()) == {1}
    assert forms(archive) == {("htj2k", "cannot"): len(OBJECTS)}
    assert carry_out(stages) == Counter()
    assert len(tried) == len(OBJECTS)
    is_sound(archive, *OBJECTS)


def test_wrong_pixels_replace_nothing(
    archive: Archive, made: Callable[..., Stages], monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_pixel_off(frame: Any, *others: Any) -> bytes:
        other = frame.copy()
        other[0, 0] ^= 1
        return JPEGLS_CODEC.encode(other, *others)

    double(monkeypatch, encode=one_pixel_off)
    use(archive, FAST, AT_ONCE)
    carry_out(made(archive))
    assert "jpegls" not in {one.form for one in archive.index.all()}
    is_sound(archive, *OBJECTS)


def test_a_damaged_one_stops_no_other(archive: Archive, made: Callable[..., Stages]) -> None:
    bad = archive.index.newest(OBJECTS[3].instance)
    path = archive.store.inner.inner.root / bad.key  # type: ignore[attr-defined]
    path.write_bytes(path.read_bytes()[:-1])
    use(archive, FAST, AT_ONCE)
    stages = made(archive)
    assert len(carry_out(stages)) == len(OBJECTS) - 1
    assert carry_out(stages) == Counter()
    held = archive.index.newest(bad.sop_instance_uid)
    assert held.fault, "so that it is not found again"
    noted = {"planned": "", "due": 0, "fault": "", "checked": 0}
    assert replace(held, **noted) == replace(bad, **noted)
    assert not path.read_bytes().endswith(b"\0" * 100)


def test_the_files_say_what_was_carried_out(archive: Archive, made: Callable[..., Stages]) -> None:
    """The index made anew asks for nothing to be done again."""
    use(archive, FAST, AT_ONCE)
    stages = made(archive)
    carry_out(stages)

    def told() -> list[Instance]:
        return sorted((replace(one, checked=0) for one in archive.index.all()), key=lambda one: one.key)

    before = told()
    for one in before:
        archive.index.remove(one.sop_instance_uid)
    assert reindex(archive, Silent()).recorded == len(OBJECTS)
    assert told() == before
    assert carry_out(stages) == Counter()


# ---- what came compressed ----


def test_what_came_losslessly_compressed_keeps_its_pixels_through_several_stages(
    archive: Archive, made: Callable[..., Stages]
) -> None:
    """Its received codestream goes with the first; from then on pixels and attributes are what is proven."""
    for one in OBJECTS:
        archive.index.remove(one.instance)
    use(archive, {"form": "received"})
    sent = received(bundled_file("MR_small_RLE.dcm"))
    uid = sent.sop_instance_uid
    came = archive.ingest(sent).instance
    stages = made(archive)
    proofs = set()
    for form in ("htj2k", "jpegls", "jpeg2000"):
        use(archive, {"form": "received"}, {"after": "0s", "form": form, "wrap": "none"})
        assert carry_out(stages) == {uid: 1}
        now = archive.index.newest(uid)
        assert (now.form, now.outcome) == (form, "")
        for name in ("received_transfer_syntax", "received_sha256", "received_size", "received_at"):
            assert getattr(now, name) == getattr(came, name)
        archive.verify(now, deep=True)
        proofs.add(archive.provenance(now).native_sha256)
        assert archive.ingest(sent).outcome == "duplicate"
    assert len(proofs) == 1
    use(archive, {"form": "received"}, {"after": "0s", "form": "rle"})
    carry_out(stages)
    now = archive.index.newest(uid)
    assert (now.form, now.outcome) == ("jpeg2000", "cannot")  # its very codestream cannot be made again


# ---- several at once ----


def test_two_share_the_work_and_nothing_is_done_twice(
    archive: Archive, made: Callable[..., Stages], tmp_path: Path
) -> None:
    use(archive, FAST, AT_ONCE)
    workers = [made(archive, owner) for owner in ("one", "two")]
    while workers[0].plan():
        pass
    together = threading.Barrier(2)
    done: list[Counter[str]] = [Counter(), Counter()]

    def work(which: int) -> None:
        together.wait(10)
        done[which] = carry_out(workers[which])

    threads = [threading.Thread(target=work, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done[0] + done[1] == Counter(one.instance for one in OBJECTS)
    assert all(done)
    is_sound(archive, *OBJECTS)


def test_done_twice_after_all_one_of_them_wins(archive: Archive, made: Callable[..., Stages]) -> None:
    """A process that slept through its claim comes too late: what it made goes, and harms nothing."""
    use(archive, FAST, AT_ONCE)
    late = [archive.encode(one) for one in archive.index.all()]
    carry_out(made(archive))
    keys = sorted(one.key for one in archive.index.all())
    archive.replace(late)
    assert sorted(one.key for one in archive.index.all()) == keys
    is_sound(archive, *OBJECTS)


def test_long_work_keeps_its_claim(
    archive: Archive, made: Callable[..., Stages], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(archive, FAST, AT_ONCE)
    slow, other = made(archive, "slow", lease_seconds=3), made(archive, "other")
    while slow.plan():
        pass
    encode, begun, go = archive.encode, threading.Event(), threading.Event()

    def waits(*arguments: Any) -> Any:
        begun.set()
        go.wait(60)
        return encode(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(archive, "encode", waits)
        thread = threading.Thread(target=slow.round)
        thread.start()
        assert begun.wait(10)
        time.sleep(5)  # longer than the lease
        patch.undo()
        taken = carry_out(other)
        go.set()
        thread.join()
    assert len(taken) == len(OBJECTS) - 16


# ---- as a node ----


def _back(node: RunningNode) -> list[bytes]:
    with node.scu((STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT]), roles=[MR_IMAGE]) as scu:
        done = scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID="1.2.3"))
        assert done.final.status == 0
    return sorted(one.data for one in done.objects)


def test_readers_see_one_form_or_the_other(start: Starter) -> None:
    """C-GETs run all the while, and a reload is all it takes."""
    node = start(policy=policy(FAST), lifecycle={"max_cpu": 16.0})
    objects = [image(instance=f"1.2.3.9.{n}", seed=n, rows=96) for n in range(12)]
    node.keep(*objects)
    expected = sorted(one.data for one in objects)
    for form in ("jpegls", "htj2k"):
        node.reload(policy=policy({"form": "received"}, {"after": "0s", "form": form, "wrap": "none"}))
        while {node.held(one).form for one in objects} != {form}:
            assert _back(node) == expected
    until(lambda: len(node.files()) == len(objects), "the old files are gone")
    until(lambda: journal(node.root / "objects") == [], "nothing is under way")
    assert _back(node) == expected


def test_outside_its_hours_a_node_rests(start: Starter) -> None:
    now = time.localtime()
    later = f"{(now.tm_hour + 2) % 24:02}:00-{(now.tm_hour + 3) % 24:02}:00"
    node = start(policy=policy(FAST), lifecycle={"hours": later})
    node.keep(*OBJECTS)
    node.reload(policy=policy(FAST, AT_ONCE))
    node.wake()
    node.keep(image(instance="1.2.3.5"))
    assert {node.held(one).form for one in OBJECTS} == {"rle"}
    node.reload(policy=policy(FAST, AT_ONCE), lifecycle={"hours": ""})
    until(lambda: {node.held(one).form for one in OBJECTS} == {"jpegls"}, "the stage is carried out")


# ---- as processes, killed ----

_KILLS = 3
_RANDOM = random.Random(20260728)


def _settled(process: NodeProcess) -> Counter[str]:
    index = SqlIndex.open(f"sqlite:///{process.root}/index.db")
    try:
        return Counter({row.form: row.instances for row in index.statistics()})
    finally:
        index.close()


def _clean(process: NodeProcess, count: int) -> None:
    verdict = json.loads(process.run("verify", "--deep", "--json").stdout)
    assert (verdict["sound"], verdict["damaged"]) == (count, 0)
    assert len(stored_files(process.root / "objects")) == count
    assert journal(process.root / "objects") == []


def _filled(process: Callable[..., NodeProcess], count: int, **tables: Any) -> NodeProcess:
    node = process(policy=policy(FAST), **tables)
    folder = node.root / "in"
    folder.mkdir()
    for n in range(count):
        as_file(image(instance=f"1.2.3.6.{n}", seed=n, rows=160), folder / f"{n}.dcm")
    node.run("import", folder)
    return node


@pytest.mark.long
def test_recompress_is_killed_again_and_again(process: Callable[..., NodeProcess]) -> None:
    """What was done stays done, and the next run goes on from there."""
    count, done = 160, 0
    node = _filled(process, count)
    node.write_config(policy=policy(FAST, SLOW))
    for _ in range(_KILLS):
        running = forked.Python(
            command("recompress", "--now", "--json", "-c", node.config),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=node.root,
            env=environment(),
        )
        until(lambda: running.poll() is not None or _settled(node)["jpegxl"] > done, "it goes on", 240)  # noqa: B023
        time.sleep(_RANDOM.uniform(0, 0.1))
        assert running.poll() is None
        running.kill()
        running.wait(60)
        now = _settled(node)
        assert now["jpegxl"] + now["rle"] == count
        assert now["jpegxl"] > done  # nothing is undone
        done = now["jpegxl"]
    _free_claims(node)
    result = json.loads(node.run("recompress", "--now", "--json").stdout)
    # But for one batch that was durable, and not indexed yet: that was recovered.
    assert done <= count - result["encoded"] <= done + 16
    # What two killed processes were about alone is refused, by the design, and gets its stage when asked.
    refused = json.loads(node.run("ls", "--refused", "--json").stdout)
    assert [one["reason"] for one in refused if "processes died" not in one["reason"]] == []
    for one in refused:
        node.run("recompress", "--now", "--match", f"SOPInstanceUID={one['sop_instance_uid']}")
    assert _settled(node) == {"jpegxl": count}
    _clean(node, count)
    assert json.loads(node.run("recompress", "--now", "--json").stdout)["encoded"] == 0


def _free_claims(node: NodeProcess) -> None:
    index = SqlIndex.open(f"sqlite:///{node.root}/index.db")
    free_claims(index)
    index.close()


def _lifecycle_processes(node: NodeProcess) -> list[int]:
    """The encoder, which carries out stages too, and others that only do that: forked after the workers."""
    assert node.process is not None
    found = Path(f"/proc/{node.process.pid}/task/{node.process.pid}/children").read_text().split()
    return [int(pid) for pid in found[1:]]


def _both_besides(node: NodeProcess, killed: set[int]) -> list[int]:
    found = _lifecycle_processes(node)
    return found if len(found) == 2 and not killed.intersection(found) else []


@pytest.mark.long
def test_processes_of_a_node_are_killed_while_others_read(process: Callable[..., NodeProcess]) -> None:
    count = 150
    node = _filled(process, count, node={"workers": 1}, lifecycle={"workers": 2, "max_cpu": 16.0})
    node.write_config(policy=policy({"form": "received"}, AT_ONCE))
    node.start()
    first = _lifecycle_processes(node)
    assert len(first) == 2
    expected = sorted(image(instance=f"1.2.3.6.{n}", seed=n, rows=160).data for n in range(count))
    killed: set[int] = set()
    while len(killed) < 3:
        # One that was killed is listed until the supervisor has waited for it.
        alive = until(lambda: _both_besides(node, killed), "both are there")
        pid = _RANDOM.choice(alive)
        time.sleep(_RANDOM.uniform(0.05, 0.5))
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
        with Scu(node.address, [(STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT])], roles=[MR_IMAGE]) as scu:
            done = scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID="1.2.3"))
        assert done.final.status == 0
        assert sorted(one.data for one in done.objects) == expected
    until(lambda: _settled(node) == {"jpegls": count}, "all is done", 240)
    assert node.kill(signal.SIGTERM) == 0
    _clean(node, count)


@pytest.mark.parametrize("power", [False, True], ids=["killed", "power cut"])
def test_dies_at_each_step_of_a_stage(
    tmp_path: Path, start: Starter, made: Callable[..., Stages], power: bool
) -> None:
    """The object is there, whole, in one of its forms; the next one goes on, and leaves nothing behind."""
    changed = {"policy": policy({"form": "received"}, AT_ONCE)}
    seen = die_at_each_step(tmp_path, start, made, power, changed)
    assert sum(seen.values()) > 15
    # Not begun, done but for what cleans up, and never both.
    assert set(seen) == {("", "rle", 1), ("", "jpegls", 0)}


@pytest.mark.parametrize("power", [False, True], ids=["killed", "power cut"])
def test_dies_at_each_step_of_packing_anew(
    tmp_path: Path, start: Starter, made: Callable[..., Stages], power: bool
) -> None:
    """The object is there, in its old frame or in the new one; its form stays."""
    wanting = {"policy": policy({**FAST, "dictionary": True})}
    seen = die_at_each_step(tmp_path, start, made, power, wanting, with_a_dictionary)
    assert sum(seen.values()) > 15
    assert set(seen) == {("", "rle", 1), ("", "rle", 0)}


def with_a_dictionary(objects: Path) -> None:
    """Train one for objects like the one that is kept."""
    found = [archived(one) for one in OBJECTS]
    content = zstandard.train_dictionary(16 << 10, found, k=500, d=8, f=20, accel=1, split_point=1.0)
    Dictionaries(LocalStore(objects)).add(MR_IMAGE, content.as_bytes())


def archived(one: Sent) -> bytes:
    uids = (one.sop_class, one.instance)
    received = Received(*uids, one.syntax, one.data, "A", "ZSCP", datetime.now(UTC))
    return bytes(
        part10.unwrap(keep(received, survey(received), PolicyRule.model_validate(policy(FAST)[0])).data)
    )


# ---- what the commands tell ----


def test_plan_tells_beforehand_what_recompress_then_does(process: Callable[..., NodeProcess]) -> None:
    node = _filled(process, 30)
    node.write_config(policy=policy(FAST, SMALL))
    nothing = json.loads(node.here("plan", "--json"))
    assert (nothing["looked_at"], nothing["objects"], nothing["groups"]) == (30, 0, [])
    assert "Nothing is due" in node.here("plan")
    told = json.loads(node.here("plan", "--at", "30d", "--json"))
    (group,) = told["groups"]
    assert (group["rule"], group["modality"], group["form"], group["objects"]) == ("rule", "MR", "rle", 30)
    assert group["stage"]["form"] == ["jpegls"]
    assert group["measured"]["objects"] == 8
    assert told["seconds"] == pytest.approx(group["seconds"])
    assert "jpegls" in node.here("plan", "--at", "30d")
    assert _settled(node) == {"rle": 30}  # it only looks
    done = json.loads(node.here("recompress", "--json"))
    assert done["encoded"] == 0  # too young
    done = json.loads(node.here("recompress", "--now", "-m", "InstanceNumber=1", "--json"))
    assert done["encoded"] == 30  # that is the number of all of them
    assert done["before"] == group["stored_size"]
    assert done["before"] - done["after"] == pytest.approx(group["saved"], rel=0.1)
    assert json.loads(node.here("plan", "--at", "52w", "--json"))["objects"] == 0
    node.here("plan", "--at", "soon", status=2)


def test_recompress_takes_what_is_named(process: Callable[..., NodeProcess]) -> None:
    node = _filled(process, 4)
    node.write_config(policy=policy(FAST, SMALL))
    assert "1 encoded" in node.here("recompress", "--now", "-m", "SOPInstanceUID=1.2.3.6.2")
    assert _settled(node) == {"rle": 3, "jpegls": 1}


@pytest.mark.parametrize("first", [{"form": "received"}, None], ids=["by a later stage", "at once"])
def test_what_a_limit_kept_is_encoded_when_asked_once_it_is_raised(
    start: Starter, first: dict[str, Any] | None
) -> None:
    rules = policy(*([first, AT_ONCE] if first else [FAST]))
    node = start(policy=rules, storage={"backlog": 0}, limits={"frame_bytes": 10})
    sent = image(instance="1.2.3.7", rows=64)
    node.keep(sent)

    def recompressed(again: bool) -> str:
        recompress(node.archive, [node.held(sent)], lambda: inf, Silent(), again)
        return str(node.held(sent).form)

    assert recompressed(again=True) in ("zstd", "received")
    node.reload(limits={})
    assert recompressed(again=False) in ("zstd", "received")
    assert recompressed(again=True) == ("jpegls" if first else "rle")
