"""Why an object is stored as it is, or would be, and what it costs to serve it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from scp.archive import foreign
from scp.archive.archive import Archive
from scp.archive.encode import keep
from scp.archive.records import (
    AS_THEY_CAME,
    facts_of_stored,
    facts_unseen,
    imported_from,
    provenance_of,
    received_from,
)
from scp.archive.refusal import Refusal, in_force, needs
from scp.config.rules import PolicyRule, Stage
from scp.encoding.codecs.table import decoder_of
from scp.encoding.facts import survey
from scp.encoding.forms import why_undecodable
from scp.encoding.pixels import pixel_format
from scp.encoding.transcode import transcoding, ways_out
from scp.errors import (
    CannotEncode,
    CodecError,
    CodecProcessFailed,
    ObjectMissing,
    message_of,
)
from scp.model import Attempt, Facts, Instance, Provenance, Restoration, SyntaxPreference
from scp.objects.part10 import Part10
from scp.policy.rules import choose, failing, values
from scp.spool import Buffer, copied
from scp.syntaxes import BY_UID, lookup

# Up to so many bytes, as received and as native pixels, the cost to serve is measured unasked: a second.
_QUICK = 4 << 20
NEVER = "not encoded here"


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A rule above the one that matches: the ``key`` that failed, what it wants, what the object has."""

    rule: str
    key: str
    wanted: tuple[str, ...]
    has: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cost:
    """What it takes to serve an object in a transfer syntax, measured now, from its stored dataset.

    ``size`` of the dataset stream in bytes; ``seconds`` to decode and encode it, on all cores. With a
    ``reason`` it cannot be served so.
    """

    transfer_syntax: str
    keyword: str
    size: int = 0
    seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """One object: what came, which rule applies now, and what is or would be stored.

    ``stored`` is None for a file that is not in the archive. ``matched`` holds the facts that the
    rule asked for, ``passed_over`` the rules above it, ``ways_out`` the transfer syntaxes to try for a peer
    that accepts all, best first. ``attempts`` are those that its file records: none where the first form that
    was asked for was taken, or where they were not recorded. For a file that is not in the archive they are
    made now. ``tried_now`` are the forms of the rule that matches now, tried again, where that was asked for.
    ``costs`` is empty where they were not measured. ``undecodable`` says why its codestreams, kept as
    received, are not decoded; ``refused`` says what is no longer tried on it, and why.
    """

    sop_instance_uid: str
    provenance: Provenance
    rule: PolicyRule | None
    matched: dict[str, str]
    passed_over: tuple[PassedOver, ...]
    transfer_syntax: str
    size: int
    attempts: tuple[Attempt, ...]
    ways_out: tuple[str, ...]
    costs: tuple[Cost, ...] = ()
    tried_now: tuple[Attempt, ...] = ()
    stored: Instance | None = None
    undecodable: str = ""
    refused: Refusal | None = None

    @property
    def later(self) -> tuple[Stage, ...]:
        """Stages of the rule that would apply afterwards."""
        return self.rule.later if self.rule else ()


def explain(
    archive: Archive, what: str, aet: str, again: bool = False, costs: bool | None = None
) -> Explanation:
    """Explain a stored SOP instance by its UID, or a DICOM file by its path.

    ``again`` tries the forms of a stored object again, ``costs`` measures what it takes to serve it (None:
    where that is quick). Nothing is stored. Raises ObjectMissing when it is neither, ObjectDamaged when it
    cannot be read.
    """
    instance = next(iter(archive.named(what)), None)
    if instance is not None:
        return explain_stored(archive, instance, again, costs)
    path = Path(what)
    if not path.is_file():
        raise ObjectMissing(
            f"{what} is no SOP Instance UID that is held, and no file; "
            "`zscp trash list` has what was deleted, replaced or made lossy"
        )
    return _would_be(archive, copied(path), aet, costs)


def fault_now(archive: Archive, instance: Instance) -> str:
    """Why a stored object cannot be read, from its file; or why its file cannot be read."""
    try:
        return archive.reader.header(instance)[2].fault
    except Exception as error:  # noqa: BLE001 - the others are listed all the same
        return message_of(error)


def explain_stored(
    archive: Archive, instance: Instance, again: bool = False, costs: bool | None = None
) -> Explanation:
    """As :func:`explain`, of one stored instance. Raises ObjectMissing, ObjectDamaged.

    Its file is read whole, and compared with its digest, only where its pixels are needed.
    """
    if (refusal := in_force(instance)) is not None:
        return _refused(archive, instance, refusal)
    if not _needs_pixels(instance, again, costs):
        return _held(archive, *archive.reader.header(instance))
    with archive.trials.of(instance, "read"):
        instance, file = archive.reader.read(instance)
    with archive.trials.of(instance, "decode"):
        return _looked_into(archive, instance, file, again, costs)


def _needs_pixels(instance: Instance, again: bool, costs: bool | None) -> bool:
    """Whether something is decoded: to measure it, or to see whether what came so can be.

    That a form can be decoded that was made here was seen when it was proven.
    """
    measured = instance.received_size <= _QUICK if costs is None else costs
    came = instance.form in AS_THEY_CAME and decoder_of(instance.transfer_syntax) is not None
    return again or measured or came


