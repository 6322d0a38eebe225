"""When objects were last retrieved, for stages that go by that: written to the index."""

from __future__ import annotations

import time
from collections.abc import Iterable

from scp.archive.policy_in_force import PolicyInForce
from scp.background.alone import alone
from scp.index.index import DueStages
from scp.model import Instance


def record_access(stages: DueStages, policy: PolicyInForce, instances: Iterable[Instance]) -> bool:
    """Note that objects were retrieved, if the policy uses that; whether ``on_access`` of a rule may be due.

    An index that cannot be written to now keeps nobody from what was asked for: that is logged.
    """
    exactness, now = policy.access_exactness, time.time()
    stale = [one for one in instances if is_stale(policy, one, now)]
    if not stale:
        return False
    with alone("retrieve not noted", through=(), objects=len(stale)):
        stages.record_access(stale, now, exactness)
    return any(rule.on_access for rule in policy.rules)


def is_stale(policy: PolicyInForce, instance: Instance, now: float) -> bool:
    """Whether a retrieval is to be noted: who asks for a thousand frames of an object has it written once."""
    exactness = policy.access_exactness
    return bool(exactness) and instance.accessed < int(now - exactness)
