"""What is said of a policy: what its rules hold, and what edited ones would change. Plain values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from scp.config.load import ConfigurationFault


@dataclass(frozen=True, slots=True)
class Amount:
    """How much: objects, and their bytes as received and as kept."""

    objects: int = 0
    received_size: int = 0
    stored_size: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            self.objects + other.objects,
            self.received_size + other.received_size,
            self.stored_size + other.stored_size,
        )

    def scaled(self, by: float) -> Amount:
        """As much as this stands for."""
        return Amount(round(self.objects * by), round(self.received_size * by), round(self.stored_size * by))


NOTHING = Amount()


@dataclass(frozen=True, slots=True)
class HeldForm:
    """How much is kept in one form."""

    form: str
    amount: Amount


@dataclass(frozen=True, slots=True)
class NextStage:
    """What is to become of some objects: ``stage`` in words, for the first of them ``due`` then.

    A stage that is due now has no ``due``.
    """

    stage: str
    amount: Amount
    due: datetime | None = None


@dataclass(frozen=True, slots=True)
class RuleHoldings:
    """One rule, its ``match`` and ``stages`` in words, and what it holds. ``number`` is its place, from 1.

    ``pending`` objects wait for their first encoding. Objects that no rule matches have number 0 and no
    name: they stay as received. ``uncertain`` are those for which a rule asks what the index does not know.
    """

    number: int
    name: str
    match: str
    stages: tuple[str, ...]
    amount: Amount = NOTHING
    pending: int = 0
    uncertain: int = 0
    forms: tuple[HeldForm, ...] = ()
    next: tuple[NextStage, ...] = ()


@dataclass(frozen=True, slots=True)
class RetentionHoldings:
    """One rule of retention and what it covers; of that ``expired`` may go now, as whole studies and unheld.

    ``next`` is when its next object expires. Objects that are never deleted by a rule have number 0.
    """

    number: int
    name: str
    match: str
    after: str
    delete: str
    amount: Amount = NOTHING
    expired: Amount = NOTHING
    next: datetime | None = None


@dataclass(frozen=True, slots=True)
class Holdings:
    """All rules in their order, at a time; ``looked_at`` of ``total`` objects were counted: all, or a sample.

    Amounts are of all ``total`` objects: exact where all were counted, else estimates. ``seconds`` is how
    long that took.
    """

    at: datetime
    fingerprint: str
    rules: tuple[RuleHoldings, ...]
    retention: tuple[RetentionHoldings, ...]
    looked_at: int
    total: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of an object, in words: its rule, the stage that is due now, the next, its retention.

    Each is empty where there is none.
    """

    rule: str
    stage: str
    next: str
    retention: str


@dataclass(frozen=True, slots=True)
class Difference:
    """Objects in one ``form`` for which something changes. ``off_by`` objects more or fewer are possible."""

    form: str
    before: Fate
    after: Fate
    amount: Amount
    off_by: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changes, those with most bytes first. Amounts are of all ``total`` objects.

    They are exact where all were ``looked_at``, else estimates. Another rule, another stage (due now, or
    next) and another retention are counted apart: an object may be in all three. ``due_before`` and
    ``due_after`` are due to be encoded or moved now. ``left_out`` differences are not listed. ``uncertain``
    objects come under the rule that they were kept under, as a rule asks what the index does not know.
    """

    at: datetime
    looked_at: int
    total: int
    unchanged: Amount
    other_rule: Amount
    other_stage: Amount
    other_retention: Amount
    due_before: Amount
    due_after: Amount
    uncertain: int
    differences: tuple[Difference, ...]
    left_out: int
    seconds: float


@dataclass(frozen=True, slots=True)
class PolicyTrial:
    """What an edited configuration would do, or why it cannot be used.

    ``changed`` are keys that differ from the configuration in force, ``notes`` what has no effect in the
    edited one, or takes the page away. ``comparison`` is None where there are ``faults``. ``digest`` is that
    of the text: the page saves only a text that was tried.
    """

    faults: tuple[ConfigurationFault, ...]
    notes: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    comparison: Comparison | None = None
    digest: str = ""

    @property
    def usable(self) -> bool:
        """Whether a node could run with it."""
        return not self.faults
