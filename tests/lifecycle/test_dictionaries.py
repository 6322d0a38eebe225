"""zstd dictionaries: stored beside the objects, trained from them, and never what an object is lost by."""

from __future__ import annotations

import importlib.util
import inspect
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
from alike import KIND, dictionary, file_of, restored, small
from objects import (
    Shape,
    as_received,
    assert_restored,
    corpus,
    element,
    phantom,
    received,
)
from test_stores import in_another_process

from scp.advise.sampling import load, look
from scp.archive import trainer
from scp.archive.archive import Archive
from scp.archive.encode import keep
from scp.archive.options import Duplicates, Options
from scp.archive.replacement import Change
from scp.background.progress import Silent
from scp.cli.dictionary import train_dictionaries
from scp.config.rules import PolicyRule, Stage
from scp.config.values import byte_count
from scp.encoding.facts import survey
from scp.errors import (
    DictionaryMissing,
    DuplicateRejected,
    ObjectDamaged,
    ObjectUnavailable,
    ObjectUnreadable,
)
from scp.index.sql import SqlIndex
from scp.lifecycle import training
from scp.lifecycle.recovery import Recovered, recover
from scp.lifecycle.reindex import reindex
from scp.lifecycle.training import Automatic, TrainingSample, samples, train
from scp.lifecycle.transfer import import_files
from scp.lifecycle.verify import verify
from scp.model import Instance, Received
from scp.objects import part10
from scp.objects.dictionaries import Dictionaries
from scp.objects.local import LocalStore
from scp.objects.names import is_dictionary
from scp.spool import sha256
from scp.syntaxes import EXPLICIT, IMPLICIT

pytestmark = pytest.mark.usefixtures("codecs_here")

MR = "1.2.840.10008.5.1.4.1.1.4"
RULE = PolicyRule(name="small", stages=(Stage(forms=("htj2k",), dictionary=True),))
SCRIPT = Path(__file__).parents[2] / "docs" / "examples" / "restore.py"


@pytest.fixture
def open_archive(tmp_path: Path) -> Iterator[Callable[[], Archive]]:
    """Opens the same archive each time, as another process would."""
    opened: list[Archive] = []

    def make(duplicates: Duplicates = "replace") -> Archive:
        store, index = LocalStore(tmp_path / "objects"), SqlIndex.open(f"sqlite:///{tmp_path}/index.db")
        opened.append(Archive(store, index, [RULE], Options(duplicates)))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def archive(open_archive) -> Archive:
    return open_archive()


def folder_of(archive: Archive) -> Path:
    return archive.store.inner.root / "dictionaries" / KIND  # type: ignore[attr-defined]


# -- stored ----------------------------------------------------------------------------------------------


def test_the_newest_of_a_class_is_used_and_older_ones_stay(tmp_path: Path) -> None:
    held = Dictionaries(LocalStore(tmp_path / "made"))
    assert held.newest(KIND) is None
    first, second = (held.add(KIND, dictionary(seed)) for seed in range(2))
    assert [(one.version, one.sop_class_uid) for one in (first, second)] == [(1, KIND), (2, KIND)]
    assert held.newest(KIND).id == second.id
    assert held.newest("1.2.3") is None
    assert held.by_id(first.id).content == dictionary(0)
    assert held.entries() == [first, second]
    assert held.add(KIND, dictionary(0)) == first  # one that is there already
    assert held.newest(KIND).id == first.id
    assert len(held.entries(KIND)) == 2


def test_two_with_one_id_are_told_apart(tmp_path: Path) -> None:
    """2^31 IDs, and a frame that names one: another content must not be found under it."""
    held = Dictionaries(LocalStore(tmp_path / "made"))
    first, other = dictionary(0), dictionary(1)
    other = other[:4] + first[4:8] + other[8:]
    entries = [held.add("1.2", first), held.add("1.3", other), held.add("1.4", first)]
    assert entries[1].id == entries[0].id + 1
    assert entries[2].id == entries[0].id
    again = Dictionaries(held._store)
    assert [again.by_id(one.id).content[8:] for one in entries[:2]] == [first[8:], other[8:]]
    frame = part10.wrap(b"some text", 3, dictionary=again.by_id(entries[1].id))
    assert part10.unwrap(frame, again.by_id) == b"some text"


