"""What becomes of bad objects in a node: each is stored, found and retrieved, and what came is noted."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from wire.conftest import NodeProcess
from wire.peers import EXPLICIT, IMPLICIT

from . import requester
from .objects import Bad
from .requester import Got

# Those that are kept: Success, and the warnings of docs/conformance.md.
KEPT = (0x0000, 0xB000, 0xB007)
# Destinations, each of which takes one transfer syntax.
SINKS = {EXPLICIT: "EXPLICITSINK", IMPLICIT: "IMPLICITSINK"}
Makers = dict[str, Callable[[str], Bad]]
_AT_ONCE = 2


@dataclass
class Outcome:
    """What became of one object; ``faults`` says at which step a connection broke."""

    sent: str
    received: str  # its digest
    stored: int = -1
    comment: str = ""
    found: int = -1
    same: Got | None = None
    other: Got | None = None
    moved: Got | None = None
    faults: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    otherwise: bool = True
    syntax: str = ""
    right: bool | None = None  # whether its pixels are what is known of them

    def told(self) -> str:
        """In a line, for who looks at a failure."""
        tried = (self.same, self.other, self.moved)
        gets = [each and f"{each.status:04X} {each.counts} {each.comment!r}" for each in tried]
        times = {key: round(value, 2) for key, value in self.seconds.items()}
        return (
            f"{self.sent}: {self.stored:04X} {self.comment!r} found={self.found} {gets} {self.faults} {times}"
        )


class Trial:
    """Objects go to a node, two at a time. ``seconds`` is how long it may be silent.

    ``calling`` is the AE title that they come from.

    What became of each stands in ``outcomes.txt`` beside the node's log, as soon as it is known.
    """

    def __init__(self, node: NodeProcess, seconds: float = 60.0, calling: str = "TRIAL") -> None:
        self.node, self._seconds, self._calling = node, seconds, calling
        self.outcomes: dict[str, Outcome] = {}

    def run(self, makers: Makers) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for done in pool.map(self._made, makers.items()):
                self.outcomes[done.sent] = done

    def _made(self, maker: tuple[str, Callable[[str], Bad]]) -> Outcome:
        name, make = maker
        done = self._tried(make(name))
        done.sent = name
        with (self.node.root / "outcomes.txt").open("a") as told:
            print(done.told(), file=told)
        return done

    def _tried(self, one: Bad) -> Outcome:
        done = Outcome(one.name, one.digest, otherwise=one.otherwise, syntax=one.syntax)

        def step(name: str, work: Callable[[], Any]) -> Any:
            begun = time.monotonic()
            try:
                return work()
            except OSError as error:
                done.faults[name] = f"{type(error).__name__}: {error}"
                return None
            finally:
                done.seconds[name] = time.monotonic() - begun

        address, seconds = self.node.address, self._seconds
        answer = step("store", lambda: requester.store(address, one, seconds, self._calling))
        done.stored, done.comment = answer or (-1, "")
        if done.stored not in KEPT:
            return done
        self._retrieve(one, done, step)
        return done

    def _retrieve(self, one: Bad, done: Outcome, step: Callable[[str, Callable[[], Any]], Any]) -> None:
        address, seconds = self.node.address, self._seconds
        done.found = step("find", lambda: requester.find(address, one, seconds))
        done.same = step("get as received", lambda: requester.get(address, one, one.syntax, seconds))
        if not one.otherwise:
            return
        target = IMPLICIT if one.syntax == EXPLICIT else EXPLICIT
        done.other = step("get otherwise", lambda: requester.get(address, one, target, seconds))
        if one.gives is not None and done.other is not None and done.other.size:
            done.right = done.other.data[-len(one.gives) :] == one.gives
        done.moved = step("move otherwise", lambda: requester.move(address, one, SINKS[target], seconds))


def configured(
    ports: dict[str, int], limits: dict[str, Any], policy: list[dict[str, Any]] | None
) -> dict[str, Any]:
    """The tables of a node for a trial: two workers, an encoder, and what waits may wait."""
    tables: dict[str, Any] = {
        "node": {"workers": 2},
        "storage": {"backlog": "2GB"},
        "limits": limits,
        "peer": [{"aet": aet, "host": "127.0.0.1", "port": port} for aet, port in ports.items()],
    }
    return {**tables, **({"policy": policy} if policy is not None else {})}
