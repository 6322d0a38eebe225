"""Which stored form may take another one's place (docs/decisions/0071)."""

from __future__ import annotations

from dataclasses import dataclass

from scp.config import PolicyRule, Stage
from scp.keeping import StoredForm
from scp.model import Instance, Provenance
from scp.objects.landing import is_landed
from scp.spool import Buffer

# What a last resort must save to take the place of a stored form: less is in how its attempts are told.
_WORTHWHILE = 0.01


@dataclass(frozen=True, slots=True)
class Change:
    """An object's stored form, and the one that takes its place; no ``data`` where the file stays.

    ``stage`` is the one that was carried out for it, None where none was due.
    """

    before: Instance
    after: Instance
    data: Buffer | None = None
    stage: Stage | None = None


def must_move(instance: Instance, form: StoredForm) -> bool:
    """Whether an object gets a file in any case: what landed has none of its own.

    One that says why it has no other form may be put in its place only where no digest of the whole file is
    known, so that whoever reads it meanwhile finds either of the two sound.
    """
    told = instance.pending and len(form.provenance.attempts) > 1 and not instance.stored_sha256
    return told or is_landed(instance.key)


def gains(
    instance: Instance, form: StoredForm, stage: Stage, rule: PolicyRule | None, origin: Provenance | None
) -> bool:
    """Whether a new form takes the place of a stored one.

    A smaller one does; a last resort, for which nobody asked, only where it saves something. One that the
    rule asks for at once does also where it is larger; a later one is there to save. Of an object whose
    received codestream is gone it must decode to the same as the stored one.
    """
    if origin is not None and form.provenance.native_sha256 != origin.native_sha256:
        return False
    settled = rule is not None and stage == rule.settled
    asked = form.encoded.form in stage.forms
    bound = instance.stored_size * (1 if asked else 1 - _WORTHWHILE)
    return len(form.data) < bound or (settled and asked and form.encoded.form != instance.form)
