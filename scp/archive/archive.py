"""The story: what happens to an object from its arrival to its way out, one short function a chapter.

A received dataset is looked at, matched by the policy, made durable and recorded in the index, and only
then acknowledged. Where the policy puts its encoding behind that, it lands as received, and its form is
made and proven (:mod:`scp.archive.encode`) right afterwards; else before. A stored one is looked up, read,
checked, and given out in a transfer syntax that the peer accepts.

The way in is told in :mod:`scp.archive.receive`, what becomes of what is held in
:mod:`scp.archive.recording`, and the form that a rule asks for in :mod:`scp.archive.governed`; here are the
way out and the whole.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from functools import partial

from scp.archive.availability import slowness, with_availability
from scp.archive.backlog import Backlog
from scp.archive.decoded import Decoded
from scp.archive.deliver import Outgoing, Trial, outgoing
from scp.archive.forwarding import Forwarding
from scp.archive.receive import Duplicates, Receiving
from scp.archive.refusal import (
    by_failure,
    in_force,
    needs,
)
from scp.config.rules import PolicyRule
from scp.errors import (
    CodecProcessFailed,
)
from scp.index.index import Index
from scp.model import Instance, Query, Wishes
from scp.objects.journal import JournaledStore
from scp.objects.landing import LandingLog
from scp.spool import Buffer

_NO_WISHES = Wishes()
# What is smaller is decoded before it is gone through, all but always (scp.encoding.decoding).
_JOURNALED = 1 << 20


class Archive(Receiving):
    """Objects kept by a policy. Its parts are given to it; it knows neither the wire nor SQL.

    ``backlog`` says what may be encoded behind the response, and tells who does it; without one all is
    encoded before. ``landing`` is where small objects are durable until then. ``forwarding`` says what is
    sent on. A ``decoded``, if it is given one, remembers what was slow to decode. With a ``safekeeping``
    what is replaced goes to the trash, and what is under a hold is not replaced.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - its parts
        self,
        store: JournaledStore,
        index: Index,
        policy: Iterable[PolicyRule],
        duplicates: Duplicates = "replace",
        landing: LandingLog | None = None,
        backlog: Backlog | None = None,
        forwarding: Forwarding | None = None,
    ) -> None:
        super().__init__(store, index, landing, policy)
        self.duplicates = duplicates
        self.backlog = backlog
        self.decoded: Decoded | None = None
        self.forwarding = forwarding

    def prepare(self) -> None:
        """Make ready what the first object would else wait for."""
        if self.landing is not None and self.backlog is not None:
            self.landing.prepare()

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
