"""What ``zscp verify`` and ``zscp fsck`` print."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from scp.lifecycle.fsck import Finding
from scp.lifecycle.verify import Verdict
from scp.report import as_json, tell_faults, terminal


class VerifySummary:
    """What a verification came to."""

    def __init__(self) -> None:
        self.sound = 0
        self.faults: list[Verdict] = []
        self.mended: list[Path] = []

    def add(self, verdict: Verdict) -> None:
        """Count one object."""
        if verdict.fault:
            self.faults.append(verdict)
        else:
            self.sound += 1

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
            told = {"sound": self.sound, "damaged": self.damaged, "mended": len(self.mended)}
            as_json({**told, "faults": faults})
            return
        tell_faults(
            f"{'away' if fault.away else 'damaged'}: {fault.instance.sop_instance_uid}: {fault.fault}"
            for fault in self.faults
        )
        mended = f", {len(self.mended)} mended" if self.mended else ""
        terminal().print(f"{self.sound} sound, {self.damaged} damaged or missing{mended}")


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
