"""How long the encoder rests when it has no more to do, and that its threads let all others go first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from several_nodes import nodes

from scp.background import parallel
from scp.background.doorbell import Doorbell
from scp.lifecycle import encoder as encoding
from scp.lifecycle.encoder import Encoder
from scp.lifecycle.pace import Pace

MINUTE = 60.0


class _Closed(Pace):
    """The hours begin in ten minutes."""

    def closed_for(self, _now: object) -> float:
        return 600.0


@pytest.fixture
def paces() -> list[Pace]:
    return [Pace(1.0)]


@pytest.fixture
def encoder(tmp_path: Path, paces: list[Pace]) -> Iterator[Encoder]:
    with nodes(tmp_path, "a") as (node,):
        made = Encoder(node.archive, Doorbell(), pace=lambda: paces[-1])
        yield made
        made.close()


@pytest.mark.parametrize(("due", "rest"), [(None, MINUTE), (0.0, 0.0), (7.0, 7.0), (900.0, MINUTE)])
def test_it_rests_until_a_stage_is_due(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch, due: float | None, rest: float
) -> None:
    """0 is now: what became due while the encoder looked waited for a minute."""
    monkeypatch.setattr(encoder._stages, "seconds_until_due", lambda: due)
    assert encoder.turn() == rest


def test_it_does_not_ask_what_is_due_outside_its_hours(
    encoder: Encoder, paces: list[Pace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder._stages, "seconds_until_due", lambda: 0.0)
    paces.append(_Closed(1.0))
    assert encoder.turn() == MINUTE


def test_its_threads_run_when_no_other_wants_the_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All other tests have them run at the usual priority (tests/forked.py)."""
    monkeypatch.setattr(encoding, "yield_to_others", parallel.yield_to_others)
    with nodes(tmp_path, "a") as (node,):
        made = Encoder(node.archive, Doorbell())
        assert made._pool.submit(os.sched_getscheduler, 0).result(60) == os.SCHED_IDLE
        made.close()
    assert os.sched_getscheduler(0) != os.SCHED_IDLE
