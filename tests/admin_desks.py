"""Policy and peers for the page without a node: made values, which note what they are asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from scp.audit.events import Participant
from scp.background.lookup import LookedUp
from scp.config.load import judge
from scp.config.saving import ConfigurationText, SavedText, digest_of, with_unix_ends
from scp.errors import DestinationUnknown
from scp.policy.reports import (
    Amount,
    Comparison,
    Difference,
    Fate,
    HeldForm,
    Holdings,
    NextStage,
    PolicyTrial,
    RetentionHoldings,
    RuleHoldings,
)
from scp.web.page.admin import AdminDesk
from scp.web.reports import AdviceReport, Echoed, KnownPeers, PeerRow, PolicySaved, ReloadReport

SCRIPT = "<script>alert(1)</script>"
WHEN = datetime(2026, 11, 29, 12, tzinfo=UTC)
TEXT = '# The policy of a test\n\n[[policy]]\nname = "all"\nstages = [{ form = "zstd" }]\n'
HELD = Holdings(
    WHEN,
    "fingerprint",
    (
        RuleHoldings(
            1,
            "ct",
            f"Modality CT; StudyDescription {SCRIPT}",
            ("received on receive", "jpegxl after 180 d"),
            Amount(3000, 2_000_000, 900_000),
            7,
            2,
            (HeldForm("htj2k", Amount(3000, 2_000_000, 900_000)),),
            (NextStage("jpegxl after 180 d", Amount(2000, 1_500_000, 600_000), WHEN),),
        ),
        RuleHoldings(0, "", "what no rule matches", (), Amount(1, 10, 10)),
    ),
    (RetentionHoldings(1, "old", "Modality US", "3650 d", "now", Amount(5, 50, 40), Amount(1, 10, 8), WHEN),),
    3001,
    9000,
    0.5,
)
CHANGE = Difference(
    "htj2k", Fate("ct", "", "jpegxl", ""), Fate("all", "zstd", "", ""), Amount(60, 600, 300), 4
)
COMPARED = Comparison(
    WHEN,
    20_000,
    50_000,
    Amount(40),
    Amount(60, 600, 300),
    Amount(60),
    Amount(),
    Amount(),
    Amount(60),
    2,
    (CHANGE,),
    3,
    0.6,
)


@dataclass
class MadePolicy:
    """Edited texts are checked as the node does; what would change is :data:`COMPARED`."""

    text: str = TEXT
    held: LookedUp[Holdings] = field(default_factory=lambda: LookedUp(HELD))
    fixed: str = ""
    saved: list[tuple[str, Participant]] = field(default_factory=list)

    def holdings(self) -> LookedUp[Holdings]:
        """See PolicyAdmin."""
        return self.held

    def read(self) -> ConfigurationText:
        """See PolicyAdmin."""
        overridden = {"node.aet": "ZSCP_NODE__AET"}
        return ConfigurationText("/etc/zscp.toml", self.text, digest_of(self.text), self.fixed, overridden)

    def try_text(self, text: str) -> PolicyTrial:
        """See PolicyAdmin."""
        text = with_unix_ends(text)
        faults, digest = judge(text, {}).faults, digest_of(text)
        if faults:
            return PolicyTrial(faults, digest=digest)
        return PolicyTrial((), ("a note",), ("policy[all]",), COMPARED, digest)

    def save(self, text: str, digest: str, who: Participant) -> PolicySaved:
        """See PolicyAdmin."""
        if digest != digest_of(self.text):
            return PolicySaved(SavedText("changed meanwhile", "the file was changed", digest_of(self.text)))
        self.text = with_unix_ends(text)
        self.saved.append((self.text, who))
        done = SavedText("saved", "", digest_of(self.text), "/etc/zscp.toml.former")
        return PolicySaved(done, ReloadReport("taken up"), ("policy[all]",), (), ("archive2",))


@dataclass
class MadePeers:
    """One peer of the configuration."""

    row: PeerRow = field(
        default_factory=lambda: PeerRow(
            "WS", True, "10.0.0.7:104", False, ("DICOM",), (), ("echo", "find"), ("WS",), {}, 9, WHEN
        )
    )
    others: tuple[PeerRow, ...] = ()
    echoed: list[str] = field(default_factory=list)
    fault: str = ""

    def known(self) -> KnownPeers:
        """See PeersAdmin."""
        return KnownPeers((self.row, *self.others), True, "")

    def echo(self, aet: str) -> Echoed:
        """See PeersAdmin."""
        if aet != self.row.aet:
            raise DestinationUnknown(f"{aet} is no [[peer]] of this node")
        self.echoed.append(aet)
        return Echoed(aet, self.row.address, not self.fault, self.fault, 0.012)


@dataclass
class MadeAdvice:
    """A comparison that begins, and becomes what a test makes of it."""

    state: AdviceReport = field(default_factory=AdviceReport)

    def start(self, seconds: float) -> bool:
        """See CodecAdvice."""
        if self.state.state == "running":
            return False
        self.state = AdviceReport("running", 1.0, seconds)
        return True

    def report(self) -> AdviceReport:
        """See CodecAdvice."""
        return self.state

    def cancel(self) -> None:
        """See CodecAdvice."""
        self.state = replace(self.state, state="ended")


def made_advice(**keys: Any) -> AdviceReport:
    """What a comparison found."""
    row = {"name": "htj2k", "storable": True, "verdict": "lossless", "taken": 3, "disk_percent": 29.1}
    row |= {"encode_mb_s": 243.0, "decode_mb_s": 394.0}
    group = {"name": SCRIPT, "objects": 3, "measured": 3, "raw_size": 3000, "codecs": [row]}
    policy = '[[policy]]\nname = "proposed"\nstages = [{ form = "htj2k" }]\n'
    return AdviceReport("done", 61.0, 60.0, {"groups": [group], "policy": policy, **keys}, "<svg/>")


@dataclass
class MadeAdmin:
    """All of it."""

    policy: MadePolicy = field(default_factory=MadePolicy)
    peers: MadePeers = field(default_factory=MadePeers)
    advice: MadeAdvice = field(default_factory=MadeAdvice)

    @property
    def desk(self) -> AdminDesk:
        """As the page has it."""
        return AdminDesk(self.policy, self.peers, self.advice)