def test_what_another_process_stores_is_found(archive) -> None:
    now = [0.0]
    another = Dictionaries(archive.store, lambda: now[0])
    assert another.newest(KIND) is None
    entry = archive.dictionaries.add(KIND, dictionary())
    assert another.by_id(entry.id).content == dictionary()
    now[0] = 60.0
    found = another.newest(KIND)
    assert found is not None
    assert found.id == entry.id


def test_keys_of_dictionaries_are_none_of_objects(archive) -> None:
    archive.ingest(small(1))
    entry = archive.dictionaries.add(KIND, dictionary())
    assert is_dictionary(entry.key)
    assert len([*archive.store.keys()]) == 4  # with its copy and the mark
    assert [*archive.files.keys()] == [archive.index.newest(small(1).sop_instance_uid).key]


# -- kept ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_kept_with_a_dictionary_it_is_smaller_and_comes_back_to_the_byte(open_archive, syntax: str) -> None:
    archive, one = open_archive(), small(7, syntax)
    without = archive.ingest(one).instance.stored_size
    archive.dictionaries.add(KIND, dictionary())
    other = small(8, syntax)
    instance = archive.ingest(other).instance
    assert instance.stored_size < 0.6 * without
    assert instance.key.endswith(".htj2k.dcm.zst")
    assert part10.dictionary_id(file_of(archive, other)) == archive.dictionaries.newest(KIND).id
    later = open_archive()  # one that has trained nothing, and loads what it needs
    assert [restored(later, object_) == object_.dataset for object_ in (one, other)] == [True, True]
    assert [verdict.fault for verdict in verify(later, later.index.all(), deep=True)] == ["", ""]


@pytest.mark.parametrize("forms", [("zstd",), ("native",), ("received",), ("htj2k",), ("jpegls", "rle")])
@pytest.mark.parametrize("wrap", ["auto", "zstd"])
def test_every_form_in_a_frame_takes_one(forms: tuple[str, ...], wrap: str, tmp_path: Path) -> None:
    held, one = Dictionaries(LocalStore(tmp_path / "made")), small(5)
    held.add(KIND, dictionary())
    rule = PolicyRule(name="r", stages=(Stage(forms=forms, wrap=wrap, dictionary=True, keep="smallest"),))
    found = keep(one, survey(one), rule, dictionaries=held)
    assert part10.dictionary_id(found.data) == held.newest(KIND).id
    file = part10.unpack(found.data, held.by_id)
    assert_restored(one, part10.pack(file))


def test_where_it_is_not_asked_for_or_not_smaller_there_is_none(tmp_path: Path) -> None:
    held = Dictionaries(LocalStore(tmp_path / "made"))
    held.add(KIND, dictionary())
    one = small(5)
    plain = PolicyRule(name="r", stages=(Stage(forms=("htj2k",)),))
    assert part10.dictionary_id(keep(one, survey(one), plain, dictionaries=held).data) == 0
    assert part10.dictionary_id(keep(one, survey(one), RULE).data) == 0
    other = replace(one, sop_class_uid="1.2.840.10008.5.1.4.1.1.2")
    assert part10.dictionary_id(keep(other, survey(other), RULE, dictionaries=held).data) == 0
    stranger = phantom(Shape(rows=16, columns=16, noise=0.05))
    held.add(stranger.sop_class_uid, dictionary())
    zeros = as_received(bytes(5000), EXPLICIT, stranger.sop_class_uid)
    assert part10.dictionary_id(keep(zeros, survey(zeros), RULE, dictionaries=held).data) == 0


