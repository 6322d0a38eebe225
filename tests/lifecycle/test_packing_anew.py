"""What is stored is packed anew with a dictionary that came later; one that nothing needs can go."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import forked
import pytest
from alike import KIND, dictionary, file_of, restored, small
from objects import Shape, phantom

from scp.archive import encode, packing
from scp.archive.archive import Archive
from scp.archive.framing import with_dictionary
from scp.background.progress import Silent
from scp.config.rules import PolicyRule
from scp.config.settings import LifecycleSettings
from scp.errors import DictionaryNeeded, NotReproduced
from scp.index.packing import DICTIONARY_UNKNOWN
from scp.index.sql import SqlIndex
from scp.lifecycle import new_dictionaries
from scp.lifecycle.dictionary_use import held_dictionaries, remove_dictionary
from scp.lifecycle.forecast import Forecast, forecast
from scp.lifecycle.fsck import fsck
from scp.lifecycle.recompress import recompress
from scp.lifecycle.recovery import recover
from scp.lifecycle.reindex import reindex
from scp.lifecycle.stages import Stages
from scp.lifecycle.training import samples, train
from scp.lifecycle.verify import verify
from scp.model import Received
from scp.objects import part10
from scp.objects.local import LocalStore
from scp.objects.trash import Trash
from scp.objects.trashed import Trashed
from scp.spool import sha256

pytestmark = pytest.mark.usefixtures("codecs_here")

HOUR = 3600.0


def rules(*stages: dict[str, object]) -> list[PolicyRule]:
    return [PolicyRule.model_validate({"name": "small", "stages": list(stages)})]


WITH, WITHOUT = rules({"form": "htj2k", "dictionary": True}), rules({"form": "htj2k"})


def opened(root: Path) -> Archive:
    return Archive(LocalStore(root / "objects"), SqlIndex.open(f"sqlite:///{root}/index.db"), WITH)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    made = opened(tmp_path)
    yield made
    made.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


def made(number: int) -> Received:
    """An object that is smaller as HTJ2K, and half of which is header then."""
    return small(number, rows=64)


def filled(archive: Archive, count: int, first: int = 0) -> list[Received]:
    sent = [made(number) for number in range(first, first + count)]
    for one in sent:
        archive.ingest(one)
    return sent


def worked(archive: Archive, pool: ThreadPoolExecutor, now: float = 0.0) -> Counter[str]:
    """What the workers do when they look twice, with the time in between that all others need to know."""
    clock = [now]
    stages = Stages(archive, "worker", pool, steady=lambda: clock[0])
    done: Counter[str] = Counter()
    for _ in range(2):
        while (planned := stages.plan()) | bool((found := stages.round()).tried):
            assert planned or found.changes
            for change in found.changes:
                done["packed" if change.packs and change.data is not None else "stay"] += 1
        clock[0] += 2 * new_dictionaries._LOOK_SECONDS
    return done


def told(archive: Archive) -> Forecast:
    return forecast(archive, LifecycleSettings(), time.time(), 60.0, Silent())


def stored(archive: Archive) -> int:
    return sum(one.stored_size for one in archive.all())


def is_sound(archive: Archive, sent: list[Received]) -> None:
    assert [restored(archive, one) == one.dataset for one in sent] == [True] * len(sent)
    assert {verdict.fault for verdict in verify(archive, archive.all(), deep=True)} == {""}
    assert list(fsck(archive, Silent())) == []
    for one in archive.all():
        assert part10.dictionary_id(bytes(archive.store.get(one.key))) == one.dictionary


def trash_of(archive: Archive) -> Trash:
    return Trash({"": archive.store.inner.root})  # type: ignore[attr-defined]


# -- packed anew -----------------------------------------------------------------------------------------


def test_plan_foretells_what_the_workers_then_save_and_no_pixel_is_decoded(
    archive: Archive, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = filled(archive, 100)
    assert told(archive).groups == ()
    entry = train(archive, KIND, samples(archive.all(), Silent(), KIND)[KIND]).entry
    assert entry is not None

    def decodes(*_: object) -> None:
        raise AssertionError("a pixel would be decoded")

    with monkeypatch.context() as patched:
        patched.setattr(encode, "encoded", decodes)
        patched.setattr(encode, "prove", decodes)
        found = told(archive)
        (group,) = found.groups
        assert (group.form, group.packs, group.objects) == ("htj2k", True, 100)
        before = stored(archive)
        assert worked(archive, pool) == {"packed": 100}
    saved = before - stored(archive)
    assert saved > 0.2 * before
    assert group.saved == pytest.approx(saved, rel=0.1)
    assert {(one.dictionary, one.dictionary_tried, one.form) for one in archive.all()} == {
        (entry.id, entry.id, "htj2k")
    }
    is_sound(archive, sent)
    assert told(archive).groups == ()
    assert worked(archive, pool, HOUR) == Counter()


def test_one_that_was_smallest_as_received_is_framed(archive: Archive, pool: ThreadPoolExecutor) -> None:
    """Without a dictionary any form is larger than what came. The form stays, in a frame that is smaller."""
    tiny = small(1)
    assert archive.ingest(tiny).instance.form == "received"
    archive.dictionaries.add(KIND, dictionary())
    assert worked(archive, pool) == {"packed": 1}
    (one,) = archive.all()
    assert one.key.endswith(".dcm.zst")
    assert (one.form, one.stored_size < 0.7 * one.received_size) == ("received", True)
    is_sound(archive, [tiny])


def test_new_objects_are_packed_with_it_at_once_and_not_again(
    archive: Archive, pool: ThreadPoolExecutor
) -> None:
    archive.dictionaries.add(KIND, dictionary())
    sent = filled(archive, 3)
    assert {one.dictionary for one in archive.all()} == {archive.dictionaries.newest_id(KIND)}
    assert worked(archive, pool) == Counter()
    is_sound(archive, sent)


def test_workers_are_told_once_and_go_on_where_they_were_killed(
    archive: Archive, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where rows were planned again, and that was not noted yet, it is done again."""
    filled(archive, 5)
    entry = archive.dictionaries.add(KIND, dictionary())
    noted = archive.index.stages._meta.put  # type: ignore[attr-defined]

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(archive.index.stages._meta, "put", dies)  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        worked(archive, pool)
    assert archive.stages.noticed_dictionaries() == {}
    monkeypatch.setattr(archive.index.stages._meta, "put", noted)  # type: ignore[attr-defined]
    assert worked(archive, pool) == {"packed": 5}
    assert archive.stages.noticed_dictionaries()[KIND].id == entry.id


