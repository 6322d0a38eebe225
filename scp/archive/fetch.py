"""A stored object is looked up, read, checked, and sent out in a transfer syntax that the peer accepts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

from scp.archive.deliver import Outgoing, Trial, goes_as_stored, outgoing
from scp.archive.elsewhere import Elsewhere
from scp.archive.reader import Reader
from scp.archive.refusal import by_failure, in_force, needs
from scp.archive.trials import Trials
from scp.errors import CodecProcessFailed
from scp.model import Instance, SyntaxPreference
from scp.spool import IN_MEMORY, Buffer, slices

# Smaller objects are nearly always decoded before their chunks are read (scp.encoding.decoding).
_JOURNALED = 1 << 20

Fetch = Callable[[Instance, tuple[str, ...], SyntaxPreference], Outgoing]


class Fetcher:
    """A :data:`Fetch`: an object in the best of the accepted transfer syntaxes (invariant 4)."""

    def __init__(self, reader: Reader, trials: Trials, elsewhere: Elsewhere) -> None:
        self._elsewhere = elsewhere
        self._reader = reader
        self._trials = trials

    def __call__(
        self, instance: Instance, accepted: tuple[str, ...], preference: SyntaxPreference
    ) -> Outgoing:
        """A lossy copy is made only where the preference holds a rule for it.

        What another node has in its landing log is waited for, for some seconds. Raises NoLosslessWay,
        ObjectMissing, ObjectDamaged, ObjectElsewhere.
        """
        if goes_as_stored(instance, accepted, preference) and (found := self._as_stored(instance)):
            return found
        instance = self._elsewhere.brought(instance)
        refusal = in_force(instance)
        as_stored = instance.transfer_syntax in accepted and not (preference.preferred or preference.lossy)
        decodes = not as_stored and (refusal is None or not refusal.covers("decode"))
        with self._trials.of(instance, "decode" if decodes else "read"):
            instance, file = self._reader.read(instance)
            trial = Trial(in_force(instance), partial(self._trials.refuse, instance))
            found = outgoing(instance, file, accepted, preference, trial)
        if set(needs(instance.transfer_syntax, found.transfer_syntax)) <= {"survey"}:
            return found
        return replace(found, chunks=self._watched(instance, found.chunks))

    def _as_stored(self, instance: Instance) -> Outgoing | None:
        """An object whose dataset nobody has to look into; None if its file may have changed."""
        # What is read into memory cannot end the process, as what is mapped can.
        maps = instance.stored_size > IN_MEMORY
        with self._trials.of(instance, "read") if maps else nullcontext():
            data = self._reader.unchanged(instance)
        if data is None:
            return None
        return Outgoing(instance, instance.transfer_syntax, slices(memoryview(data)[instance.dataset_at :]))

    def _watched(self, instance: Instance, chunks: Iterable[Buffer]) -> Iterator[Buffer]:
        """``chunks`` that are decoded as they are read; if that ends the process, the next process knows."""
        if max(instance.received_size, instance.stored_size) <= _JOURNALED:
            yield from self._refused_if_it_fails(instance, chunks)
            return
        with self._trials.decoding(instance):
            yield from self._refused_if_it_fails(instance, chunks)

    def _refused_if_it_fails(self, instance: Instance, chunks: Iterable[Buffer]) -> Iterator[Buffer]:
        try:
            yield from chunks
        except CodecProcessFailed as error:
            self._trials.refuse(instance, by_failure("decode", error))
            raise
