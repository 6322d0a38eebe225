"""Decoded objects are cached for later retrieves, so that they are not decoded again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from scp.archive.deliver import Outgoing, goes_as_stored
from scp.archive.fetch import Fetch
from scp.encoding.lossy import ways
from scp.model import Instance, SyntaxPreference
from scp.objects.decoded import DecodedCache
from scp.spool import slices
from scp.syntaxes import BY_UID, TABLE

# Converting between these takes about as long as writing, reading and checking the result in the cache.
# HTJ2K decodes at 394 MB/s a core, JPEG-LS only at 114, JPEG XL at 28 to 60.
_QUICK = {row.uid for row in TABLE if row.quick}


class CachedFetch:
    """A :data:`Fetch` around another; it caches objects in the transfer syntaxes they were decoded to."""

    def __init__(self, fetch: Fetch, cache: DecodedCache) -> None:
        self._fetch = fetch
        self._cache = cache

    def __call__(
        self, instance: Instance, accepted: tuple[str, ...], preference: SyntaxPreference
    ) -> Outgoing:
        """Raises as the fetch that it wraps."""
        if found := self._find(instance, accepted, preference):
            return found
        found = self._fetch(instance, accepted, preference)
        return found if found.given else self._kept(found, preference)

    def _find(
        self, instance: Instance, accepted: Iterable[str], preference: SyntaxPreference
    ) -> Outgoing | None:
        """An object in the best of the accepted transfer syntaxes, if it is cached in that one."""
        if goes_as_stored(instance, accepted, preference):
            return None
        received = instance.received_transfer_syntax
        best = next(iter(ways(instance.transfer_syntax, received, accepted, preference)), None)
        if best is None or best.lossy or best.transfer_syntax == instance.transfer_syntax:
            return None
        data = self._cache.get(_name(instance, best.transfer_syntax, preference.even))
        return None if data is None else Outgoing(instance, best.transfer_syntax, slices(data))

    def _kept(self, outgoing: Outgoing, preference: SyntaxPreference) -> Outgoing:
        """The same object; it is cached when all its chunks have been read, if it is slow to decode."""
        instance, target = outgoing.instance, outgoing.transfer_syntax
        quick = target == instance.transfer_syntax or {target, instance.transfer_syntax}.issubset(_QUICK)
        if quick or outgoing.copy_uid or instance.pending or not self._cache.takes(instance.received_size):
            return outgoing
        return replace(
            outgoing, chunks=self._cache.keep(_name(instance, target, preference.even), outgoing.chunks)
        )

    def forget(self, instance: Instance) -> None:
        """Remove an object from the cache, in all transfer syntaxes."""
        self._cache.forget(_name(instance, syntax, even) for syntax in BY_UID for even in (False, True))


def _name(instance: Instance, transfer_syntax: str, even: bool) -> str:
    """The cache's name of a stored file in a transfer syntax; another file of the same object has another.

    Padded to ``even`` lengths, as it is sent over a network, its bytes may differ from those received.
    """
    told = f"{instance.key}\n{instance.stored_sha256}\n{transfer_syntax}" + "\neven" * even
    return hashlib.sha256(told.encode()).hexdigest()[:40]
