"""What the node tells its page, and its commands: peers, echoes, saved configurations, comparisons of codecs.

The page cannot import what makes them. Plain values.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from scp.config.saving import SavedText
from scp.index.queue import SendSum


@dataclass(frozen=True, slots=True)
class PeerContact:
    """What was seen of a peer since this node was started; see :class:`scp.metrics.contacts.Contact`."""

    address: str
    last: datetime | None
    associations: int
    requests: int
    received: int
    sent: int
    refused: int
    refused_at: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class PeerRow:
    """One peer of the configuration, all others together, or another AE title that was seen.

    ``by`` are the ways by which it may come, ``comes_from`` its networks (none: any), ``moves_to`` the
    destinations that it may name (None: all), ``sees`` what it is limited to. ``objects`` of it are stored,
    the ``last`` one then, by all nodes. ``contact`` is None where it was not seen, or nobody counts.
    """

    aet: str
    configured: bool
    address: str
    tls: bool
    by: tuple[str, ...]
    comes_from: tuple[str, ...]
    may: tuple[str, ...]
    moves_to: tuple[str, ...] | None
    sees: dict[str, tuple[str, ...]]
    objects: int
    last: datetime | None
    contact: PeerContact | None = None
    queue: tuple[SendSum, ...] = ()


@dataclass(frozen=True, slots=True)
class KnownPeers:
    """The peers, and whether it was ``looked`` up yet what is stored of them, and what waits for them.

    ``fault`` says why the index did not say so when it was last asked: then figures may be old.
    """

    rows: tuple[PeerRow, ...]
    looked: bool = True
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Echoed:
    """Whether a peer answered a C-ECHO with Success, after how long; else its ``fault`` in words."""

    aet: str
    address: str
    answered: bool
    fault: str
    seconds: float


ReloadOutcome = Literal["taken up", "not taken up", "not asked"]


@dataclass(frozen=True, slots=True)
class ReloadReport:
    """What became of a reload, and why; ``missing`` are processes that have not taken it up in time."""

    outcome: ReloadOutcome
    reason: str = ""
    missing: tuple[str, ...] = ()


_NOT_ASKED = ReloadReport("not asked", "nothing was saved")


@dataclass(frozen=True, slots=True)
class PolicySaved:
    """What became of an edited configuration: of its file, and of the node that was asked to use it.

    ``changed`` are the keys that differ from what was in force; of these, those of ``needs_restart`` come
    into force when the node starts again. ``others`` are the other nodes that live: each has a file of its
    own, and differs from this node until that is edited, too; None: the index does not say which live.
    """

    saved: SavedText
    reload: ReloadReport = _NOT_ASKED
    changed: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()
    others: tuple[str, ...] | None = ()


AdviceState = Literal["none", "running", "done", "failed", "ended"]


@dataclass(frozen=True, slots=True)
class AdviceReport:
    """How far the last comparison is: ``seconds`` is how long it runs, or ran, ``of`` how long it may, about.

    Where it is done, ``advice`` is what ``zscp advise --json`` prints, whose ``policy`` is text to try, and
    ``chart`` an SVG; that is empty where matplotlib is not installed. ``fault`` says why it failed.
    """

    state: AdviceState = "none"
    seconds: float = 0.0
    of: float = 0.0
    advice: dict[str, Any] | None = None
    chart: str = ""
    fault: str = ""
