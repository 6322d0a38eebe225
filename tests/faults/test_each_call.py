"""Each call of the system, the object store and the index fails in turn, in the story of a few objects.

After each: nothing acknowledged is lost, nothing half is visible, a C-STORE that failed was answered with
0xA700 (PS3.4 B.2.3), and all goes on by itself. Some calls here; ``make faults`` fails them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scp.index.sql import SqlIndex
from scp.node import build
from scp.objects.landing import LandingLog
from scp.objects.stores import open_store

from .injected import NUMBERS, Faulty, Plan, failing_system, late, out_of_resources, raising, short_writes
from .story import REFUSED, Story, objects_of

pytestmark = pytest.mark.usefixtures("codecs_here")

SENT = objects_of(3)
SOME = 41  # of so many calls one fails where not all do
PARTS = 8  # a test that takes five minutes is ended
Faults = Callable[[Plan, pytest.MonkeyPatch], Any]


def of_system(number: int) -> tuple[Faults, Callable[[str], None]]:
    return failing_system, raising(number)


@contextmanager
def of_store(plan: Plan, patch: pytest.MonkeyPatch, after: bool = False) -> Iterator[None]:
    patch.setattr(build, "open_store", lambda place: Faulty(open_store(place), plan, "store", after))
    yield


@contextmanager
def of_index(plan: Plan, patch: pytest.MonkeyPatch, after: bool = False) -> Iterator[None]:
    real = SqlIndex.open
    patch.setattr(
        SqlIndex, "open", lambda *given, **named: Faulty(real(*given, **named), plan, "index", after)
    )
    yield


KINDS: dict[str, tuple[Faults, Callable[[str], None]]] = {
    **{f"system {number}": of_system(number) for number in NUMBERS},
    "short writes": (short_writes, late),
    "store": (of_store, out_of_resources),
    "store, answer lost": (partial(of_store, after=True), out_of_resources),
    "store EIO": (of_store, raising(NUMBERS[0])),
    "store late": (of_store, late),
    "index": (of_index, out_of_resources),
    "index, answer lost": (partial(of_index, after=True), out_of_resources),
    "index late": (of_index, late),
}


def lived(root: Path, kind: str, at: int, monkeypatch: pytest.MonkeyPatch) -> Plan:
    faults, fail = KINDS[kind]
    plan = Plan(at, fail)
    with monkeypatch.context() as patch:
        # A whole segment is written before the first record, which would take half of the time.
        patch.setattr(build, "LandingLog", partial(LandingLog, segment=1 << 20))
        outer = nullcontext() if faults in (failing_system, short_writes) else faults(plan, patch)
        with outer:
            story = Story(root, SENT)
        try:
            with faults(plan, patch) if isinstance(outer, nullcontext) else nullcontext():
                story.live(plan)
            told = f"{kind}, call {at}: {plan.failed}; {story.errors!r}"
            assert set(story.statuses) <= {REFUSED}, told
            try:
                story.goes_on()
                story.all_is_well()
                story.start_again()
                story.all_is_well()
            except Exception as error:
                error.add_note(told)
                raise
        finally:
            story.close()
    return plan


_COUNTS: dict[str, int] = {}


def calls(root: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many calls the story has in which none fails: of all kinds of faults of the system as many."""
    of = kind.split(maxsplit=1)[0].rstrip(",")
    if of not in _COUNTS:
        _COUNTS[of] = lived(root, kind, -1, monkeypatch).count
    return _COUNTS[of]


@pytest.mark.parametrize("kind", KINDS)
def test_some_calls_in_turn(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    count = calls(tmp_path / "whole", kind, monkeypatch)
    assert count > 5
    for at in range(sorted(KINDS).index(kind), count, SOME):
        plan = lived(tmp_path / str(at), kind, at, monkeypatch)
        assert plan.failed or plan.count <= at, "a story may have some calls less"


@pytest.mark.faults
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", KINDS)
def test_each_call_in_turn(tmp_path: Path, kind: str, part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    count = calls(tmp_path / "whole", kind, monkeypatch)
    wrong: list[str] = []
    for at in range(part, count, PARTS):
        try:
            lived(tmp_path / str(at), kind, at, monkeypatch)
        except Exception as error:  # noqa: BLE001 - all of them are told
            wrong.append("\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())]))
    assert not wrong, f"{len(wrong)} of {count}\n" + "\n".join(wrong)
