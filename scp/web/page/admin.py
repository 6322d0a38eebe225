"""What the page asks of the node about policy and peers; :mod:`scp.node.page_admin` gives it.

Any thread may call. What reads large parts of the index was looked up before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from scp.audit.events import Participant
from scp.background.lookup import LookedUp
from scp.config.saving import ConfigurationText
from scp.policy.reports import Holdings, PolicyTrial
from scp.web.reports import AdviceReport, Echoed, KnownPeers, PolicySaved


class PolicyAdmin(Protocol):
    """The policy in force, and edited ones."""

    def holdings(self) -> LookedUp[Holdings]:
        """What each rule holds, as it was looked up last."""

    def read(self) -> ConfigurationText:
        """The configuration file: for admins alone, as it may hold passwords. Raises ConfigurationError."""

    def try_text(self, text: str) -> PolicyTrial:
        """What an edited configuration would change: some 0.6 s of a core. Raises OutOfResources."""

    def save(self, text: str, digest: str, who: Participant) -> PolicySaved:
        """Save an edited configuration, and have the node use it: up to 10 s. Raises OutOfResources."""


class PeersAdmin(Protocol):
    """The peers of the node."""

    def known(self) -> KnownPeers:
        """Those of the configuration, and those that were seen."""

    def echo(self, aet: str) -> Echoed:
        """Send a C-ECHO to a peer of the configuration: up to 15 s. Raises DestinationUnknown."""


class CodecAdvice(Protocol):
    """A comparison of codecs on some of what is stored; one at a time."""

    def start(self, seconds: float) -> bool:
        """Begin to compare, for about so long; False where a comparison runs already."""

    def report(self) -> AdviceReport:
        """How far it is."""

    def cancel(self) -> None:
        """End the comparison that runs, if one does."""


@dataclass(frozen=True, slots=True)
class AdminDesk:
    """All of it."""

    policy: PolicyAdmin
    peers: PeersAdmin
    advice: CodecAdvice
