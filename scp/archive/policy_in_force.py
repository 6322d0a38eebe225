"""The policy that counts now: a running node takes over another one when it is told to."""

from __future__ import annotations

from collections.abc import Iterable

from scp.config.rules import PolicyRule
from scp.model import Facts
from scp.policy.rules import choose
from scp.policy.stages import asks_for_access, fingerprint_of


class PolicyInForce:
    """Its ``rules``, and their ``fingerprint``.

    ``access_exactness`` says within how many seconds it is to be known when an object was last retrieved;
    0 where no rule asks for that.
    """

    def __init__(self, rules: Iterable[PolicyRule]) -> None:
        self.use(rules)

    def use(self, rules: Iterable[PolicyRule]) -> None:
        """From now on these rules count, also for what is stored."""
        self.rules = tuple(rules)
        self.fingerprint = fingerprint_of(self.rules)
        self.access_exactness = asks_for_access(self.rules)

    def choose(self, facts: Facts) -> tuple[str, PolicyRule | None]:
        """The policy's fingerprint, and its rule for an object.

        In this order: should another policy come in between, what its rule says is planned anew.
        """
        return self.fingerprint, choose(self.rules, facts)

    def may_be_pending(self) -> bool:
        """Whether any rule lets an object be encoded behind its response."""
        return any(rule.may_be_pending for rule in self.rules)
