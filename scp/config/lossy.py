"""What a stage says of loss: that it is wanted, how much of it, and how the copy is named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from scp.config.values import Quality, SampleError, Switch, Table
from scp.loss import LossyRule
from scp.syntaxes import LOSSY_FORMS

Ratio = Annotated[float, Field(strict=True, gt=1, le=1000)]
_NEEDS = "lossy = true needs max_error (in sample values), quality (1 to 100) or ratio"


class LossyStage(Table):
    """The part of a stage that is about loss; without ``lossy`` nothing is lost.

    ``uid`` says whether the copy gets a SOP Instance UID of its own, as PS3.3 C.7.6.1.1.5 asks. Of what was
    received before ``uncommitted_before``, an admin vouches that no storage commitment was answered.
    """

    lossy: Switch = False
    quality: Quality | None = None
    max_error: SampleError | None = None
    ratio: Ratio | None = None
    uid: Literal["new", "same"] = "new"
    uncommitted_before: date | None = None

    @model_validator(mode="after")
    def _says_how_much(self) -> Self:
        if not self.lossy:
            for key in ("quality", "max_error", "ratio", "uncommitted_before"):
                if getattr(self, key) is not None:
                    raise ValueError(
                        f"{key} is part of a lossy stage; write lossy = true beside it, or leave it out"
                    )
            if self.uid != "new":
                raise ValueError(
                    "uid is part of a lossy stage; write lossy = true beside it, or leave it out"
                )
            return self
        if self.quality is None and self.max_error is None and self.ratio is None:
            raise ValueError(_NEEDS)
        if self.quality is not None and self.ratio is not None:
            raise ValueError(
                "has a quality and a ratio, and either says how small the copy is; leave one out"
            )
        if self.uid == "same" and self.max_error is None:
            raise ValueError(
                'uid = "same" needs a max_error: an image keeps its UID only where the difference is not '
                "expected to affect what is seen in it (PS3.3 C.7.6.1.1.2)"
            )
        # A day more, for those whose date is ahead of UTC.
        if self.uncommitted_before and self.uncommitted_before > datetime.now(UTC).date() + timedelta(days=1):
            raise ValueError(
                "uncommitted_before is in the future: nobody can vouch for what is yet to come; "
                "write today's date, or an earlier one"
            )
        return self

    @property
    def loss(self) -> LossyRule:
        """How much may be lost."""
        return LossyRule(self.quality, self.max_error, self.ratio)


def fault_of_forms(stage: LossyStage, forms: Iterable[str]) -> str:
    """What is wrong with the forms of a lossy stage; empty if nothing is."""
    forms = tuple(forms)
    if not forms:
        return 'lossy = true needs a form; write, say, form = "jpeg2000"'
    for form in forms:
        if form not in LOSSY_FORMS:
            return f'"{form}" has no lossy kind; those that have are {", ".join(LOSSY_FORMS)}'
    if forms == ("jpegls",) and stage.max_error is None and stage.ratio is None:
        return "jpegls has no quality; give a max_error or a ratio"
    return ""


def fault_of_match(match: Mapping[str, tuple[str, ...]]) -> str:
    """Why a rule may not have a lossy stage; empty if it may: it has to name what loses something."""
    # A key names something if each of its values does: of several, any may match.
    if any(all(value.strip("*?") for value in wanted) for wanted in match.values() if wanted):
        return ""
    return (
        "has a lossy stage, and no `match` that names what it applies to; write, say, "
        'match = { Modality = "MG" }'
    )