def test_the_proof_reads_with_what_lies_in_the_store(monkeypatch, tmp_path: Path) -> None:
    """A dictionary that a reader would not find, or not as it is here, keeps no object."""
    held, one = Dictionaries(LocalStore(tmp_path / "made")), small(5)
    held.add(KIND, dictionary())
    newest = held.newest(KIND)
    assert newest is not None
    asked: list[int] = []

    def gone(number: int) -> None:
        asked.append(number)
        raise DictionaryMissing("gone")

    monkeypatch.setattr(held, "newest", lambda _: newest)
    monkeypatch.setattr(held, "by_id", gone)
    found = keep(one, survey(one), RULE, dictionaries=held)
    assert asked
    assert [attempt.outcome for attempt in found.provenance.attempts] == ["wrong", "wrong", "kept"]
    assert (found.encoded.form, found.wrapped) == ("received", False)
    assert part10.unpack(found.data).dataset == one.dataset


# -- missing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["gone", "damaged"])
@pytest.mark.parametrize("which", ["", ".copy"])
def test_of_two_files_one_is_enough_and_is_put_back(open_archive, how: str, which: str) -> None:
    archive, one = open_archive(), small(8)
    entry = archive.dictionaries.add(KIND, dictionary())
    archive.ingest(one)
    path = archive.store.inner.root / f"{entry.key}{which}"
    content = path.read_bytes()
    path.unlink() if how == "gone" else path.write_bytes(content[:-5] + b"wrong")
    later = open_archive()
    assert restored(later, one) == one.dataset
    assert later.dictionaries.newest(KIND).id == entry.id
    assert later.dictionaries.entries() == [entry]
    assert later.dictionaries.size(entry) == len(content)
    later.dictionaries.keep_copies()
    assert path.read_bytes() == content
    assert entry.digest in sha256(content)


