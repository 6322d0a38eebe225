"""One bad object harms only itself, whatever it is and whatever is done with it (invariant 8).

All objects of :mod:`hostile.table` go to one node for each policy; peers beside them go on.
"""

from __future__ import annotations

import json
import signal

import pytest

from scp.dimse.status import SUCCESS

from .conftest import POLICIES, Result, Runner
from .table import TABLE
from .trial import KEPT, REFUSED
from .watching import too_slow

_LASTING_KB = 450_000  # what a process that serves may take: far below what any of the objects asks for
_CODEC_KB = 1_000_000


@pytest.fixture(scope="module", params=POLICIES)
def result(request: pytest.FixtureRequest, run: Runner) -> Result:
    return run(TABLE, POLICIES[request.param])


@pytest.mark.parametrize("name", TABLE)
def test_an_object_is_kept_and_given_back(result: Result, name: str) -> None:
    """Found, as received to the byte, and in another transfer syntax given or refused with a reason."""
    one = result.outcomes[name]
    assert not one.faults, one.told()
    if one.stored in REFUSED:
        assert one.comment, one.told()
        return
    assert one.stored in KEPT, one.told()
    assert one.found == 1, one.told()
    assert one.same is not None, one.told()
    assert (one.same.status, one.same.digest) == (SUCCESS, one.received), one.told()
    for got in (one.other, one.moved):
        assert got is not None, one.told()
        assert got.refused or (
            one.right is not False and got.status == SUCCESS and got.counts == (1, 0, 0)
        ), one.told()


def test_its_peers_go_on(result: Result) -> None:
    requests = [one for one in result.requests if one.whose == "node"]
    assert len(requests) > 10
    assert too_slow(result.requests) == []


def test_no_process_that_serves_ended(result: Result) -> None:
    assert result.ended == []
    assert result.stopped == 0


def test_no_process_passed_its_limit(result: Result) -> None:
    memory = result.memory
    assert memory is not None
    over = {
        pid: peak
        for pid, peak in memory.peaks.items()
        if peak > (_LASTING_KB if pid in memory.lasting else _CODEC_KB)
    }
    assert over == {}


def test_memory_went_back(result: Result) -> None:
    before, after = result.before, result.after
    assert sum(after.values()) <= 1.1 * sum(before.values()), f"{before}\n{after}"


def test_nothing_is_tried_for_ever(result: Result) -> None:
    assert result.unsettled == []
    assert result.busy < 0.3


def test_the_archive_is_sound_and_starts_again(result: Result) -> None:
    node = result.node
    verdict = json.loads(node.run("verify", "--deep", "--json").stdout)
    assert verdict["damaged"] == 0
    assert "Files and index agree" in node.run("fsck").stdout
    node.start()
    assert node.kill(signal.SIGTERM) == 0
