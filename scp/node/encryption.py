"""The encryption keys that the stores of an archive need, and those that the configuration has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scp.config.keys import EncryptionKey, hold, keys_of
from scp.config.settings import Settings
from scp.errors import ConfigurationError
from scp.lifecycle.rotation import KeyedStores
from scp.objects.keys_in_use import KeyNote, KeyUse, uses

State = Literal["newest", "older", "unused", "held", "unknown", "missing", "none"]


@dataclass(frozen=True, slots=True)
class StoreKeys:
    """A store: its name (empty for the first), its folder, and its keys in the order of the configuration."""

    store: str
    root: Path
    keys: tuple[EncryptionKey, ...]


def stores_of(settings: Settings) -> list[StoreKeys]:
    """All stores in folders. Raises ConfigurationError if a key cannot be read any more."""
    return [
        StoreKeys(name, settings.folders[name], keys_of(one.encryption_keys))
        for name, one in settings.stores.items()
        if not one.in_bucket
    ]


def hold_keys(settings: Settings) -> None:
    """Keep the keys of all stores in this process, for those that are forked. Raises ConfigurationError."""
    hold(settings.storage.encryption_keys)
    for one in settings.tiers:
        hold(one.encryption_keys)


def note_keys(settings: Settings, is_there: Mapping[str, bool]) -> None:
    """Note in each available store the key for its new files, before the first file is encrypted with it.

    Raises ConfigurationError if a key is another one than that which had its id, and OutOfResources.
    """
    for one in stores_of(settings):
        if is_there.get(one.store, True) and one.keys:
            note = KeyNote(one.root)
            note.check(one.keys)
            note.add(one.keys[0])
            note.hold(one.keys[0].id)


def missing_keys(settings: Settings) -> Iterator[str]:
    """A sentence for each key that files were encrypted with, and that the configuration lacks."""
    for one in stores_of(settings):
        name = one.store or settings.storage.name
        for key_id in KeyNote(one.root).missing(one.keys):
            yield (
                f'files of store "{name}" are encrypted with the key "{key_id}", which is missing, and cannot'
                " be read; add it to the encryption_keys of that store"
            )


def keyed_stores(settings: Settings) -> KeyedStores:
    """The stores that encrypt."""
    keyed = [one for one in stores_of(settings) if one.keys]
    return KeyedStores({one.store: one.root for one in keyed}, {one.store: one.keys[0].id for one in keyed})


def check_held(settings: Settings) -> None:
    """Check that no process encrypts with another key than the first one of its store.

    It could not read what is rotated, and would go on to encrypt with the other. Raises ConfigurationError.
    """
    for one in stores_of(settings):
        if one.keys and (others := sorted(KeyNote(one.root).held() - {one.keys[0].id})):
            raise ConfigurationError(
                f'store "{one.store or settings.storage.name}": a node that runs still encrypts with the key '
                f'"{others[0]}"; restart it, then run this again'
            )


@dataclass(frozen=True, slots=True)
class KeyState:
    """A key in a store, by its id (empty: not encrypted), and how many files need it; see KeyUse."""

    store: str
    key_id: str
    files: int
    set_aside: int
    state: State


def key_states(settings: Settings) -> list[KeyState]:
    """The keys of all stores. Keys that no file needs any more are struck off the stores' notes.

    Where not all files could be read, none is: a key that seems unused is "unknown".
    """
    found = []
    for one in stores_of(settings):
        name, ids = one.store or settings.storage.name, [key.id for key in one.keys]
        counted = uses(one.store, one.root)
        used = {use.key_id: use for use in counted.found}
        note = KeyNote(one.root)
        noted, held = note.read(), note.held()
        needed = {*used, *held, *ids[:1]}
        if counted.whole and (gone := [each for each in noted if each not in needed]):
            note.forget(gone)
        for key_id in dict.fromkeys([*ids, *used, *sorted(held)]):
            use = used.get(key_id, KeyUse(one.store, key_id, 0, 0))
            state = _state(key_id, ids, use.files, counted.whole)
            if key_id in held and state in {"older", "unused", "unknown"}:
                state = "held"
            found.append(KeyState(name, key_id, use.files, use.set_aside, state))
    return found


def _state(key_id: str, ids: list[str], files: int, whole: bool) -> State:
    if not key_id:
        return "none"
    if key_id not in ids:
        return "missing"
    if key_id == ids[0]:
        return "newest"
    if files:
        return "older"
    return "unused" if whole else "unknown"