def _refused(archive: Archive, instance: Instance, refusal: Refusal) -> Explanation:
    """Explain an object with a refusal: nothing is tried, and it is surveyed only where that is allowed."""
    if refusal.covers("survey"):
        with archive.trials.of(instance, "read"):
            instance, file = archive.reader.from_beginning(instance, lambda _, begun: begun.file)
        known, facts = provenance_of(file), facts_unseen(file, refusal.message)
    else:
        instance, known, facts = archive.reader.header(instance)
    found = _held(archive, instance, known, facts)
    stored = found.transfer_syntax
    left = (way for way in found.ways_out if not any(map(refusal.covers, needs(stored, way))))
    return replace(found, ways_out=tuple(left), refused=refusal)


def _looked_into(
    archive: Archive, instance: Instance, file: Part10, again: bool, costs: bool | None
) -> Explanation:
    facts = facts_of_stored(file)
    found = _held(archive, instance, provenance_of(file), facts)
    now: tuple[Attempt, ...] = ()
    if again:
        received = received_from(file, "")
        kept = keep(received, survey(received), found.rule, archive.dictionaries)
        now = kept.provenance.attempts
    wanted = _is_quick(facts) if costs is None else costs
    stored, known = (file.dataset, file.transfer_syntax), found.provenance
    why = _undecodable(*stored, known)
    return replace(
        found,
        ways_out=_ways_out(file.transfer_syntax, known, why),
        costs=_costs(*stored, known, wanted),
        tried_now=now,
        undecodable=why,
    )


def _held(archive: Archive, instance: Instance, known: Provenance, facts: Facts) -> Explanation:
    """What is known of a stored object without trying anything with it."""
    rule = choose(archive.policy.rules, facts)
    return Explanation(
        instance.sop_instance_uid,
        known,
        rule,
        _matched(rule, facts),
        _passed_over(archive.policy.rules, rule, facts),
        instance.transfer_syntax,
        instance.stored_size,
        known.attempts,
        _ways_out(instance.transfer_syntax, known),
        stored=instance,
    )


def _would_be(archive: Archive, data: Buffer, aet: str, costs: bool | None) -> Explanation:
    received, _ = imported_from(foreign.read(data, archive.dictionaries.by_id)[0], aet)
    facts = survey(received)
    rule = choose(archive.policy.rules, facts)
    form = keep(received, facts, rule, archive.dictionaries)
    known, syntax = form.provenance, form.encoded.transfer_syntax
    why = _undecodable(form.encoded.dataset, syntax, known)
    return Explanation(
        received.sop_instance_uid,
        known,
        rule,
        _matched(rule, facts),
        _passed_over(archive.policy.rules, rule, facts),
        syntax,
        len(form.data),
        known.attempts,
        _ways_out(syntax, known, why),
        _costs(form.encoded.dataset, syntax, known, _is_quick(facts) if costs is None else costs),
        undecodable=why,
    )


def _undecodable(dataset: Buffer, transfer_syntax: str, known: Provenance) -> str:
    try:
        return "" if known.restoration else why_undecodable(dataset, transfer_syntax)
    except CodecProcessFailed as error:
        return str(error)


def _matched(rule: PolicyRule | None, facts: Facts) -> dict[str, str]:
    return {key: "\\".join(values(key, facts)) for key in (rule.match if rule else ())}


def _passed_over(
    rules: Iterable[PolicyRule], taken: PolicyRule | None, facts: Facts
) -> tuple[PassedOver, ...]:
    above = takewhile(lambda rule: rule is not taken, rules)
    return tuple(_why_not(rule, failing(rule, facts), facts) for rule in above)


def _why_not(rule: PolicyRule, key: str, facts: Facts) -> PassedOver:
    return PassedOver(rule.name, key, tuple(rule.match[key]), tuple(values(key, facts)))


def _ways_out(stored: str, known: Provenance, undecodable: str = "") -> tuple[str, ...]:
    if undecodable:
        return (stored,)
    return tuple(ways_out(stored, known.transfer_syntax, [*BY_UID, stored], SyntaxPreference()))


def _is_quick(facts: Facts) -> bool:
    try:
        form = pixel_format(facts.attributes)
    except CannotEncode:
        return facts.size <= _QUICK
    return max(facts.size, form.frame_size * form.frames) <= _QUICK


def _costs(dataset: Buffer, stored: str, known: Provenance, wanted: bool) -> tuple[Cost, ...]:
    if not wanted:
        return ()
    ways = _ways_out(stored, known)
    return (*(_cost(dataset, stored, target, known.restoration) for target in ways), *_never(ways))


def _cost(dataset: Buffer, stored: str, target: str, restoration: Restoration | None) -> Cost:
    keyword = lookup(target).keyword
    started = time.perf_counter()
    try:
        size = sum(map(len, transcoding(dataset, stored, target, restoration)))
    except CodecError as error:
        return Cost(target, keyword, reason=str(error))
    return Cost(target, keyword, size, time.perf_counter() - started)


def _never(ways: Iterable[str]) -> Iterator[Cost]:
    """Transfer syntaxes that zscp never encodes to: an object is served so only if it was received so."""
    given = set(ways)
    others = (row for uid, row in BY_UID.items() if uid not in given)
    return (Cost(row.uid, row.keyword, reason=NEVER) for row in others)
