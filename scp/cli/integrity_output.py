"""What ``zscp verify``, ``fsck`` and ``reindex`` print."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

from scp.cli.output import as_json, tell_faults, terminal
from scp.lifecycle.fsck import Finding
from scp.lifecycle.reindex import Outcome
from scp.lifecycle.verify import Verified


class VerifySummary:
    """What a verification came to."""

    def __init__(self) -> None:
        self.sound = 0
        self.faults: list[Verified] = []
        self.undecodable: list[Verified] = []
        self.repaired: list[Path] = []

    def add(self, verdict: Verified) -> None:
        """Count one object."""
        if verdict.fault:
            self.faults.append(verdict)
        else:
            self.sound += 1
            if verdict.remark:
                self.undecodable.append(verdict)

    @property
    def damaged(self) -> int:
        """Objects that are not what was written, or not there."""
        return len(self.faults)

    def show(self, json_wanted: bool) -> None:
        """Print it."""
        if json_wanted:
            faults = [
                {
                    "sop_instance_uid": fault.instance.sop_instance_uid,
                    "key": fault.instance.key,
                    "fault": fault.fault,
                }
                for fault in self.faults
            ]
            told = {"sound": self.sound, "damaged": self.damaged, "repaired": len(self.repaired)}
            as_json({**told, "faults": faults, "undecodable": self._undecodable()})
            return
        tell_faults(
            f"{'away' if fault.away else 'damaged'}: {fault.instance.sop_instance_uid}: {fault.fault}"
            for fault in self.faults
        )
        tell_faults(f"not decoded: {one['sop_instance_uid']}: {one['reason']}" for one in self._undecodable())
        repaired = f", {len(self.repaired)} repaired" if self.repaired else ""
        count = len(self.undecodable)
        kept = f" ({count} kept as received, as not decodable)" if count else ""
        terminal().print(f"{self.sound} sound{kept}, {self.damaged} damaged or missing{repaired}")

    def _undecodable(self) -> list[dict[str, str]]:
        return [
            {"sop_instance_uid": one.instance.sop_instance_uid, "key": one.instance.key, "reason": one.remark}
            for one in self.undecodable
        ]


def findings(found: list[Finding], json_wanted: bool) -> None:
    """What is not as it should be, and what was done about it."""
    if json_wanted:
        as_json({"findings": found, "repaired": sum(bool(one.repaired) for one in found)})
        return
    tell_faults(": ".join(filter(None, (one.kind, one.key, one.told, one.repaired))) for one in found)
    counted = ", ".join(f"{count} {kind}" for kind, count in Counter(one.kind for one in found).items())
    left = sum(not one.repaired for one in found)
    if not found:
        terminal().print("Files and index agree, and nothing is left over.")
    elif left:
        terminal().print(f"{counted}; {left} not repaired (--repair does what needs no guessing)")
    else:
        terminal().print(f"{counted}; all repaired")


def reindexed(outcome: Outcome, json_wanted: bool, unfit: str = "") -> None:
    """What reindexing found; ``unfit`` is what was wrong with the index, if anything was."""
    if json_wanted:
        as_json({**dataclasses.asdict(outcome), "index": unfit})
        return
    tell_faults([f"index: {unfit}"] if unfit else [])
    tell_faults(f"damaged: {key}: {fault}" for key, fault in outcome.damaged)
    tell_faults(f"superseded, left where it is: {key}" for key in outcome.superseded)
    terminal().print(
        f"{outcome.recorded} recorded, {len(outcome.damaged)} damaged, "
        f"{len(outcome.gone)} rows without a file removed"
    )
