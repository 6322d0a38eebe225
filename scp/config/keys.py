"""The keys with which a store encrypts what lies in it: 256 random bits each, in a file or the environment.

The configuration names a key as ``<id>=<path>`` or ``<id>=env:<variable>``. The settings keep that text,
never the key itself.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from scp.errors import ConfigurationError

_ENTRY = re.compile(r"([A-Za-z0-9._-]{1,32})=(.+)")
_FROM_ENVIRONMENT = "env:"
_ITSELF = re.compile(r"[0-9A-Fa-f]{40,}")
_BYTES = 32
_CHECK = b"zscp key check"
_REMEDY = "zscp key new makes one"


@dataclass(frozen=True)
class EncryptionKey:
    """A key and the ``id`` by which files name it; ``check`` tells another key of the same id from it."""

    id: str
    secret: bytes = field(repr=False)

    @cached_property
    def check(self) -> bytes:
        """Eight bytes that say nothing of the key, and differ for another key."""
        return hmac.digest(self.secret, _CHECK, "sha256")[:8]


def new_secret() -> str:
    """The text of a new key's file: 64 hexadecimal digits."""
    return f"{secrets.token_hex(_BYTES)}\n"


def write_key(path: Path) -> None:
    """Make the file of a new key, durably; only its owner may read it. Raises ConfigurationError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(new_secret())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        remedy = "; a key is never written over" if isinstance(error, FileExistsError) else ""
        raise ConfigurationError(f"{path} cannot be made: {error.strerror}{remedy}") from error


def check_keys(entries: tuple[str, ...]) -> tuple[str, ...]:
    """The entries, if all of their keys can be read and no id is there twice. Raises ValueError."""
    ids = [key.id for key in read_keys(entries)]
    if twice := next((one for one in ids if ids.count(one) > 1), None):
        raise ValueError(f'the key "{twice}" is there twice; give each key an id of its own')
    return entries


# Keys by their entry, of a node that runs: its processes were forked from one that holds them.
_held: dict[str, EncryptionKey] = {}


def hold(entries: Sequence[str]) -> None:
    """Have this process, and all that are forked from it, use these keys as they are now.

    One that is started in another's place needs no file then. Raises ConfigurationError.
    """
    _held.update(zip(entries, keys_of(entries), strict=True))


def keys_of(entries: Sequence[str]) -> tuple[EncryptionKey, ...]:
    """As :func:`read_keys`, of a configuration that was checked. Raises ConfigurationError."""
    try:
        return tuple(_held.get(entry) or _read(entry) for entry in entries)
    except ValueError as error:  # changed since
        raise ConfigurationError(f"encryption_keys: {error}") from error


def read_keys(entries: Sequence[str]) -> tuple[EncryptionKey, ...]:
    """The keys that the configuration names. Raises ValueError, which says what is wrong, and never a key."""
    return tuple(map(_read, entries))


def _read(entry: str) -> EncryptionKey:
    found = _ENTRY.fullmatch(entry)
    if found is None:
        raise ValueError(
            "each is <id>=<path of a file> or <id>=env:<variable>, the id up to 32 letters, digits, dots and "
            f'dashes: "2026=/etc/zscp/keys/2026.key"; {_REMEDY}'
        )
    name, place = found.groups()
    if _ITSELF.fullmatch(place.removeprefix(_FROM_ENVIRONMENT)):  # not quoted: it would be in the log
        raise ValueError(
            f'"{name}" is followed by a key; write the path of a file with one. Use a new key: {_REMEDY}'
        )
    text = _of_environment(place) if place.startswith(_FROM_ENVIRONMENT) else _of_file(Path(place))
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        secret = b""
    if len(secret) != _BYTES:
        raise ValueError(f'the key "{name}" ({place}) is not {2 * _BYTES} hexadecimal digits; {_REMEDY}')
    return EncryptionKey(name, secret)


def _of_environment(place: str) -> str:
    name = place.removeprefix(_FROM_ENVIRONMENT)
    if name not in os.environ:
        raise ValueError(f"there is no {name} in the environment; set it to the key's hexadecimal digits")
    return os.environ[name].strip()


def _of_file(path: Path) -> str:
    """A key's file, which only its owner may read: whoever reads it can read all objects."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii", errors="replace").strip() if stat.S_ISREG(mode) else ""
    except OSError as error:
        raise ValueError(f'"{path}" cannot be read: {error.strerror}; {_REMEDY}') from error
    if mode & 0o077:
        raise ValueError(f'others than its owner may read "{path}"; chmod 600 {path}')
    return text
