"""An original that was restored from the trash is not made lossy again by the same stages."""

from __future__ import annotations

import time
from dataclasses import replace

from scp.archive.archive import Archive
from scp.archive.records import planned
from scp.archive.replacement import Change
from scp.identity import Identity
from scp.policy.stages import fingerprint


def undo_loss(archive: Archive, original: Identity) -> None:
    """Note that the lossy stages of an object's rule were carried out, and changed nothing.

    The index alone knows this: a rebuilt one does not, and neither does a changed stage. A legal hold keeps
    an object from both. Raises ObjectMissing, ObjectDamaged, OutOfResources.
    """
    held = archive.current(original)
    if held is None:
        return
    policy, rule = archive.policy.choose(archive.facts(held))
    lossy = [stage for stage in rule.stages if stage.lossy] if rule is not None else []
    if lossy:
        reason = "its original was restored from the trash"
        done = replace(held, stage=fingerprint(lossy[-1]), outcome="cannot", no_loss=reason)
        archive.replace([Change(held, planned(done, rule, policy, time.time()))])
