"""What is tried with an object, and what is refused as it ended processes, or failed at each try.

What a process was about that died is suspected, tried again alone, and refused when it ends another.
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
    """Writes down what is tried in ``attempts``, if there is such a journal, and refusals in the index."""

    def __init__(self, index: Index, attempts: Attempts | None) -> None:
        self._index = index
        self.attempts = attempts

    @contextmanager
    def of(self, instance: Instance, act: Act) -> Iterator[None]:
        """Around work on a stored object. If the process dies of it, the next one knows which object it was.

        What fails twice by an exception that nobody raises on purpose is refused as well
        (:mod:`scp.objects.attempts`). Raises ObjectRefused for what is refused already.
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
        """As :meth:`of`, of a file whose row nobody knows yet."""
        if (refusal := self.refusal_at(key)) is not None and refusal.covers(act):
            raise ObjectRefused(f"{key}: {refusal.message}")
        if self.attempts is None:
            yield
            return
        with self.attempts.of(key, instance_in(key), act, lambda: library_of(act)):
            yield

    @contextmanager
    def decoding(self, instance: Instance) -> Iterator[None]:
        """As :meth:`of`, around chunks that are decoded while somebody else goes through them.

        Nothing is refused here, and a suspect is not waited for: the other says how long it takes.
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
        """A suspect waits so long for being the only object that this process works on."""
        if self.attempts is not None:
            self.attempts.patience = seconds

    def is_suspect(self, instance: Instance) -> bool:
        """Whether a process died of a stored object, or failed at it: then it is tried alone."""
        return self.attempts is not None and self.attempts.is_suspect(instance.key)

    def counts(self, instance: Instance) -> bool:
        """Whether something that failed with an object counts as its own fault."""
        return self.attempts is not None and self.attempts.suspects.get(instance.key) is not None

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
        self._index.checks.refuse(instance.sop_instance_uid, instance.key, marked.refused)
        structlog.get_logger("zscp").error(
            "object refused",
            sop_instance=instance.sop_instance_uid,
            key=instance.key,
            reason=refusal.message,
            remedy="it stays as it is stored; zscp recompress --now --match SOPInstanceUID=… tries it again",
        )

    def carry(self, before: Instance, after: Instance) -> None:
        """What is known of a file holds for the one that takes its place."""
        if self.attempts is not None and before.key != after.key:
            self.attempts.carry(before.key, after.key)

    def allow(self, instance: Instance) -> None:
        """Let everything be tried again with an object. Raises OutOfResources."""
        self._index.checks.refuse(instance.sop_instance_uid, instance.key, "")
        if self.attempts is not None:
            self.attempts.forget(instance.key)

    def allow_outdated(self) -> int:
        """Let be tried again what failed in another version than there is now; returns how many objects.

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
        """Read what processes left that died, and mark the rows of what is refused because of it.

        Before anything is tried. Safe beside processes that live, and to stop and run again.
        Raises OutOfResources.
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
        """Whether the journal need not know of what is refused: its row says so, or versions have changed.

        Of what has no row the journal alone knows; recovery, reindex and import ask it.
        """
        if is_outdated(refusal):
            return True
        instance = self._instance_at(one)
        if instance is not None:
            self.refuse(instance, refusal)
        return instance is not None

    def _instance_at(self, one: Suspect) -> Instance | None:
        if not one.uid:  # a record of the landing log does not say whose it is, nor a file to be imported
            return self._index.pending_at(one.key)
        return next((each for each in self._index.named(one.uid) if each.key == one.key), None)

    def stopping(self) -> None:
        """This process was told to end: no object is to blame for that, whatever it works on."""
        if self.attempts is not None:
            self.attempts.stopping()

    def close(self) -> None:
        """Nothing is tried any more."""
        if self.attempts is not None:
            self.attempts.close()
