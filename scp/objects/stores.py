"""The kinds of object stores, by the scheme of their URL: a new kind needs one module, and a row here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scp.config.keys import EncryptionKey
from scp.errors import ConfigurationError
from scp.objects.encrypted import Cipher, EncryptedStore
from scp.objects.journal import Journaled, JournaledStore
from scp.objects.local import LocalStore
from scp.objects.memory import MemoryStore


@dataclass(frozen=True, slots=True)
class StorePlace:
    """Where to open a store.

    ``folder`` is a local folder for this store alone: a store of files is in it, any other store keeps its
    journal there. ``reserve`` bytes of its file system stay free. ``removable`` says that its medium may be
    removed while it is read. The store encrypts with the first of ``encryption_keys``, if there is one.
    """

    url: str
    folder: Path
    reserve: int = 0
    removable: bool = False
    encryption_keys: Sequence[EncryptionKey] = ()


STORES: Mapping[str, Callable[[StorePlace], JournaledStore]] = {
    "file": lambda place: LocalStore(place.folder, place.reserve, maps=not place.removable),
    "memory": lambda place: Journaled(MemoryStore(), place.folder),
}


def open_store(place: StorePlace) -> JournaledStore:
    """The store that a URL names; a URL without a scheme is a folder. Raises ConfigurationError."""
    scheme, found, _ = place.url.partition("://")
    made = STORES.get(scheme if found else "file")
    if made is None:
        known = ", ".join(f"{name}://" for name in STORES)
        raise ConfigurationError(f"{place.url}: there is no such object store; there are {known}")
    return EncryptedStore(made(place), Cipher(place.encryption_keys))
