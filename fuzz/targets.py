"""What is fuzzed: functions that take any bytes, and raise only where zscp does what it must not.

Each input of a target is small. What a target may take of memory and time is bounded by who runs it
(:mod:`fuzz.harness`); here it is the errors, the results and the round trips that are checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fuzz import codecs, configuration, datasets, network, queries, stored

Check = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Target:
    """A check, and whether its inputs hold a codestream, which is then mutated by its structure.

    ``asked`` is one that runs only when it is named: what it finds is not zscp's.
    """

    check: Check
    codestreams: bool = False
    asked: bool = False


TARGETS: Mapping[str, Target] = {
    **{f"native-{name}": Target(codecs.native, codestreams=True) for name in codecs.FAMILIES},
    **{f"caged-{name}": Target(codecs.caged, codestreams=True) for name in codecs.FAMILIES},
    **{f"library-{name}": Target(codecs.library, True, asked=True) for name in codecs.FAMILIES},
    "dataset": Target(datasets.dataset),
    "keep": Target(datasets.kept),
    "fragments": Target(datasets.fragments),
    "looked-at": Target(datasets.looked_at),
    "evenness": Target(datasets.evenness),
    "stored": Target(stored.stored),
    "provenance": Target(stored.provenance),
    "foreign": Target(stored.foreign_file),
    "dictionary": Target(stored.dictionary),
    "landing": Target(stored.landing),
    "notes": Target(stored.notes),
    "association": Target(network.association),
    "messages": Target(network.messages),
    "identifier": Target(network.identifier),
    "connection": Target(network.connection),
    "command": Target(network.command),
    "action": Target(network.action),
    "wildcards": Target(queries.wildcards),
    "matching": Target(queries.matching),
    "query": Target(queries.query),
    "configuration": Target(configuration.configuration),
}
