"""Which of several forms to try, where the smallest is wanted: not those that a cheaper look rules out.

A large image is asked itself: a sixteenth of it is encoded in each form. Of small ones that is no cheaper
than all; there the earlier objects of the series tell, if their process remembers some. What a look rules
out is tried all the same where none of the others holds. The numbers are in docs/decisions/0057.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import NamedTuple

from scp.config.rules import PolicyRule, Stage
from scp.encoding.dataset import SplitDataset
from scp.encoding.sample import sample_of, sizes_of
from scp.model import Attempt, Facts
from scp.syntaxes import lookup

# A form that is at most this much larger than the smallest is as good as it, in what was stored in full; a
# sample says it less exactly: the headers and the borders of a small image cost JPEG 2000 up to 2 %.
_TOLERANCE, _OF_SAMPLE = 0.01, 0.02
# So many objects of a series are compared in all forms, and one again after each so many that were not.
_COMPARED, _UNTIL_NEXT = 3, 32
# Series that are remembered: a modality's day, in some hundred kilobytes.
_SERIES = 1024
# What makes objects of one series alike to a codec. ImageType tells magnitude from phase.
_ALIKE = (
    "SeriesInstanceUID",
    "ImageType",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "PhotometricInterpretation",
)

Sizes = Mapping[str, int]


class Kind(NamedTuple):
    """Objects of which one tells about another: of one series, described alike, in one stage of a rule."""

    stage: Stage
    transfer_syntax: str
    described: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The forms to try, in order; and those to try only if none of them holds, with the reason."""

    forms: tuple[str, ...]
    passed: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True)
class Earlier:
    """What the last objects of a kind came to that were compared: stored sizes in bytes, by form.

    ``since`` counts the objects after them for which one form was relied on.
    """

    compared: tuple[Sizes, ...] = ()
    since: int = 0

    @property
    def reliable(self) -> str:
        """The form that is as good as the smallest in all of them; empty where there is none, or too few."""
        if len(self.compared) < _COMPARED or self.since >= _UNTIL_NEXT:
            return ""
        in_all = [form for form in self.compared[0] if all(form in sizes for sizes in self.compared)]
        if not in_all:
            return ""
        form = min(in_all, key=self.size)
        as_good = (sizes[form] <= min(sizes.values()) * (1 + _TOLERANCE) for sizes in self.compared)
        return form if all(as_good) else ""

    def size(self, form: str) -> int:
        """Of a form in all that were compared, bytes; 0 where it did not hold in one of them."""
        sizes = [sizes.get(form, 0) for sizes in self.compared]
        return sum(sizes) if all(sizes) else 0


NOTHING = Earlier()


def kind_of(facts: Facts, rule: PolicyRule | None) -> Kind | None:
    """What an object has to share with another to tell about it; None where nothing is to be told."""
    if rule is None or not rule.settled.narrows or not facts.attributes.get(_ALIKE[0]):
        return None
    described = tuple(facts.attributes.get(keyword, "") for keyword in _ALIKE)
    return Kind(rule.settled, facts.transfer_syntax, described)


def plan(stage: Stage, parts: SplitDataset | None, transfer_syntax: str, earlier: Earlier = NOTHING) -> Plan:
    """The forms of a stage to try for an object that was received in ``transfer_syntax``; pure.

    ``parts`` is what it splits into, None if unreadable.
    """
    everything = Plan(stage.forms)
    if not stage.narrows or parts is None:
        return everything
    sample = sample_of(parts, lookup(transfer_syntax))
    if sample is not None:
        return _by_sizes(stage.forms, sizes_of(sample, stage.forms, stage.effort or 0), "in a sample")
    if reliable := earlier.reliable:
        return _by_series(stage.forms, reliable, earlier)
    return everything


def _by_sizes(forms: tuple[str, ...], sizes: Sizes, where: str) -> Plan:
    """Without the forms that are larger; what has no size has to be tried."""
    smallest = min(sizes.values(), default=0)
    larger = {form: size for form, size in sizes.items() if size > smallest * (1 + _OF_SAMPLE)}
    left = (form for form in forms if form not in larger)
    # The likely one first: that counts where the time is bounded.
    order = sorted(left, key=lambda form: sizes.get(form, inf))
    return Plan(tuple(order), tuple(_skipped(form, larger[form], smallest, where) for form in larger))


def _by_series(forms: tuple[str, ...], reliable: str, earlier: Earlier) -> Plan:
    least = earlier.size(reliable)
    others = (form for form in forms if form != reliable)
    return Plan(
        (reliable,), tuple(_skipped(form, earlier.size(form), least, "in its series") for form in others)
    )


def _skipped(form: str, size: int, smallest: int, where: str) -> Attempt:
    larger = f"{100 * (size / smallest - 1):.1f} % larger {where}" if size else f"did not hold {where}"
    return Attempt(form, "skipped", larger)


class Memory:
    """What a process remembers of the last series, for :func:`plan`. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[Kind, Earlier] = OrderedDict()

    def recall(self, kind: Kind | None) -> Earlier:
        """What earlier objects of this kind came to; an object is about to be kept by it."""
        with self._lock:
            if kind is None or kind not in self._known:
                return NOTHING
            self._known.move_to_end(kind)
            earlier = self._known[kind]
            self._known[kind] = replace(earlier, since=earlier.since + 1)
            return earlier

    def learn(self, kind: Kind | None, attempts: Iterable[Attempt]) -> None:
        """Remember what an object of a kind came to, if all forms were tried for it."""
        attempts = tuple(attempts)
        if kind is None or any(one.outcome == "skipped" for one in attempts):
            return
        held = [one for one in attempts if one.outcome in ("kept", "beaten")]
        sizes = {one.form: one.size for one in held if one.form in kind.stage.forms}
        with self._lock:
            before = self._known.pop(kind, NOTHING).compared
            self._known[kind] = Earlier((*before, sizes)[-_COMPARED:])
            if len(self._known) > _SERIES:
                self._known.popitem(last=False)
