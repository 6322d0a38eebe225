"""Why an object is kept as it is, or would be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scp.archive import Archive
from scp.config import PolicyRule, Stage
from scp.encoding.facts import survey
from scp.encoding.transcode import ways_out
from scp.errors import ObjectMissing
from scp.keeping import keep
from scp.model import Attempt, Facts, Instance, Provenance, Wishes
from scp.objects import part10
from scp.policy.rules import choose
from scp.spool import Buffer, copied
from scp.stored import received_from
from scp.syntaxes import BY_UID


@dataclass(frozen=True, slots=True)
class Explanation:
    """One object: what came, which rule applies now, and what is or would be stored.

    ``stored`` is None for a file that is not in the archive. ``matched`` holds the facts that the
    rule asked for, ``ways_out`` the transfer syntaxes to try for a peer that accepts all, best first.
    """

    sop_instance_uid: str
    provenance: Provenance
    rule: PolicyRule | None
    matched: dict[str, str]
    transfer_syntax: str
    size: int
    attempts: tuple[Attempt, ...]
    ways_out: tuple[str, ...]
    stored: Instance | None = None

    @property
    def later(self) -> tuple[Stage, ...]:
        """Stages of the rule that would apply afterwards."""
        return self.rule.later if self.rule else ()


def explain(archive: Archive, what: str, aet: str) -> Explanation:
    """Explain a stored SOP instance by its UID, or a DICOM file by its path.

    Raises ObjectMissing when it is neither, ObjectDamaged when it cannot be read.
    """
    instance = archive.index.held(what)
    if instance is not None:
        return _stored(archive, instance)
    path = Path(what)
    if not path.is_file():
        raise ObjectMissing(f"{what} is no SOP Instance UID that is held, and no file")
    return _would_be(archive, copied(path), aet)


def _stored(archive: Archive, instance: Instance) -> Explanation:
    known = archive.provenance(instance)
    facts = archive.facts(instance)
    rule = choose(archive.policy, facts)
    attempts = known.attempts or (Attempt(known.form, "kept", size=instance.stored_size),)
    return Explanation(
        instance.sop_instance_uid,
        known,
        rule,
        _matched(rule, facts),
        instance.transfer_syntax,
        instance.stored_size,
        attempts,
        tuple(ways_out(instance.transfer_syntax, known.transfer_syntax, BY_UID, Wishes())),
        instance,
    )


def _would_be(archive: Archive, data: Buffer, aet: str) -> Explanation:
    received = received_from(part10.unpack(data, archive.dictionaries.by_id), aet)
    facts = survey(received)
    rule = choose(archive.policy, facts)
    form = keep(received, facts, rule, archive.dictionaries)
    return Explanation(
        received.sop_instance_uid,
        form.provenance,
        rule,
        _matched(rule, facts),
        form.encoded.transfer_syntax,
        len(form.data),
        form.provenance.attempts,
        tuple(ways_out(form.encoded.transfer_syntax, received.transfer_syntax, BY_UID, Wishes())),
    )


def _matched(rule: PolicyRule | None, facts: Facts) -> dict[str, str]:
    own = {
        "calling_aet": facts.calling_aet,
        "called_aet": facts.called_aet,
        "size": str(facts.size),
        "transfer_syntax": facts.transfer_syntax,
    }
    return {key: own.get(key, facts.attributes.get(key, "")) for key in (rule.match if rule else ())}
