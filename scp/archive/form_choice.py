"""Which of several forms to try, where the smallest is wanted: not those that a sample rules out.

A sixteenth of a large image is encoded in each form. For a small image a sample costs as much as the whole:
all forms are tried. So the choice depends on the object alone. Forms that the sample rules out are tried
after all if none of the others is proven. The numbers are in docs/decisions/0057.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from scp.config.rules import Stage
from scp.encoding.dataset import SplitDataset
from scp.encoding.sample import sample_of, sizes_of
from scp.model import Attempt
from scp.syntaxes import lookup

# A form that is this much larger in a sample may still be the smallest for the whole image: the headers and
# the borders of a small image cost JPEG 2000 up to 2 %.
_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class FormPlan:
    """The forms to try, in order; and those to try only if none of these is proven, with the reason."""

    forms: tuple[str, ...]
    passed: tuple[Attempt, ...] = ()


def plan(stage: Stage, parts: SplitDataset | None, transfer_syntax: str) -> FormPlan:
    """The forms of a stage to try for an object that was received in ``transfer_syntax``; pure.

    ``parts`` are the parts of its dataset, None if unreadable.
    """
    if not stage.narrows or parts is None:
        return FormPlan(stage.forms)
    sample = sample_of(parts, lookup(transfer_syntax))
    if sample is None:
        return FormPlan(stage.forms)
    return _by_sizes(stage.forms, sizes_of(sample, stage.forms, stage.effort or 0))


def _by_sizes(forms: tuple[str, ...], sizes: Mapping[str, int]) -> FormPlan:
    """The plan without the forms that are larger; a form without a size has to be tried."""
    smallest = min(sizes.values(), default=0)
    larger = {form: size for form, size in sizes.items() if size > smallest * (1 + _TOLERANCE)}
    left = (form for form in forms if form not in larger)
    # The most promising form first: this matters where the time is bounded.
    order = sorted(left, key=lambda form: sizes.get(form, inf))
    return FormPlan(tuple(order), tuple(_skipped(form, larger[form] / smallest - 1) for form in larger))


def _skipped(form: str, share: float) -> Attempt:
    return Attempt(form, "skipped", f"{100 * share:.1f} % larger in a sample")
