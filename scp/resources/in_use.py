"""How much of the budget of memory all processes of a node have: looked at, without taking part."""

from __future__ import annotations

from scp.resources.budget import UNITS, budget


def used_by_all() -> tuple[int, int]:
    """Bytes that all processes have, in whole units, and the budget."""
    shared = budget()
    others = sum(shared.locks.is_locked_elsewhere(unit) for unit in range(UNITS))
    return min(others * shared.unit + shared.used, shared.limit), shared.limit
