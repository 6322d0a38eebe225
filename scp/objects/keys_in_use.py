"""Which encryption keys a store needs: by a note beside its objects, and by its files.

``.zscp/keys`` in a store's folder names each key before the first file is encrypted with it, so that a start
can tell that one is missing without a look at the files. A locked file there says that a process encrypts
with a key: perhaps one that was started before the configuration changed.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scp.config.keys import EncryptionKey
from scp.errors import ConfigurationError, ObjectDamaged, OutOfResources
from scp.objects import files, sealed
from scp.objects.folders import ASIDE, locked, make_folder, sync_file, sync_folder
from scp.objects.mark import FOLDER as MARKS
from scp.objects.names import LANDING
from scp.objects.segments import keys_in, read_record
from scp.objects.trashed import FOLDER as TRASH

_NOTE = "keys"
# Locked files, each named by the id of a key, and the one that this process has locked, by its folder.
_HELD = "key-"
_holding: dict[Path, int] = {}
# Folders that begin with a dot and hold stored files; all others hold none.
_WITH_FILES = (TRASH, ASIDE)


class KeyNote:
    """The keys that files of the store below ``root`` were encrypted with: id → check, hexadecimal."""

    def __init__(self, root: Path) -> None:
        self._folder = root / MARKS
        self._path = self._folder / _NOTE

    def read(self) -> Mapping[str, str]:
        """The keys; none if there is no note, or it cannot be read."""
        try:
            found = json.loads(files.note(self._path))
        except (OSError, ValueError, RecursionError, ObjectDamaged):
            return {}
        return {str(name): str(check) for name, check in found.items()} if isinstance(found, dict) else {}

    def missing(self, keys: Sequence[EncryptionKey]) -> list[str]:
        """The ids of keys that files of the store were encrypted with, and that are not among ``keys``."""
        known = {key.id for key in keys}
        return [name for name in self.read() if name not in known]

    def add(self, key: EncryptionKey) -> None:
        """Note durably that a key is used from now on. Raises OutOfResources."""
        if self.read().get(key.id) != key.check.hex():
            self._change({key.id: key.check.hex()})

    def check(self, keys: Sequence[EncryptionKey]) -> None:
        """Raises ConfigurationError if one of ``keys`` is another one than that which has its id."""
        held = self.read()
        for key in keys:
            if held.get(key.id, key.check.hex()) != key.check.hex():
                raise ConfigurationError(
                    f'the encryption key "{key.id}" is not the one that {self._folder.parent} was encrypted'
                    " with; bring that one back, or give this one another id"
                )

    def forget(self, names: Iterable[str]) -> None:
        """Forget keys by which nothing in the store is encrypted any more."""
        self._change(dict.fromkeys(names))

    def hold(self, key_id: str) -> None:
        """Let others see that this process encrypts with a key, as long as it lives, or until the next call.

        Raises OutOfResources.
        """
        path = self._folder / f"{_HELD}{key_id}"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        except OSError as error:
            if error.errno in (errno.EROFS, errno.EACCES):  # who cannot write there encrypts nothing
                return
            raise OutOfResources(f"{path} cannot be locked: {error.strerror}") from error
        if (former := _holding.get(self._folder)) is not None:
            os.close(former)
        _holding[self._folder] = descriptor

    def held(self) -> set[str]:
        """The ids of keys that processes encrypt with now, this one included."""
        found = set()
        for path in self._folder.glob(f"{_HELD}*"):
            with path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    found.add(path.name.removeprefix(_HELD))
        return found

    def _change(self, changes: Mapping[str, str | None]) -> None:
        fresh = self._path.with_suffix(".new")
        try:
            make_folder(self._folder)
            with locked(self._folder):
                left = {name: check for name, check in {**self.read(), **changes}.items() if check}
                fresh.write_text(json.dumps(left), encoding="utf-8")
                sync_file(fresh)
                fresh.replace(self._path)
                sync_folder(self._folder)
        except OSError as error:
            raise OutOfResources(f"{self._path} cannot be written: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class KeyUse:
    """How many ``files`` of a store are encrypted with a key; with an empty ``key_id`` those that are not.

    ``set_aside`` of them are in the trash, or are damaged files that were kept.
    """

    store: str
    key_id: str
    files: int
    set_aside: int


@dataclass(frozen=True, slots=True)
class KeyUses:
    """What was found in a store; ``whole`` is false where a file or a folder, or all of it, was not read.

    Then any key may be needed.
    """

    found: tuple[KeyUse, ...]
    whole: bool


def uses(store: str, root: Path) -> KeyUses:
    """The keys of all files of a store: objects, dictionaries, landed records, the trash, what was set aside.

    The first bytes of each file are read. A store without zscp's own folder is not mounted. A landing
    log is encrypted only where the first store is a folder, and lies below that: a bucket and its spool have
    no keys.
    """
    found: Counter[str] = Counter()
    aside: Counter[str] = Counter()
    faults: list[Exception] = []
    for begin, is_aside in _beginnings(root, faults.append):
        key_id = _key_id(begin)
        found[key_id] += 1
        aside[key_id] += is_aside
    counted = tuple(KeyUse(store, key_id, count, aside[key_id]) for key_id, count in sorted(found.items()))
    return KeyUses(counted, not faults and (root / MARKS).is_dir())


def key_id_of(path: Path) -> str:
    """The id of the key of a stored file; empty if it is not encrypted. Raises OSError, ObjectDamaged."""
    return _key_id(_first_of(path))


def _key_id(begin: bytes) -> str:
    return sealed.key_id_in(begin) if sealed.is_sealed(begin) else ""


def _beginnings(root: Path, failed: Callable[[Exception], None]) -> Iterator[tuple[bytes, bool]]:
    """The first bytes of each stored file, and whether it is in the trash, or was set aside.

    ``failed`` is told of what cannot be read. A file that is not there any more was replaced or removed.
    """
    for path, folders, names in os.walk(root, onerror=failed):
        top = path == str(root)
        folders[:] = [one for one in folders if not one.startswith(".") or (top and one in _WITH_FILES)]
        aside = Path(path).relative_to(root).parts[:1]
        for name in names if not top else ():
            is_aside = bool(aside) and aside[0] in _WITH_FILES
            if aside == (TRASH,) and not name.endswith(".dcm"):
                continue
            try:
                yield _first_of(Path(path) / name), is_aside
            except FileNotFoundError:
                continue
            except (OSError, ObjectDamaged) as error:
                failed(error)
    for log in sorted((root / LANDING).glob("*/*.log")):
        try:
            for key in keys_in(log):
                yield read_record(log, key)[1][: sealed.HEADER], False
        except FileNotFoundError:
            continue
        except (OSError, ObjectDamaged) as error:
            failed(error)


def _first_of(path: Path) -> bytes:
    descriptor = files.opened(path)
    try:
        return os.read(descriptor, sealed.HEADER)
    finally:
        os.close(descriptor)
