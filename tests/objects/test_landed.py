"""A store with a landing log before it: one set of verbs for both, and what is not kept is withdrawn."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import scp
from scp.errors import ObjectDamaged, ObjectMissing
from scp.objects.landed import LandedStore
from scp.objects.landing import LARGEST, LandingLog
from scp.objects.local import LocalStore
from scp.objects.names import LANDING, is_landed

SCP = Path(scp.__file__).parent
# What only objects/ knows; the node makes the log.
OWN_WORDS = re.compile(r"is_landed|segment_of|LandingLog|\.landing\b/|dictionaries/")

KEY = "3f/a2/1.2.3/1.2.3.4_0123456789abcdef.htj2k.dcm"
HEAD, DATASET = b"head" * 40, b"dataset" * 4000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LandedStore]:
    made = opened(tmp_path)
    yield made
    made.close()


def opened(root: Path) -> LandedStore:
    return LandedStore(LocalStore(root), LandingLog(root, segment=1 << 18))


def landed(store: LandedStore, head: bytes = HEAD) -> str:
    with store.landing(head, DATASET) as landing:
        landing.sync()
        landing.keep()
    return landing.key


def test_the_verbs_serve_both(store: LandedStore) -> None:
    store.put(KEY, b"file")
    key = landed(store)
    assert (store.keeps(KEY), store.keeps(key)) == (True, False)
    assert (bytes(store.get(KEY)), store.get(key)) == (b"file", HEAD + DATASET)
    assert (store.size(KEY), store.size(key)) == (4, len(HEAD + DATASET))
    assert list(store.keys()) == [key, KEY]
    for prefix, found in (("3f/", [KEY]), (f"{LANDING}/", [key]), ("3g/", [])):
        assert list(store.keys(prefix)) == found
    with pytest.raises(ObjectDamaged):
        store.get(key, 5)
    store.delete_many([KEY, key])
    for gone in (KEY, key):
        assert not store.has(gone)
        with pytest.raises(ObjectMissing):
            store.get(gone)
        store.delete(gone)
    assert list(store.keys()) == []


def test_one_that_is_damaged_is_there(store: LandedStore, tmp_path: Path) -> None:
    key = landed(store)
    (segment,) = tmp_path.glob(f"{LANDING}/*/*.log")
    data = bytearray(segment.read_bytes())
    data[data.index(HEAD)] ^= 1
    segment.write_bytes(data)
    with pytest.raises(ObjectDamaged):
        store.size(key)
    assert store.has(key)
    assert not store.counts(key)
    store.set_aside(key)
    assert [len(path.read_bytes()) for path in (tmp_path / ".damaged").iterdir()] == [len(HEAD + DATASET)]


@pytest.mark.parametrize("settles", [LandedStore.settle, LandedStore.journal_removal])
def test_only_deleting_ends_a_record(store: LandedStore, settles) -> None:
    """The journal's verbs, which do nothing to it, were called for files whose objects it still held."""
    key = landed(store)
    settles(store, key)
    assert store.counts(key)
    assert dict(store.unsettled()) == {}
    store.delete(key)
    assert not store.counts(key)


def test_what_is_not_kept_is_withdrawn(store: LandedStore) -> None:
    with store.landing(HEAD, DATASET) as landing:
        landing.sync()
    assert not store.has(landing.key)


def not_recorded(store: LandedStore, is_named: Callable[[], bool]) -> None:
    with store.landing(HEAD, DATASET) as landing:
        landing.is_named = is_named
        raise KeyError


@pytest.mark.parametrize("named", [False, True])
def test_after_an_exception_it_stays_where_the_index_names_it(store: LandedStore, named: bool) -> None:
    with pytest.raises(KeyError):
        not_recorded(store, lambda: named)
    assert len(list(store.keys())) == named


def test_after_an_exception_before_it_was_to_be_recorded_it_is_withdrawn(store: LandedStore) -> None:
    with pytest.raises(KeyError), store.landing(HEAD, DATASET) as landing:
        raise KeyError
    assert not store.counts(landing.key)


def test_while_that_is_unsure_it_stays(store: LandedStore) -> None:
    def is_named() -> bool:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        not_recorded(store, is_named)
    (key,) = store.keys()
    assert store.counts(key)


def test_what_a_dead_process_landed_strays_until_it_is_deleted(store: LandedStore, tmp_path: Path) -> None:
    dead = opened(tmp_path)
    keys = sorted(landed(dead) for _ in range(3))
    assert list(store.strays([])) == [], "it lives"
    os.close(dead.log._own_lock)
    assert sorted(store.strays([keys[0], KEY])) == keys[1:]
    store.delete_many(keys[1:])
    store.free([keys[0], KEY])
    assert store.get(keys[0]) == HEAD + DATASET
    store.delete(keys[0])
    store.free([])
    assert list(tmp_path.glob(f"{LANDING}/*/*.log")) == []


def test_a_full_segment_is_freed_once_its_records_are_over(store: LandedStore, tmp_path: Path) -> None:
    keys = [landed(store) for _ in range(20)]
    full = {Path(key).parent for key in keys[:-1]} - {Path(keys[-1]).parent}
    assert len(full) >= 2
    store.delete_many(keys)
    store.free([])
    assert [each for each in full if (tmp_path / f"{each}.log").exists()] == []


def test_without_a_log_nothing_lands(tmp_path: Path) -> None:
    store = LandedStore(LocalStore(tmp_path))
    store.prepare()
    store.free([])
    assert (store.lands(1), list(store.strays([])), list(store.keys())) == (False, [], [])
    key = f"{LANDING}/1-a/000001/4136-10.dcm"
    assert is_landed(key)
    assert not store.has(key)
    with pytest.raises(ValueError, match="without a log"), store.landing(HEAD, DATASET):
        pass


def test_only_the_object_store_knows_how_a_key_is_made() -> None:
    others = {path for path in SCP.rglob("*.py") if path.relative_to(SCP).parts[0] != "objects"}
    found = {path.relative_to(SCP).parts[0] for path in others if OWN_WORDS.search(_code(path))}
    assert found == {"node"}


def _code(path: Path) -> str:
    """A module without its docstrings and comments."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
            node.body[0] = ast.Pass()
    return ast.unparse(tree)


def test_what_is_large_does_not_land(store: LandedStore) -> None:
    assert (store.lands(LARGEST), store.lands(LARGEST + 1)) == (True, False)


def left(store: LandedStore) -> str:
    with store.landing(HEAD, DATASET) as landing:
        landing.sync()
        landing.leave()
    return landing.key


@pytest.mark.parametrize("named", [False, True])
def test_a_file_that_was_left_stays_until_its_row_is_there_or_it_is_withdrawn(
    store: LandedStore, named: bool
) -> None:
    key = left(store)
    assert store.log is not None
    while len(store.log._open) == 1:  # others fill its segment
        landed(store)
    assert store.counts(key)
    assert list(store.strays([])) == []  # it is not sealed: no other process may take it up
    store.landed(key, named)
    assert (store.counts(key), len(store.log._open)) == (named, 1)


def test_a_file_that_was_left_survives_what_comes_after_it(store: LandedStore) -> None:
    def left_and_failed() -> None:
        with store.landing(HEAD, DATASET) as landing:
            landing.leave()
            raise KeyError

    with pytest.raises(KeyError):
        left_and_failed()
    (key,) = store.keys()
    assert store.counts(key)
