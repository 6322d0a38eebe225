"""Large, dense and nearly empty objects of real devices pass every limit as it is by default."""

from __future__ import annotations

import pytest

from scp.dimse.status import SUCCESS

from .conftest import Result, Runner
from .real import LARGE

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture(scope="module")
def result(run: Runner) -> Result:
    return run(LARGE, None, {}, weighs=False)


@pytest.mark.parametrize("name", LARGE)
def test_an_object_is_given_as_received_and_otherwise(result: Result, name: str) -> None:
    one = result.outcomes[name]
    assert not one.faults, one.told()
    assert (one.stored, one.found) == (SUCCESS, 1), one.told()
    wanted = (one.same, one.other, one.moved) if one.otherwise else (one.same,)
    for got in wanted:
        assert got is not None, one.told()
        assert (got.status, got.counts) == (SUCCESS, (1, 0, 0)), one.told()
    assert one.same is not None
    assert one.same.digest == one.received
    assert one.right is not False, one.told()


def test_beside_them_others_go_on(result: Result) -> None:
    assert result.bystanders == []
    assert result.ended == []


def test_they_are_sound(result: Result) -> None:
    result.node.run("verify")
    assert "Files and index agree" in result.node.run("fsck").stdout
