"""What is stored, and the policy over it: the form that a rule asks for, and what a file says of itself."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

import structlog

from scp.archive.encode import AS_RECEIVED, StoredForm, keep
from scp.archive.form_choice import Memory, kind_of
from scp.archive.reader import Holdings
from scp.archive.records import (
    facts_of_stored,
    facts_unseen,
    instance_of,
    own_key,
    provenance_of,
    restored_from,
    waiting,
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
from scp.archive.replacement import Before, Change, Lacking, moved, succession, unencoded
from scp.config.rules import PolicyRule
from scp.errors import (
    FormLacksRoom,
    ObjectDamaged,
    ObjectRefused,
    ZscpError,
    told_of,
)
from scp.index.index import Index
from scp.model import Facts, Instance, Received
from scp.objects import part10
from scp.objects.journal import JournaledStore
from scp.objects.landing import LandingLog
from scp.objects.names import is_landed, store_of
from scp.policy.rules import choose
from scp.policy.stages import (
    NEVER,
    Step,
    asks_for_access,
    fingerprint_of,
    only_moves,
    stage_within,
    step,
)
from scp.spool import sha256


class Governed(Holdings):
    """Stored objects under a policy. Every method that reads an object raises as those of Holdings do."""

    def __init__(
        self, store: JournaledStore, index: Index, landing: LandingLog | None, policy: Iterable[PolicyRule]
    ) -> None:
        super().__init__(store, index, landing)
        self._memory = Memory()
        self._lacking = Lacking()
        self.use_policy(policy)

    def use_policy(self, policy: Iterable[PolicyRule]) -> None:
        """From now on these rules count, also for what is stored."""
        self.policy = tuple(policy)
        self.policy_print = fingerprint_of(self.policy)
        self._exactness = asks_for_access(self.policy)

    def encode(self, instance: Instance, now: float | None = None) -> Change:
        """The form that an object's rule asks for at ``now``, proven, for :meth:`swap`.

        What is pending gets the form that it is to have at once, or is kept as received where something is
        refused; all else that of the stage whose time has come, if one has. Encoding starts from what is
        stored. Where there was no room for it several times, it is refused as well. Raises ObjectMissing,
        ObjectDamaged, ObjectRefused, FormLacksRoom.
        """
        act = encoding_of(instance.transfer_syntax)
        if instance.pending and (refusal := refused_for(instance, act)):
            return self._unencoded(instance, refusal)
        try:
            with self.trying(instance, act):
                change = self._encoded(instance, now)
        except (FormLacksRoom, MemoryError) as error:
            return self._without_room(instance, error)
        self._lacking.over(instance.key)
        return change

    def _unencoded(self, instance: Instance, refusal: Refusal) -> Change:
        with self.trying(instance, "read"):
            instance, file = self._read(instance)
        change = unencoded(instance, file, refusal, own_key(instance))
        if self.attempts is not None and change.before.key != change.after.key:
            self.attempts.carry(change.before.key, change.after.key)
        return replace(change, after=replace(change.after, planned=self.policy_print))

    def _encoded(self, instance: Instance, now: float | None) -> Change:
        instance, file = self._read(instance)
        facts = facts_of_stored(file)
        policy, rule = self._chosen(facts)
        now = time.time() if now is None else now
        found = self._due(instance, rule, now)
        if found.stage is None:
            return Change(instance, replace(instance, planned=policy, due=found.due))
        if rule is not None and not instance.pending and only_moves(rule, found.stage, instance):
            change = moved(instance, self._get(instance.key), found.stage)
        else:
            received = restored_from(file)
            form = self._formed(received, facts, rule.at(found.stage) if rule else None)
            change = succession(Before(instance, received, facts, rule), form, found.stage, self._get)
            if (refusal := within(form.provenance)) is not None:
                marked = replace(change.after, refused=refusal.text, stage=NO_STAGE)
                change = replace(change, after=marked)
        after = planned(change.after, rule, policy, now)
        if change.data is not None:
            after = replace(after, checked=int(time.time()), fault="")
        return replace(change, after=after)

    def _due(self, instance: Instance, rule: PolicyRule | None, now: float) -> Step:
        if instance.pending:
            return Step(rule.settled if rule else AS_RECEIVED, NEVER)
        return step(rule, instance, now)

    def _chosen(self, facts: Facts) -> tuple[str, PolicyRule | None]:
        """The policy's print, and its rule for an object.

        In this order: should another policy come in between, what its rule says is planned anew.
        """
        return self.policy_print, choose(self.policy, facts)

    def _without_room(self, instance: Instance, error: FormLacksRoom | MemoryError) -> Change:
        """What becomes of one for which there was no room once more. Raises FormLacksRoom, ObjectRefused."""
        if times := self._lacking.again(instance.key):
            raise FormLacksRoom(told_of(error), times) from error
        refusal = by_failure("encode", error)
        self.refuse(instance, refusal)
        if not instance.pending:
            raise ObjectRefused(refusal.told) from error
        return self._unencoded(with_refusal(instance, refusal), refusal)

    def _formed(self, received: Received, facts: Facts, rule: PolicyRule | None) -> StoredForm:
        """An object's form by its rule, and by what earlier ones of its series came to."""
        kind = kind_of(facts, rule)
        form = keep(received, facts, rule, self._memory.recall(kind), self.dictionaries)
        self._memory.learn(kind, form.provenance.attempts)
        return form

    def read_back(self, key: str) -> tuple[Instance, Facts]:
        """What a stored file says of itself (invariant 6).

        What processes died of when they looked into it is told by its File Meta Information alone. Raises
        ObjectDamaged, ObjectMissing, ObjectRefused.
        """
        refusal = self.refusal_at(key)
        unseen = refusal is not None and refusal.covers("survey")
        with self.trying_key(key, "read" if unseen else "survey"):
            instance, facts = self._read_back(key, refusal.told if refusal and unseen else "")
        return (instance if refusal is None else with_refusal(instance, refusal)), facts

    def take_up(self, key: str) -> tuple[Instance, Facts]:
        """As :meth:`read_back`, of what is to be recorded whatever it is.

        What fails twice by an exception that nobody raises on purpose is told by its File Meta Information.
        """
        try:
            return self.read_back(key)
        except (ZscpError, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - a bug, or no memory: it must not keep a node from starting
            structlog.get_logger("zscp").error("cannot be looked into", key=key, exc_info=error)
        try:
            return self.read_back(key)
        except (ZscpError, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - see above
            refusal = by_failure("survey", error)
        instance, facts = self._read_back(key, refusal.told)
        return with_refusal(instance, refusal), facts

    def _read_back(self, key: str, unseen: str) -> tuple[Instance, Facts]:
        data = self._get(key)
        digest = "" if is_landed(key) else self.digest(key, data)  # first: a map of it is not read before
        file = part10.unpack(data, self.dictionaries.by_id)
        facts = facts_unseen(file, unseen) if unseen else facts_of_stored(file)
        policy, rule = self._chosen(facts)
        known = provenance_of(file)
        if is_landed(key):
            if sha256(file.dataset) != known.sha256:
                raise ObjectDamaged(f"{key} is not what was received")
            return waiting(instance_of(key, len(data), "", file, facts), rule), facts
        instance = instance_of(key, len(data), digest, file, facts)
        if not instance.refused:
            instance = replace(instance, stage=stage_within(rule, store_of(key), instance))
        if known.rule:
            return planned(instance, rule, policy), facts
        return waiting(instance, rule), facts  # put before its rule was known: its form is yet to be made


def planned(instance: Instance, rule: PolicyRule | None, policy: str, now: float | None = None) -> Instance:
    """An instance whose stage was carried out, with when the next one is due; None: on receive."""
    due = step(rule, instance, instance.received_at.timestamp() if now is None else now).due
    return replace(instance, planned=policy, due=due)
