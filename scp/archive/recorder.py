"""A durable object becomes visible, and replaces an older one of its identity: order, trash, legal holds."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from scp.archive.admission import remarked
from scp.archive.elsewhere import Elsewhere
from scp.archive.options import Options
from scp.archive.reader import Reader
from scp.archive.records import in_own_file
from scp.archive.replacer import Replacer
from scp.archive.safekeeping import has_uid_of_original
from scp.archive.stored_files import StoredFiles
from scp.errors import (
    ObjectDamaged,
    ObjectElsewhere,
    ObjectMissing,
    OutOfResources,
    ReplacementWaits,
    Superseded,
)
from scp.index.index import Index
from scp.model import Facts, Instance, Kept, QueuedSend

# What becomes of an object of which one is held; None: it replaces that.
Duplicate = Callable[[Instance], Kept | None]
# How often a replacement begins anew, as another node has replaced what was held meanwhile.
_TRIES = 5


class Recorder:
    """Records objects, and wakes the forwarder and the encoder of ``options``.

    With ``options.safekeeping`` replaced objects go to the trash, and those under a hold are not replaced.
    """

    def __init__(
        self,
        files: StoredFiles,
        index: Index,
        reader: Reader,
        replacer: Replacer,
        options: Options,
        elsewhere: Elsewhere,
    ) -> None:
        self._elsewhere = elsewhere
        self._files = files
        self._index = index
        self._reader = reader
        self._replacer = replacer
        self._safekeeping = options.safekeeping
        self._forwarding = options.forwarding
        self._pending = options.pending

    def commit(self, instance: Instance, facts: Facts, duplicate: Duplicate | None = None) -> Kept:
        """Record an object whose file is durable already, and settle the file in the journal.

        If one of its identity is held, ``duplicate`` is asked whether that makes it superfluous.
        """
        try:
            kept = self.record(instance, facts, duplicate=duplicate)
            if kept.instance.key != instance.key:
                self._files.store.withdraw(instance.key)
                return kept
        except BaseException:
            self._replacer.withdraw([instance])
            raise
        self._index.sync()
        if not self._replacer.index_fault(recent=True):  # else its journal entry stays, for the next process
            self._files.store.settle(instance.key)
        return kept

    def record(
        self, instance: Instance, facts: Facts, found: bool = False, duplicate: Duplicate | None = None
    ) -> Kept:
        """Record a durable object; it replaces the held object of its identity, if there is one.

        The replaced object goes to the trash, unless it has the same content. If the process dies before
        that, the journal names its file. Raises DuplicateRejected if the held object is under a hold, and
        Superseded if the held one was received later, by whatever clock, and has other content, or the new
        one was ``found`` on the disk: a rebuild takes the object that was received last.
        """
        if instance.lossy_of and found:  # made here before a process died, and not received
            return self.record_copy(instance, facts, found)
        sends = self.sends(facts)
        held = self._index.add(instance, facts.attributes, sends)
        if held is not None and duplicate is not None and (kept := duplicate(held)) is not None:
            return kept
        replaced = None if held is None else self._replace(held, instance, facts, sends, found)
        return self.announced(instance, facts, sends, replaced)

    def record_copy(self, copy: Instance, facts: Facts, found: bool = False) -> Kept:
        """As :meth:`record`, of a lossy copy that a stage made: nothing came in, so nothing is forwarded."""
        held = self._index.add(copy, facts.attributes, ())
        replaced = None if held is None else self._replace(held, copy, facts, (), found)
        return remarked(Kept("replaced" if replaced else "kept", copy), facts)

    def sends(self, facts: Facts) -> tuple[QueuedSend, ...]:
        """Where an arriving object is forwarded to: queue entries to record together with it."""
        return self._forwarding.of(facts) if self._forwarding is not None else ()

    def announced(
        self,
        instance: Instance,
        facts: Facts,
        sends: tuple[QueuedSend, ...],
        replaced: Instance | None = None,
    ) -> Kept:
        """The result for a recorded object, after :meth:`announce`."""
        self.announce(instance, facts, sends)
        return remarked(Kept("replaced" if replaced else "kept", instance), facts)

    def announce(self, instance: Instance, facts: Facts, sends: tuple[QueuedSend, ...]) -> None:
        """Wake the forwarder and the encoder for a recorded object."""
        if self._forwarding is not None:
            self._forwarding.recorded(sends, facts, instance.study_instance_uid)
        if instance.pending and self._pending is not None:
            self._pending.add(instance.stored_size)

    def _replace(
        self, held: Instance, instance: Instance, facts: Facts, sends: tuple[QueuedSend, ...], found: bool
    ) -> Instance | None:
        """Under the lock of the trash, as other processes and nodes may store the same SOP instance now."""
        _check_order(held, instance, found)
        if self._safekeeping is None:
            return self._put_in_place(held, instance, facts, sends)
        if held.received_sha256 == instance.received_sha256:
            with self._safekeeping.trash.lock():
                held = self._index.current(instance.identity) or held
                if held.received_sha256 == instance.received_sha256:
                    return self._put_in_place(held, instance, facts, sends)
        for _ in range(_TRIES):
            held = self._brought(held)
            with self._safekeeping.replacing(held):
                current = self._index.current(instance.identity)
                if current is None:  # deleted meanwhile
                    return self._put_in_place(held, instance, facts, sends)
                held = current
                _check_order(held, instance, found)
                if not self._files.store.is_elsewhere(held.key):
                    return self._replace_content(held, instance, facts, sends)
        raise OutOfResources("other nodes replace the SOP instance again and again; try again later")

    def _replace_content(
        self, held: Instance, instance: Instance, facts: Facts, sends: tuple[QueuedSend, ...]
    ) -> Instance | None:
        """The held object goes to the trash, unless it has the same content, or no sound file to restore."""
        if held.received_sha256 == instance.received_sha256:
            return self._put_in_place(held, instance, facts, sends)
        try:
            held = self._replacer.own_file(held)
        except (ObjectMissing, ObjectDamaged):
            with suppress(ObjectMissing):
                self._files.set_aside(held.key)
            return self._put_in_place(held, instance, facts, sends)
        return self._put_in_place(held, instance, facts, sends, trashes=True)

    def _brought(self, held: Instance) -> Instance:
        """What is replaced goes to the trash: a node that has it in its landing log has to upload it first.

        Before anything is locked, as it may take seconds. Raises ReplacementWaits: the peer may try again.
        """
        try:
            return self._elsewhere.brought(held)
        except ObjectElsewhere as error:
            raise ReplacementWaits(f"other content cannot be replaced now: {error}") from error
        except ObjectMissing:  # deleted meanwhile: nothing is left to replace
            return held

    def _put_in_place(
        self,
        held: Instance,
        instance: Instance,
        facts: Facts,
        sends: tuple[QueuedSend, ...],
        trashes: bool = False,
    ) -> Instance | None:
        """Order: the journal knows the old file → the index names the new one → the trash has the old one."""
        journaled = held.key != instance.key
        if journaled:
            self._files.store.journal_removal(held.key)
        replaced = self._put_row(instance, facts, sends)
        if replaced is not None and replaced.key != instance.key:
            if trashes and not self._to_trash(replaced, instance):
                return replaced
            self._files.discard(replaced.key)
        if journaled:
            self._files.store.settle(held.key)
        return replaced

    def _put_row(self, instance: Instance, facts: Facts, sends: tuple[QueuedSend, ...]) -> Instance | None:
        """Raises DuplicateRejected for a lossy copy of what was promised to be kept."""
        if has_uid_of_original(instance):
            return self._index.commitments.promises.record(instance, facts.attributes)
        return self._index.record(instance, facts.attributes, sends)

    def put_away(self, key: str, held: Instance) -> None:
        """Remove a stored file of an instance whose row names another file.

        A file of other content goes to the trash; a file that cannot be read is set aside. If neither works,
        it stays. Raises ObjectMissing.
        """
        try:
            instance, _ = self._reader.read_back(key)
        except ObjectDamaged:
            self._files.store.set_aside(key)
        else:
            if self._safekeeping is not None and instance.received_sha256 != held.received_sha256:
                with self._safekeeping.trash.lock():
                    if not self._to_trash(instance, held):
                        return
        self._files.store.delete(key)

    def trash_landed(self, key: str, held: Instance) -> bool:
        """Put a record of the landing log into the trash, if its content differs from that of ``held``.

        False if the trash cannot take it. Raises ObjectMissing, ObjectDamaged, OutOfResources.
        """
        instance, _ = self._reader.read_back(key)
        if self._safekeeping is None or instance.received_sha256 == held.received_sha256:
            return True
        data = self._files.get(key)
        own = in_own_file(instance, data, secrets.token_hex(4))
        file = replace(own, key=self._files.fresh_key(own.key))
        self._files.store.put(file.key, data)
        with self._safekeeping.trash.lock():
            taken = self._to_trash(file, held)
        if taken:
            self._files.store.delete(file.key)
        self._files.store.settle(file.key)
        return taken

    def _to_trash(self, replaced: Instance, by: Instance) -> bool:
        return self._safekeeping is None or self._safekeeping.keep(replaced, by)


def _check_order(held: Instance, new: Instance, found: bool) -> None:
    if held.received_at >= new.received_at and (found or held.received_sha256 != new.received_sha256):
        raise Superseded(f"{new.key}: what is held of {new.sop_instance_uid} came later")
