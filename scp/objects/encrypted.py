"""Encryption at rest: a store whose files are encrypted, and nothing above it knows.

Every store is opened behind this one. Without keys it writes files as they are. Files of both kinds are read
by what they begin with, so that keys can be added to a store that holds objects: these stay as they are until
they are written again. Sizes and digests are those of what is in the envelope (:mod:`scp.objects.sealed`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TypeVar

from scp.config.keys import EncryptionKey
from scp.errors import KeyMissing, ObjectDamaged
from scp.objects import sealed
from scp.objects.files import unreadable
from scp.objects.journal import JournaledStore
from scp.objects.sealed import HEADER, EnvelopeHeader
from scp.objects.store import Availability, check_size
from scp.spool import Buffer, Spool, beginning, readable_parts, slices

Read = TypeVar("Read")


class Cipher:
    """Encrypts with the first of some keys, if there is one, and reads what any of them encrypted."""

    def __init__(self, keys: Sequence[EncryptionKey] = ()) -> None:
        self.newest = keys[0] if keys else None
        self._keys = {key.id: key for key in keys}

    def sealed(self, name: str, parts: Iterable[Buffer]) -> tuple[Buffer, ...]:
        """The parts of the file to write for an object, under its name. Raises OutOfResources."""
        if self.newest is None:
            return tuple(parts)
        spool = Spool()
        for piece in sealed.seal(name, (one for part in parts for one in slices(part)), self.newest):
            spool.write(piece)
        return (spool.view(),)

    def opened(self, name: str, data: Buffer, size: int | None = None) -> Buffer:
        """What a file holds; the file itself, if it is not encrypted. ``size`` is as in ObjectStore.get.

        Raises KeyMissing, ObjectDamaged, ObjectUnreadable, OutOfResources.
        """
        try:
            begin = beginning(data, HEADER)
            if not sealed.is_sealed(begin):
                check_size(name, len(data), size)
                return data
            header = sealed.header_of(name, begin)
            key = self.key_of(name, header)
            check_size(name, sealed.plain_size(name, len(data)), size)
            return _unsealed(name, header, data, key)
        except OSError as error:
            raise unreadable(name, error) from error

    def key_of(self, name: str, header: EnvelopeHeader) -> EncryptionKey:
        """The key of a file. Raises KeyMissing."""
        key = self._keys.get(header.key_id)
        if key is None:
            raise KeyMissing(
                f'{name} is encrypted with the key "{header.key_id}", which is missing: no encryption_keys of'
                " its store name it; add it there"
            )
        if key.check != header.check:
            raise KeyMissing(
                f'{name} is encrypted with another key "{header.key_id}" than the one of encryption_keys; add'
                " the right one there, under this id"
            )
        return key

    def opened_pieces(
        self, name: str, pieces: Iterator[Buffer], file_size: int, size: int
    ) -> Iterator[Buffer]:
        """As :meth:`opened`, of a file of ``file_size`` bytes in pieces; the first has the header."""
        first = next(pieces, b"")
        if not sealed.is_sealed(begin := bytes(first[:HEADER])):
            check_size(name, file_size, size)
            yield from chain([first], pieces)
            return
        header = sealed.header_of(name, begin)
        key = self.key_of(name, header)
        check_size(name, sealed.plain_size(name, file_size), size)
        yield from sealed.unseal(name, header, chain([memoryview(first)[HEADER:]], pieces), key)


def _unsealed(name: str, header: EnvelopeHeader, data: Buffer, key: EncryptionKey) -> Buffer:
    spool = Spool()
    for chunk in sealed.unseal(name, header, _behind_header(data), key):
        spool.write(chunk)
    return spool.view()


def _behind_header(data: Buffer) -> Iterator[Buffer]:
    parts = readable_parts(data)
    yield next(parts)[HEADER:]
    yield from parts


class EncryptedStore:
    """A store that encrypts (:class:`scp.objects.journal.JournaledStore`); without keys it only reads.

    Raises KeyMissing where the key of an object is missing: the object is not lost, and does not count as
    damaged.
    """

    def __init__(self, inner: JournaledStore, cipher: Cipher) -> None:
        self.inner = inner
        self.cipher = cipher
        self.delete, self.keys, self.close = inner.delete, inner.keys, inner.close
        self.settle, self.withdraw, self.set_aside = inner.settle, inner.withdraw, inner.set_aside
        self.journal_removal, self.recover = inner.journal_removal, inner.recover
        self.unsettled, self.fresh_key = inner.unsettled, inner.fresh_key

    @property
    def tiers(self) -> Mapping[str, Availability]:
        """See JournaledStore."""
        return self.inner.tiers

    @property
    def at_once(self) -> int:
        """See JournaledStore."""
        return self.inner.at_once

    def put(self, key: str, *parts: Buffer) -> None:
        """See ObjectStore."""
        self.inner.put(key, *self.cipher.sealed(key, parts))

    def put_many(self, objects: Iterable[tuple[str, Buffer]]) -> None:
        """See JournaledStore."""
        if self.cipher.newest is not None:
            objects = [(key, self.cipher.sealed(key, [data])[0]) for key, data in objects]
        self.inner.put_many(objects)

    def get(self, key: str, size: int | None = None) -> Buffer:
        """See ObjectStore. Raises KeyMissing."""
        if size is None:
            return self.cipher.opened(key, self.inner.get(key))
        return self.cipher.opened(key, self._of_size(size, lambda one: self.inner.get(key, one)), size)

    def pieces(self, key: str, size: int) -> Iterator[Buffer]:
        """See ObjectStore. Nothing of a chunk is given before it is authenticated. Raises KeyMissing."""

        def begun(one: int) -> tuple[Iterator[Buffer], int]:
            pieces = self.inner.pieces(key, one)
            return chain([next(pieces, b"")], pieces), one

        yield from self.cipher.opened_pieces(key, *self._of_size(size, begun), size)

    def _of_size(self, size: int, read: Callable[[int], Read]) -> Read:
        """What is ``read`` of the file of ``size`` bytes, encrypted or not; of any other size nothing is.

        The likely size is tried again at the end, as the file may have been replaced meanwhile.
        """
        likely, other = size, sealed.sealed_size(size)
        if self.cipher.newest is not None:
            likely, other = other, likely
        for one in (likely, other):
            try:
                return read(one)
            except ObjectDamaged as error:
                if one == size:
                    fault = error
        try:
            return read(likely)
        except ObjectDamaged:
            raise fault from None

    def size(self, key: str) -> int:
        """See ObjectStore. Where nothing is encrypted, it is not looked into the file."""
        found = self.inner.size(key)
        if self.cipher.newest is None:
            return found
        begin = bytes(next(self.inner.pieces(key, found), b"")[:HEADER])
        return sealed.plain_size(key, found) if sealed.is_sealed(begin) else found
