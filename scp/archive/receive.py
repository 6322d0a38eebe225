"""Receiving: an object is surveyed, matched by the policy, made durable and recorded, then acknowledged."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from scp.archive.admission import Admission, check_names, remarked
from scp.archive.behind import Acknowledged, Behind, NewRow
from scp.archive.duplicates import DuplicatePolicy
from scp.archive.encode import as_received, uids_within
from scp.archive.form_maker import FormMaker
from scp.archive.options import Options
from scp.archive.package import StoredForm
from scp.archive.reader import Reader
from scp.archive.recorder import Recorder
from scp.archive.records import identity_of, instance_of, instance_of_form, key_of, planned
from scp.config.rules import PolicyRule
from scp.encoding.facts import chosen, survey
from scp.errors import DuplicateRejected, OutOfResources, Superseded
from scp.index.attributes import KEYWORDS
from scp.index.index import Index
from scp.model import Facts, Instance, Kept, Received
from scp.objects import part10
from scp.objects.landed import LandedStore, Landing
from scp.syntaxes import DEFLATED

# One SOP instance is written by one thread at a time. With 256 locks, different ones seldom share a lock.
_STRIPES = 256
# A file says when its object was received, and a rebuild takes the last one. So what replaces is dated later
# than what it replaces, also where this node's clock is behind.
_LATER = timedelta(microseconds=1)
# The part of a zstd frame that a landing record's CRC-32 is of; the frame itself has a checksum of all.
_FRAME_HEAD = 4096
# How often that begins anew, as another node has replaced what was held meanwhile.
_TRIES = 5


# Told of an object that was acknowledged, and is recorded soon.
Follow = Callable[[Acknowledged], object]


class Receiver:
    """Keeps objects by a policy. Small ones may go to the landing log first, as received or encoded."""

    def __init__(
        self,
        store: LandedStore,
        index: Index,
        reader: Reader,
        forms: FormMaker,
        recorder: Recorder,
        options: Options,
    ) -> None:
        self._store = store
        self._index = index
        self._reader = reader
        self._forms = forms
        self._recorder = recorder
        self._options = options
        self.duplicates = DuplicatePolicy(options.duplicates, index, reader)
        self._locks = tuple(threading.Lock() for _ in range(_STRIPES))
        self._behind = Behind(index, self._recorded, store.is_over)

    def ingest(
        self, received: Received, admission: Admission | None = None, follow: Follow | None = None
    ) -> Kept:
        """Keep an object: when this returns it is durable, and indexed unless ``follow`` was called.

        ``admission`` replaces the archive's own. Raises DatasetError, OutOfResources.
        """
        check_names(received)
        admission = admission or self._options.admission
        with self._alone(received.sop_instance_uid):
            with suppress(Superseded):
                return self._ingest(received, admission, follow)
            return self._overtake(received, _admitted(received, admission))

    @contextmanager
    def _alone(self, sop_instance_uid: str) -> Iterator[None]:
        """Keep other threads from objects of the UID, when all that came before are recorded.

        Raises OutOfResources.
        """
        lock = self._locks[zlib.crc32(sop_instance_uid.encode()) % _STRIPES]
        while True:
            self._behind.wait_for(sop_instance_uid)  # without the lock, which other UIDs share
            with lock:
                if not self._behind.waits(sop_instance_uid):
                    yield
                    return

    def close(self) -> None:
        """Record what was acknowledged and waits."""
        self._behind.close()

    def _overtake(self, received: Received, facts: Facts) -> Kept:
        """Keep an object where what is held is dated later than now: by a node whose clock is ahead."""
        for _ in range(_TRIES):
            with suppress(Superseded):
                return self._settle(received, facts, again=True)
        raise OutOfResources("other nodes replace the SOP instance again and again; try again later")

    def _ingest(self, received: Received, admission: Admission, follow: Follow | None) -> Kept:
        """Keep an object. Raises Superseded where what is held has other content, and is dated later."""
        if not self._may_land(received):
            return self._settle(received, _admitted(received, admission), follow)
        file = as_received(received)
        with self._store.landing(part10.head(file), received.dataset) as landing:
            facts = _admitted(received, admission)
            _, rule = self._forms.policy.choose(facts)
            if rule is None or rule.may_be_pending:
                instance = instance_of(landing.key, landing.size, "", file, facts, rule.name if rule else "")
                self.duplicates.check_elsewhere(instance.identity)
                return self._land(landing, received, facts, remarked(Kept("kept", instance), facts), follow)
        return self._settle(received, facts, follow)

    # -- first into the landing log ---------------------------------------------------------------------

    def _may_land(self, received: Received) -> bool:
        """Whether an object is first written to the landing log: if it is small, and may be pending."""
        return (
            self._options.landing
            and self._store.lands(len(received.dataset))
            and self._forms.policy.may_be_pending()
            and self._may_be_pending(len(received.dataset))
        )

    def _may_be_pending(self, size: int) -> bool:
        pending = self._options.pending
        return pending is not None and pending.takes(size + self._behind.size)  # those will be pending, too

    def _land(
        self, landing: Landing, received: Received, facts: Facts, told: Kept, follow: Follow | None
    ) -> Kept:
        """Make what was written durable, then visible: an object as received, or in the form of its rule.

        One as received was surveyed while the disk was writing. If the row may ``follow``, its sender is
        ``told`` what is known without it.
        """
        instance = told.instance
        attributes = chosen(facts.attributes, KEYWORDS)
        landing.sync()
        sends = self._recorder.sends(facts)
        if follow is not None and self._may_follow(instance, received):
            acknowledged = self._behind.add(NewRow(received, facts, instance, attributes, sends, told))
            landing.leave()
            follow(acknowledged)
            return told
        landing.is_named = lambda: self._index.are_named([instance])[0]
        held = self._index.add(instance, attributes, sends)
        self._behind.reached()
        if held is not None and (kept := self.duplicates.found(received, held, facts)) is not None:
            return kept
        landing.keep()
        if held is None:
            return self._recorder.announced(instance, facts, sends)
        return self._recorder.record(instance, facts)

    # -- acknowledged first, recorded behind ------------------------------------------------------------

    def _may_follow(self, instance: Instance, received: Received) -> bool:
        """Whether an object may be acknowledged before it is recorded: if no row could have it refused."""
        if self.duplicates.may_reject or received.transfer_syntax == DEFLATED:
            return False  # a deflated one is held inflated, up to a thousand times as large
        if not self._behind.takes(len(received.dataset)):
            return False
        return self._options.safekeeping is None or not self._options.safekeeping.may_be_held(instance)

    def _recorded(self, one: NewRow, held: Instance | None) -> Kept:
        """What became of an acknowledged object, whose row is there unless another instance is ``held``."""
        key = one.instance.key
        if held is None or held.key == key or self._store.is_over(key):  # its record has moved on since
            self._recorder.announce(one.instance, one.facts, one.sends)
            kept = one.kept
        else:
            try:
                kept = self._beside(one, held)
            except DuplicateRejected as error:  # a hold that was not known yet
                kept = self._set_aside(one, held, error)
        self._store.landed(key, named=kept.instance.key == key)
        attempts = one.kept.attempts
        return replace(kept, attempts=attempts) if attempts and not kept.attempts else kept

    def _beside(self, one: NewRow, held: Instance) -> Kept:
        """What becomes of it beside an object that was held before, or came at the same time elsewhere."""
        kept = self.duplicates.found(one.received, held, one.facts)
        if kept is None:
            try:
                return self._recorder.record(one.instance, one.facts)
            except Superseded:
                held = self._index.current(one.instance.identity) or held
            if held.received_at > datetime.now(UTC):  # its node's clock is ahead
                return self._overtake(one.received, one.facts)
        elif kept.outcome == "duplicate" or held.received_at < one.instance.received_at:
            return kept
        # What was acknowledged later was recorded first, by another process.
        if not self._recorder.trash_landed(one.instance.key, held):
            raise OutOfResources("the trash cannot take an object that was replaced as it came")
        return remarked(Kept("discarded", held), one.facts)

    def _set_aside(self, one: NewRow, held: Instance, error: DuplicateRejected) -> Kept:
        self._store.set_aside(one.instance.key)
        structlog.get_logger("zscp").error(
            "an acknowledged object is set aside",
            sop_instance=one.instance.sop_instance_uid,
            key=one.instance.key,
            reason=f"{error}; its copy is in .damaged",
        )
        return remarked(Kept("discarded", held), one.facts)

    # -- into a file of its own -------------------------------------------------------------------------

    def _settle(
        self, received: Received, facts: Facts, follow: Follow | None = None, again: bool = False
    ) -> Kept:
        """Encode and prove an object, and make that durable; if that may wait, its own file as received.

        With ``again`` something is held, which was dated later. Raises Superseded.
        """
        policy, rule = self._forms.policy.choose(facts)
        identity = identity_of(received.sop_instance_uid, uids_within(received, facts).study, facts)
        self.duplicates.check_elsewhere(identity)
        waits, held = self._may_wait(rule, len(received.dataset)), None
        if again or not (waits and self._goes_first(received, facts)):
            held = self._index.current(identity)
            if held is not None:
                if (kept := self.duplicates.found(received, held, facts)) is not None:
                    return kept
                if received.sha256 != held.received_sha256:
                    later = max(received.received_at, held.received_at + _LATER)
                    received = replace(received, received_at=later)
        if waits:
            return self._put_as_received(received, facts, rule)
        form = self._forms.before_response(received, facts, rule)
        if form is None:
            return self._put_as_received(received, facts, rule)
        made = planned(instance_of_form(received, facts, form), rule, policy)
        if held is None and self._may_land_form(len(form.data)):
            return self._land_form(received, facts, form, made, follow)
        return self._put_form(facts, form, made)

    def _may_wait(self, rule: PolicyRule | None, size: int) -> bool:
        """Whether an object may be stored as received, and be encoded after the response."""
        return (
            rule is not None
            and rule.may_be_pending
            and rule.after_response is not None
            and self._may_be_pending(size)
        )

    def _goes_first(self, received: Received, facts: Facts) -> bool:
        """Whether an object is put before it is known whether it is held already: few are.

        To ask is a round trip to the index. A large object is not put in vain, and none that would take the
        place of a file which is there.
        """
        key = key_of(received, facts)
        return self._store.lands(len(received.dataset)) and self._store.fresh_key(key) != key

    def _put_as_received(self, received: Received, facts: Facts, rule: PolicyRule | None) -> Kept:
        file = as_received(received, facts)
        head = part10.head(file)
        own = key_of(received, facts)
        key = self._store.fresh_key(own)
        self._store.put(key, head, received.dataset)
        size = len(head) + len(received.dataset)
        instance = instance_of(key, size, "", file, facts, rule.name if rule else "")
        if key == own:
            return self._recorder.commit(instance, facts)
        known = partial(self.duplicates.found, received, facts=facts)
        return self._recorder.commit(instance, facts, known)

    def _may_land_form(self, size: int) -> bool:
        return self._options.landing and self._store.lands(size) and self._may_be_pending(size)

    def _land_form(
        self, received: Received, facts: Facts, form: StoredForm, made: Instance, follow: Follow | None
    ) -> Kept:
        """Make a proven form durable in the landing log; it gets its own file after the response."""
        before_dataset = len(form.data) - len(form.encoded.dataset)
        head = min(len(form.data), _FRAME_HEAD) if form.wrapped else before_dataset
        with self._store.landing(bytes(form.data[:head]), memoryview(form.data)[head:]) as landing:
            landed = replace(made, key=landing.key, pending=True)
            told = replace(remarked(Kept("kept", landed), facts), attempts=form.provenance.attempts)
            return replace(self._land(landing, received, facts, told, follow), attempts=told.attempts)

    def _put_form(self, facts: Facts, form: StoredForm, made: Instance) -> Kept:
        instance = replace(made, key=self._store.fresh_key(made.key))
        self._store.put(instance.key, form.data)
        return replace(self._recorder.commit(instance, facts), attempts=form.provenance.attempts)


def _admitted(received: Received, admission: Admission) -> Facts:
    """The facts of a received object, which is accepted. Raises DatasetError if it is not."""
    facts = survey(received)
    admission.check(received, facts)
    return facts
