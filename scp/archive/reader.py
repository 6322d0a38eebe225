"""Stored files are read back and checked, and their provenance and facts read."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

import structlog

from scp.archive.policy_in_force import PolicyInForce
from scp.archive.records import (
    as_pending,
    check_is_of,
    facts_of_beginning,
    facts_of_stored,
    facts_unseen,
    instance_of,
    planned,
    provenance_of,
    servable,
)
from scp.archive.refusal import by_failure, refused_for, with_refusal
from scp.archive.stored_files import StoredFiles
from scp.archive.trials import Trials
from scp.encoding.cage.caged import Trust
from scp.encoding.forms import prove, why_undecodable
from scp.errors import CodecProcessFailed, NotReproduced, ObjectDamaged, ObjectMissing, ZscpError
from scp.index.index import Index
from scp.model import Facts, Instance, Provenance
from scp.objects import part10
from scp.objects.beginning import Beginning
from scp.objects.names import store_of
from scp.objects.part10 import Part10
from scp.policy.stages import stage_within
from scp.spool import Buffer, sha256, xxh3
from scp.syntaxes import lookup

Read = TypeVar("Read")

# A file of so many bytes is read whole, also for its header: that takes one request as well, and its digest
# is compared (docs/decisions/0196).
_SMALL = 256 << 10


class Reader:
    """Reads stored objects. Every method raises ObjectMissing, ObjectDamaged and ObjectUnavailable."""

    def __init__(self, files: StoredFiles, index: Index, trials: Trials, policy: PolicyInForce) -> None:
        self._files = files
        self._index = index
        self._trials = trials
        self._policy = policy

    def read(self, instance: Instance) -> tuple[Instance, Part10]:
        """A stored file, checked against the digest from when it was written, and its current row."""
        return self.followed(instance, self.sound)

    def followed(self, instance: Instance, read: Callable[[Instance], Read]) -> tuple[Instance, Read]:
        """Read an object, also if its file was replaced or moved meanwhile; returns its current row, too."""
        while True:
            try:
                return instance, read(instance)
            except (ObjectMissing, ObjectDamaged):  # replaced or moved since it was looked up?
                current = self._index.current(instance.identity)
                if current is None or current.key == instance.key:
                    raise
                instance = current

    def unchanged(self, instance: Instance) -> Buffer | None:
        """The bytes of a file that is sent as it lies, if its fast digest shows no damage; else None.

        So also where the row's digest is of another file: a node of an earlier version, which replaces a
        file, leaves the digest as it was. :meth:`sound` then tells.
        """
        if not self._files.keeps(instance.key):  # that node's row names its log
            return None
        with suppress(ObjectMissing, ObjectDamaged):
            data = self._files.get(instance.key, instance.stored_size)
            return data if self._files.xxh3(instance.key, data) == instance.stored_xxh3 else None
        return None

    def quickly(self, instance: Instance) -> tuple[Part10, bool]:
        """The file that a row names, for what goes out as it lies; and whether it is proven by SHA-256.

        Where the row has its fast digest, that is enough.
        """
        data = self.unchanged(instance) if instance.stored_xxh3 else None
        return self.proven(instance) if data is None else (part10.taken_apart(data), False)

    def proven(self, instance: Instance) -> tuple[Part10, bool]:
        """As :meth:`sound`, and true."""
        return self.sound(instance), True

    def sound(self, instance: Instance) -> Part10:
        """The file that a row names, checked against the SHA-256 in the row."""
        return part10.taken_apart(self.plain(instance))

    def plain(self, instance: Instance) -> Buffer:
        """The bytes of the Part 10 file in that file, checked likewise."""
        if instance.stored_sha256:
            return self._files.unwrapped(self.whole(instance), whole=True)
        data = self._files.unwrapped(self._files.get(instance.key))  # no digest of it is known yet
        if sha256(part10.taken_apart(data).dataset) != instance.received_sha256:
            raise _damaged(instance)
        return data

    def whole(self, instance: Instance) -> Buffer:
        """The bytes of that file, where the row has its SHA-256."""
        data = self._files.get(instance.key, instance.stored_size)
        if self._files.digest(instance.key, data) != instance.stored_sha256:
            raise _damaged(instance)
        return data

    def from_beginning(
        self, instance: Instance, make: Callable[[Instance, Beginning], Read | None], whole: bool = False
    ) -> tuple[Instance, Read]:
        """What ``make`` makes of the current row of an object and the beginning of its file; and that row.

        It returns None where it needs more than it was given; of all of a file it always returns something.
        The beginning is compared with no digest: nothing of it may be stored, sent or decoded. A small file,
        one of which no beginning will do, is read as by :meth:`quickly`, and with ``whole`` any as by
        :meth:`read`.
        """

        def found(instance: Instance) -> Read:
            if not whole and self._has_beginning(instance):
                with suppress(ObjectDamaged):  # the whole file tells
                    for begun in self._files.beginnings(instance.key, instance.stored_size):
                        check_is_of(begun.file, instance)
                        if (made := make(instance, begun)) is not None:
                            return made
            # The fast digest, where there is one, is more than a beginning is compared with.
            file = self.sound(instance) if whole else self.quickly(instance)[0]
            made = make(instance, Beginning(file, len(file.dataset)))
            if made is None:
                raise ValueError(f"nothing was made of all of {instance.key}")
            return made

        return self.followed(instance, found)

    def _has_beginning(self, instance: Instance) -> bool:
        """Whether less than all of a file may do: it is not small, and not deflated."""
        deflated = lookup(instance.transfer_syntax).deflated
        return self._files.keeps(instance.key) and instance.stored_size > _SMALL and not deflated

    def verify(self, instance: Instance, deep: bool = False) -> str:
        """Check a stored object: its file is what was written and, if ``deep``, reproduces what was received.

        Returns why its codestream was not decoded, if ``deep`` and it was not; mostly empty.
        Raises ObjectRefused as well.
        """
        with self._trials.of(instance, "read"):
            instance, file = self.read(instance)
        if not deep:
            return ""
        if (refusal := refused_for(instance, "decode")) is not None:
            return refusal.message
        known = provenance_of(file)
        try:
            with self._trials.of(instance, "decode"):
                prove(file.dataset, file.transfer_syntax, known, trust=Trust.MADE_HERE)
                return "" if known.restoration else why_undecodable(file.dataset, file.transfer_syntax)
        except NotReproduced as error:
            raise ObjectDamaged(f"{instance.key}: {error}") from error
        except CodecProcessFailed as error:
            refusal = by_failure("decode", error)
            self._trials.refuse(instance, refusal)
            return refusal.message

    def provenance(self, instance: Instance) -> Provenance:
        """The provenance in the stored file, of which only the beginning is read."""
        return self.from_beginning(instance, lambda _, begun: provenance_of(begun.file))[1]

    def facts(self, instance: Instance) -> Facts:
        """The facts of a stored object by which the policy chose its rule. Raises ObjectRefused as well.

        They may decide that it is deleted: so its file is read whole, and checked.
        """
        with self._trials.of(instance, "survey"):
            return facts_of_stored(self.read(instance)[1])

    def header(self, instance: Instance) -> tuple[Instance, Provenance, Facts]:
        """A stored object's current row, provenance and facts, for people to look at.

        Of its file only the beginning is read where that has them. Raises ObjectRefused as well.
        """

        def known(instance: Instance, begun: Beginning) -> tuple[Provenance, Facts] | None:
            facts = facts_of_beginning(begun, instance.readable)
            return None if facts is None else (provenance_of(begun.file), facts)

        with self._trials.of(instance, "survey"):
            found, (provenance, facts) = self.from_beginning(instance, known)
        return found, provenance, facts

    # -- files without known rows ------------------------------------------------------------------------

    def read_back(self, key: str) -> tuple[Instance, Facts]:
        """The row and the facts of a stored file, from the file alone (invariant 6).

        If processes died while they surveyed it, only its File Meta Information is read. Raises ObjectRefused
        as well.
        """
        refusal = self._trials.refusal_at(key)
        unseen = refusal is not None and refusal.covers("survey")
        with self._trials.of_key(key, "read" if unseen else "survey"):
            instance, facts = self._read_back(key, refusal.message if refusal and unseen else "")
        return (instance if refusal is None else with_refusal(instance, refusal)), facts

    def take_up(self, key: str) -> tuple[Instance, Facts]:
        """As :meth:`read_back`, of a file that must be recorded whatever it holds.

        If it fails twice with an unexpected exception, only its File Meta Information is read.
        """
        try:
            return self.read_back(key)
        except (ZscpError, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - a bug, or no memory: the node must start anyway
            structlog.get_logger("zscp").error("cannot be looked into", key=key, exc_info=error)
        try:
            return self.read_back(key)
        except (ZscpError, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - see above
            refusal = by_failure("survey", error)
        instance, facts = self._read_back(key, refusal.message)
        return with_refusal(instance, refusal), facts

    def _read_back(self, key: str, unseen: str) -> tuple[Instance, Facts]:
        data = self._files.get(key)
        keeps = self._files.keeps(key)
        digest = self._files.digest(key, data) if keeps else ""  # first: a map must not be read before
        file = self._files.unpack(data)
        facts = facts_unseen(file, unseen) if unseen else facts_of_stored(file)
        policy, rule = self._policy.choose(facts)
        known = provenance_of(file)
        if not keeps and not known.stage:  # it landed before its rule was known
            if sha256(file.dataset) != known.sha256:
                raise ObjectDamaged(f"{key} is not what was received")
            return as_pending(instance_of(key, len(data), "", file, facts), rule), facts
        if known.xxh3 != xxh3(file.dataset) and (known.xxh3 or not keeps):
            raise ObjectDamaged(f"{key} is not what was written; restore it from a copy")
        digest = digest or sha256(data)
        instance = servable(instance_of(key, len(data), digest, file, facts), data, file, facts)
        if not instance.refused:
            instance = replace(instance, stage=stage_within(rule, store_of(key), instance))
        if not keeps:
            return replace(planned(instance, rule, policy), pending=True), facts
        if known.rule:
            return planned(instance, rule, policy), facts
        return as_pending(instance, rule), facts  # put before its rule was known: still to be encoded


def _damaged(instance: Instance) -> ObjectDamaged:
    return ObjectDamaged(f"{instance.key} is not what was written; restore it from a copy")
