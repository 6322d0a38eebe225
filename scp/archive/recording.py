"""A durable object becomes visible, in the place of what is held of it: order, trash and legal holds."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from scp.archive.admission import remarked
from scp.archive.backlog import Backlog
from scp.archive.forwarding import Forwarding
from scp.archive.governed import Governed
from scp.archive.records import own_key
from scp.archive.safekeeping import Safekeeping
from scp.config.rules import PolicyRule
from scp.errors import (
    ObjectDamaged,
    ObjectMissing,
    Superseded,
)
from scp.index.index import Index
from scp.model import Facts, Instance, Kept, QueuedSend
from scp.objects.journal import JournaledStore
from scp.objects.landing import LandingLog
from scp.objects.names import is_landed


class Recording(Governed):
    """Records objects. ``forwarding`` says what is sent on, ``backlog`` who encodes what waits.

    With a ``safekeeping`` what is replaced goes to the trash, and what is under a hold is not replaced.
    """

    def __init__(
        self, store: JournaledStore, index: Index, landing: LandingLog | None, policy: Iterable[PolicyRule]
    ) -> None:
        super().__init__(store, index, landing, policy)
        self.backlog: Backlog | None = None
        self.forwarding: Forwarding | None = None
        self.safekeeping: Safekeeping | None = None

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
        self, held: Instance, instance: Instance, facts: Facts, leaving: tuple[QueuedSend, ...], found: bool
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
        leaving: tuple[QueuedSend, ...],
        trashes: bool = False,
    ) -> Instance | None:
        """Order: the journal knows the old file → the index names the new one → the trash has the old one."""
        journaled = held.key != instance.key and not is_landed(held.key)
        if journaled:
            self.store.journal_removal(held.key)
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
        file = replace(instance, key=own_key(instance))
        self.store.put(file.key, self._get(key))
        with self.safekeeping.trash.lock():
            taken = self._to_trash(file, held.calling_aet)
        if taken:
            self.store.delete(file.key)
        self.store.settle(file.key)
        return taken

    def _to_trash(self, replaced: Instance, by: str) -> bool:
        return self.safekeeping is None or self.safekeeping.keep(replaced, by)

    def leaving(self, facts: Facts) -> tuple[QueuedSend, ...]:
        """Where an object that arrives is sent on to, to be recorded together with it."""
        return self.forwarding.of(facts) if self.forwarding is not None else ()

    def _recorded(
        self, instance: Instance, replaced: Instance | None, facts: Facts, leaving: tuple[QueuedSend, ...]
    ) -> Kept:
        """What waits, or is sent on, is announced."""
        if self.forwarding is not None:
            self.forwarding.recorded(leaving, facts, instance.study_instance_uid)
        if instance.pending and self.backlog is not None:
            self.backlog.add(instance.stored_size)
        return remarked(Kept("replaced" if replaced else "kept", instance), facts)


def _check_order(held: Instance, found: Instance) -> None:
    if held.received_at >= found.received_at:
        raise Superseded(f"{found.key}: what is held of {found.sop_instance_uid} came later")
