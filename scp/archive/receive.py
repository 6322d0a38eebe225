"""The way in: an object is looked at, matched by the policy, made durable and recorded, then acknowledged."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

import structlog

from scp.archive.admission import Admission, check_names, remarked
from scp.archive.encode import StoredForm, as_received, keep, uids_within
from scp.archive.governed import planned
from scp.archive.recording import Recording
from scp.archive.records import (
    identity_of,
    instance_of,
    instance_of_form,
    key_of,
    waiting,
)
from scp.archive.refusal import (
    by_failure,
    encoding_of,
)
from scp.archive.replacement import lacks_room
from scp.config.rules import PolicyRule
from scp.encoding.facts import chosen, survey
from scp.errors import (
    DictionaryMissing,
    DuplicateRejected,
    ObjectDamaged,
    ObjectMissing,
    ObjectRefused,
    ObjectUnavailable,
    ZscpError,
)
from scp.identity import Identity
from scp.index.attributes import KEYWORDS
from scp.index.index import Index
from scp.model import Facts, Instance, Kept, Received
from scp.objects import part10
from scp.objects.journal import JournaledStore
from scp.objects.landing import LARGEST, LandingLog
from scp.policy.rules import choose

Duplicates = Literal["replace", "keep", "reject"]

# One SOP instance is written by one thread at a time; 256 locks keep different ones apart.
_STRIPES = 256


class Receiving(Recording):
    """Keeps objects by a policy. Small ones may land first, and be encoded behind the response."""

    def __init__(
        self, store: JournaledStore, index: Index, landing: LandingLog | None, policy: Iterable[PolicyRule]
    ) -> None:
        super().__init__(store, index, landing, policy)
        self.duplicates: Duplicates = "replace"
        self.admission = Admission()
        self._locks = tuple(threading.Lock() for _ in range(_STRIPES))

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
        key = key_of(received, facts)
        self.store.put(key, head, received.dataset)
        size = len(head) + len(received.dataset)
        return self._commit(waiting(instance_of(key, size, "", file, facts), rule), facts)

    def _keep(self, received: Received, facts: Facts, rule: PolicyRule | None, policy: str) -> Kept:
        """Encoded and proven before the response; a stage that may be done behind it is done now."""
        form = self._formed_before(received, facts, rule)
        if form is None:
            return self._put_as_received(received, facts, rule)
        instance = planned(instance_of_form(received, facts, form), rule, policy)
        self.store.put(instance.key, form.data)
        kept = self._commit(instance, facts)
        return replace(kept, attempts=form.provenance.attempts)

    def _formed_before(self, received: Received, facts: Facts, rule: PolicyRule | None) -> StoredForm | None:
        """An object's form before its response; as it came where a process died of that, or it failed.

        None where there is no room to make one, or something failed that nobody expects: it waits, and is
        tried again behind the response, as any other.
        """
        key, act = key_of(received, facts), encoding_of(received.transfer_syntax)
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
            except Exception as error:  # noqa: BLE001 - no fault of a codec may fail a C-STORE (invariant 3)
                uid = received.sop_instance_uid
                structlog.get_logger("zscp").error("encoding failed", sop_instance=uid, exc_info=error)
                return None
        return keep(received, facts, rule, dictionaries=self.dictionaries, refused=refusal)

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
