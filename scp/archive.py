"""The story: what happens to an object from its arrival to its way out, one short function a chapter.

A received dataset is looked at, matched by the policy, made durable and recorded in the index, and only
then acknowledged. Where the policy puts its encoding behind that, it lands as received, and its form is
made and proven (:mod:`scp.keeping`) right afterwards; else before. A stored one is looked up, read,
checked, and given out in a transfer syntax that the peer accepts.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Literal

import structlog

from scp.admission import Admission, check_names, remarked
from scp.availability import slowness, with_availability
from scp.backlog import Backlog
from scp.choosing import Memory, kind_of
from scp.config_rules import PolicyRule
from scp.decoded import Decoded
from scp.departures import Departures
from scp.encoding.facts import chosen, survey
from scp.errors import (
    CodecProcessFailed,
    DictionaryMissing,
    DuplicateRejected,
    FormLacksRoom,
    ObjectDamaged,
    ObjectMissing,
    ObjectRefused,
    ObjectUnavailable,
    Superseded,
    ZscpError,
    told_of,
)
from scp.holdings import Holdings
from scp.identity import Identity
from scp.index.attributes import KEYWORDS
from scp.index.index import Index
from scp.keeping import AS_RECEIVED, StoredForm, as_received, keep, uids_within
from scp.model import Delivery, Facts, Instance, Kept, Query, Received, Wishes
from scp.objects import part10
from scp.objects.landing import LARGEST, LandingLog, is_landed
from scp.objects.store import ObjectStore, store_of
from scp.outgoing import Outgoing, Trial, outgoing
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
from scp.refusal import (
    NO_STAGE,
    Refusal,
    by_failure,
    encoding_of,
    in_force,
    needs,
    refused_for,
    with_refusal,
    within,
)
from scp.safekeeping import Safekeeping
from scp.spool import Buffer, sha256
from scp.stored import (
    facts_of_stored,
    facts_unseen,
    identity_of,
    instance_of,
    instance_of_form,
    key_of,
    provenance_of,
    restored_from,
    waiting,
)
from scp.succession import Before, Change, Lacking, lacks_room, moved, succession, unencoded

Duplicates = Literal["replace", "keep", "reject"]

# One SOP instance is written by one thread at a time; 256 locks keep different ones apart.
_STRIPES = 256
_NO_WISHES = Wishes()
# What is smaller is decoded before it is gone through, all but always (scp.encoding.decoding).
_JOURNALED = 1 << 20


class Archive(Holdings):
    """Objects kept by a policy. Its parts are given to it; it knows neither the wire nor SQL.

    ``backlog`` says what may be encoded behind the response, and tells who does it; without one all is
    encoded before. ``landing`` is where small objects are durable until then. ``departures`` says what is
    sent on. A ``decoded``, if it is given one, remembers what was slow to decode. With a ``safekeeping``
    what is replaced goes to the trash, and what is under a hold is not replaced.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - its parts
        self,
        store: ObjectStore,
        index: Index,
        policy: Iterable[PolicyRule],
        duplicates: Duplicates = "replace",
        landing: LandingLog | None = None,
        backlog: Backlog | None = None,
        departures: Departures | None = None,
    ) -> None:
        super().__init__(store, index, landing)
        self.use_policy(policy)
        self.duplicates = duplicates
        self.backlog = backlog
        self.decoded: Decoded | None = None
        self.departures = departures
        self.admission = Admission()
        self.safekeeping: Safekeeping | None = None
        self._memory = Memory()
        self._lacking = Lacking()
        self._locks = tuple(threading.Lock() for _ in range(_STRIPES))

    def use_policy(self, policy: Iterable[PolicyRule]) -> None:
        """From now on these rules count, also for what is stored."""
        self.policy = tuple(policy)
        self.policy_print = fingerprint_of(self.policy)
        self._exactness = asks_for_access(self.policy)

    # -- in ------------------------------------------------------------------------------------------

    def ingest(self, received: Received, admission: Admission | None = None) -> Kept:
        """Keep an object: when this returns it is durable and indexed (invariant 1).

        ``admission`` stands in the place of the archive's own. Raises DatasetError, OutOfResources.
        """
        check_names(received)
        admission = admission or self.admission
        with self._locks[zlib.crc32(received.sop_instance_uid.encode()) % _STRIPES]:
            if self.landing is not None and self._may_land(received):
                return self._land(self.landing, received, admission)
            facts = survey(received)
            admission.check(received, facts)
            return self._settle(received, facts)

    def _duplicate(self, received: Received, held: Instance, facts: Facts) -> Kept | None:
        """What becomes of an instance that is held already; None when it is to be kept."""
        same = received.sha256 == held.received_sha256
        try:
            self.verify(held)  # reads it: Success must not be said on a copy that has rotted
        except ObjectUnavailable:
            if same:
                return None  # a copy that nobody can look at is worth less than the one that is here
        except (ObjectMissing, ObjectDamaged) as error:
            if same or not isinstance(error, DictionaryMissing):  # one that can be brought back is no rot
                return None  # what is held is no copy: this one mends it
        if same and received.transfer_syntax == held.received_transfer_syntax:
            return remarked(Kept("duplicate", held), facts)
        if self.duplicates == "keep":
            return remarked(Kept("discarded", held), facts)
        if self.duplicates == "reject":
            raise DuplicateRejected("held with other content, and storage.duplicates is reject")
        return None

    def _check_elsewhere(self, identity: Identity) -> None:
        """Whether an object's SOP Instance UID may be that of another study's, or patient's, object too.

        They are two objects, of which neither replaces the other. Raises DuplicateRejected.
        """
        if self.refuses(identity):
            raise DuplicateRejected(
                "held in another study or of another patient, and storage.duplicates is reject"
            )

    def refuses(self, identity: Identity) -> bool:
        """Whether an object is refused because its SOP Instance UID is that of another object."""
        if self.duplicates != "reject":
            return False
        named = self.index.named(identity.sop_instance_uid)
        return bool(named) and all(one.identity != identity for one in named)

    def _may_land(self, received: Received) -> bool:
        """Whether an object is first written to the landing log: one that is small, where some may wait."""
        return (
            self.backlog is not None
            and len(received.dataset) <= LARGEST
            and any(rule.waits for rule in self.policy)
            and self.backlog.takes(len(received.dataset))
        )

    def _land(self, landing: LandingLog, received: Received, admission: Admission) -> Kept:
        """Durable as received, then visible; what it becomes is seen to behind the response.

        All that is to be known of it is found out while the disk writes.
        """
        file = as_received(received)
        head = part10.head(file)
        key = landing.write(head, received.dataset)
        size = len(head) + len(received.dataset)
        try:
            facts = survey(received)
            admission.check(received, facts)
            rule = choose(self.policy, facts)
            if rule is not None and not rule.waits:
                landing.withdraw(key)
                return self._settle(received, facts)
            instance = waiting(instance_of(key, size, "", file, facts), rule)
            attributes = chosen(facts.attributes, KEYWORDS)
            self._check_elsewhere(instance.identity)
            landing.sync(key)
            leaving = self.leaving(facts)
            held = self.index.add(instance, attributes, leaving)
            if held is None:
                return self._recorded(instance, None, facts, leaving)
            settled = self._duplicate(received, held, facts)
            if settled is None:
                return self.record(instance, facts)
            landing.withdraw(key)
            return settled
        except Exception:
            named = self.index.named(received.sop_instance_uid)  # while that is unsure, the record stays
            if all(one.key != key for one in named):
                landing.withdraw(key)
            raise
        finally:
            landing.recorded(key)

    def record(self, instance: Instance, facts: Facts, found: bool = False) -> Kept:
        """Record a durable object, in the place of what is held of its identity, if anything is.

        What it replaces goes to the trash, unless it has the same content. Should the process die before
        that, the journal knows of its file. Raises DuplicateRejected where that one is under a hold, and
        Superseded where the object was ``found`` on the disk and what is held came later.
        """
        leaving = self.leaving(facts)
        held = self.index.add(instance, facts.attributes, leaving)
        replaced = None if held is None else self._replace(held, instance, facts, leaving, found)
        return self._recorded(instance, replaced, facts, leaving)

    def _replace(
        self, held: Instance, instance: Instance, facts: Facts, leaving: tuple[Delivery, ...], found: bool
    ) -> Instance | None:
        if found:
            _check_order(held, instance)
        if self.safekeeping is None or held.received_sha256 == instance.received_sha256:
            return self._put_in_place(held, instance, facts, leaving)
        with self.safekeeping.replacing(held):
            if found:  # what is found is looked at while peers store
                _check_order(self.index.current(instance.identity) or held, instance)
            try:
                held = self.own_file(held)
            except (ObjectMissing, ObjectDamaged):  # there is nothing left that could be restored
                self._set_aside_landed(held.key)
                return self._put_in_place(held, instance, facts, leaving)
            return self._put_in_place(held, instance, facts, leaving, trashes=True)

    def _set_aside_landed(self, key: str) -> None:
        """Keep a copy of a record of the landing log that is not sound."""
        if self.landing is not None and is_landed(key):
            with suppress(ObjectMissing):
                self.landing.set_aside(key)

    def _put_in_place(
        self,
        held: Instance,
        instance: Instance,
        facts: Facts,
        leaving: tuple[Delivery, ...],
        trashes: bool = False,
    ) -> Instance | None:
        """Order: the journal knows the old file → the index names the new one → the trash has the old one."""
        journaled = held.key != instance.key and not is_landed(held.key)
        if journaled:
            self.store.unsettle(held.key)
        replaced = self.index.record(instance, facts.attributes, leaving)
        if replaced is not None and replaced.key != instance.key:
            if trashes and not self._to_trash(replaced, instance.calling_aet):
                return replaced
            self._discard(replaced.key)
        if journaled:
            self.store.settle(held.key)
        return replaced

    def put_away(self, key: str, held: Instance) -> None:
        """Remove a stored file of an instance whose row names another file.

        A file of other content goes to the trash; one that cannot be read is set aside. Where neither works
        it stays. Raises ObjectMissing.
        """
        try:
            instance, _ = self.read_back(key)
        except ObjectDamaged:
            self.store.set_aside(key)
        else:
            if self.safekeeping is not None and instance.received_sha256 != held.received_sha256:
                with self.safekeeping.trash.lock():
                    if not self._to_trash(instance, held.calling_aet):
                        return
        self.store.delete(key)

    def trash_landed(self, key: str, held: Instance) -> bool:
        """Put a record of the landing log into the trash, if its content is another than what is held.

        False where the trash cannot take it. Raises ObjectMissing, ObjectDamaged, OutOfResources.
        """
        instance, _ = self.read_back(key)
        if self.safekeeping is None or instance.received_sha256 == held.received_sha256:
            return True
        file = replace(instance, key=self._own_key(instance))
        self.store.put(file.key, self._get(key))
        with self.safekeeping.trash.lock():
            taken = self._to_trash(file, held.calling_aet)
        if taken:
            self.store.delete(file.key)
        self.store.settle(file.key)
        return taken

    def _to_trash(self, replaced: Instance, by: str) -> bool:
        return self.safekeeping is None or self.safekeeping.keep(replaced, by)

    def _settle(self, received: Received, facts: Facts) -> Kept:
        """Durable in a file of its own: in its final form or, where that may wait, as received."""
        policy, rule = self._chosen(facts)
        identity = identity_of(received.sop_instance_uid, uids_within(received, facts).study, facts)
        held = self.index.current(identity)
        if held is not None and (settled := self._duplicate(received, held, facts)):
            return settled
        self._check_elsewhere(identity)
        waits = rule is not None and rule.waits and rule.behind is not None
        if waits and self.backlog is not None and self.backlog.takes(len(received.dataset)):
            return self._put_as_received(received, facts, rule)
        return self._keep(received, facts, rule, policy)

    def _put_as_received(self, received: Received, facts: Facts, rule: PolicyRule | None) -> Kept:
        file = as_received(received, facts)
        head = part10.head(file)
        key = key_of(received, facts, "received", wrapped=False)
        self.store.put(key, head, received.dataset)
        size = len(head) + len(received.dataset)
        return self._commit(waiting(instance_of(key, size, "", file, facts), rule), facts)

    def _keep(self, received: Received, facts: Facts, rule: PolicyRule | None, policy: str) -> Kept:
        """Encoded and proven before the response; a stage that may be done behind it is done now."""
        form = self._formed_before(received, facts, rule)
        if form is None:
            return self._put_as_received(received, facts, rule)
        instance = _planned(instance_of_form(received, facts, form), rule, policy)
        self.store.put(instance.key, form.data)
        kept = self._commit(instance, facts)
        return replace(kept, attempts=form.provenance.attempts)

    def _formed_before(self, received: Received, facts: Facts, rule: PolicyRule | None) -> StoredForm | None:
        """An object's form before its response; as it came where a process died of that, or it failed.

        None where there is no room to make one: it waits, and is tried again behind the response.
        """
        key, act = key_of(received, facts, "received", wrapped=False), encoding_of(received.transfer_syntax)
        refusal = self.refusal_at(key)
        if refusal is None or not refusal.covers(act):
            try:
                with self.trying_key(key, act):
                    form = self._formed(received, facts, rule)
                return None if rule is not None and lacks_room(form, rule.settled) else form
            except ObjectRefused as error:  # for what another did with it since
                refusal = self.refusal_at(key) or by_failure(act, error)
            except ZscpError:
                raise
            except (MemoryError, OSError):
                return None
            except Exception as error:  # noqa: BLE001 - no fault of a codec may fail a C-STORE (invariant 3)
                refusal = by_failure(act, error)
        return keep(received, facts, rule, dictionaries=self.dictionaries, refused=refusal)

    def _formed(self, received: Received, facts: Facts, rule: PolicyRule | None) -> StoredForm:
        """An object's form by its rule, and by what earlier ones of its series came to."""
        kind = kind_of(facts, rule)
        form = keep(received, facts, rule, self._memory.recall(kind), self.dictionaries)
        self._memory.learn(kind, form.provenance.attempts)
        return form

    def _commit(self, instance: Instance, facts: Facts) -> Kept:
        """Durable already, now visible, then rid of what it replaces."""
        try:
            kept = self.record(instance, facts)
        except BaseException:
            self._withdraw(instance)
            raise
        self.index.sync()
        if not self.index_fault():  # else the next process finds in the journal what its index lacks
            self.store.settle(instance.key)
        return kept

    def leaving(self, facts: Facts) -> tuple[Delivery, ...]:
        """Where an object that arrives is sent on to, to be recorded together with it."""
        return self.departures.of(facts) if self.departures is not None else ()

    def _recorded(
        self, instance: Instance, replaced: Instance | None, facts: Facts, leaving: tuple[Delivery, ...]
    ) -> Kept:
        """What waits, or is sent on, is announced."""
        if self.departures is not None:
            self.departures.recorded(leaving, facts, instance.study_instance_uid)
        if instance.pending and self.backlog is not None:
            self.backlog.add(instance.stored_size)
        return remarked(Kept("replaced" if replaced else "kept", instance), facts)

    # -- behind the response ---------------------------------------------------------------------------

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

    def _without_room(self, instance: Instance, error: FormLacksRoom | MemoryError) -> Change:
        """What becomes of one for which there was no room once more. Raises FormLacksRoom, ObjectRefused."""
        if times := self._lacking.again(instance.key):
            raise FormLacksRoom(told_of(error), times) from error
        refusal = by_failure("encode", error)
        self.refuse(instance, refusal)
        if not instance.pending:
            raise ObjectRefused(refusal.told) from error
        return self._unencoded(with_refusal(instance, refusal), refusal)

    def _unencoded(self, instance: Instance, refusal: Refusal) -> Change:
        with self.trying(instance, "read"):
            instance, file = self._read(instance)
        change = unencoded(instance, file, refusal, self._own_key(instance))
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
        after = _planned(change.after, rule, policy, now)
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
            return _planned(instance, rule, policy), facts
        return waiting(instance, rule), facts  # put before its rule was known: its form is yet to be made

    def prepare(self) -> None:
        """Make ready what the first object would else wait for."""
        if self.landing is not None and self.backlog is not None:
            self.landing.prepare()

    # -- out -------------------------------------------------------------------------------------------

    def find(self, query: Query) -> Generator[dict[str, str], None, None]:
        """Matches of a C-FIND, each as keyword to text. Raises QueryError.

        Where there are stores that are slower than the first, Instance Availability is that of the slowest
        that a match has anything in: what a retrieve of it has to wait for.
        """
        ranks = slowness(self.store.tiers)
        found = self.index.find(query, ranks)
        return with_availability(found) if ranks else found

    def instances(self, query: Query) -> list[Instance]:
        """All instances that a C-MOVE or C-GET names. Raises QueryError."""
        return self.index.instances(query)

    def accessed(self, instances: Iterable[Instance]) -> None:
        """Note that objects were retrieved, where the policy asks for that: some may be due to come back."""
        if not self._exactness:
            return
        self.index.stages.touch(instances, time.time(), self._exactness)
        if self.backlog is not None and any(rule.on_access for rule in self.policy):
            self.backlog.announce()

    def fetch(self, instance: Instance, accepted: Iterable[str], wishes: Wishes = _NO_WISHES) -> Outgoing:
        """An object in the best of the accepted transfer syntaxes (invariant 4).

        A lossy copy is made only where the wishes hold a rule for it. Raises NoLosslessWay, ObjectMissing,
        ObjectDamaged.
        """
        accepted = tuple(accepted)
        if self.decoded is not None and (found := self.decoded.find(instance, accepted, wishes)):
            return found
        found = self._fetched(instance, accepted, wishes)
        return found if self.decoded is None or found.given else self.decoded.kept(found, wishes)

    def _fetched(self, instance: Instance, accepted: tuple[str, ...], wishes: Wishes) -> Outgoing:
        refusal = in_force(instance)
        as_stored = instance.transfer_syntax in accepted and not (wishes.preferred or wishes.lossy)
        decodes = not as_stored and (refusal is None or not refusal.covers("decode"))
        with self.trying(instance, "decode" if decodes else "read"):
            instance, file = self._read(instance)
            trial = Trial(in_force(instance), partial(self.refuse, instance))
            found = outgoing(instance, file, accepted, wishes, trial)
        if set(needs(instance.transfer_syntax, found.transfer_syntax)) <= {"survey"}:
            return found
        return replace(found, chunks=self._watched(instance, found.chunks))

    def _watched(self, instance: Instance, chunks: Iterator[Buffer]) -> Iterator[Buffer]:
        """What is decoded while it is gone through: should that end the process, the next one knows."""
        slot = None
        if self.attempts is not None and max(instance.received_size, instance.stored_size) > _JOURNALED:
            slot = self.attempts.begin(instance.key, instance.sop_instance_uid, "decode", alone=False)
        try:
            yield from chunks
        except CodecProcessFailed as error:
            self.refuse(instance, by_failure("decode", error))
            raise
        finally:
            if slot is not None and self.attempts is not None:
                self.attempts.end(slot)


def _planned(instance: Instance, rule: PolicyRule | None, policy: str, now: float | None = None) -> Instance:
    """An instance whose stage was carried out, with when the next one is due; None: on receive."""
    due = step(rule, instance, instance.received_at.timestamp() if now is None else now).due
    return replace(instance, planned=policy, due=due)


def _check_order(held: Instance, found: Instance) -> None:
    if held.received_at >= found.received_at:
        raise Superseded(f"{found.key}: what is held of {found.sop_instance_uid} came later")