def test_one_that_gains_nothing_is_tried_once_for_each_dictionary(
    archive: Archive, pool: ThreadPoolExecutor
) -> None:
    stranger = phantom(Shape(rows=300, columns=300, noise=0.5))
    archive.ingest(stranger)
    kind = stranger.sop_class_uid
    before = next(archive.all())
    for seed in range(2):
        entry = archive.dictionaries.add(kind, dictionary(seed))
        assert worked(archive, pool) == {"stay": 1}
        after = next(archive.all())
        assert (after.key, after.dictionary, after.dictionary_tried) == (before.key, 0, entry.id)
        assert worked(archive, pool, HOUR) == Counter()
        assert told(archive).groups == ()
        reindex(archive, Silent())  # no file says it
        assert told(archive).groups == ()
    is_sound(archive, [stranger])


def test_a_better_dictionary_takes_the_place_of_an_older_one(
    archive: Archive, pool: ThreadPoolExecutor
) -> None:
    """As training does it: the second has seen objects like those that are kept, the first has not."""
    older = archive.dictionaries.add(KIND, dictionary(7))
    sent = filled(archive, 40)
    held, _ = held_dictionaries(archive)
    assert [(one.entry, one.newest, one.use.instances) for one in held] == [(older, True, 40)]
    newer = train(archive, KIND, samples(archive.all(), Silent(), KIND)[KIND]).entry
    assert newer is not None
    before = stored(archive)
    (group,) = told(archive).groups
    assert worked(archive, pool) == {"packed": 40}
    assert group.saved == pytest.approx(before - stored(archive), rel=0.1)
    held, unknown = held_dictionaries(archive)
    assert [(one.newest, one.use.instances) for one in held] == [(False, 0), (True, 40)]
    assert unknown == 0
    is_sound(archive, sent)


