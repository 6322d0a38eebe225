"""Acts are tried with an object, and refused if they ended processes, or failed at each try.

An object that a process worked on when it died becomes a suspect. It is tried again alone, and refused if it
ends another process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from scp.archive.refusal import (
    Refusal,
    by_suspect,
    is_outdated,
    library_of,
    refusal_of,
    refused_for,
    with_refusal,
)
from scp.errors import ObjectRefused, ZscpError
from scp.index.index import Index
from scp.model import Instance
from scp.objects.attempts import Attempts
from scp.objects.names import instance_in
from scp.objects.suspects import Act, Suspect


class Trials:
    """Records what is tried in the journal ``attempts``, if there is one, and refusals in the index."""

    def __init__(self, index: Index, attempts: Attempts | None) -> None:
        self._index = index
        self.attempts = attempts

    @contextmanager
    def of(self, instance: Instance, act: Act) -> Iterator[None]:
        """Around work on a stored object. If the process dies, the next one knows which object it worked on.

        An act that fails twice with an unexpected exception is refused as well (:mod:`scp.objects.attempts`).
        Raises ObjectRefused if the act is refused already.
        """
        if (refusal := refused_for(instance, act)) is not None:
            raise ObjectRefused(refusal.message)
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
    def of_key(self, key: str, act: Act) -> Iterator[None]:
        """As :meth:`of`, for a file whose row is not known yet."""
        if (refusal := self.refusal_at(key)) is not None and refusal.covers(act):
            raise ObjectRefused(f"{key}: {refusal.message}")
        if self.attempts is None:
            yield
            return
        with self.attempts.of(key, instance_in(key), act, lambda: library_of(act)):
            yield

    @contextmanager
    def decoding(self, instance: Instance) -> Iterator[None]:
        """As :meth:`of`, around chunks that are decoded while a caller reads them.

        Nothing is refused here, and a suspect does not wait to be alone: the caller decides how long it
        takes.
        """
        if self.attempts is None:
            yield
            return
        slot = self.attempts.begin(instance.key, instance.sop_instance_uid, "decode", alone=False)
        try:
            yield
        finally:
            self.attempts.end(slot)

    def wait_at_most(self, seconds: float) -> None:
        """Set how long a suspect waits at most to be the only object that this process works on."""
        if self.attempts is not None:
            self.attempts.patience = seconds

    def is_suspect(self, instance: Instance) -> bool:
        """Whether a process died while working on a stored object, or failed: then it is tried alone."""
        return self.attempts is not None and self.attempts.is_suspect(instance.key)

    def counts(self, instance: Instance) -> bool:
        """Whether a failure with an object counts as the object's own fault."""
        return self.attempts is not None and self.attempts.suspects.get(instance.key) is not None

    def refusal_at(self, key: str) -> Refusal | None:
        """The refusal of the file under a key, as far as the journal of attempts knows."""
        known = self.attempts.refusal(key) if self.attempts is not None else None
        found = None if known is None else by_suspect(known)
        return None if found is None or is_outdated(found) else found

    def refuse(self, instance: Instance, refusal: Refusal) -> None:
        """Record the refusal of a stored object in its row. Raises OutOfResources."""
        marked = with_refusal(instance, refusal)
        if marked is instance:
            return
        self._index.checks.refuse(instance.sop_instance_uid, instance.key, marked.refused)
        structlog.get_logger("zscp").error(
            "object refused",
            sop_instance=instance.sop_instance_uid,
            key=instance.key,
            reason=refusal.message,
            remedy="it stays as it is stored; zscp recompress --now --match SOPInstanceUID=… tries it again",
        )

    def carry(self, before: Instance, after: Instance) -> None:
        """Keep what is known of a file for the file that replaces it."""
        if self.attempts is not None and before.key != after.key:
            self.attempts.carry(before.key, after.key)

    def allow(self, instance: Instance) -> None:
        """Lift all refusals of an object. Raises OutOfResources."""
        self._index.checks.refuse(instance.sop_instance_uid, instance.key, "")
        if self.attempts is not None:
            self.attempts.forget(instance.key)

    def allow_outdated(self) -> int:
        """Lift refusals whose library has another version now; returns the number of objects.

        Raises OutOfResources.
        """
        done = 0
        for one in self._index.checks.refused():
            refusal = refusal_of(one.refused)
            if refusal is None or is_outdated(refusal):
                self.allow(one)
                done += 1
        if done:
            structlog.get_logger("zscp").info("tried again, as versions have changed", objects=done)
        return done

    def note_deaths(self) -> None:
        """Read what dead processes left in the journal, and mark the rows of objects that are now refused.

        Must be called before anything is tried. It is safe beside live processes, and may be interrupted and
        run again. Raises OutOfResources.
        """
        if self.attempts is None:
            return
        log = structlog.get_logger("zscp")
        for one in self.attempts.take_up(library_of):
            told = {"key": one.key, "sop_instance": one.uid, "doing": one.act, "times": one.times}
            if not one.refused:
                log.warning("an object may have ended a process", **told, remedy="it is tried again, alone")
        for one in self.attempts.suspects.all():
            if (refusal := by_suspect(one)) is not None and self._is_settled(one, refusal):
                self.attempts.forget(one.key)

    def _is_settled(self, one: Suspect, refusal: Refusal) -> bool:
        """Whether the journal may forget a refusal: the object's row has it, or the version has changed.

        For an object without a row only the journal has it; recovery, reindex and import ask the journal.
        """
        if is_outdated(refusal):
            return True
        instance = self._instance_at(one)
        if instance is not None:
            self.refuse(instance, refusal)
        return instance is not None

    def _instance_at(self, one: Suspect) -> Instance | None:
        if not one.uid:  # so for a record of the landing log, or a file to import
            return self._index.pending_at(one.key)
        return next((each for each in self._index.named(one.uid) if each.key == one.key), None)

    def stopping(self) -> None:
        """Note that this process was told to end, so that no object is blamed for its end."""
        if self.attempts is not None:
            self.attempts.stopping()

    def close(self) -> None:
        """Close the journal: nothing is tried any more."""
        if self.attempts is not None:
            self.attempts.close()
