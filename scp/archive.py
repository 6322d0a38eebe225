"""The story: what happens to an object from its arrival to its way out, one short function a chapter.

A received dataset is taken apart, matched by the policy, encoded and proven (:mod:`scp.keeping`), put
into the object store, recorded in the index, and only then acknowledged. A stored one is looked up,
read, checked, and given out in a transfer syntax that the peer accepts.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from scp.config import PolicyRule
from scp.encoding.facts import survey
from scp.encoding.forms import prove
from scp.encoding.streams import gathered
from scp.encoding.transcode import transcoding, ways_out
from scp.errors import (
    CodecError,
    DuplicateRejected,
    NoLosslessWay,
    NotReproduced,
    ObjectDamaged,
    ObjectMissing,
    UidMismatch,
    UnidentifiedDataset,
)
from scp.index.index import Index
from scp.keeping import StoredForm, keep
from scp.model import Facts, Instance, Kept, Provenance, Query, Received, Wishes
from scp.objects import part10
from scp.objects.part10 import Part10
from scp.objects.store import ObjectStore, object_key, siblings_prefix
from scp.policy.rules import choose
from scp.spool import Buffer, sha256
from scp.syntaxes import lookup

Duplicates = Literal["replace", "keep", "reject"]

# One SOP instance is written by one thread at a time; 256 locks keep different ones apart.
_STRIPES = 256
_NO_WISHES = Wishes()


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A stored object on its way out: a dataset stream in a transfer syntax that the peer accepted.

    ``chunks`` are its bytes, piece by piece, and can be gone through once; a large object is decoded while
    they are. Going through them raises CodecError where that shows only then.
    """

    instance: Instance
    transfer_syntax: str
    chunks: Iterator[Buffer]


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a start found of a process that died: objects recorded, and files that cannot be read."""

    recorded: int
    damaged: tuple[str, ...]


class Archive:
    """Objects kept by a policy. Its parts are given to it; it knows neither the wire nor SQL."""

    def __init__(
        self,
        store: ObjectStore,
        index: Index,
        policy: Iterable[PolicyRule],
        duplicates: Duplicates = "replace",
    ) -> None:
        self.store = store
        self.index = index
        self.policy = tuple(policy)
        self.duplicates = duplicates
        self._locks = tuple(threading.Lock() for _ in range(_STRIPES))

    def ingest(self, received: Received) -> Kept:
        """Keep an object: when this returns it is durable, indexed and proven (invariants 1 to 3).

        Raises UnidentifiedDataset, UidMismatch, DuplicateRejected, OutOfResources.
        """
        if not received.dataset or not received.sop_instance_uid:
            raise UnidentifiedDataset("no dataset, or no Affected SOP Instance UID to keep it under")
        facts = survey(received)
        _check_uids(received, facts)
        with self._locks[zlib.crc32(received.sop_instance_uid.encode()) % _STRIPES]:
            held = self.index.held(received.sop_instance_uid)
            if held is not None and (settled := self._duplicate(received, held)):
                return settled
            form = keep(received, facts, choose(self.policy, facts))
            return self._commit(received, facts, form)

    def _duplicate(self, received: Received, held: Instance) -> Kept | None:
        """What becomes of an instance that is held already; None when it is to be kept."""
        try:
            self.verify(held)  # reads it: Success must not be said on a copy that has rotted
        except (ObjectMissing, ObjectDamaged):
            return None  # what is held is no copy: this one mends it
        same = received.sha256 == held.received_sha256
        if same and received.transfer_syntax == held.received_transfer_syntax:
            return Kept("duplicate", held)
        if self.duplicates == "keep":
            return Kept("discarded", held)
        if self.duplicates == "reject":
            raise DuplicateRejected("held with other content, and storage.duplicates is reject")
        return None

    def _commit(self, received: Received, facts: Facts, form: StoredForm) -> Kept:
        """Durable first, then visible, then rid of what it replaces."""
        study = facts.attributes.get("StudyInstanceUID", "")
        known = form.provenance
        key = object_key(study, received.sop_instance_uid, known.sha256, known.form, form.wrapped)
        file = Part10(
            received.sop_class_uid, received.sop_instance_uid, form.encoded.transfer_syntax, b"", known
        )
        instance = _instance(key, form.data, file, facts)
        self.store.put(key, form.data)
        try:
            replaced = self.index.record(instance, facts.attributes)
        except BaseException:
            self._withdraw(instance)
            raise
        if replaced is not None and replaced.key != instance.key:
            self.store.delete(replaced.key)
        self.store.settle(instance.key)
        return Kept("replaced" if replaced else "kept", instance, form.provenance.attempts)

    def _withdraw(self, instance: Instance) -> None:
        """Take back a file whose row could not be written; while that is unsure it stays unsettled."""
        held = self.index.held(instance.sop_instance_uid)
        if held is None or held.key != instance.key:
            self.store.delete(instance.key)
            self.store.settle(instance.key)

    def recover(self) -> Recovered:
        """Record what a process that died had put but maybe not recorded."""
        recorded, damaged = 0, []
        for key in self.store.recover():
            try:
                instance, facts = self.read_back(key)
            except ObjectDamaged as error:
                damaged.append(f"{key}: {error}")
                continue
            held = self.index.held(instance.sop_instance_uid)
            if held is None or held.received_at <= instance.received_at:
                self.index.record(instance, facts.attributes)
                held = instance
            for left in self.store.keys(siblings_prefix(key, instance.sop_instance_uid)):
                if left != held.key:
                    self.store.delete(left)
            recorded += 1
        return Recovered(recorded, tuple(damaged))

    def read_back(self, key: str) -> tuple[Instance, Facts]:
        """What a stored file says of itself (invariant 6). Raises ObjectDamaged, ObjectMissing."""
        data = self.store.get(key)
        file = part10.unpack(data)
        facts = _facts_of_stored(file)
        return _instance(key, data, file, facts), facts

    def close(self) -> None:
        """Let go of store and index."""
        self.store.close()
        self.index.close()

    def find(self, query: Query) -> Generator[dict[str, str], None, None]:
        """Matches of a C-FIND, each as keyword to text. Raises QueryError."""
        return self.index.find(query)

    def instances(self, query: Query) -> list[Instance]:
        """All instances that a C-MOVE or C-GET names. Raises QueryError."""
        return self.index.instances(query)

    def fetch(self, instance: Instance, accepted: Iterable[str], wishes: Wishes = _NO_WISHES) -> Outgoing:
        """An object in the best of the accepted transfer syntaxes (invariant 4).

        Raises NoLosslessWay, ObjectMissing, ObjectDamaged.
        """
        instance, file = self._read(instance)
        provenance = _provenance(file)
        reasons = []
        for target in ways_out(file.transfer_syntax, provenance.transfer_syntax, accepted, wishes):
            try:
                chunks = transcoding(file.dataset, file.transfer_syntax, target, provenance.restoration)
                return Outgoing(instance, target, chunks)
            except CodecError as error:
                reasons.append(f"{lookup(target).keyword}: {error}")
        raise NoLosslessWay(
            f"kept as {lookup(file.transfer_syntax).keyword}; "
            + ("; ".join(reasons) or "nothing accepted that it could be sent in")
        )

    def _read(self, instance: Instance) -> tuple[Instance, Part10]:
        """A stored file, checked against the digest of what was written."""
        try:
            data = self.store.get(instance.key)
        except ObjectMissing:  # replaced since it was looked up
            current = self.index.held(instance.sop_instance_uid)
            if current is None or current.key == instance.key:
                raise
            instance, data = current, self.store.get(current.key)
        if sha256(data) != instance.stored_sha256:
            raise ObjectDamaged(f"{instance.key} is not what was written; restore it from a copy")
        return instance, part10.unpack(data)

    def verify(self, instance: Instance, deep: bool = False) -> None:
        """Check a stored object: its file is what was written and, when ``deep``, reproduces what came.

        Raises ObjectMissing, ObjectDamaged.
        """
        _, file = self._read(instance)
        if not deep:
            return
        try:
            prove(file.dataset, file.transfer_syntax, _provenance(file))
        except NotReproduced as error:
            raise ObjectDamaged(f"{instance.key}: {error}") from error

    def provenance(self, instance: Instance) -> Provenance:
        """What the stored file remembers. Raises ObjectMissing, ObjectDamaged."""
        return _provenance(self._read(instance)[1])

    def facts(self, instance: Instance) -> Facts:
        """What the policy was asked of a stored object when it came. Raises as :meth:`provenance`."""
        return _facts_of_stored(self._read(instance)[1])


def _check_uids(received: Received, facts: Facts) -> None:
    """The command set's UIDs against the dataset's; one that the dataset lacks disagrees with nothing."""
    for keyword, commanded in (
        ("SOPClassUID", received.sop_class_uid),
        ("SOPInstanceUID", received.sop_instance_uid),
    ):
        found = facts.attributes.get(keyword, "")
        if found and found != commanded:
            raise UidMismatch(f"{keyword} is {found} in the dataset and {commanded} in the command")


def _facts_of_stored(file: Part10) -> Facts:
    """The facts of the object as it came in, from its stored form."""
    known = _provenance(file)
    stored = _as_received(file, known, file.transfer_syntax, file.dataset)
    return replace(
        survey(stored),
        transfer_syntax=known.transfer_syntax,
        size=known.size,
        readable=known.readable,
        fault=known.fault,
    )


def received_from(file: Part10, aet: str) -> Received:
    """A file as if ``aet`` received it now; one that an archive like this wrote, as that one had.

    Where the received codestream was replaced, what is stored counts as received.
    """
    known = file.provenance
    if known is None:
        uids = (file.sop_class_uid, file.sop_instance_uid)
        return Received(*uids, file.transfer_syntax, file.dataset, file.source_aet, aet, datetime.now(UTC))
    try:
        dataset = gathered(
            transcoding(file.dataset, file.transfer_syntax, known.transfer_syntax, known.restoration)
        )
    except CodecError:
        dataset = b""
    if sha256(dataset) != known.sha256:
        return _as_received(file, known, file.transfer_syntax, file.dataset)
    return _as_received(file, known, known.transfer_syntax, dataset)


def _as_received(file: Part10, known: Provenance, transfer_syntax: str, dataset: Buffer) -> Received:
    return Received(
        file.sop_class_uid,
        file.sop_instance_uid,
        transfer_syntax,
        dataset,
        known.calling_aet,
        known.called_aet,
        known.received_at,
    )


def _instance(key: str, data: Buffer, file: Part10, facts: Facts) -> Instance:
    """The index row of a stored file."""
    known = _provenance(file)
    return Instance(
        sop_class_uid=file.sop_class_uid,
        sop_instance_uid=file.sop_instance_uid,
        study_instance_uid=facts.attributes.get("StudyInstanceUID", ""),
        series_instance_uid=facts.attributes.get("SeriesInstanceUID", ""),
        key=key,
        form=known.form,
        transfer_syntax=file.transfer_syntax,
        stored_size=len(data),
        stored_sha256=sha256(data),
        received_transfer_syntax=known.transfer_syntax,
        received_size=known.size,
        received_sha256=known.sha256,
        received_at=known.received_at,
        calling_aet=known.calling_aet,
        rule=known.rule,
        readable=known.readable,
    )


def _provenance(file: Part10) -> Provenance:
    if file.provenance is None:
        raise ObjectDamaged("zscp's private information is missing from its File Meta Information")
    return file.provenance
