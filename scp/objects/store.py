"""The object store protocol: bytes under keys, durable when ``put`` returns.

An object store has six verbs; docs/decisions/0127 and 0196 say why no more. Besides them an archive needs a
journal (:mod:`scp.objects.journal`), to find after a crash what was stored and not recorded yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, Protocol

from scp.errors import ObjectDamaged
from scp.spool import Buffer

# Bytes of the first piece that is read of an object: most headers, and the first chunk of an encrypted file
# with what lies around it (:mod:`scp.objects.sealed`).
_FIRST_PIECE = 68 << 10
_LARGEST_PIECE = 4 << 20

# PS3.3 C.4.23.1.1: at once; from a slow medium; after manual intervention, as the medium is not there.
Availability = Literal["ONLINE", "NEARLINE", "OFFLINE"]
AVAILABILITIES: Mapping[str, Availability] = {
    "online": "ONLINE",
    "nearline": "NEARLINE",
    "offline": "OFFLINE",
}


class ObjectStore(Protocol):
    """An object store; tests/contracts/test_stores.py is the contract, scp/objects/stores.py lists all kinds.

    Keys are relative paths of ASCII letters, digits, dots, dashes and slashes (:mod:`scp.objects.names`).
    Methods that ask about an object may raise ObjectUnavailable if its medium is not there
    (:mod:`scp.objects.tiers`).
    """

    def put(self, key: str, *parts: Buffer) -> None:
        """Make ``parts``, one after another, durable and visible under ``key``: all of it or nothing.

        What was there before is replaced. Raises OutOfResources.
        """

    def get(self, key: str, size: int | None = None) -> Buffer:
        """The object. Raises ObjectMissing, ObjectDamaged if it is no file, ObjectUnreadable.

        If ``size`` is given, an object of another size counts as damaged, and is not read.
        """

    def pieces(self, key: str, size: int) -> Iterator[Buffer]:
        """The object of ``size`` bytes from its beginning on, in pieces, all of one version.

        A piece is read when it is asked for: who needs only the beginning takes the first ones. They end at
        the places of :func:`ends_of_pieces`, or near them. Raises as :meth:`get`, and ObjectDamaged if the
        object is replaced meanwhile.
        """

    def size(self, key: str) -> int:
        """Its size in bytes. Raises ObjectMissing."""

    def delete(self, key: str) -> None:
        """Remove the object; a missing one is no error."""

    def keys(self, prefix: str = "") -> Iterator[str]:
        """All keys with a prefix, in no order."""

    def close(self) -> None:
        """Close the store."""


def check_size(key: str, found: int, size: int | None) -> None:
    """Raises ObjectDamaged if the known ``size`` of an object differs from the size ``found``."""
    if size is not None and found != size:
        raise ObjectDamaged(
            f"{key} is not what was written: {found} bytes, and not {size}; restore it from a copy"
        )


def ends_of_pieces(size: int) -> Iterator[tuple[int, int]]:
    """Where the pieces of an object of ``size`` bytes begin and end; each is as long as all before it.

    So who takes pieces until it has enough reads less than twice as much as that, in few requests.
    """
    begin, end = 0, min(_FIRST_PIECE, size)
    while begin < size:
        yield begin, end
        begin, end = end, min(end + min(end, _LARGEST_PIECE), size)


def pieces_of(data: Buffer) -> Iterator[Buffer]:
    """An object that is held as a whole, in such pieces."""
    view = memoryview(data)
    return (view[begin:end] for begin, end in ends_of_pieces(len(view)))
