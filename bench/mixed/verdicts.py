"""What the mixed soak claims, whether it held, and the page that says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench import machine
from bench.mixed.node import Sample
from bench.report import table

# What a straight line through the second half of the samples may rise by within that half.
MEMORY_SHARE, MEMORY_MB = 0.10, 64.0
DESCRIPTORS_SHARE, DESCRIPTORS = 0.10, 12.0


@dataclass(frozen=True)
class Claim:
    """One claim, what was found, and whether it holds."""

    what: str
    found: str
    holds: bool


@dataclass(frozen=True)
class Rise:
    """By how much something rose in the second half, by a fit; and its mean there."""

    mean: float
    rise: float

    def within(self, share: float, least: float) -> bool:
        return self.rise <= max(share * self.mean, least)


def rise(samples: Sequence[Sample], of: str) -> Rise:
    """The least squares line through the second half of the samples."""
    half = samples[len(samples) // 2 :]
    if len(half) < 2:
        return Rise(0.0, 0.0)
    at, values = ([getattr(one, name) for one in half] for name in ("at", of))
    slope = float(np.polyfit(at, values, 1)[0])
    return Rise(float(np.mean(values)), slope * (at[-1] - at[0]))


def flat(samples: Sequence[Sample]) -> list[Claim]:
    """Memory and descriptors do not grow."""
    memory, descriptors = rise(samples, "pss"), rise(samples, "descriptors")
    return [
        Claim(
            f"in the second half memory of all processes rises by at most {MEMORY_SHARE:.0%} "
            f"or {MEMORY_MB:.0f} MB",
            f"{memory.rise:+.0f} MB, mean {memory.mean:.0f} MB",
            memory.within(MEMORY_SHARE, MEMORY_MB),
        ),
        Claim(
            f"in the second half open files rise by at most {DESCRIPTORS_SHARE:.0%} or {DESCRIPTORS:.0f}",
            f"{descriptors.rise:+.1f}, mean {descriptors.mean:.0f}",
            descriptors.within(DESCRIPTORS_SHARE, DESCRIPTORS),
        ),
    ]


def none_of(what: str, found: Sequence[str]) -> Claim:
    """A claim that something did not happen."""
    told = "none" if not found else f"{len(found)}; first: {found[0][:160]}"
    return Claim(what, told, not found)


def quantiles(seconds: Sequence[float]) -> str:
    """Median, 99th percentile and maximum, in milliseconds."""
    if not seconds:
        return "–"
    return ", ".join(f"{1000 * value:.0f}" for value in (*np.quantile(seconds, (0.5, 0.99)), max(seconds)))


def page(
    seconds: float,
    peers: int,
    counts: Counter[str],
    claims: Sequence[Claim],
    rows: Sequence[tuple[str, str]],
    command: str,
) -> str:
    """The report in Markdown."""
    described = machine.of_this_one()
    about = "\n".join(f"- {name}: {value}" for name, value in described.items())
    verdicts = [[claim.what, claim.found, "yes" if claim.holds else "**no**"] for claim in claims]
    did = [[what, f"{count:,}"] for what, count in sorted(counts.items())]
    return (
        f"# Soak with {peers} mixed peers\n\n"
        f"Made by `{command}`; do not edit. {peers} peers against one node for {seconds:.0f} s, all on one "
        "machine. Some store, find, move, get and echo; others cancel, abort, close and reset sockets, are "
        "killed in mid-PDU, send garbage, or read slowly. Then every acknowledged object is got back, once "
        "in its own transfer syntax and once in another, and compared by digest and by pydicom.\n\n"
        f"{about}\n\n## Claims\n\n{table(['claim', 'found', 'holds'], verdicts, left=2)}\n\n"
        f"## Figures\n\n{table(['figure', 'value'], rows)}\n\n"
        f"## What the peers did\n\n{table(['act', 'times'], did)}\n"
    )
