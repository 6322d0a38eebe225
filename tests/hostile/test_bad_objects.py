"""One bad object harms only itself, whatever it is and whatever is done with it (invariant 8).

All objects of :mod:`hostile.table` go to one node for each policy; peers beside them go on.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

import numpy as np
import pytest
from decoders import pixels
from wire.conftest import NodeProcess
from wire.peers import Sent

from scp.dimse.status import SUCCESS

from .conftest import ENCODED_AT_ONCE, POLICIES, Result, Runner, grown
from .objects import Bad
from .requester import Got
from .table import BOMBS, CRASHES, LOSSLESS, RARELY, SOUND, TABLE, expected_of, sound_of
from .trial import Outcome

pytestmark = pytest.mark.slow

_AT_ONCE = ", at once"
# What a codec may fail at. Each is another object than that of the table.
AT_ONCE = {f"{name}{_AT_ONCE}": make for name, make in {**CRASHES, **BOMBS}.items() if "OpenJPH" not in name}

_LASTING_KB = 450_000  # what a process that serves may take: far below what any of the objects asks for
_CODEC_KB = 1_000_000


# What is kept as received first, and encoded behind, meets all that encoding at once does.
_OF_POLICIES = [pytest.param(one, marks=[] if one == "default" else pytest.mark.long) for one in POLICIES]


@pytest.fixture(scope="module", params=_OF_POLICIES)
def result(request: pytest.FixtureRequest, run: Runner) -> Result:
    at_once = {} if request.param == "default" else AT_ONCE
    whole = "long" in request.config.option.markexpr
    objects = TABLE if whole else {name: make for name, make in TABLE.items() if name not in RARELY}
    return run(objects, POLICIES[request.param], at_once=at_once)


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.long if one in RARELY else []) for one in TABLE]
)
def test_an_object_is_kept_and_given_back(result: Result, name: str) -> None:
    """Found, as received to the byte, and in another transfer syntax given or refused with a reason."""
    _is_kept_and_given_back(result, result.outcomes[name], name)


def test_nor_does_what_is_encoded_at_once_harm_others(result: Result) -> None:
    """Else it is kept as received first: what then fails is a stage, here it is the encoding itself."""
    assert result.at_once.keys() == (AT_ONCE if "policy" in result.node.tables else {}).keys()
    assert result.senders.get(ENCODED_AT_ONCE, 0) == len(result.at_once)
    for name, one in result.at_once.items():
        _is_kept_and_given_back(result, one, name.removesuffix(_AT_ONCE))


def _is_kept_and_given_back(result: Result, one: Outcome, name: str) -> None:
    expected = expected_of(name)
    assert not one.faults, one.told()
    assert one.stored == expected.stored, one.told()
    assert bool(one.comment) == bool(one.stored), one.told()
    _is_given_back(result, one, {**TABLE, **AT_ONCE}[one.sent])
    for got in (one.other, one.moved):
        assert got is not None, one.told()
        assert _is_given(got) if expected.given else got.refused, one.told()
    assert one.right is not False, one.told()


def test_sound_objects_are_given_in_any_syntax(result: Result) -> None:
    """Before the bad ones; else nothing that was compared with them would tell anything."""
    assert len(result.sound) >= 2 * len(SOUND)
    for one in result.sound:
        assert not one.faults, one.told()
        assert one.stored == SUCCESS, one.told()
        _is_given_back(result, one, SOUND[one.sent.rpartition(", round")[0]])
        assert one.other is not None, one.told()
        assert one.moved is not None, one.told()
        assert _is_given(one.other), one.told()
        assert _is_given(one.moved), one.told()


def _is_given(got: Got) -> bool:
    return (got.status, got.counts) == (SUCCESS, (1, 0, 0))


def _is_given_back(result: Result, one: Outcome, make: Callable[[str], Bad]) -> None:
    """As it was received: to the byte, or where it came losslessly compressed and the policy keeps it in
    another form, pixel for pixel (invariant 2).
    """
    assert one.found == 1, one.told()
    assert one.same is not None, one.told()
    assert _is_given(one.same), one.told()
    if one.same.digest != one.received:
        assert result.node.tables.get("policy") is not None, one.told()
        assert one.syntax in LOSSLESS, one.told()
        sent = sound_of(one.sent) if "offsets" in one.sent else make(one.sent)
        assert np.array_equal(_pixels(sent, one.same.data), _pixels(sent)), one.told()


def _pixels(sent: Bad, data: bytes = b"") -> np.ndarray:
    return pixels(Sent(sent.sop_class, sent.instance, sent.syntax, data or b"".join(sent.parts)))


def test_its_peers_go_on(result: Result) -> None:
    assert result.bystanders == []


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
    """To where it was before the first bad object: each process, within a tenth."""
    assert min(result.before.values()) > 20_000, "processes that serve"
    assert grown(result.before, result.after) == {}


def test_nothing_is_tried_for_ever(result: Result) -> None:
    assert result.unsettled == []
    assert result.busy < 0.3


def test_the_archive_is_sound_and_starts_again(result: Result) -> None:
    node = result.node
    verdict = json.loads(node.run("verify", "--deep", "--json").stdout)
    assert verdict["damaged"] == 0
    assert "Files and index agree" in node.run("fsck").stdout
    again = NodeProcess(node.root, **node.tables)
    again.start()
    assert again.kill(signal.SIGTERM) == 0
