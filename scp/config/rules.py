"""Rules that an admin writes: how objects are kept, when they are deleted, where they are sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from scp.config.lossy import LossyStage, fault_of_forms, fault_of_match
from scp.config.stores import StoreName
from scp.config.values import (
    AeTitle,
    Duration,
    Forms,
    Match,
    Span,
    Switch,
    Table,
    duration,
    list_of_tables,
)


class Stage(LossyStage):
    """One form, or several to choose from, and when it applies: ``after`` in seconds.

    ``forms`` is written ``form`` in the file; a stage without any is read with those of the one before it.
    ``wrap``, ``level`` and ``effort`` None are the form's own defaults. ``budget_ms`` are milliseconds for
    each megabyte of the received object. ``store`` None is the first store.
    """

    forms: Annotated[Forms, Field(alias="form")] = ()
    after: Duration = None
    after_access: Duration = None
    level: Annotated[int, Field(strict=True, ge=1, le=22)] | None = None
    effort: Annotated[int, Field(strict=True, ge=1, le=9)] | None = None
    wrap: Literal["auto", "zstd", "none"] | None = None
    dictionary: Switch = False
    keep: Literal["first", "smallest"] = "first"
    budget_ms: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = None
    shortcut: Switch = True
    store: StoreName | None = None

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not self.forms and not self.store:
            raise ValueError('has neither a form nor a store; give it, say, form = "htj2k"')
        return self

    @model_validator(mode="after")
    def _may_be_lossy(self) -> Self:
        if self.lossy and (fault := fault_of_forms(self, self.forms)):
            raise ValueError(fault)
        return self

    @property
    def compares(self) -> bool:
        """Whether the smallest of several forms is wanted."""
        return self.keep == "smallest" and len(self.forms) > 1

    @property
    def narrows(self) -> bool:
        """Whether forms may be ruled out that were not tried."""
        return self.compares and self.shortcut


class Promotion(Stage):
    """Where a retrieve brings back an object that is in a later stage, for ``keep_for`` seconds.

    Without ``forms`` it keeps its form; ``store`` None is the first store.
    """

    keep_for: Annotated[int, BeforeValidator(duration)] = 7 * 86_400

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.after is not None or self.after_access is not None:
            raise ValueError("applies at once; leave out `after` and `after_access`")
        if self.lossy:
            raise ValueError("brings an object back, so that nothing may be lost; leave out `lossy`")
        return self


def _in_order(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """Stages as they will apply: one on receive, in the first store, the others by time."""
    if not stages:
        raise ValueError('has no stage; write, say, [ { form = "htj2k" } ]')
    if stages[0].after or stages[0].after_access is not None:
        raise ValueError(
            '[0] must apply on receive; leave out its times, or put { form = "received" } before it'
        )
    for number, stage in enumerate(stages):
        if number and stage.after is None and stage.after_access is None:
            raise ValueError(f"[{number}] has no time, but only [0] applies on receive; give it an `after`")
        if stage.lossy and not (stage.after or stage.after_access):
            raise ValueError(
                f"[{number}] is lossy: objects are first kept as they came; give it an `after`, such as "
                '"180d", in a later stage'
            )
        if stage.store and not (stage.after or stage.after_access):
            raise ValueError(
                f"[{number}].store: objects come in to the first store; name another in a later stage"
            )
    times = [stage.after for stage in stages if stage.after is not None]
    if times != sorted(times):
        raise ValueError("must stand in ascending order of `after`")
    return stages


def _with_what_they_take_over(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """Each stage takes over from the one before it the store and, where it names none, the form."""
    complete = [stages[0]]
    for stage in stages[1:]:
        before = complete[-1]
        times = {"after": stage.after, "after_access": stage.after_access}
        form = stage if stage.forms else before.model_copy(update=times)
        complete.append(form.model_copy(update={"store": stage.store or before.store}))
    return tuple(complete)


class PolicyRule(Table):
    """What becomes of the objects that ``match``; an empty one matches every object."""

    name: Annotated[str, Field(min_length=1)]
    match: Match = Field(default_factory=dict)
    stages: Annotated[
        tuple[Stage, ...],
        BeforeValidator(list_of_tables),
        AfterValidator(_in_order),
        AfterValidator(_with_what_they_take_over),
    ]
    on_access: Promotion | None = None

    @model_validator(mode="after")
    def _names_what_loses(self) -> Self:
        if any(stage.lossy for stage in self.stages) and (fault := fault_of_match(self.match)):
            raise ValueError(fault)
        return self

    @property
    def on_receive(self) -> Stage:
        """The stage that applies before a C-STORE is answered: always the first."""
        return self.stages[0]

    @property
    def later(self) -> tuple[Stage, ...]:
        """The stages that apply afterwards, by time."""
        return self.stages[1:]

    def at(self, stage: Stage) -> PolicyRule:
        """This rule where ``stage`` is the one that applies."""
        return self.model_copy(update={"stages": (stage,)})

    @property
    def may_be_pending(self) -> bool:
        """Whether the response may be sent before anything is encoded."""
        return self.on_receive.forms == ("received",)

    @property
    def after_response(self) -> Stage | None:
        """The stage that applies right after the response, if there is one."""
        at_once = [stage for stage in self.later if stage.after == 0 and stage.after_access is None]
        return at_once[-1] if at_once else None

    @property
    def settled(self) -> Stage:
        """The stage that an object soon ends in: the one right after the response, or the first."""
        return self.after_response or self.on_receive


class RetentionRule(Table):
    """Objects that ``match`` may be deleted ``after`` so many seconds since they were received."""

    name: Annotated[str, Field(min_length=1)]
    match: Match = Field(default_factory=dict)
    after: Span
    delete: Literal["always", "when full"] = "always"


class ForwardRule(Table):
    """Peers, by AE title, to which new objects that match are sent. ``after`` and ``give_up`` in seconds."""

    name: Annotated[str, Field(min_length=1)]
    match: Match = Field(default_factory=dict)
    to: Annotated[tuple[AeTitle, ...], Field(min_length=1)]
    after: Duration = 0
    give_up: Duration = 7 * 86_400

    @property
    def destinations(self) -> tuple[str, ...]:
        """The AE titles of all that it sends to."""
        return self.to


class PrefetchRule(Table):
    """Which earlier studies of a patient are sent before they are asked for, or brought back, and when.

    ``modality`` and ``body_part`` select series, empty: all; studies with such a series are sent whole, at
    most ``count`` of them, the newest first, none older than ``within`` seconds. With ``promote`` they count
    as retrieved, so that the policy's ``on_access`` brings them back.
    """

    name: Annotated[str, Field(min_length=1)]
    on: Annotated[tuple[Literal["store", "query"], ...], Field(min_length=1)] = ("store",)
    match: Match = Field(default_factory=dict)
    to: AeTitle | None = None
    promote: Switch = False
    modality: tuple[str, ...] = ()
    body_part: tuple[str, ...] = ()
    same_body_part: Switch = False
    within: Duration = None
    count: Annotated[int, Field(strict=True, ge=1, le=100)] = 3
    give_up: Duration = 86_400

    @property
    def destinations(self) -> tuple[str, ...]:
        """The AE titles of all that it sends to."""
        return (self.to,) if self.to else ()

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not self.to and not self.promote:
            raise ValueError("has neither `to` nor `promote`; name the [[peer]] that the studies go to")
        return self


_COMPRESSED = ("JPEG*", "HTJ2K*", "RLE*", "MPEG*", "HEVC*", "Deflated*", "JPIP*", "Encapsulated*")


def _rule(name: str, *stages: dict[str, object], **match: tuple[str, ...]) -> PolicyRule:
    return PolicyRule.model_validate({"name": name, "match": match, "stages": list(stages)})


# docs/decisions/0210 has the measurements that decided this.
_AS_IT_CAME = {"form": "received", "wrap": "auto", "dictionary": True}
_SMALLEST = {"form": ["jpegxl", "jpeg2000", "jpegls"], "keep": "smallest", "dictionary": True}
DEFAULT_POLICY: tuple[PolicyRule, ...] = (
    _rule(
        "JPEG",
        _AS_IT_CAME,
        {"form": "jpegxl-recompression", "after": "30d", "dictionary": True},
        transfer_syntax=("JPEGBaseline8Bit", "JPEGExtended12Bit"),
    ),
    _rule("already compressed", _AS_IT_CAME, transfer_syntax=_COMPRESSED),
    _rule(
        "everything else",
        {"form": "received"},
        {"form": "htj2k", "after": "0s", "dictionary": True},
        {**_SMALLEST, "after": "30d"},
    ),
)


def rule_warnings(rule: PolicyRule) -> Iterator[str]:
    """What is set in a rule but has no effect."""
    yield from _access_warnings(rule)
    for number, stage in enumerate(rule.stages):
        place = f"stages[{number}]"
        yield from (f"{place}.{line}" for line in _choice_warnings(stage))


def _access_warnings(rule: PolicyRule) -> Iterator[str]:
    if rule.on_access is not None and rule.settled is rule.stages[-1]:
        yield "on_access: has no effect, as no later stage is there to come back from"


def _choice_warnings(stage: Stage) -> Iterator[str]:
    given = {
        "keep": stage.keep == "smallest",
        "budget_ms": stage.budget_ms is not None,
        "shortcut": not stage.shortcut,
        "effort": stage.effort is not None,
    }
    alone = () if stage.compares else ("keep",) if stage.lossy else ("keep", "budget_ms", "shortcut")
    for key in alone:
        if given[key]:
            yield f'{key}: has an effect only with several forms and keep = "smallest"'
    for key in ("budget_ms", "shortcut", "effort") if stage.lossy else ():
        if given[key]:
            yield f"{key}: has no effect on lossy copies, which are all made in full"
