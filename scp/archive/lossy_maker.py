"""Makes what a lossy stage keeps of a stored object: a proven copy, or the object as it is, with the reason.

Here is what depends on the archive: legal holds, promises of storage commitment, sizes. What the object
itself forbids is in :mod:`scp.encoding.never_lossy`, how a copy is proven in :mod:`scp.encoding.lossy`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from scp.archive.encode import base_provenance, uids_within
from scp.archive.package import Packer, StoredForm
from scp.archive.records import instance_of_form, provenance_of
from scp.archive.replacement import Change, moved
from scp.archive.safekeeping import Safekeeping
from scp.archive.stored_files import StoredFiles
from scp.config.rules import PolicyRule, Stage
from scp.encoding.derived import Source
from scp.encoding.facts import survey
from scp.encoding.forms import Encoded
from scp.encoding.loss_at_rest import LossyCopy, lossy_copy
from scp.encoding.lossy import Stored
from scp.errors import CannotEncode, CodecError, NotReproduced
from scp.index.index import Index
from scp.model import Facts, Instance, Provenance, Received, StageOutcome
from scp.objects.part10 import Part10
from scp.policy.stages import fingerprint
from scp.spool import sha256

# What waits for something is looked at again after so long.
_WAIT_SECONDS = 86_400
_LONGEST_REASON = 300  # characters
# A copy that keeps its original's UID is dated later: of two files of an object a rebuild takes the later.
_LATER = timedelta(microseconds=1)


class LossyMaker:
    """Makes lossy copies. It changes nothing that is stored; without ``safekeeping`` it makes none."""

    def __init__(self, files: StoredFiles, index: Index, safekeeping: Safekeeping | None) -> None:
        self._files = files
        self._index = index
        self._safekeeping = safekeeping

    def change(self, instance: Instance, file: Part10, rule: PolicyRule, stage: Stage) -> Change:
        """The change to the copy that ``stage`` of ``rule`` asks for, or to no other form.

        Without a stage where the object waits: a peer that it is to be sent to has to get what came.
        Raises ObjectMissing, ObjectDamaged, HoldUnreadable, OutOfResources.
        """
        if self._index.send_queue.waits_for(instance.identity):
            due = int(time.time()) + _WAIT_SECONDS
            return Change(instance, replace(instance, due=due, no_loss="it is yet to be sent to a peer"))
        if reason := self._why_not(instance, stage):
            return self._stays(instance, stage, "cannot", reason)
        reasons: list[str] = []
        copies = self._copies(instance, file, rule, stage, reasons)
        if stage.compares:
            best = min(copies, key=lambda one: one.after.stored_size, default=None)
        else:
            best = next(copies, None)
        if best is None:
            return self._stays(instance, stage, "cannot", "; ".join(dict.fromkeys(reasons)))
        if best.after.stored_size >= instance.stored_size:
            sizes = f"{best.after.stored_size} bytes, where it has {instance.stored_size}"
            return self._stays(instance, stage, "no gain", f"the copy is not smaller: {sizes}")
        return best

    def _why_not(self, instance: Instance, stage: Stage) -> str:
        """Why an object stays as it is, whatever it holds; empty if it need not."""
        if self._safekeeping is None:
            return "this archive has no trash to keep its original in"
        if not instance.readable:
            return "it cannot be read in the transfer syntax that it came in"
        if self._safekeeping.is_held(instance):
            return "it is under a legal hold"
        return self._promised(instance, stage)

    def _promised(self, instance: Instance, stage: Stage) -> str:
        """That a storage commitment was answered for an object, or may have been; else empty."""
        promises = self._index.commitments.promises
        if promises.covers(instance.sop_instance_uid):
            return "a storage commitment was answered for it"
        vouched = stage.uncommitted_before
        if vouched is not None and instance.received_at.date() < vouched:
            return ""
        since = promises.since()
        if instance.received_at.timestamp() >= since:
            return ""
        day = datetime.fromtimestamp(since, UTC).date()
        return (
            f"whether a storage commitment was answered for it is known only of what came since {day}; "
            "see uncommitted_before"
        )

    def _stays(self, instance: Instance, stage: Stage, outcome: StageOutcome, reason: str) -> Change:
        change = moved(instance, self._files.get(instance.key), stage)
        after = replace(change.after, outcome=outcome, no_loss=reason[:_LONGEST_REASON])
        return replace(change, after=after)

    def _copies(
        self, instance: Instance, file: Part10, rule: PolicyRule, stage: Stage, reasons: list[str]
    ) -> Iterator[Change]:
        """A change to each form of the stage that can be made, in order; why others cannot in ``reasons``."""
        known = provenance_of(file)
        source = Source(instance.sop_class_uid, instance.sop_instance_uid, known.sha256)
        stored = Stored(file.dataset, file.transfer_syntax, known.restoration, source)
        for form in stage.forms:
            try:
                copy = lossy_copy(stored, known, form, stage.loss, same_uid=stage.uid == "same")
                yield self._changed(instance, known, copy, rule, stage)
            except CodecError as error:
                reasons.append(str(error))

    def _changed(
        self, instance: Instance, known: Provenance, copy: LossyCopy, rule: PolicyRule, stage: Stage
    ) -> Change:
        """The change to a copy, packed and read back. Raises CannotEncode, NotReproduced."""
        later = _LATER if copy.sop_instance_uid == instance.sop_instance_uid else timedelta()
        received = Received(
            instance.sop_class_uid,
            copy.sop_instance_uid,
            copy.transfer_syntax,
            copy.dataset,
            known.calling_aet,
            known.called_aet,
            known.received_at + later,
            given={keyword: uid for keyword, uid in known.given.items() if keyword != "SOPInstanceUID"},
            loss=copy.loss,
        )
        facts = survey(received)
        if not facts.readable:
            raise CannotEncode(f"the copy cannot be read: {facts.fault}")
        form = self._packed(received, facts, copy, rule, stage)
        row = instance_of_form(received, facts, form, secrets.token_hex(4), stage.store or "")
        return Change(instance, row, form.data, stage, facts, copy.loss)

    def _packed(
        self, received: Received, facts: Facts, copy: LossyCopy, rule: PolicyRule, stage: Stage
    ) -> StoredForm:
        base = replace(
            base_provenance(received, rule.name),
            stage=fingerprint(stage),
            even=True,  # scp.encoding.lossy.stream_of pads what is odd
            given=uids_within(received, facts).given,
        )
        framed = stage.model_copy(update={"wrap": stage.wrap or "auto"})  # as that of an image codec
        packer = Packer(received, framed, self._files.dictionaries)
        made = packer.pack(
            Encoded("received", received.transfer_syntax, received.dataset, codec=copy.codec), base
        )
        back = packer.unpack(made.data)
        if sha256(back.dataset) != received.sha256 or back.provenance != made.provenance:
            raise NotReproduced("the copy's file does not read back as it was written")
        return replace(made, sha256=made.sha256 or sha256(made.data))