@pytest.mark.parametrize("which", ["", ".copy"])
def test_a_file_that_may_not_be_read_is_no_loss_and_stops_nothing(
    open_archive, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Perhaps somebody brought it back as root. The node reads the other one, and does not write over it."""
    archive, one, other = open_archive(), small(8), small(9)
    entry = archive.dictionaries.add(KIND, dictionary())
    archive.ingest(one)
    later = open_archive()
    unreadable(monkeypatch, lambda key: key == f"{entry.key}{which}")
    later.dictionaries.keep_copies()
    assert restored(later, one) == one.dataset
    later.ingest(other)
    assert later.named(other.sop_instance_uid)[0].dictionary == entry.id


@pytest.mark.parametrize("what", [".zdict", "/newest"])
def test_where_none_may_be_read_objects_are_kept_without_and_none_is_called_damaged(
    open_archive, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, one, other = open_archive(), small(8), small(9)
    archive.dictionaries.add(KIND, dictionary())
    archive.ingest(one)
    later = open_archive()
    with monkeypatch.context() as patched:
        unreadable(patched, lambda key: what in key)
        later.ingest(other)
        later.dictionaries.keep_copies()
        assert restored(later, other) == other.dataset
        assert later.named(other.sop_instance_uid)[0].dictionary == 0
        if what == ".zdict":
            with pytest.raises(ObjectUnavailable, match="permissions"):
                later.verify(later.named(one.sop_instance_uid)[0])
    assert restored(later, one) == one.dataset


def unreadable(monkeypatch: pytest.MonkeyPatch, which: Callable[[str], bool]) -> None:
    """Let the store have no permission to read some files; the tests may run as root, who has all."""
    get = LocalStore.get

    def refused(store: LocalStore, key: str, size: int | None = None) -> object:
        if which(key):
            raise ObjectUnreadable(f"{key} cannot be read: Permission denied; see to its permissions")
        return get(store, key, size)

    monkeypatch.setattr(LocalStore, "get", refused)


@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_without_its_dictionary_an_object_says_what_it_lacks_and_is_not_lost(open_archive, how: str) -> None:
    archive, one = open_archive(), small(8)
    entry = archive.dictionaries.add(KIND, dictionary())
    archive.ingest(one)
    path = archive.store.inner.root / entry.key
    content = path.read_bytes()
    for file in (path, path.with_name(f"{path.name}.copy")):
        file.unlink() if how == "gone" else file.write_bytes(content[:-5] + b"wrong")
    later = open_archive()
    later.dictionaries.keep_copies()
    instance = later.index.newest(one.sop_instance_uid)
    with pytest.raises(DictionaryMissing, match=str(entry.id)):
        later.verify(instance)
    assert later.dictionaries.newest(KIND) is None
    assert [str(entry.id) in fault for _, fault in reindex(later, Silent()).damaged] == [True]
    assert later.index.newest(one.sop_instance_uid) == instance
    assert (later.store.inner.root / instance.key).exists()
    other = small(9)
    later.ingest(other)  # new objects do without it
    assert restored(later, other) == other.dataset
    path.write_bytes(content)
    assert restored(later, one) == one.dataset
    assert later.dictionaries.by_id(entry.id).content == content


@pytest.mark.parametrize("mode", ["keep", "reject"])
def test_other_content_takes_no_place_of_one_whose_dictionary_can_be_brought_back(
    open_archive, mode: str
) -> None:
    archive, one = open_archive(), small(8)
    entry = archive.dictionaries.add(KIND, dictionary())
    archive.ingest(one)
    path = archive.store.inner.root / entry.key
    content = path.read_bytes()
    path.unlink()
    path.with_name(f"{path.name}.copy").unlink()
    later = open_archive(mode)
    other = small(8, content=9)
    if mode == "reject":
        with pytest.raises(DuplicateRejected):
            later.ingest(other)
    else:
        assert later.ingest(other).outcome == "discarded"
    path.write_bytes(content)
    assert restored(later, one) == one.dataset


# -- crashes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "death", ["while it is written", "before it is the newest", "before it is settled", "after"]
)
def test_a_kill_between_the_dictionary_and_its_first_use_loses_nothing(open_archive, death: str) -> None:
    archive, one = open_archive(), small(1)
    archive.ingest(one)
    how = {
        "while it is written": "dies(os, 'fsync', 0, True)",
        "before it is the newest": "dies(LocalStore, 'put', 2, True)",
        "before it is settled": "dies(LocalStore, 'settle', 0, True)",
        "after": "",
    }[death]
    root = archive.store.inner.root
    (root.parent / "content").write_bytes(dictionary())
    script = f"""
        from scp.objects.dictionaries import Dictionaries
        {how}
        Dictionaries(store).add({KIND!r}, Path({str(root.parent / "content")!r}).read_bytes())
        os._exit(9)
    """
    assert in_another_process(root, "\n".join(line.strip() for line in script.splitlines())).wait() == 9
    later = open_archive()
    assert recover(later) == Recovered()
    assert not [path for path in (root / ".incoming").rglob("*") if path.is_file() and path.name != "lock"]
    used = later.dictionaries.newest(KIND)
    assert (used is not None) == (death == "after")
    assert restored(later, one) == one.dataset
    entry = later.dictionaries.add(KIND, dictionary())
    assert (entry.version, len(later.dictionaries.entries())) == (1, 1)
    other = small(2)
    later.ingest(other)
    assert part10.dictionary_id(file_of(later, other)) == entry.id
    assert restored(later, other) == other.dataset


# -- trained ---------------------------------------------------------------------------------------------


def _sample_of(archive: Archive, kind: str = KIND) -> TrainingSample:
    return samples(archive.index.all(), Silent(), kind)[kind]


def test_trained_from_stored_objects_the_same_each_time(archive, tmp_path: Path) -> None:
    for number in range(24):
        archive.ingest(small(number))
    found = train(archive, KIND, _sample_of(archive))
    assert found.then < 0.7 * found.now
    assert found.now == found.without
    assert 0 < found.saves < found.stored_size
    again = Dictionaries(LocalStore(tmp_path / "made"))
    made = trainer.trained([one.material.beginning for one in _files(archive)], 8 << 10)
    assert made == trainer.trained([one.material.beginning for one in _files(archive)], 8 << 10)
    assert again.add(KIND, made).version == 1
    second = train(archive, KIND, _sample_of(archive))
    assert (second.entry, second.saves) == (None, 0)
    assert "less than 2%" in second.reason
    assert second.now < second.without
    assert len(archive.dictionaries.entries()) == 1


def _files(archive: Archive) -> list[training._File]:
    return [training._read(archive, one) for one in archive.index.all()]


def test_what_is_trained_on_ends_soon_behind_the_header(archive) -> None:
    one = phantom(Shape(rows=256, columns=256, noise=0.5))
    instance = archive.ingest(one).instance
    read = training._read(archive, instance)
    at = bytes(read.material.data).index(b"\xe0\x7f\x10\x00OB")
    assert len(read.material.beginning) == at + 12 + trainer.OF_PIXELS < len(read.material.data) / 2
    document = part10.Part10("1.2", "1.2.3", EXPLICIT, element(0x00080060, "CS", b"SR"))
    assert trainer.pixels_at(document) == len(document.dataset)


def test_of_what_is_mostly_pixels_none_is_trained(archive) -> None:
    """All of the headers is less than a dictionary has to save: most files are not even read."""
    for number in range(20):
        archive.ingest(phantom(Shape(rows=300, columns=300, noise=0.5, seed=number)))
    kind = next(archive.all()).sop_class_uid
    found = train(archive, kind, _sample_of(archive, kind))
    assert (found.entry, found.received) == (None, 0)
    assert "too small a part" in found.reason


def test_a_process_keeps_few_dictionaries_in_memory(tmp_path: Path) -> None:
    held = Dictionaries(LocalStore(tmp_path / "made"))
    content = dictionary()
    for number in range(20):
        held.add(f"1.2.{number}", content[:4] + (40_000 + number).to_bytes(4, "little") + content[8:])
    assert [held.newest(f"1.2.{number}").id for number in range(20)] == list(range(40_000, 40_020))
    assert len(held._read) == 16
    assert held.by_id(40_000).id == 40_000


def test_the_command_asks_for_the_size_that_the_archive_trains_by_itself() -> None:
    asked = inspect.signature(train_dictionaries).parameters["size"].default
    assert byte_count(asked) == trainer.SIZE


def test_too_few_or_too_unlike_objects_make_none(archive) -> None:
    assert "0 small objects" in train(archive, KIND, TrainingSample()).reason
    for number in range(6):
        archive.ingest(small(number))
    assert "6 small objects" in train(archive, KIND, _sample_of(archive)).reason
    assert archive.dictionaries.entries() == []
    assert trainer.trained([b"ab"] * 20, 1000) == b""
    assert trainer.trained([os.urandom(9) for _ in range(20)], 10**6) == b""


def test_a_sample_is_bounded_and_spread_over_all(archive) -> None:
    instance = archive.ingest(small(1)).instance
    sample = TrainingSample()
    for number in range(5000):
        sample.add(replace(instance, sop_instance_uid=str(number)))
    kept = [int(one.sop_instance_uid) for one in sample.kept]
    assert 100 < len(kept) <= 256
    assert {later - earlier for earlier, later in pairwise(kept)} == {32}
    assert (sample.seen, sample.stored_size) == (5000, 5000 * instance.stored_size)


def test_automatic_training_comes_with_enough_objects_and_then_at_four_times_as_many(
    archive, monkeypatch
) -> None:
    tried: list[int] = []
    work = training.train

    def counted(archive: Archive, uid: str, sample: TrainingSample) -> training.Trained:
        tried.append(sample.seen)
        return work(archive, uid, sample)

    monkeypatch.setattr(training, "train", counted)
    automatic = Automatic(archive, first=16)
    kept_with = []
    for number in range(70):
        instance = archive.ingest(small(number)).instance
        kept_with.append(part10.dictionary_id(file_of(archive, small(number))) != 0)
        automatic.saw([_change(instance)])
        automatic.work(lambda task: task())
    assert tried == [16, 64]
    assert kept_with == [False] * 16 + [True] * 54
    assert [one.version for one in archive.dictionaries.entries()] == [1, 2]
    ignored = Automatic(archive, first=1)
    ignored.saw([_change(replace(instance, rule="another"))])
    ignored.work(lambda task: task())
    assert tried == [16, 64]


def _change(instance: Instance) -> Change:
    return Change(instance, instance)


# -- opened by others ------------------------------------------------------------------------------------


@pytest.fixture
def stored(archive) -> tuple[Path, Path, Received]:
    """A stored file, its dictionary's, and what was received."""
    one = small(8, IMPLICIT)
    entry = archive.dictionaries.add(KIND, dictionary())
    instance = archive.ingest(one).instance
    return archive.store.inner.root / instance.key, archive.store.inner.root / entry.key, one


def test_zstd_itself_opens_it(stored, tmp_path: Path) -> None:
    if shutil.which("zstd") is None:
        pytest.skip("there is no zstd command: scripts/install-tools.sh installs it")
    path, dictionary_path, one = stored
    out = tmp_path / "object.dcm"
    done = subprocess.run(["zstd", "-q", "-d", "-D", dictionary_path, path, "-o", out], check=False)
    assert done.returncode == 0
    assert_restored(one, out.read_bytes())
    refused = subprocess.run(
        ["zstd", "-q", "-d", path, "-o", tmp_path / "x"], check=False, capture_output=True
    )
    assert refused.returncode != 0


def reader_without_zscp() -> ModuleType:
    found = importlib.util.spec_from_file_location("restore", SCRIPT)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_reader_without_zscp_finds_the_dictionary(stored, tmp_path: Path) -> None:
    path, _, one = stored
    assert reader_without_zscp().main(path, tmp_path / "out") == 0
    assert (tmp_path / "out").read_bytes() == one.dataset


@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_the_reader_without_zscp_takes_the_copy(stored, how: str, tmp_path: Path) -> None:
    path, file, one = stored
    file.unlink() if how == "gone" else file.write_bytes(file.read_bytes()[:-5] + b"wrong")
    module = reader_without_zscp()
    assert module.main(path, tmp_path / "out") == 0
    assert (tmp_path / "out").read_bytes() == one.dataset
    file.with_name(f"{file.name}.copy").unlink()
    with pytest.raises(SystemExit, match="no sound file of it"):
        module.main(path, tmp_path / "out")


def test_a_stored_file_is_imported_elsewhere_with_the_dictionary_beside_it(stored, tmp_path: Path) -> None:
    path, dictionary_path, one = stored
    store = LocalStore(tmp_path / "made")
    other = Archive(store, SqlIndex.open(f"sqlite:///{tmp_path}/other.db"), [RULE])
    assert [result.outcome for result in import_files(other, [path, dictionary_path], "X")] == [
        "kept",
        "skipped",
    ]
    assert restored(other, one) == one.dataset
    alone = tmp_path / path.name
    shutil.copy(path, alone)
    (result,) = import_files(other, [alone], "X")
    assert (result.outcome, "zstd dictionary" in result.reason) == ("failed", True)
    other.close()


def test_stored_files_are_measured_with_the_dictionary_beside_them(stored, tmp_path: Path) -> None:
    path, _, one = stored
    (seen,) = look([path])
    assert seen.outcome == "sound"
    assert load(seen).uids == (one.sop_class_uid, one.sop_instance_uid)
    alone = tmp_path / path.name
    shutil.copy(path, alone)
    (seen,) = look([alone])
    assert seen.outcome == "failed"
    assert "none lies beside it" in seen.reason


def test_without_a_lookup_the_frame_is_refused(stored) -> None:
    with pytest.raises(DictionaryMissing, match="zstd dictionary"):
        part10.unpack(stored[0].read_bytes())
    with pytest.raises(ObjectDamaged, match="does not begin as one"):
        part10.dictionary_id(b"\x28\xb5\x2f\xfd")


# -- real objects ----------------------------------------------------------------------------------------


@pytest.mark.corpus
@pytest.mark.parametrize(("folder", "most"), [("mr-small", 0.21), ("mr-siemens", 0.40)])
def test_small_mr_objects_with_a_dictionary(archive, folder: str, most: float) -> None:
    """Trained on every other object, as the folder's share of an archive would be; measured on all."""
    files = corpus(folder)
    for path in files[::2]:
        archive.ingest(received(path))
    assert train(archive, MR, _sample_of(archive, MR)).entry is not None
    sizes = []
    for path in files:
        one = received(path)
        found = keep(one, survey(one), RULE, dictionaries=archive.dictionaries)
        sizes.append((len(one.dataset), len(found.data)))
    of_received = sum(kept for _, kept in sizes) / sum(size for size, _ in sizes)
    assert of_received <= most
