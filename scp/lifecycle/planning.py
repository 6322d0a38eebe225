"""What is due for an instance, and when: from the facts that the index has, the policy and the clock. Pure.

The stored file is read only where a rule asks for an attribute that the index does not hold.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from scp.background.alone import alone
from scp.config.rules import PolicyRule
from scp.errors import ObjectRefused, OutOfResources
from scp.index.attributes import RULED_BY
from scp.index.index import PolicyRow
from scp.model import Facts, Instance
from scp.policy.rules import choose, matches
from scp.policy.stages import NEVER, NewestDictionary, Step, no_dictionary, step

_MOST_REMEMBERED = 10_000
# What could not be planned, for whatever reason, is looked at again after so long.
_LATER_SECONDS = 3600
# What an instance itself has of the keys that a rule may ask for (scp.config.values.SPECIAL_KEYS).
_OWN: Mapping[str, Callable[[Instance], str]] = {
    "calling_aet": lambda one: one.calling_aet,
    "transfer_syntax": lambda one: one.received_transfer_syntax,
    "size": lambda one: str(one.received_size),
}

ReadFacts = Callable[[Instance], Facts]


class Planner:
    """Plans by one policy. ``keywords`` are the attributes to ask the index for, besides ``more``.

    ``newest`` gives the dictionary with which objects of a class are to be packed.

    ``lacked`` says what there was no room for, for each object that was put off for that reason.
    """

    def __init__(
        self,
        policy: Sequence[PolicyRule],
        more: Sequence[str] = (),
        newest: NewestDictionary = no_dictionary,
    ) -> None:
        self._policy, self._newest = tuple(policy), newest
        asked = dict.fromkeys(key for rule in self._policy for key in rule.match)
        self._keys = tuple(asked)
        self.keywords = tuple(dict.fromkeys((*more, *(key for key in asked if key in RULED_BY))))
        self.lacked: list[str] = []
        self._remembered: dict[tuple[str, ...], PolicyRule | None] = {}
        self._known = {
            rule.name: all(key in _OWN or key in RULED_BY for key in rule.match) for rule in policy
        }

    def rule(self, standing: PolicyRow, read: ReadFacts) -> PolicyRule | None:
        """The rule that applies; ``read`` gives the facts of a stored file, and is rarely needed.

        Raises what ``read`` does.
        """
        one, attributes = standing.instance, standing.attributes
        asked = tuple(_OWN[key](one) if key in _OWN else attributes.get(key, "") for key in self._keys)
        if asked not in self._remembered:
            found, sure = self._first(_facts(standing))
            if not sure:
                return choose(self._policy, read(one))
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[asked] = found
        return self._remembered[asked]

    def _first(self, facts: Facts) -> tuple[PolicyRule | None, bool]:
        """The first rule that matches; False where an earlier one may, by what the index does not know."""
        for rule in self._policy:
            if not self._known[rule.name]:
                if matches(_what_is_known(rule), facts):
                    return None, False
            elif matches(rule, facts):
                return rule, True
        return None, True

    def step(self, standing: PolicyRow, read: ReadFacts, now: float) -> tuple[PolicyRule | None, Step]:
        """The rule that applies, and what it asks for at ``now``.

        Nothing is due yet for an object that cannot be looked into now: it is planned again a while later,
        whatever its rule. Its file may be repaired, its store come back, or room be made meanwhile; any other
        cause shows when the stage is carried out.
        """
        one = standing.instance
        try:
            through = (ObjectRefused, OutOfResources)
            with alone("cannot be planned", through=through, sop_instance=one.sop_instance_uid):
                rule = self.rule(standing, read)
                return rule, step(rule, one, now, self._newest)
        except ObjectRefused:
            return None, Step(None, NEVER)
        except OutOfResources as error:
            self.lacked.append(str(error))
        return None, Step(None, int(time.time()) + _LATER_SECONDS)

    def next_due(self, standing: PolicyRow, read: ReadFacts) -> int:
        """When something is to be done next: in the past where it should have been done already."""
        return self.step(standing, read, standing.instance.received_at.timestamp())[1].due


def _facts(standing: PolicyRow) -> Facts:
    one = standing.instance
    return Facts(standing.attributes, one.received_transfer_syntax, one.received_size, one.calling_aet)


def _what_is_known(rule: PolicyRule) -> PolicyRule:
    """The part of a rule that the index can answer."""
    match = {key: wanted for key, wanted in rule.match.items() if key in _OWN or key in RULED_BY}
    return rule.model_copy(update={"match": match})
