"""Which rule of the policy applies to an object: a pure function of its facts."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TypeVar

from pydicom.uid import UID

from scp.config.rules import ForwardRule, PolicyRule, PrefetchRule, RetentionRule
from scp.model import Facts
from scp.syntaxes import lookup

Rule = PolicyRule | ForwardRule | PrefetchRule | RetentionRule
_Chosen = TypeVar("_Chosen", PolicyRule, RetentionRule)

_COMPARISON = re.compile(r"(<=|>=|<|>)(.+)")
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


def choose(rules: Iterable[_Chosen], facts: Facts) -> _Chosen | None:
    """The first rule that matches; None when none does, which keeps the object as received."""
    return next((rule for rule in rules if matches(rule, facts)), None)


def matches(rule: Rule, facts: Facts) -> bool:
    """Whether every key of a rule's match holds: any of its values for any of the object's."""
    return not failing(rule, facts)


def failing(rule: Rule, facts: Facts) -> str:
    """The first key of a rule's match that does not hold; empty where all do."""
    return next(
        (
            key
            for key, wanted in rule.match.items()
            if not any(_holds(each, has) for each in wanted for has in values(key, facts))
        ),
        "",
    )


def values(key: str, facts: Facts) -> list[str]:
    """What the object has under a match key; UIDs also by the name that PS3.6 gives them."""
    match key:
        case "calling_aet":
            return [facts.calling_aet]
        case "called_aet":
            return [facts.called_aet]
        case "size":
            return [str(facts.size)]
        case "transfer_syntax":
            return [facts.transfer_syntax, lookup(facts.transfer_syntax).keyword]
    found = facts.attributes.get(key, "").split("\\")
    return found + [UID(value).keyword for value in found] if key.endswith("UID") else found


@lru_cache(maxsize=4096)
def _holds(wanted: str, has: str) -> bool:
    comparison = _COMPARISON.fullmatch(wanted)
    if comparison is None:
        return fnmatchcase(has, wanted)
    try:
        return _OPERATORS[comparison[1]](float(has), float(comparison[2]))
    except ValueError:  # no number, no comparison
        return False
