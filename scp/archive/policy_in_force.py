"""The policy in force: a running node replaces it when it reloads its configuration."""

from __future__ import annotations

from collections.abc import Iterable

from scp.config.rules import PolicyRule
from scp.model import Facts
from scp.policy.rules import choose
from scp.policy.stages import NewestDictionary, asks_for_access, fingerprint_of, no_dictionary


class PolicyInForce:
    """The ``rules`` of the policy, and their ``fingerprint``.

    ``access_exactness`` says how exactly, in seconds, the last retrieval of an object must be known; 0 if no
    rule uses it. ``newest`` gives the dictionary with which objects of a class are packed.
    """

    def __init__(self, rules: Iterable[PolicyRule], newest: NewestDictionary = no_dictionary) -> None:
        self.newest = newest
        self.use(rules)

    def use(self, rules: Iterable[PolicyRule]) -> None:
        """Apply these rules from now on, also to stored objects."""
        self.rules = tuple(rules)
        self.fingerprint = fingerprint_of(self.rules)
        self.access_exactness = asks_for_access(self.rules)

    def choose(self, facts: Facts) -> tuple[str, PolicyRule | None]:
        """The policy's fingerprint, and its rule for an object.

        They are read in this order: if another policy comes in between, the object is planned again.
        """
        return self.fingerprint, choose(self.rules, facts)

    def asks_for_dictionaries(self) -> bool:
        """Whether any stage of any rule asks for dictionaries."""
        return any(stage.dictionary for rule in self.rules for stage in rule.stages)

    def may_be_pending(self) -> bool:
        """Whether any rule lets an object be encoded after its response."""
        return any(rule.may_be_pending for rule in self.rules)
