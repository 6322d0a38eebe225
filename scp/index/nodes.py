"""The nodes that share an index: what each says of itself, and what they ask of each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

# A node says every BEAT_SECONDS that it lives; who was silent for EXPIRES_SECONDS counts as dead.
BEAT_SECONDS, EXPIRES_SECONDS = 2.0, 10.0

# ``upload``: give a record of the landing log a file of its own now, as somebody waits for it. ``settle``:
# mark the record as over once no row names it, as another node has replaced its object.
Act = Literal["upload", "settle"]


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a node says of itself.

    ``id`` is kept in its own folder, ``start`` is new each time it starts, and ``place`` tells its folder
    from a copy of that. ``name`` is for people: the name of its machine. ``fingerprint`` is that of its
    configuration. ``associations`` are how many there are by who has them (:mod:`scp.node.seats`),
    ``pending`` are the bytes that it has yet to encode.
    """

    id: str
    name: str
    start: str
    place: str = ""
    address: str = ""
    version: str = ""
    fingerprint: str = ""
    associations: Mapping[str, int] = field(default_factory=dict)
    pending: int = 0


@dataclass(frozen=True, slots=True)
class KnownNode:
    """What a node said last, ``age`` seconds ago by the index's clock; ``stopped``: it has ended as told."""

    report: NodeReport
    age: float
    stopped: bool = False

    @property
    def lives(self) -> bool:
        """Whether it was heard of lately."""
        return not self.stopped and self.age < EXPIRES_SECONDS

    def __str__(self) -> str:
        state = "stopped" if self.stopped else "last seen" if not self.lives else "seen"
        return f"{self.report.name} ({self.report.id}, {state} {self.age:.0f} s ago)"


@dataclass(frozen=True, slots=True)
class NodeState:
    """What people are told of a node: as :class:`NodeReport`, with its ``associations`` as a number.

    ``state`` is ``lives``, ``stopped`` (as it was told to) or ``silent``; ``age_seconds`` since it last said
    something.
    """

    id: str
    name: str
    start: str
    place: str
    address: str
    version: str
    fingerprint: str
    associations: int
    pending: int
    state: Literal["lives", "stopped", "silent"]
    age_seconds: float


def state_of(known: KnownNode) -> NodeState:
    """What people are told of a node."""
    said = known.report
    told = (said.id, said.name, said.start, said.place, said.address, said.version, said.fingerprint)
    state: Literal["lives", "stopped", "silent"] = (
        "lives" if known.lives else "stopped" if known.stopped else "silent"
    )
    return NodeState(*told, said.associations.get("all", 0), said.pending, state, round(known.age, 1))


@dataclass(frozen=True, slots=True)
class Request:
    """Something that a node is asked to do with a record of its landing log."""

    node: str
    act: Act
    key: str


class Nodes(Protocol):
    """The nodes that share the index.

    Time is that of the database, so that the clocks of nodes may differ. Every method raises
    :class:`scp.errors.OutOfResources` as an index does.
    """

    def beat(self, report: NodeReport) -> list[KnownNode]:
        """Say that a node lives; returns what all nodes had said before, also itself."""

    def all(self) -> list[KnownNode]:
        """What all nodes said last, by name."""

    def stop(self, node: str, start: str) -> None:
        """Say that a node has ended as it was told to, unless it has another ``start`` by now."""

    def forget(self, node: str) -> None:
        """Remove a node, and what it was asked for."""

    def ask(self, requests: Iterable[Request]) -> None:
        """Ask nodes for something; what was asked for already is not asked for twice."""

    def ask_for_study(self, node: str, study_instance_uid: str, prefix: str, most: int = 1000) -> None:
        """Ask a node to upload what is pending of a study under keys with a prefix.

        At most so many of the objects that came first.
        """

    def asked(self, node: str) -> list[Request]:
        """What a node is asked for, in the order in which it was asked."""

    def is_asked(self, request: Request) -> bool:
        """Whether that is asked for, and not done yet."""

    def done(self, requests: Iterable[Request]) -> None:
        """Remove what was done."""