def test_recompress_packs_anew_without_waiting(archive: Archive) -> None:
    sent = filled(archive, 5)
    archive.dictionaries.add(KIND, dictionary())
    done = recompress(archive, None, time.time, Silent())
    assert (done.encoded, done.packed, done.no_gain) == (0, 5, 0)
    assert done.after < 0.8 * done.before
    is_sound(archive, sent)


def test_a_rule_that_begins_to_ask_for_dictionaries_encodes_nothing_again(
    archive: Archive, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the default policy did. Where it ends to ask, they are packed anew without, and need none."""
    archive.use_policy(WITHOUT)
    sent = filled(archive, 5)
    archive.dictionaries.add(KIND, dictionary())
    before = {one.sop_instance_uid: file_of(archive, sent[0]) for one in archive.all()}
    monkeypatch.setattr(encode, "encoded", None)
    archive.use_policy(WITH)
    assert worked(archive, pool) == {"packed": 5}
    is_sound(archive, sent)
    archive.use_policy(WITHOUT)
    assert told(archive).groups[0].packs
    assert worked(archive, pool) == {"packed": 5}
    assert {one.dictionary for one in archive.all()} == {0}
    assert file_of(archive, sent[0]) == before[sent[0].sop_instance_uid]
    is_sound(archive, sent)


def test_a_frame_that_gives_another_file_replaces_nothing(
    archive: Archive, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = filled(archive, 3)
    archive.dictionaries.add(KIND, dictionary())

    def wrong(plain: bytes, framing: object) -> object:
        return with_dictionary(bytes(plain)[:-1] + b"?", framing)  # type: ignore[arg-type]

    monkeypatch.setattr(packing, "with_dictionary", wrong)
    before = {one.key for one in archive.all()}
    assert worked(archive, pool) == {"stay": 3}
    assert {one.key for one in archive.all()} == before
    is_sound(archive, sent)
    monkeypatch.setattr(packing, "_is_proven", lambda *_: False)
    archive.use_policy(WITHOUT)
    one = replace(next(archive.all()), dictionary=1)
    with pytest.raises(NotReproduced):
        packing.pack_anew(one, archive.reader.plain(one), WITHOUT[0].stages[0], archive.dictionaries)


def test_the_index_made_anew_knows_what_files_need(archive: Archive, pool: ThreadPoolExecutor) -> None:
    sent = filled(archive, 3)
    entry = archive.dictionaries.add(KIND, dictionary())
    sent += filled(archive, 2, 10)
    for one in list(archive.all()):
        archive.index.remove(one.sop_instance_uid)
    reindex(archive, Silent())
    assert Counter(one.dictionary for one in archive.all()) == {0: 3, entry.id: 2}
    worked(archive, pool)
    assert {one.dictionary for one in archive.all()} == {entry.id}
    is_sound(archive, sent)


def test_two_workers_share_it_and_nothing_is_packed_twice(archive: Archive, pool: ThreadPoolExecutor) -> None:
    sent = filled(archive, 40)
    archive.dictionaries.add(KIND, dictionary())
    workers = [Stages(archive, owner, pool, steady=lambda: 0.0) for owner in ("one", "two")]
    archive.stages.plan_for_dictionary(KIND, archive.dictionaries.newest_id(KIND), 0.0)
    while workers[0].plan():
        pass
    done: Counter[str] = Counter()

    def work(one: Stages) -> None:
        while (found := one.round()).tried:
            done.update(change.before.sop_instance_uid for change in found.changes)

    threads = [threading.Thread(target=work, args=(one,)) for one in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(done.values()) == {1}
    worked(archive, pool)
    assert {one.dictionary for one in archive.all()} == {archive.dictionaries.newest_id(KIND)}
    is_sound(archive, sent)


# -- removed ---------------------------------------------------------------------------------------------


@pytest.fixture
def two(archive: Archive, pool: ThreadPoolExecutor) -> Archive:
    """An archive that needs its second dictionary, and no longer the first."""
    archive.dictionaries.add(KIND, dictionary(7))
    filled(archive, 30)
    train(archive, KIND, samples(archive.all(), Silent(), KIND)[KIND])
    worked(archive, pool)
    return archive


def ids(archive: Archive) -> list[int]:
    return [one.id for one in archive.dictionaries.entries()]


def test_one_that_no_object_needs_can_be_removed_an_hour_later(two: Archive) -> None:
    first, second = ids(two)
    later = time.time() + HOUR + 1
    with pytest.raises(DictionaryNeeded, match="in 60 minutes"):
        remove_dictionary(two, trash_of(two), first)
    with pytest.raises(DictionaryNeeded, match="for new objects"):
        remove_dictionary(two, trash_of(two), second, later)
    with pytest.raises(DictionaryNeeded, match="there is no dictionary 5"):
        remove_dictionary(two, trash_of(two), 5, later)
    assert remove_dictionary(two, trash_of(two), first, later).id == first
    assert ids(two) == [second]
    is_sound(two, [made(number) for number in range(30)])


def test_one_that_an_object_needs_stays_whether_its_row_knows_or_not(two: Archive) -> None:
    first, _ = ids(two)
    later = time.time() + HOUR + 1
    one = next(two.all())
    plain = two.reader.plain(one)
    data = bytes(part10.wrap(plain, None, dictionary=two.dictionaries.by_id(first)))
    needing = replace(one, key=one.key.replace(".htj2k", ".htj2k-0badcafe"), stored_size=len(data))
    needing = replace(needing, stored_sha256=sha256(data), dictionary=first)
    two.store.put(needing.key, data)
    for known in (first, DICTIONARY_UNKNOWN):
        (held,) = two.named(one.sop_instance_uid)
        two.index.change_many([(held, replace(needing, dictionary=known))])
        with pytest.raises(DictionaryNeeded, match="1 objects need"):
            remove_dictionary(two, trash_of(two), first, later)
        assert two.named(one.sop_instance_uid)[0].dictionary == first
    assert first in ids(two)


@pytest.mark.parametrize("how", ["framed", "encrypted", "another"])
def test_one_that_the_trash_needs_stays(two: Archive, how: str) -> None:
    first, second = ids(two)
    later = time.time() + HOUR + 1
    trash, one = trash_of(two), next(two.all())
    data = {
        "framed": bytes(part10.wrap(b"some file", 3, dictionary=two.dictionaries.by_id(first))),
        "encrypted": b"zscp-enc" + bytes(100),
        "another": bytes(part10.wrap(b"some file", 3, dictionary=two.dictionaries.by_id(second))),
    }[how]
    key = one.key.replace(".htj2k", ".htj2k-0badcafe")
    two.store.put(key, data)
    with trash.lock():
        (begun,) = trash.begin([Trashed(key, "1.2.3", "1.2", len(data), "test", time.time())])
        trash.take(begun)
        trash.mark(begun, "gone")
    if how == "another":
        remove_dictionary(two, trash, first, later)
        assert ids(two) == [second]
        return
    with pytest.raises(DictionaryNeeded, match=r"1 objects in the trash (may )?need"):
        remove_dictionary(two, trash, first, later)
    assert first in ids(two)


def test_without_any_rule_that_asks_the_last_one_goes_in_two_steps(
    two: Archive, pool: ThreadPoolExecutor
) -> None:
    """At first nobody packs with it any more, and an hour later nobody can be about to."""
    _, second = ids(two)
    two.use_policy(WITHOUT)
    now = time.time() + 10 * HOUR
    with pytest.raises(DictionaryNeeded, match="60 minutes"):
        remove_dictionary(two, trash_of(two), second, now)
    assert two.dictionaries.newest(KIND) is None
    with pytest.raises(DictionaryNeeded, match="30 objects need"):
        remove_dictionary(two, trash_of(two), second, now + HOUR + 1)
    assert worked(two, pool) == {"packed": 30}
    remove_dictionary(two, trash_of(two), second, now + HOUR + 1)
    assert second not in ids(two)
    is_sound(two, [made(number) for number in range(30)])


def test_copies_are_kept_whatever_the_policy_asks_for(two: Archive, pool: ThreadPoolExecutor) -> None:
    """With `dictionary = false` stored objects need it until they were packed anew, which may be hours."""
    two.use_policy(WITHOUT)
    file = two.store.inner.root / two.dictionaries.entries()[0].key  # type: ignore[attr-defined]
    content = file.read_bytes()
    file.unlink()
    Stages(two, "worker", pool, steady=lambda: 0.0).plan()
    assert file.read_bytes() == content


def test_rows_of_an_earlier_version_are_packed_without_a_dictionary_once_their_files_were_looked_at(
    two: Archive, pool: ThreadPoolExecutor
) -> None:
    """They do not know what their files need, so no rule's end of `dictionary` concerns them before."""
    _, second = ids(two)
    two.index.change_many([(one, replace(one, dictionary=DICTIONARY_UNKNOWN)) for one in two.all()])
    two.use_policy(WITHOUT)
    assert worked(two, pool) == {}
    now = time.time() + 10 * HOUR
    for later in (now, now + HOUR + 1):
        with pytest.raises(DictionaryNeeded):
            remove_dictionary(two, trash_of(two), second, later)
    assert worked(two, pool) == {"packed": 30}
    remove_dictionary(two, trash_of(two), second, now + HOUR + 1)
    is_sound(two, [made(number) for number in range(30)])


# -- killed ----------------------------------------------------------------------------------------------

_WORKER = """
    import sys
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from scp.archive.archive import Archive
    from scp.config.rules import PolicyRule
    from scp.index.sql import SqlIndex
    from scp.lifecycle.recovery import recover
    from scp.lifecycle.stages import Stages
    from scp.objects.local import LocalStore

    root = Path(sys.argv[1])
    rule = PolicyRule.model_validate({"name": "small", "stages": [{"form": "htj2k", "dictionary": True}]})
    archive = Archive(LocalStore(root / "objects"), SqlIndex.open(f"sqlite:///{root}/index.db"), [rule])
    recover(archive)
    clock = iter(range(0, 10**9, 100))
    with ThreadPoolExecutor(2) as pool:
        stages = Stages(archive, "killed", pool, steady=lambda: float(next(clock)))
        print("begun", flush=True)
        idle = 0
        while idle < 3:
            idle = 0 if stages.plan() | bool(stages.round().tried) else idle + 1
    archive.close()
"""


@pytest.mark.parametrize(
    ("count", "kills"), [(96, 4), pytest.param(600, 12, marks=pytest.mark.long)], ids=["few", "600"]
)
def test_kill_9_at_random_moments_loses_nothing(tmp_path: Path, count: int, kills: int) -> None:
    archive = opened(tmp_path)
    sent = filled(archive, count)
    train(archive, KIND, samples(archive.all(), Silent(), KIND)[KIND])
    (group,) = told(archive).groups
    before = stored(archive)
    archive.close()
    script = tmp_path / "worker.py"
    script.write_text(textwrap.dedent(_WORKER))
    pick = random.Random(1)
    progress = []
    for _ in range(kills):
        child = forked.Python([sys.executable, script, tmp_path], stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline() == "begun\n"
        time.sleep(pick.uniform(0.0, 0.2))
        child.send_signal(signal.SIGKILL)
        child.wait()
        progress.append(child.returncode)
        later = opened(tmp_path)
        assert [restored(later, one) == one.dataset for one in sent] == [True] * count
        later.close()
    assert set(progress) <= {0, -signal.SIGKILL}
    done = forked.run([sys.executable, script, tmp_path], timeout=250)
    assert done.returncode == 0, done.stderr
    archive = opened(tmp_path)
    recover(archive)
    assert {one.dictionary for one in archive.all()} == {archive.dictionaries.newest_id(KIND)}
    assert group.saved == pytest.approx(before - stored(archive), rel=0.1)
    is_sound(archive, sent)
    archive.close()
