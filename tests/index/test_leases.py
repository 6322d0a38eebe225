"""Claims last as long as the work does, and no longer."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pytest
from test_index_contract import DOE, instance

from scp.errors import OutOfResources
from scp.index.queue import LEASE_SECONDS, Claims, Lease, claimed, renewing
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
    with claimed(index.claims, Lease.begin(seconds=3), held(index)) as mine:
        assert mine == held(index)
        until = time.monotonic() + 7
        while time.monotonic() < until:
            assert others_get(index) == 0
            time.sleep(0.1)
    assert others_get(index) == 1


def test_a_claim_ends_with_the_block_that_raises(index: SqlIndex) -> None:
    with pytest.raises(ValueError, match="bug"), claimed(index.claims, Lease.begin(), held(index)):
        raise ValueError("bug")
    assert others_get(index) == 1


def test_nothing_renewed_it_ends_by_itself(index: SqlIndex) -> None:
    lease = Lease.begin(seconds=3)  # rows have whole seconds: it lasts 4 at most
    assert len(index.claims.claim(lease, held(index))) == 1
    assert others_get(index) == 0
    time.sleep(4.1)
    assert others_get(index) == 1


def test_a_lease_counts_from_when_the_claim_is_written(index: SqlIndex, tmp_path: Path) -> None:
    """Another process writes for longer than the lease lasts; the claim was over before it was there."""
    writes = sqlite3.connect(tmp_path / "index.db", isolation_level=None)
    writes.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as pool:
        claim = pool.submit(index.claims.claim, Lease.begin(seconds=2), held(index))
        time.sleep(3.5)
        writes.execute("COMMIT")
        assert len(claim.result(30)) == 1
    writes.close()
    assert others_get(index) == 0


def test_a_claim_that_cannot_be_released_hides_nothing(index: SqlIndex) -> None:
    class Failing:
        claim, renew = index.claims.claim, index.claims.renew

        def release(self, holder: str) -> None:
            raise OutOfResources("full")

    failing = cast(Claims, Failing())
    with claimed(failing, Lease.begin(), held(index)):
        pass
    with pytest.raises(ValueError, match="bug"), claimed(failing, Lease.begin(), held(index)):
        raise ValueError("bug")


def test_an_index_that_does_not_answer_for_a_moment_ends_no_renewing() -> None:
    class Failing:
        def __init__(self) -> None:
            self.renewed: list[Lease] = []

        def renew(self, lease: Lease) -> None:
            self.renewed.append(lease)
            if len(self.renewed) == 1:
                raise OutOfResources("locked")

    claims = Failing()
    with renewing(claims, Lease.begin("me", 0.3)):
        until = time.monotonic() + 20
        while len(claims.renewed) < 3 and time.monotonic() < until:
            time.sleep(0.01)
    assert len(claims.renewed) >= 3
    assert {(one.holder, one.seconds) for one in claims.renewed} == {("me", 0.3)}


@pytest.mark.parametrize("days", [1, -1])
def test_a_clock_that_is_set_keeps_nothing_claimed(index: SqlIndex, days: int) -> None:
    """A process died with a claim, and then the clock was set back by a day, or ahead."""
    dead = Lease.begin().later(days * 86_400)
    assert len(index.claims.claim(dead, held(index))) == 1
    mine = Lease.begin("me")
    assert len(index.claims.claim(mine, held(index))) == 1
    index.claims.release("me")
    with claimed(index.claims, Lease.begin(), held(index)):
        assert others_get(index) == 0
