"""Claims last as long as the work does, and no longer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_index_contract import DOE, instance

from scp.errors import OutOfResources
from scp.index.queue import LEASE_SECONDS, Lease, claimed, kept
from scp.index.sql import SqlIndex
from scp.model import Instance


@pytest.fixture
def index(tmp_path: Path) -> Iterator[SqlIndex]:
    index = SqlIndex.open(f"sqlite:///{tmp_path}/index.db")
    index.record(instance("1.1.1"), DOE)
    yield index
    index.close()


def held(index: SqlIndex) -> list[Instance]:
    return list(index.all())


def others_get(index: SqlIndex) -> int:
    found = index.claims.claim(Lease.begin(), held(index))
    return len(found)


def test_each_lease_has_a_name_of_its_own() -> None:
    one, other = Lease.begin(), Lease.begin()
    assert one.holder != other.holder
    assert (one.seconds, Lease.begin("me").holder) == (LEASE_SECONDS, "me")
    again = Lease.begin("me", 2).again()
    assert (again.holder, again.seconds) == ("me", 2)


def test_a_claim_lasts_as_long_as_the_block(index: SqlIndex) -> None:
    """A file that takes longer to read than a claim lasts was read by two."""
    with claimed(index.claims, Lease.begin(seconds=1.5), held(index)) as mine:
        assert mine == held(index)
        until = time.monotonic() + 4
        while time.monotonic() < until:
            assert others_get(index) == 0
            time.sleep(0.1)
    assert others_get(index) == 1


def test_a_claim_ends_with_the_block_that_raises(index: SqlIndex) -> None:
    with pytest.raises(ValueError, match="bug"), claimed(index.claims, Lease.begin(), held(index)):
        raise ValueError("bug")
    assert others_get(index) == 1


def test_nothing_renewed_it_ends_by_itself(index: SqlIndex) -> None:
    lease = Lease.begin(seconds=3)  # rows have whole seconds: it lasts 2 at least
    assert len(index.claims.claim(lease, held(index))) == 1
    assert others_get(index) == 0
    time.sleep(3.1)
    assert others_get(index) == 1


def test_an_index_that_does_not_answer_for_a_moment_ends_no_renewing() -> None:
    class Failing:
        def __init__(self) -> None:
            self.renewed: list[Lease] = []

        def renew(self, lease: Lease) -> None:
            self.renewed.append(lease)
            if len(self.renewed) == 1:
                raise OutOfResources("locked")

    claims = Failing()
    with kept(claims, Lease.begin("me", 0.3)):
        until = time.monotonic() + 20
        while len(claims.renewed) < 3 and time.monotonic() < until:
            time.sleep(0.01)
    assert len(claims.renewed) >= 3
    assert {(one.holder, one.seconds) for one in claims.renewed} == {("me", 0.3)}
