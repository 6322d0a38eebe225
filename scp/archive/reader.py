"""What is stored, whatever the policy says of it: read and checked, listed, replaced, removed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import filterfalse, takewhile
from typing import TypeVar

import structlog

from scp.archive.pairing import Pairing
from scp.archive.records import facts_of_stored, own_key, provenance_of
from scp.archive.refusal import (
    Refusal,
    by_failure,
    by_suspect,
    is_outdated,
    library_of,
    refused_for,
    with_refusal,
)
from scp.archive.replacement import Change
from scp.encoding.cage.caged import Trust
from scp.encoding.forms import prove, why_undecodable
from scp.errors import (
    CodecProcessFailed,
    NotReproduced,
    ObjectDamaged,
    ObjectMissing,
    ObjectRefused,
    ObjectUnavailable,
    OutOfResources,
    ZscpError,
)
from scp.index.index import Index
from scp.model import Facts, Instance, Provenance, QueuedSend
from scp.objects import part10
from scp.objects.attempts import Attempts
from scp.objects.dictionaries import Dictionaries
from scp.objects.files import unreadable
from scp.objects.journal import JournaledStore
from scp.objects.landing import LandingLog
from scp.objects.names import in_store, instance_in, is_dictionary, is_landed, siblings_prefix, store_of
from scp.objects.part10 import Part10
from scp.objects.suspects import Act
from scp.spool import Buffer, sha256

Read = TypeVar("Read")


class Holdings:
    """The objects of a store, and the index that knows them; small ones may lie in a landing log yet.

    Every method that reads an object raises ObjectMissing, ObjectDamaged and ObjectUnavailable.
    """

    def __init__(self, store: JournaledStore, index: Index, landing: LandingLog | None) -> None:
        self.store = store
        self.dictionaries = Dictionaries(store)
        self.index = index
        self.landing = landing
        self.pairing: Pairing | None = None
        self.attempts: Attempts | None = None

    # -- what is tried ---------------------------------------------------------------------------------

    @contextmanager
    def trying(self, instance: Instance, act: Act) -> Iterator[None]:
        """Around work on a stored object: should it end the process, the next one knows.

        What fails twice by an exception that nobody raises on purpose is refused as well
        (:mod:`scp.objects.attempts`). Raises ObjectRefused for what is refused already.
        """
        if (refusal := refused_for(instance, act)) is not None:
            raise ObjectRefused(refusal.told)
        if self.attempts is None:
            yield
            return
        try:
            with self.attempts.of(instance.key, instance.sop_instance_uid, act, lambda: library_of(act)):
                yield
        except (ZscpError, OSError, MemoryError):
            raise
        except Exception:
            known = self.attempts.refusal(instance.key)
            found = None if known is None else by_suspect(known)
            if found is not None:
                self.refuse(instance, found)
            raise

    @contextmanager
    def trying_key(self, key: str, act: Act) -> Iterator[None]:
        """As :meth:`trying`, of a file whose row nobody knows yet."""
        if (refusal := self.refusal_at(key)) is not None and refusal.covers(act):
            raise ObjectRefused(f"{key}: {refusal.told}")
        if self.attempts is None:
            yield
            return
        with self.attempts.of(key, instance_in(key), act, lambda: library_of(act)):
            yield

    def is_suspect(self, instance: Instance) -> bool:
        """Whether a process died of a stored object, or failed at it: then it is tried alone."""
        return self.attempts is not None and self.attempts.is_suspect(instance.key)

    def refusal_at(self, key: str) -> Refusal | None:
        """What is not done with a file, as far as the journal of attempts knows."""
        known = self.attempts.refusal(key) if self.attempts is not None else None
        found = None if known is None else by_suspect(known)
        return None if found is None or is_outdated(found) else found

    def refuse(self, instance: Instance, refusal: Refusal) -> None:
        """Write down what is not done with a stored object any more. Raises OutOfResources."""
        marked = with_refusal(instance, refusal)
        if marked is instance:
            return
        self.index.checks.refuse(instance.sop_instance_uid, instance.key, marked.refused)
        structlog.get_logger("zscp").error(
            "object refused",
            sop_instance=instance.sop_instance_uid,
            key=instance.key,
            reason=refusal.told,
            remedy="it stays as it is stored; zscp recompress --now --match SOPInstanceUID=… tries it again",
        )

    def stored(self, instance: Instance) -> tuple[Instance, Part10]:
        """A stored file, and its row as it is now. Raises ObjectMissing, ObjectDamaged."""
        return self._read(instance)

    def queued_instance(self, queued: QueuedSend) -> Instance | None:
        """The object that is to be sent, as it is held now; None where it is not any more."""
        if queued.study_instance_uid or queued.patient_id:
            return self.index.current(queued.identity)
        return self.index.held(queued.sop_instance_uid)  # recorded before it named its study and patient

    def verify(self, instance: Instance, deep: bool = False) -> str:
        """Check a stored object: its file is what was written and, when ``deep``, reproduces what came.

        Returns, only when ``deep``, why its codestream is not decoded, if it is not: mostly nothing.
        Raises ObjectMissing, ObjectDamaged, ObjectRefused.
        """
        with self.trying(instance, "read"):
            instance, file = self._read(instance)
        if not deep:
            return ""
        if (refusal := refused_for(instance, "decode")) is not None:
            return refusal.told
        known = provenance_of(file)
        try:
            with self.trying(instance, "decode"):
                prove(file.dataset, file.transfer_syntax, known, trust=Trust.MADE_HERE)
                return "" if known.restoration else why_undecodable(file.dataset, file.transfer_syntax)
        except NotReproduced as error:
            raise ObjectDamaged(f"{instance.key}: {error}") from error
        except CodecProcessFailed as error:
            refusal = by_failure("decode", error)
            self.refuse(instance, refusal)
            return refusal.told

    def provenance(self, instance: Instance) -> Provenance:
        """What the stored file remembers. Raises ObjectMissing, ObjectDamaged."""
        return provenance_of(self._read(instance)[1])

    def facts(self, instance: Instance) -> Facts:
        """What the policy was asked of a stored object when it came. Raises as :meth:`provenance`."""
        with self.trying(instance, "survey"):
            return facts_of_stored(self._read(instance)[1])

    def _read(self, instance: Instance) -> tuple[Instance, Part10]:
        """A stored file, checked against the digest of what was written."""
        return self._followed(instance, self._sound)

    def _followed(self, instance: Instance, read: Callable[[Instance], Read]) -> tuple[Instance, Read]:
        """What is read of an object where it lies by now, and its row as it is then."""
        while True:
            try:
                return instance, read(instance)
            except (ObjectMissing, ObjectDamaged):  # replaced or moved on since it was looked up?
                current = self.index.current(instance.identity)
                if current is None or current.key == instance.key:
                    raise
                instance = current

    def _sound(self, instance: Instance) -> Part10:
        data = self._get(instance.key, instance.stored_size if instance.stored_sha256 else None)
        whole = not instance.stored_sha256 or self.digest(instance.key, data) == instance.stored_sha256
        known = bool(instance.stored_sha256)  # else nobody knows yet what it should be
        file = part10.unpack(data, self.dictionaries.by_id, whole=known) if whole else None
        if file is None or not (instance.stored_sha256 or sha256(file.dataset) == instance.received_sha256):
            raise ObjectDamaged(f"{instance.key} is not what was written; restore it from a copy")
        return file

    def digest(self, key: str, data: Buffer) -> str:
        """The SHA-256 of what lies under a key. Raises ObjectDamaged, ObjectUnavailable."""
        try:
            return sha256(data)
        except OSError as error:
            raise unreadable(key, error) from error

    def _get(self, key: str, size: int | None = None) -> Buffer:
        """What lies under a key. What took its place may be of any size: that is not read."""
        if is_landed(key) and self.landing is not None:
            return self.landing.get(key)
        return self.store.get(key, size)

    def keys(self) -> Iterator[str]:
        """The keys of all stored files; of an object that is about to move on, both."""
        if self.landing is not None:
            yield from self.landing.keys()
        yield from filterfalse(is_dictionary, self.store.keys())

    def holds_files(self) -> bool:
        """Whether any store that is there, or the landing log, holds an object."""
        for name in ("", *self.store.tiers):
            with suppress(ObjectUnavailable):
                if next(self.keys_within([name]), None) is not None:
                    return True
        return False

    def keys_within(self, stores: Iterable[str]) -> Iterator[str]:
        """As :meth:`keys`, of some stores: the first, which the landing log is part of, has no name."""
        for name in stores:
            if not name and self.landing is not None:
                yield from self.landing.keys()
            found = self.store.keys(in_store(name, "")) if name else self._keys_of_the_first()
            yield from filterfalse(is_dictionary, found)

    def _keys_of_the_first(self) -> Iterator[str]:
        """Those of the first store, which come before those of others: one of these may not be there."""
        with suppress(ObjectUnavailable):
            yield from takewhile(lambda key: not store_of(key), self.store.keys())

    def siblings(self, key: str, instance: str) -> Iterator[str]:
        """The keys of all stored forms of an instance in its study, in all stores that are there.

        Where patients share the study and the SOP Instance UID, those of all their objects.
        """
        for store in ("", *self.store.tiers):
            with suppress(ObjectUnavailable):
                yield from self.store.keys(siblings_prefix(in_store(store, key), instance))

    def has(self, key: str) -> bool:
        """Whether there is a stored file under a key. Raises ObjectUnavailable."""
        try:
            self._get(key) if is_landed(key) else self.store.size(key)
        except ObjectMissing:
            return False
        except ObjectDamaged:
            pass
        return True

    def swap(self, changes: list[Change]) -> None:
        """Put new stored forms in the place of old ones.

        They are made durable → read back, where they are in another store → the index names them → that is
        durable, and it is still the right index → the old ones go. A reader in between sees one of the two.
        Raises OutOfResources and, of another store, ObjectDamaged and ObjectUnavailable; then nothing has
        changed, or the journal knows of what has.
        """
        self.store.put_many(
            [(change.after.key, change.data) for change in changes if change.data is not None]
        )
        try:
            self._check_arrived(changes)
            done = self.index.change_many([(change.before, change.after) for change in changes])
        except Exception:
            for change in changes:
                if change.data is not None:
                    self._withdraw(change.after)
            raise
        self.index.sync()
        if fault := self.index_fault():  # another index names the old ones: recovery sees to it
            raise OutOfResources(f"nothing is removed: {fault}")
        moved = [
            one.before.key
            for one, changed in zip(changes, done, strict=True)
            if changed and one.data is not None
        ]
        self._over(filter(is_landed, moved))
        for change, changed in zip(changes, done, strict=True):
            if change.data is None:
                continue
            if changed:
                if change.before.key != change.after.key and not is_landed(change.before.key):
                    self._discard(change.before.key)
                self.store.settle(change.after.key)
            else:  # another object has come in its place
                self._withdraw(change.after)

    def own_file(self, instance: Instance) -> Instance:
        """Give an object that lies in the landing log a file of its own, as received.

        Returns it as it is stored now. Raises ObjectMissing, ObjectDamaged, OutOfResources.
        """
        instance, data = self._followed(instance, self._landed)
        if data is None:
            return instance
        file = replace(instance, key=own_key(instance))
        self.swap([Change(instance, file, data)])
        return self.index.current(instance.identity) or instance

    def _landed(self, instance: Instance) -> Buffer | None:
        """The record of an object in the landing log; None where it lies elsewhere."""
        if not is_landed(instance.key):
            return None
        self._sound(instance)
        return self._get(instance.key)

    def index_fault(self) -> str:
        """Why what was just recorded may not be found by others; empty where it will be.

        Raises OutOfResources.
        """
        return self.pairing.fault() if self.pairing is not None else ""

    def _check_arrived(self, changes: list[Change]) -> None:
        for change in changes:
            moved = store_of(change.after.key) != store_of(change.before.key)
            if (
                change.data is not None
                and moved
                and sha256(self._get(change.after.key, change.after.stored_size))
                != change.after.stored_sha256
            ):
                raise ObjectDamaged(f"{change.after.key} is not what was written; look after that store")

    def point_to(self, before: Instance, after: Instance) -> bool:
        """Have the index name another file of an object, stored and proven, and set the old one aside."""
        changed = self.index.change_many([(before, replace(after, checked=int(time.time())))])[0]
        self.index.sync()
        if changed and not is_landed(before.key):
            self.store.set_aside(before.key)
        if changed:
            self._discard(before.key)
        return changed

    def _withdraw(self, instance: Instance) -> None:
        """Take back a file whose row could not be written; while that is unsure it stays unsettled."""
        held = self.index.current(instance.identity)
        if held is None or held.key != instance.key:
            self.store.withdraw(instance.key)

    def _discard(self, key: str) -> None:
        """Remove a stored form that another durable one has taken the place of."""
        if is_landed(key):
            self._over([key])
        else:
            self.store.delete(key)

    def _over(self, keys: Iterable[str]) -> None:
        """Note of records of the landing log that their objects are durable elsewhere, or replaced."""
        if self.landing is not None:
            self.landing.settle(keys)

    def stopping(self) -> None:
        """This process was told to end: no object is to blame for that, whatever it works on."""
        if self.attempts is not None:
            self.attempts.stopping()

    def close(self) -> None:
        """Let go of store and index."""
        self.index.sync()
        if self.landing is not None:
            self.landing.close()
        if self.attempts is not None:
            self.attempts.close()
        self.store.close()
        self.index.close()
