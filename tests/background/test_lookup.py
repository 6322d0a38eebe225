"""What is looked up in a loop of its own: only while somebody asks, and not too often."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from waiting import until

from scp.background.lookup import LookedUp, LookUp
from scp.background.loop import Loop
from scp.errors import IndexUnfit, OutOfResources

pytestmark = pytest.mark.quick


class Source:
    """Counts how often it is looked at; fails as long as there is a fault."""

    def __init__(self) -> None:
        self.looks, self.fault = 0, ""

    def look(self) -> int:
        self.looks += 1
        if self.fault:
            raise OutOfResources(self.fault)
        return self.looks


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def lookup(source: Source) -> LookUp[int]:
    return LookUp("looking", 3600.0, source.look)


@pytest.fixture
def loop(lookup: LookUp[int]) -> Iterator[Loop]:
    running = Loop(lookup)
    running.start()
    yield running
    running.stop()
    running.join(10)


def test_nothing_is_looked_up_until_somebody_asks_and_then_once(lookup: LookUp[int], source: Source) -> None:
    lookup.turn()
    assert source.looks == 0
    assert lookup.latest() == LookedUp()
    lookup.turn()
    assert [lookup.latest().value for _ in range(3)] == [1, 1, 1]
    lookup.turn()
    assert source.looks == 1


def test_after_a_reload_it_is_looked_up_again(loop: Loop, lookup: LookUp[int]) -> None:
    lookup.latest()
    until(lambda: lookup.latest().value == 1, "it was looked up")
    loop.reconfigured()
    until(lambda: lookup.latest().value == 2, "it was looked up again")


def test_what_was_found_stays_while_the_index_is_away(lookup: LookUp[int], source: Source) -> None:
    lookup.latest()
    lookup.turn()
    source.fault = "the index is away"
    lookup.reconfigured()
    lookup.latest()
    lookup.turn()
    assert lookup.latest() == LookedUp(1, "the index is away")


def test_a_reload_during_a_look_makes_it_old(source: Source) -> None:
    def look() -> int:
        looking.reconfigured()
        return source.look()

    looking: LookUp[int] = LookUp("looking", 3600.0, look)
    looking.latest()
    looking.turn()
    assert looking.latest().value == 1
    looking.turn()
    assert source.looks == 2


@pytest.mark.parametrize(
    ("error", "told", "is_for_the_log"),
    [
        (IndexUnfit("it was written by a newer zscp"), "it was written by a newer zscp", False),
        (ValueError("Doe^Jane"), "an unexpected ValueError: the node's log has more", True),
    ],
)
def test_a_look_that_fails_says_so_and_is_not_repeated_until_somebody_asks(
    error: Exception, told: str, is_for_the_log: bool
) -> None:
    def look() -> int:
        looks.append("look")
        raise error

    looks: list[str] = []
    lookup = LookUp("looking", 3600.0, look)
    lookup.latest()
    with pytest.raises(ValueError, match="Doe") if is_for_the_log else nullcontext():
        lookup.turn()
    lookup.turn()
    assert lookup.latest() == LookedUp(None, told)
    lookup.turn()
    assert looks == ["look"]
