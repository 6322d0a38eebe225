"""Decoded objects that are kept for a while."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from objects import Shape, phantom

from scp.archive import fetch
from scp.archive.archive import Archive
from scp.archive.deliver import outgoing
from scp.archive.options import Options
from scp.config.rules import PolicyRule
from scp.errors import ObjectDamaged
from scp.index.sql import SqlIndex
from scp.objects.decoded import DecodedCache
from scp.objects.journal import JournaledStore
from scp.objects.local import LocalStore
from scp.syntaxes import EXPLICIT, HTJ2K, IMPLICIT, JPEGXL

pytestmark = pytest.mark.quick

MOST = 80_000


@pytest.fixture
def cache(tmp_path: Path) -> DecodedCache:
    return DecodedCache(tmp_path / "decoded", MOST)


def keep(cache: DecodedCache, name: str, *chunks: bytes) -> None:
    assert list(cache.keep(name, chunks)) == list(chunks)


def held(cache: DecodedCache, *names: str) -> list[str]:
    return [name for name in names if cache.get(name) is not None]


def files(cache: DecodedCache) -> list[Path]:
    return sorted(cache._folder.iterdir())


def test_what_was_gone_through_is_kept(cache: DecodedCache) -> None:
    assert cache.get("a") is None
    keep(cache, "a", b"one", b"", b"two")
    assert bytes(cache.get("a") or b"") == b"onetwo"
    cache.forget(["a", "b"])
    assert cache.get("a") is None


def test_what_was_not_gone_through_to_its_end_is_not(cache: DecodedCache) -> None:
    chunks = cache.keep("a", iter([b"one", b"two"]))
    assert next(chunks) == b"one"
    chunks.close()  # type: ignore[attr-defined]

    def broken() -> Iterator[bytes]:
        yield b"one"
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        list(cache.keep("a", broken()))
    assert cache.get("a") is None
    assert files(cache) == []


@pytest.mark.parametrize("place", [0, 3, 5, 20, -1])
def test_what_is_not_what_was_written_is_none(cache: DecodedCache, place: int) -> None:
    keep(cache, "a", b"onetwo")
    (path,) = files(cache)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    assert cache.get("a") is None
    assert files(cache) == []
    keep(cache, "a", b"onetwo")
    path.write_bytes(path.read_bytes()[: abs(place)])
    assert cache.get("a") is None


def test_what_was_not_asked_for_the_longest_goes(cache: DecodedCache) -> None:
    for n in range(7):
        keep(cache, str(n), bytes(9_900))
        os.utime(cache._folder / str(n), (n, n))
    assert held(cache, "0") == ["0"]  # asked for: it is the newest now
    keep(DecodedCache(cache._folder, MOST), "7", bytes(9_900))  # another process, which looks first
    assert held(cache, *map(str, range(8))) == ["0", "2", "3", "4", "5", "6", "7"]
    assert sum(path.stat().st_size for path in files(cache)) <= MOST
    assert not cache.takes(MOST // 8 + 1)


def test_what_a_dead_process_left_goes(cache: DecodedCache) -> None:
    keep(cache, "a", b"x")
    left, fresh = cache._folder / "b.1-0.part", cache._folder / "c.1-0.part"
    for path in (left, fresh):
        path.write_bytes(b"half")
    os.utime(left, (1, 1))
    keep(DecodedCache(cache._folder, MOST), "d", b"x")
    assert left not in files(cache)
    assert fresh in files(cache)


def test_where_nothing_can_be_written_everything_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for cache in (DecodedCache(tmp_path / "file", MOST), DecodedCache(tmp_path / "full", MOST, 1 << 60)):
        keep(cache, "a", b"one", b"two")
        assert cache.get("a") is None


# ---- in an archive ----


class Counting:
    """How often something was decoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times = 0
        monkeypatch.setattr(fetch, "outgoing", self._outgoing)

    def _outgoing(self, *arguments: object) -> object:
        self.times += 1
        return outgoing(*arguments)  # type: ignore[arg-type]


def kept(tmp_path: Path, form: str) -> Archive:
    store: JournaledStore = LocalStore(tmp_path / "objects")
    index = SqlIndex.open(f"sqlite:///{tmp_path}/index.db")
    stages = [{"form": form, "wrap": "none"}]
    rule = PolicyRule.model_validate({"name": "rule", "stages": stages})
    return Archive(store, index, [rule], Options(decoded=DecodedCache(tmp_path / "decoded", 10**9)))


def test_what_is_slow_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, counting = kept(tmp_path, "jpegxl"), Counting(monkeypatch)
    sent = phantom(Shape(rows=64, columns=64))
    instance = archive.ingest(sent).instance
    for times in (1, 1, 1):
        found = archive.fetch(instance, [EXPLICIT])
        assert (b"".join(found.chunks), found.transfer_syntax) == (sent.dataset, EXPLICIT)
        assert counting.times == times
    implicit = b"".join(archive.fetch(instance, [IMPLICIT]).chunks)
    assert counting.times == 2
    assert b"".join(archive.fetch(instance, [IMPLICIT]).chunks) == implicit
    assert counting.times == 2
    assert archive.fetch(instance, [JPEGXL, EXPLICIT]).transfer_syntax == JPEGXL  # the peer takes it as it is
    assert counting.times == 2
    archive.forget_decoded([instance])
    b"".join(archive.fetch(instance, [EXPLICIT]).chunks)
    assert counting.times == 3
    archive.close()


def test_what_is_quick_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, counting = kept(tmp_path, "htj2k"), Counting(monkeypatch)
    instance = archive.ingest(phantom(Shape(rows=64, columns=64))).instance
    for times in (1, 2):
        b"".join(archive.fetch(instance, [EXPLICIT]).chunks)
        b"".join(archive.fetch(instance, [HTJ2K]).chunks)
        assert counting.times == times
    assert not (tmp_path / "decoded").exists()
    archive.close()


def test_another_content_is_another_object(tmp_path: Path) -> None:
    """What comes in the place of an object is never answered with what was remembered of that."""
    archive = kept(tmp_path, "jpegxl")
    first = phantom(Shape(rows=64, columns=64))
    b"".join(archive.fetch(archive.ingest(first).instance, [EXPLICIT]).chunks)
    other = phantom(Shape(rows=64, columns=64, bits_stored=9))
    assert (other.sop_instance_uid, other.dataset != first.dataset) == (first.sop_instance_uid, True)
    assert b"".join(archive.fetch(archive.ingest(other).instance, [EXPLICIT]).chunks) == other.dataset
    archive.close()


def test_a_damaged_object_is_served_from_what_is_whole_or_not_at_all(tmp_path: Path) -> None:
    archive = kept(tmp_path, "jpegxl")
    sent = phantom(Shape(rows=64, columns=64))
    instance = archive.ingest(sent).instance
    b"".join(archive.fetch(instance, [EXPLICIT]).chunks)
    path = tmp_path / "objects" / instance.key
    path.write_bytes(path.read_bytes()[:-1])
    assert b"".join(archive.fetch(instance, [EXPLICIT]).chunks) == sent.dataset
    for file in (tmp_path / "decoded").iterdir():
        file.write_bytes(b"rotten" + file.read_bytes()[6:])
    with pytest.raises(ObjectDamaged):
        archive.fetch(instance, [EXPLICIT])
    archive.close()
