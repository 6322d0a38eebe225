"""The kinds of object stores, by the scheme of their URL: a new kind needs one module, and a row here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scp.config.keys import EncryptionKey
from scp.config.settings import Settings
from scp.config.stores import BucketPlace, TierSettings
from scp.errors import ConfigurationError
from scp.objects.bucket import Bucket, library_for
from scp.objects.bucket_kinds import KINDS
from scp.objects.bucket_store import BucketStore
from scp.objects.encrypted import Cipher, EncryptedStore
from scp.objects.journal import Journaled, JournaledStore
from scp.objects.local import LocalStore
from scp.objects.memory import MemoryStore


@dataclass(frozen=True, slots=True)
class StorePlace:
    """Where to open a store.

    ``folder`` is a local folder for this store alone: a store of files is in it, any other store keeps its
    journal there. ``reserve`` bytes of its file system stay free. ``removable`` says that its medium may be
    removed while it is read. A request to a ``bucket`` fails after so many ``seconds``. The store encrypts
    with the first of ``encryption_keys``, if there is one.
    """

    url: str
    folder: Path
    reserve: int = 0
    removable: bool = False
    bucket: BucketPlace | None = None
    seconds: float = 30.0
    encryption_keys: Sequence[EncryptionKey] = ()


STORES: Mapping[str, Callable[[StorePlace], JournaledStore]] = {
    "file": lambda place: LocalStore(place.folder, place.reserve, maps=not place.removable),
    "memory": lambda place: Journaled(MemoryStore(), place.folder),
    **dict.fromkeys(KINDS, lambda place: BucketStore(_bucket_of(place), place.folder)),
}


@cache
def bucket_at(place: BucketPlace, seconds: float) -> Bucket:
    """The bucket at a place; one for the process, which bounds its requests."""
    return Bucket(place, seconds)


def _bucket_of(place: StorePlace) -> Bucket:
    if place.bucket is None:
        raise ConfigurationError(f"{place.url}: it is not said how the bucket is reached")
    return bucket_at(place.bucket, place.seconds)


def places(settings: Settings) -> dict[str, Path | Bucket]:
    """Where each store lies, by its name, empty for the first: its folder, or its bucket.

    Raises ConfigurationError if a bucket's secret key cannot be read.
    """
    found: dict[str, Path | Bucket] = dict(settings.folders)
    for name, store in settings.stores.items():
        if (place := store.bucket) is not None:
            found[name] = bucket_at(place, request_seconds(settings, name))
    return found


def load(settings: Settings) -> None:
    """Load what the stores need, before processes are forked that would each load it; none is opened.

    Raises ConfigurationError.
    """
    for store in settings.stores.values():
        if (place := store.bucket) is not None:
            library_for(place)


def request_seconds(settings: Settings, store: str) -> float:
    """How long a request to a store's bucket may take in all: less than those wait who ask for the object."""
    chosen = settings.stores[store]
    most = settings.limits.dimse_seconds
    return min(most, chosen.fetch_seconds if isinstance(chosen, TierSettings) else most) / 2


def open_store(place: StorePlace) -> JournaledStore:
    """The store that a URL names; a URL without a scheme is a folder. Raises ConfigurationError."""
    scheme, found, _ = place.url.partition("://")
    made = STORES.get(scheme if found else "file")
    if made is None:
        known = ", ".join(f"{name}://" for name in STORES)
        raise ConfigurationError(f"{place.url}: there is no such object store; there are {known}")
    return EncryptedStore(made(place), Cipher(place.encryption_keys))
