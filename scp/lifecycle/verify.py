"""Check stored objects against what was written and, deep, against what was received."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from scp.archive import Archive
from scp.errors import ObjectDamaged, ObjectMissing, ObjectUnavailable
from scp.lifecycle.parallel import each
from scp.model import Instance


@dataclass(frozen=True, slots=True)
class Verdict:
    """One checked object; an empty ``fault`` means that it is sound."""

    instance: Instance
    fault: str = ""


def verify(archive: Archive, instances: Iterable[Instance], deep: bool = False) -> Iterator[Verdict]:
    """Check each instance (invariants 1 and 2)."""

    def check(instance: Instance) -> Verdict:
        try:
            archive.verify(instance, deep)
        except (ObjectMissing, ObjectDamaged, ObjectUnavailable) as error:
            return Verdict(instance, str(error))
        return Verdict(instance)

    return each(check, instances)
