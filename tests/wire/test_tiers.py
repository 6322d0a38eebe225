"""Objects that move from store to store, and what peers are told of those that lie where it takes long."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scp.archive.archive import Archive
from scp.background.progress import Silent
from scp.errors import ObjectUnavailable
from scp.lifecycle.reindex import reindex
from scp.lifecycle.stages import Stages
from scp.node.build import open_archive
from scp.objects.local import LocalStore
from scp.objects.names import store_of

from .aging import FAST, OBJECTS, SMALL, carry_out, die_at_each_step, is_sound, policy
from .configured import settings_of, stored_files, tables_of
from .conftest import NodeProcess, RunningNode, Starter
from .peers import EXPLICIT, MR_IMAGE, STUDY_FIND, STUDY_GET, Scu, identifier, until

pytestmark = pytest.mark.slow

MOVE = {"after": "30d", "store": "cold"}
SMALL_THERE = {**SMALL, "store": "cold"}
# By a time that has come: nobody waits for 30 days.
SOON = {"after": "1s", "store": "cold"}
SMALL_SOON = {**SMALL_THERE, "after": "1s"}


def tiers(root: Path, **more: Any) -> dict[str, Any]:
    return {"tiers": [{"name": "cold", "url": f"file://{root}/cold", "reserve": 0, **more}]}


@pytest.fixture
def cold(tmp_path: Path, archive: Archive) -> Iterator[Callable[..., Archive]]:
    """Opens the same archive with another policy, and a cold store beside it."""
    root = archive.store.inner.inner.root.parent  # type: ignore[attr-defined]
    opened: list[Archive] = []

    def make(*stages: dict[str, Any], **more: Any) -> Archive:
        tables = tables_of(root, {"policy": policy(*stages), **tiers(root, **more)})
        opened.append(open_archive(settings_of(tables)))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def stores(archive: Archive) -> Counter[tuple[str, str]]:
    return Counter((store_of(one.key), one.form) for one in archive.index.all())


def late() -> float:
    return time.time() + 31 * 86_400


@pytest.mark.parametrize(("there", "form"), [(MOVE, "rle"), (SMALL_THERE, "jpegls")])
def test_a_stage_moves(
    cold: Callable[..., Archive], made: Callable[..., Stages], there: dict[str, Any], form: str
) -> None:
    """As it is, or in a new form; each once."""
    archive = cold(FAST, there)
    stages = made(archive, now=late)
    assert carry_out(stages) == Counter()  # planned: it is not 30 days old
    done = Counter()
    while (round_ := stages.carry_out(one for one in archive.index.all() if not store_of(one.key))).tried:
        done.update(change.after.sop_instance_uid for change in round_.changes if change.stage)
    assert done == Counter(one.instance for one in OBJECTS)
    assert stores(archive) == {("cold", form): len(OBJECTS)}
    is_sound(archive, *OBJECTS)
    root = archive.store.inner._first.inner.root.parent  # type: ignore[attr-defined]
    assert stored_files(root / "objects") == []
    assert len([p for p in stored_files(root / "cold") if p.suffix in {".dcm", ".zst"}]) == len(OBJECTS)
    assert {(row.store, row.form, row.instances) for row in archive.index.statistics({"@cold/": "cold"})} == {
        ("cold", form, len(OBJECTS))
    }


def test_a_policy_that_names_no_store_any_more_brings_them_back(
    cold: Callable[..., Archive], made: Callable[..., Stages]
) -> None:
    archive = cold(FAST, SOON)
    for one in archive.index.all():
        archive.replace([archive.encode(one, late())])
    assert set(stores(archive)) == {("cold", "rle")}
    archive.use_policy(settings_of({"policy": policy(FAST)}).policy)
    assert set(carry_out(made(archive)).values()) == {1}
    assert set(stores(archive)) == {("", "rle")}
    is_sound(archive, *OBJECTS)


def test_what_arrives_wrong_takes_nobodys_place(
    cold: Callable[..., Archive], made: Callable[..., Stages], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = cold(FAST, SOON)
    get = LocalStore.get

    def one_bit_off(store: LocalStore, key: str) -> Any:
        data = bytearray(get(store, key))
        if store.root.name == "cold":
            data[-1] ^= 1
        return bytes(data)

    monkeypatch.setattr(LocalStore, "get", one_bit_off)
    stages = made(archive, now=late)
    found = stages.carry_out(archive.index.all())
    assert (found.failed, found.changes) == (16, ())
    monkeypatch.undo()
    assert set(stores(archive)) == {("", "rle")}
    is_sound(archive, *OBJECTS)


def test_a_store_that_takes_nothing_holds_up_nobody(
    cold: Callable[..., Archive], made: Callable[..., Stages]
) -> None:
    archive = cold(FAST, SOON, reserve="1000TB")
    stages = made(archive, now=late)
    assert stages.carry_out(archive.index.all()).failed == 16
    is_sound(archive, *OBJECTS)
    archive.use_policy(settings_of({"policy": policy({"form": "jpegls", "wrap": "none"})}).policy)
    carry_out(stages)
    assert len(OBJECTS) - 16 == stores(archive)["", "jpegls"]


def test_the_index_is_made_anew_from_all_stores(
    cold: Callable[..., Archive], made: Callable[..., Stages]
) -> None:
    archive = cold(FAST, SOON)
    for one in list(archive.index.all())[:5]:
        archive.replace([archive.encode(one, late())])
    before = {one.sop_instance_uid: one.key for one in archive.index.all()}
    for uid in before:
        archive.index.remove(uid)
    assert reindex(archive, Silent()).recorded == len(OBJECTS)
    assert {one.sop_instance_uid: one.key for one in archive.index.all()} == before
    root = archive.store.inner._first.inner.root.parent  # type: ignore[attr-defined]
    (root / "cold").rename(root / "elsewhere")
    with pytest.raises(ObjectUnavailable, match="medium of store cold is not there"):
        reindex(archive, Silent())
    assert {one.sop_instance_uid: one.key for one in archive.index.all()} == before
    (root / "elsewhere").rename(root / "cold")


# A move alone, and one in another form: each in one of the ways for a change.
@pytest.mark.parametrize(
    ("there", "form", "power"),
    [
        pytest.param(SOON, "rle", True, id="alone-power cut"),
        pytest.param(SMALL_SOON, "jpegls", False, id="another form-killed"),
        pytest.param(SOON, "rle", False, id="alone-killed", marks=pytest.mark.long),
        pytest.param(SMALL_SOON, "jpegls", True, id="another form-power cut", marks=pytest.mark.long),
    ],
)
def test_dies_at_each_step_of_a_move(
    tmp_path: Path,
    start: Starter,
    made: Callable[..., Stages],
    power: bool,
    there: dict[str, Any],
    form: str,
) -> None:
    changed = {"policy": policy(FAST, there), **tiers(Path("data"))}
    seen = die_at_each_step(tmp_path, start, made, power, changed)
    assert sum(seen.values()) > 15
    assert set(seen) == {("", "rle", 1), ("cold", form, 0)}


# ---- as peers see it ----


def moved(start: Starter, tmp_path: Path, **more: Any) -> RunningNode:
    node = start(policy=policy(FAST, SOON), lifecycle={"max_cpu": 16.0}, **tiers(tmp_path, **more))
    node.keep(*OBJECTS[:4])
    time.sleep(1)
    node.wake()
    until(lambda: {store_of(node.held(one).key) for one in OBJECTS[:4]} == {"cold"}, "all are moved")
    node.reload(lifecycle={"workers": 0})
    node.keep(OBJECTS[4])
    return node


def availability(node: RunningNode, level: str, **keys: str) -> list[str]:
    with node.scu((STUDY_FIND, [EXPLICIT])) as scu:
        answers = scu.find(STUDY_FIND, identifier(level, InstanceAvailability="", **keys))
    return sorted(one.identifier.InstanceAvailability for one in answers if one.identifier is not None)


def test_queries_tell_what_has_to_be_waited_for(start: Starter, tmp_path: Path) -> None:
    node = moved(start, tmp_path, availability="nearline")
    study, series = {"StudyInstanceUID": "1.2.3"}, {"SeriesInstanceUID": ""}
    assert availability(node, "STUDY", **study) == ["NEARLINE"]
    assert availability(node, "SERIES", **study, **series) == ["NEARLINE"]
    (series_uid,) = {node.held(OBJECTS[0]).series_instance_uid}
    below = availability(node, "IMAGE", **study, SeriesInstanceUID=series_uid, SOPInstanceUID="")
    assert below == ["NEARLINE"] * 4 + ["ONLINE"]


def test_a_store_that_is_online_is_no_news(start: Starter, tmp_path: Path) -> None:
    node = moved(start, tmp_path)
    assert availability(node, "STUDY", StudyInstanceUID="1.2.3") == ["ONLINE"]


def test_a_nearline_object_is_fetched_and_a_silent_store_is_told_of(
    start: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = moved(start, tmp_path, availability="nearline", fetch_seconds=0.3)
    wanted = identifier("STUDY", StudyInstanceUID="1.2.3")
    contexts = [(STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT])]
    with node.scu(*contexts, roles=[MR_IMAGE]) as scu:
        done = scu.get(STUDY_GET, wanted)
    assert done.final.status == 0
    assert sorted(one.data for one in done.objects) == sorted(one.data for one in OBJECTS[:5])
    answers = threading.Event()
    get = LocalStore.get

    def silent(store: LocalStore, *arguments: Any) -> Any:
        if store.root.name == "cold":
            answers.wait(30)
        return get(store, *arguments)

    monkeypatch.setattr(LocalStore, "get", silent)
    with node.scu(*contexts, roles=[MR_IMAGE]) as scu:
        done = scu.get(STUDY_GET, wanted)
        assert [one.data for one in done.objects] == [OBJECTS[4].data]  # what is online comes all the same
        assert done.final.status == 0xB000
        assert "store cold has given nothing" in done.final.comment
        assert done.final.identifier is not None
        assert len(done.final.identifier.FailedSOPInstanceUIDList) == 4
        answers.set()
    until(lambda: node.archive.store.get(node.held(OBJECTS[0]).key), "the store answers again")


def test_commands_tell_of_stores(process: Callable[..., NodeProcess], tmp_path: Path) -> None:
    node = process(policy=policy(FAST, MOVE), lifecycle={"workers": 0}, **tiers(tmp_path / "process0"))
    node.start()
    with Scu(node.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
        assert [scu.store(one).status for one in OBJECTS[:3]] == [0] * 3
    node.kill(15)
    assert "store: cold" in (told := node.here("check"))
    assert "→ rle in cold after" in told
    (group,) = json.loads(node.here("plan", "--at", "30d", "--json"))["groups"]
    assert (group["stage"]["store"], group["objects"], group["saved"]) == ("cold", 3, 0)
    assert json.loads(node.here("recompress", "--now", "--json"))["moved"] == 3
    assert {row["store"] for row in json.loads(node.here("stats", "--json"))["by_form"]} == {"cold"}
    assert "cold" in node.here("stats")
    node.here("verify", "--deep")
    (tmp_path / "process0" / "cold").rename(tmp_path / "away")
    assert "medium of store cold is not there" in node.here("verify", status=1)
    assert "mount it" in node.run("reindex", status=1).stderr
    (tmp_path / "away").rename(tmp_path / "process0" / "cold")
    node.here("verify")
