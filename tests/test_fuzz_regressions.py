"""What fuzzing has found, run again without a fuzzer in processes that may die of it; and its own parts."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz import codecs, seeds, structure
from fuzz.fates import SOUND, fate, smallest
from fuzz.targets import TARGETS, Target

pytestmark = pytest.mark.quick
FOUND = sorted((Path(__file__).parent / "data" / "fuzz").iterdir())


def _target(path: Path) -> str:
    """The file's name begins with it."""
    return max((name for name in TARGETS if path.name.startswith(f"{name}-")), key=len)


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.name)
def test_what_was_found_is_mended(path: Path) -> None:
    assert fate(_target(path), path.read_bytes(), seconds=60) == SOUND


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeds")
    seeds.write(folder)
    return folder


def test_each_target_has_seeds_that_are_sound(made: Path) -> None:
    """A few of each: all take as long as the objects that they are made of."""
    assert {path.name for path in made.iterdir()} == set(TARGETS)
    for name, target in TARGETS.items():
        for path in sorted((made / name).iterdir())[:4]:
            target.check(path.read_bytes())


# Those that take little time. make fuzz runs all, for longer.
_QUICK = (
    "association", "messages", "connection", "command", "action", "identifier", "query", "wildcards",
    "matching", "configuration", "dataset", "fragments",
)  # fmt: skip


@pytest.mark.parametrize("name", _QUICK)
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore")
def test_each_reader_takes_changed_seeds(made: Path, name: str, data: st.DataObject) -> None:
    """As the fuzzer does, a few times: a piece of one seed is left out, doubled, or replaced by any bytes."""
    content = data.draw(st.sampled_from(sorted((made / name).iterdir()))).read_bytes()
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(content)))
        end = min(len(content), begin + data.draw(st.sampled_from((0, 1, 2, 4, 16))))
        piece = data.draw(st.just(2 * content[begin:end]) | st.binary(max_size=4))
        content = content[:begin] + piece + content[end:]
    TARGETS[name].check(content)


def _crash(data: bytes) -> None:
    if b"\xff\xd8" in data and b"bad" in data:
        raise ZeroDivisionError


def _die(data: bytes) -> None:
    if b"bad" in data:
        os.abort()


@pytest.mark.parametrize(("check", "told"), [(_crash, "ZeroDivisionError at _crash"), (_die, "SIGABRT")])
def test_a_finding_is_told_and_made_small(
    monkeypatch: pytest.MonkeyPatch, check: Callable[[bytes], None], told: str
) -> None:
    monkeypatch.setattr("fuzz.fates.TARGETS", {"test": Target(check)})
    data = b"some text \xff\xd8 before what is bad, and some behind it"
    assert fate("test", data).startswith(told)
    assert fate("test", b"all is well") == SOUND
    assert len(smallest("test", data, 20)) <= 5


@pytest.mark.parametrize("family", ["jpeg", "jpegls", "jpeg2000", "htj2k", "jpegxl", "rle"])
def test_codestreams_are_taken_apart_and_changed_by_structure(made: Path, family: str) -> None:
    for path in (made / f"native-{family}").iterdir():
        data = path.read_bytes()
        segments, rest = structure.segments_of(data[codecs.HEAD.size :])
        assert b"".join(segments) + rest == data[codecs.HEAD.size :]
        if not segments:  # JPEG XL without boxes
            continue
        assert len(segments) > 1
        changed = {structure.changed(data, random.Random(seed)) for seed in range(30)}
        assert len(changed) > 10
        assert all(len(each) >= codecs.HEAD.size for each in changed)
