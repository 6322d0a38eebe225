"""zstd dictionaries beside the objects: what small objects of one SOP class have in common is stored once.

``dictionaries/<SOP Class UID>/<version>-<id>-<digest>.zdict`` is a dictionary as ``zstd -D`` takes it. Its
name has its number among those of the class, the dictionary ID that frames carry in their header (RFC 8878
3.1.1.1.3), and the beginning of its SHA-256; ``.copy`` beside it is the same once more. It is never changed,
and removed only on request, when no object needs it any more (:mod:`scp.lifecycle.dictionary_use`).
``dictionaries/<SOP Class UID>/newest`` holds the name of the dictionary for new objects. It is written after
that dictionary is durable, so no object can need one that a power cut takes away.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
import zstandard

from scp.errors import DictionaryMissing, ObjectDamaged, ObjectMissing, ObjectUnavailable
from scp.objects.journal import JournaledStore
from scp.objects.names import (
    COPY,
    DICTIONARIES,
    DictionaryName,
    copy_key,
    dictionaries_prefix,
    dictionary_key,
    dictionary_name,
    newest_key,
)
from scp.spool import sha256

# How soon a process uses a dictionary that another one trained. A check costs a read of a few bytes.
_FRESH_SECONDS = 5.0
# zscp trains dictionaries of 512 KB; a much larger file, or a longer name in the mark, is not zscp's.
_LARGEST, _LONGEST_NAME = 16 << 20, 256
# A dictionary takes half a megabyte of memory, and its tables for compressing take some more.
_MOST_KEPT = 16
# IDs that RFC 8878 5 does not reserve; zstd derives one from the content.
_FIRST_ID, _LAST_ID = 32768, (1 << 31) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Dictionary:
    """A dictionary that has been read; threads share it, and its compression tables for each level."""

    id: int
    content: bytes = field(repr=False)
    decompressing: zstandard.ZstdCompressionDict = field(repr=False)
    _compressing: dict[int, zstandard.ZstdCompressionDict] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def compressing(self, level: int) -> zstandard.ZstdCompressionDict:
        """The dictionary, prepared for compressing at ``level``."""
        with self._lock:
            found = self._compressing.get(level)
            if found is None:
                found = self._compressing[level] = zstandard.ZstdCompressionDict(self.content)
                found.precompute_compress(level=level)
        return found


def dictionary_of(content: bytes) -> Dictionary:
    """A dictionary from the bytes of its file. Raises ObjectDamaged if they are no dictionary."""
    try:
        made = zstandard.ZstdCompressionDict(content, dict_type=zstandard.DICT_TYPE_FULLDICT)
        zstandard.ZstdDecompressor(dict_data=made)
    except zstandard.ZstdError as error:
        raise ObjectDamaged(f"it is no zstd dictionary: {error}") from None
    return Dictionary(made.dict_id(), content, made)


class Dictionaries:
    """The dictionaries of an object store; threads may share it, and other processes write beside it."""

    def __init__(self, store: JournaledStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._read: dict[int, Dictionary] = {}
        self._newest: dict[str, tuple[float, int]] = {}  # until when that is believed, and the ID

    def entries(self, sop_class_uid: str = "") -> list[DictionaryName]:
        """All stored dictionaries, or those of a SOP class, in order; of some only the copy may be left."""
        within = dictionaries_prefix(sop_class_uid or None)
        keys = {key.removesuffix(COPY) for key in self._store.keys(within)}
        return sorted(_named(keys), key=lambda one: (one.sop_class_uid, one.version))

    def keep_copies(self) -> None:
        """Read both files of each dictionary, and put back one that is missing or damaged, from the other.

        Raises OutOfResources. Where both are damaged they stay; who reads an object that needs them says so.
        One that cannot be read now is left alone, and is no reason to leave out others.
        """
        for entry in self.entries():
            try:
                self._keep_copy(entry)
            except ObjectUnavailable as error:
                structlog.get_logger("zscp").error("dictionary not read", key=entry.key, reason=str(error))

    def _keep_copy(self, entry: DictionaryName) -> None:
        files = {key: self._sound(entry, key) for key in (entry.key, copy_key(entry.key))}
        content = next(filter(None, files.values()), b"")
        for key in [key for key, found in files.items() if content and not found]:
            self._put(key, content)
            structlog.get_logger("zscp").warning("dictionary put back from its copy", key=key)

    def size(self, entry: DictionaryName) -> int:
        """Bytes of a dictionary's file. Raises ObjectMissing."""
        try:
            return self._store.size(entry.key)
        except ObjectMissing:
            return self._store.size(copy_key(entry.key))

    def by_id(self, number: int) -> Dictionary:
        """The dictionary that a frame's header names.

        Raises DictionaryMissing, ObjectDamaged, and ObjectUnavailable where no file of it can be read now.
        """
        found = self._read.get(number)
        if found is None:
            found = self._load(number)
            with self._lock:
                _forget_oldest(self._read)
                found = self._read.setdefault(number, found)
        return found

    def newest(self, sop_class_uid: str) -> Dictionary | None:
        """The dictionary for compressing new objects of a class; None if there is none that can be read.

        A dictionary that another process stores is found within seconds.
        """
        # New objects do without it (invariant 3); reading those that need it raises.
        with suppress(ObjectDamaged, ObjectUnavailable):
            if number := self.newest_id(sop_class_uid):
                return self.by_id(number)
        return None

    def newest_id(self, sop_class_uid: str) -> int:
        """The ID of :meth:`newest`, of which nothing is read; 0 if there is none."""
        now = self._clock()
        until, found = self._newest.get(sop_class_uid, (0.0, 0))
        if now < until:
            return found
        entry = self._marked_entry(sop_class_uid)
        self._newest[sop_class_uid] = (now + _FRESH_SECONDS, 0 if entry is None else entry.id)
        return self._newest[sop_class_uid][1]

    def marked(self, sop_class_uid: str) -> str:
        """The key of the dictionary for new objects of a class, by the mark; empty if there is none."""
        try:
            name = self._held(newest_key(sop_class_uid), _LONGEST_NAME).decode("ascii", "replace").strip()
        except (ObjectMissing, ObjectDamaged):
            return ""
        return dictionaries_prefix(sop_class_uid) + name

    def add(self, sop_class_uid: str, content: bytes) -> DictionaryName:
        """Store a new version for a class, durably, and then mark it as the newest. Raises OutOfResources.

        It gets another ID if a dictionary with other content has its ID already.
        """
        content = _with_an_id_of_its_own(content, {one.id: one.digest for one in self.entries()})
        number, digest = dictionary_of(content).id, sha256(content)[:16]
        former = self.entries(sop_class_uid)
        version = 1 + max((one.version for one in former), default=0)
        key = dictionary_key(sop_class_uid, version, number, digest)
        if same := [one.key for one in former if one.digest == digest]:
            key = same[-1]
        else:
            self._put(copy_key(key), content)
            self._put(key, content)
        self._put(newest_key(sop_class_uid), key.rpartition("/")[2].encode())
        self._newest.pop(sop_class_uid, None)
        return next(_named([key]))

    def remove(self, entry: DictionaryName) -> None:
        """Remove a dictionary that nothing needs, and that is no newest one. Raises OutOfResources."""
        self._store.delete(entry.key)
        self._store.delete(copy_key(entry.key))
        self._read.pop(entry.id, None)

    def unmark(self, sop_class_uid: str) -> None:
        """Let new objects of a class do without a dictionary; other processes do so within seconds."""
        self._store.delete(newest_key(sop_class_uid))
        self._newest.pop(sop_class_uid, None)

    def _put(self, key: str, content: bytes) -> None:
        self._store.put(key, content)
        self._store.settle(key)

    def _marked_entry(self, sop_class_uid: str) -> DictionaryName | None:
        """What the mark names, if it is there."""
        with suppress(ObjectMissing, ObjectUnavailable):
            if (entry := dictionary_name(self.marked(sop_class_uid))) is not None:
                self.size(entry)
                return entry
        return None

    def _held(self, key: str, most: int) -> bytes:
        """The bytes under a key. Raises ObjectMissing, and ObjectDamaged for more than ``most`` bytes."""
        if (size := self._store.size(key)) > most:
            raise ObjectDamaged(f"{key} has {size} bytes, {most} are the most")
        return bytes(self._store.get(key))

    def _load(self, number: int) -> Dictionary:
        named = [one for one in self.entries() if one.id == number]
        if not named:
            raise DictionaryMissing(
                f"it needs the zstd dictionary {number}, and there is no {DICTIONARIES}/*/*-{number}-*.zdict"
                " in the object store; bring that file back from a copy"
            )
        unread: list[ObjectUnavailable] = []
        for key, entry in [(key, one) for one in named for key in (one.key, copy_key(one.key))]:
            try:
                if content := self._sound(entry, key):
                    return dictionary_of(content)
            except ObjectUnavailable as error:  # perhaps the other file can be read
                unread.append(error)
        if unread:
            raise unread[0]  # not damaged, as far as anybody knows
        raise DictionaryMissing(
            f"it needs the zstd dictionary {named[-1].key}, which is not what was written; bring that file"
            " back from a copy"
        )

    def _sound(self, entry: DictionaryName, key: str) -> bytes:
        """The dictionary as it was written, from one of its files; empty where that is missing or damaged.

        Raises ObjectUnavailable.
        """
        with suppress(ObjectDamaged, ObjectMissing):
            content = self._held(key, _LARGEST)
            if sha256(content).startswith(entry.digest):
                return content
        return b""


def _forget_oldest(kept: dict[Any, Any]) -> None:
    """Make room for one more: a process may meet objects of all classes, and keeps few dictionaries."""
    while len(kept) >= _MOST_KEPT:
        del kept[next(iter(kept))]


def _named(keys: Iterable[str]) -> Iterator[DictionaryName]:
    return filter(None, map(dictionary_name, keys))


def _with_an_id_of_its_own(content: bytes, taken: dict[int, str]) -> bytes:
    """The dictionary with an unused ID. It is in bytes 4 to 7 (RFC 8878 5); nothing else depends on it."""
    while True:
        number = int.from_bytes(content[4:8], "little")
        if taken.get(number, sha256(content)[:16]) == sha256(content)[:16]:
            return content
        number = number + 1 if number < _LAST_ID else _FIRST_ID
        content = content[:4] + number.to_bytes(4, "little") + content[8:]
