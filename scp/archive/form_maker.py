"""Makes the form that the policy asks for, of received and of stored objects."""

from __future__ import annotations

import time
from dataclasses import replace

import structlog

from scp.archive.encode import AS_RECEIVED, keep
from scp.archive.lossy_maker import LossyMaker
from scp.archive.package import StoredForm
from scp.archive.packing import pack_anew
from scp.archive.policy_in_force import PolicyInForce
from scp.archive.reader import Reader
from scp.archive.records import (
    facts_of_stored,
    in_own_file,
    key_of,
    lacks_only_a_file,
    own_key,
    planned,
    restored_from,
)
from scp.archive.refusal import (
    NO_STAGE,
    Refusal,
    by_failure,
    encoding_of,
    refused_for,
    with_refusal,
    within,
)
from scp.archive.replacement import Before, Change, Lacking, lacks_room, moved, replacement, unencoded
from scp.archive.stored_files import StoredFiles
from scp.archive.trials import Trials
from scp.config.rules import PolicyRule
from scp.errors import FormLacksRoom, ObjectRefused, ZscpError, message_of
from scp.model import Facts, Instance, Received
from scp.objects import part10
from scp.policy.stages import NEVER, NewestDictionary, Step, only_moves, step
from scp.spool import Buffer


class FormMaker:
    """Makes forms by the policy, and proves them. It changes nothing that is stored."""

    def __init__(
        self,
        files: StoredFiles,
        reader: Reader,
        trials: Trials,
        policy: PolicyInForce,
        lossy: LossyMaker,
    ) -> None:
        self._files = files
        self._lossy = lossy
        self._reader = reader
        self._trials = trials
        self.policy = policy
        self._lacking = Lacking()

    # -- received objects -------------------------------------------------------------------------------

    def before_response(self, received: Received, facts: Facts, rule: PolicyRule | None) -> StoredForm | None:
        """The form of an object, made before its response; as received if its encoding was refused before.

        None if there is no room to make a form, or after an unexpected exception: then the object is stored
        as received, and encoded after the response as any other.
        """
        key, act = key_of(received, facts), encoding_of(received.transfer_syntax)
        refusal = self._trials.refusal_at(key)
        if refusal is None or not refusal.covers(act):
            try:
                with self._trials.of_key(key, act):
                    form = self._formed(received, facts, rule)
                return None if rule is not None and lacks_room(form, rule.settled) else form
            except ObjectRefused as error:  # because of what another thread or process did meanwhile
                refusal = self._trials.refusal_at(key) or by_failure(act, error)
            except ZscpError:
                raise
            except Exception as error:  # noqa: BLE001 - no fault of a codec may fail a C-STORE (invariant 3)
                uid = received.sop_instance_uid
                structlog.get_logger("zscp").error("encoding failed", sop_instance=uid, exc_info=error)
                return None
        return keep(received, facts, rule, self._files.dictionaries, refused=refusal)

    def _formed(self, received: Received, facts: Facts, rule: PolicyRule | None) -> StoredForm:
        return keep(received, facts, rule, self._files.dictionaries)

    # -- stored objects ---------------------------------------------------------------------------------

    def change(self, instance: Instance, now: float | None = None) -> Change:
        """The form that an object's rule asks for at ``now``, proven.

        A pending object gets the form of its rule's settled stage, or is kept as received if it is refused.
        One that landed in its form gets its own file, and nothing is encoded.
        Any other object gets the form of the stage that is due, if one is, or a lossy copy. Encoding starts
        from the stored form. An object for which there was no room several times is refused as well. Raises
        ObjectMissing, ObjectDamaged, ObjectRefused, FormLacksRoom, HoldUnreadable.
        """
        act = encoding_of(instance.transfer_syntax)
        if lacks_only_a_file(instance):
            return self._filed(instance, now)
        if instance.pending and (refusal := refused_for(instance, act)):
            return self._unencoded(instance, refusal)
        try:
            with self._trials.of(instance, act):
                change = self._encoded(instance, now)
        except (FormLacksRoom, MemoryError) as error:
            return self._without_room(instance, error)
        self._lacking.over(instance.key)
        return change

    def _filed(self, instance: Instance, now: float | None) -> Change:
        def read(current: Instance) -> Buffer | None:
            return self._reader.whole(current) if lacks_only_a_file(current) else None

        with self._trials.of(instance, "read"):
            instance, data = self._reader.followed(instance, read)
        if data is None:  # another process has put it into a file, or it was replaced
            return self.change(instance, now)
        own = in_own_file(instance, data)
        key = self._files.fresh_key(own.key)
        change = Change(instance, replace(own, key=key, checked=int(time.time()), fault=""), data)
        self._trials.carry(change.before, change.after)  # the file is the same
        return change

    def _unencoded(self, instance: Instance, refusal: Refusal) -> Change:
        with self._trials.of(instance, "read"):
            instance, file = self._reader.read(instance)
        key = instance.key if self._files.keeps(instance.key) else own_key(instance)
        change = unencoded(instance, file, refusal, key)
        self._trials.carry(change.before, change.after)
        return replace(change, after=replace(change.after, planned=self.policy.fingerprint))

    def _encoded(self, instance: Instance, now: float | None) -> Change:
        instance, plain = self._reader.followed(instance, self._reader.plain)
        file = part10.taken_apart(plain)
        facts = facts_of_stored(file)
        policy, rule = self.policy.choose(facts)
        now = time.time() if now is None else now
        found = _due(instance, rule, now, self.policy.newest)
        if found.stage is None:
            return Change(instance, replace(instance, planned=policy, due=found.due))
        if found.packs:
            change = pack_anew(instance, plain, found.stage, self._files.dictionaries)
        elif rule is not None and not instance.pending and only_moves(rule, found.stage, instance):
            change = moved(instance, self._files.get(instance.key), found.stage)
        elif rule is not None and found.stage.lossy:
            change = self._lossy.change(instance, file, rule, found.stage)
            if change.stage is None:  # it waits
                return replace(change, after=replace(change.after, planned=policy))
            if change.facts is not None:  # the copy may come under another rule
                policy, rule = self.policy.choose(change.facts)
        else:
            received = restored_from(file)
            form = self._formed(received, facts, rule.at(found.stage) if rule else None)
            before = Before(instance, received, facts, rule, self._files.keeps(instance.key))
            change = replacement(before, form, found.stage, self._files.get)
            if (refusal := within(form.provenance)) is not None:
                marked = replace(change.after, refused=refusal.text, stage=NO_STAGE)
                change = replace(change, after=marked)
        after = planned(change.after, rule, policy, now, self.policy.newest)
        if change.data is not None:
            key = self._files.fresh_key(after.key)
            after = replace(after, key=key, checked=int(time.time()), fault="")
        return replace(change, after=after)

    def _without_room(self, instance: Instance, error: FormLacksRoom | MemoryError) -> Change:
        """What to do when there was no room for a form once more. Raises FormLacksRoom, ObjectRefused."""
        if times := self._lacking.again(instance.key):
            raise FormLacksRoom(message_of(error), times) from error
        refusal = by_failure("encode", error)
        self._trials.refuse(instance, refusal)
        if not instance.pending:
            raise ObjectRefused(refusal.message) from error
        return self._unencoded(with_refusal(instance, refusal), refusal)


def _due(instance: Instance, rule: PolicyRule | None, now: float, newest: NewestDictionary) -> Step:
    if instance.pending:
        return Step(rule.settled if rule else AS_RECEIVED, NEVER)
    return step(rule, instance, now, newest)
