"""What is held, added up by all that the rules of a policy can ask of an object: few sums for many objects.

A policy tells objects apart by few values, and by whether sizes and times are beyond its own bounds. So one
instance can stand for all that no rule tells apart, and what holds for it holds for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from scp.index.watch import Watch
from scp.model import Instance


@dataclass(frozen=True, slots=True)
class SumKeys:
    """What tells instances apart: attributes that the index holds, by keyword, and what else a rule asks.

    ``sizes`` (bytes as received), ``received`` and ``accessed`` (seconds since 1970) are bounds: those on the
    same sides of all bounds go together. ``policy`` is the fingerprint under which ``due`` counts.
    """

    keywords: tuple[str, ...] = ()
    transfer_syntax: bool = False
    calling_aet: bool = False
    sizes: tuple[float, ...] = ()
    received: tuple[int, ...] = ()
    accessed: tuple[int, ...] = ()
    policy: str = ""


@dataclass(frozen=True, slots=True)
class FactSum:
    """Instances that go together: ``instance`` stands for all, with the least size and times of any.

    What is not asked for is empty in it. Sizes in bytes. ``due`` is when a stage is next due for any of them,
    as it was planned, in seconds since 1970; None where none was planned under that policy.
    """

    instance: Instance
    attributes: Mapping[str, str]
    instances: int
    received_size: int
    stored_size: int
    due: int | None = None


@dataclass(frozen=True, slots=True)
class SummedFacts:
    """The sums of ``looked_at`` of ``total`` instances: of all, or of some that were picked at random."""

    sums: tuple[FactSum, ...]
    looked_at: int
    total: int

    @property
    def whole(self) -> bool:
        """Whether all were looked at."""
        return self.looked_at >= self.total


class FactSums(Protocol):
    """Adds up what is held."""

    def sums(self, keys: SumKeys, most: int | None = None, watch: Watch | None = None) -> SummedFacts:
        """The sums of all instances, or of about ``most`` that are picked at random, where there are more.

        Each instance has the same chance. All of 100,000 take some 0.5 s, ``watch`` may stop it.
        Raises :class:`scp.errors.OutOfResources` as an index does, and what the watch raises.
        """

    def picked(self, most: int) -> list[Instance]:
        """About ``most`` instances at random that are not pending; all of them, where there are fewer."""
