"""The configuration file as an admin edits it from afar: read, checked, and replaced as a whole.

A file is replaced only by a text that a node could run with, and only where it is still what the admin read.
Order: the new text is durable under another name → the file is kept under a further name → it is looked at
once more → the new one takes its place → the folder is durable.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from uuid import uuid4

from scp.config.load import ConfigurationFault, judge
from scp.config.settings import Settings
from scp.config.sources import override, read_text, tables_of
from scp.errors import ConfigurationError

MOST_BYTES = 1_000_000
# As many former files are kept beside the file; older ones are removed.
FORMER_FILES = 10
_FORMER = ".former"

SaveOutcome = Literal["saved", "unchanged", "invalid", "changed meanwhile", "not possible", "not tried"]


@dataclass(frozen=True, slots=True)
class ConfigurationText:
    """The file's text and its ``digest``, which whoever saves an edited one gives back.

    It may hold passwords. ``fixed`` says why it cannot be saved here; it is empty where it can.
    ``overridden`` are keys whose values come from the environment, and the variables.
    """

    path: str
    text: str
    digest: str
    fixed: str = ""
    overridden: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SavedText:
    """What became of an edited text, and why. ``digest`` is that of the file as it is now.

    ``former`` is where the file is kept that was replaced; empty where none was.
    """

    outcome: SaveOutcome
    reason: str = ""
    digest: str = ""
    former: str = ""
    faults: tuple[ConfigurationFault, ...] = ()


@dataclass(frozen=True, slots=True)
class ConfigurationFile:
    """The file that a node was started with, None for none, and the variables over it."""

    path: Path | None
    environ: Mapping[str, str]

    def read(self) -> ConfigurationText:
        """The file as it is now. Raises ConfigurationError where it cannot be read."""
        if self.path is None:
            return ConfigurationText("", "", digest_of(""), self.fixed(), self._overridden())
        text = read_text(self.path)
        return ConfigurationText(str(self.path), text, digest_of(text), self.fixed(), self._overridden())

    def _overridden(self) -> Mapping[str, str]:
        return override({}, self.environ, Settings)[0]

    def fixed(self) -> str:
        """Why the file cannot be saved by this process; empty where it can."""
        if self.path is None:
            return "the node was started without a configuration file; start it with --config FILE"
        real = self.path.resolve()
        if not real.is_file():
            return f"{self.path} is no file"
        if not os.access(real, os.W_OK):
            return f"{self.path} is read-only for this node; edit it where it comes from"
        if not os.access(real.parent, os.W_OK):
            return f"{real.parent}, the folder of {self.path}, is read-only for this node"
        return ""

    def save(self, text: str, digest: str) -> SavedText:
        """Replace the file by ``text``, if it still has the ``digest`` that was read.

        Its ends of lines become those of Unix.
        """
        text = with_unix_ends(text)
        if fixed := self.fixed():
            return SavedText("not possible", fixed)
        if len(text.encode(errors="surrogatepass")) > MOST_BYTES:
            return SavedText("not possible", f"the text has over {MOST_BYTES} bytes")
        judged = judge(text, self.environ)
        if judged.settings is None:
            return SavedText("invalid", "the text has faults", digest, faults=judged.faults)
        try:
            return self._replaced(text, digest)
        except (OSError, ConfigurationError) as error:
            told = f"{error.strerror or error}" if isinstance(error, OSError) else str(error)
            if isinstance(error, OSError) and error.errno == errno.EBUSY:  # a mount, as of containers
                told += "; the file is mounted by itself: mount its folder instead"
            return SavedText("not possible", f"{self.path} cannot be replaced: {told}")

    def _replaced(self, text: str, digest: str) -> SavedText:
        real = (self.path or Path()).resolve()
        with _alone(real.parent):
            before = read_text(real)
            if digest_of(before) != digest:
                return _changed(before)
            if before == text:
                return SavedText("unchanged", "the file has this text already", digest)
            if overridden := _overridden(before, text, self.environ):
                return SavedText("not possible", overridden, digest)
            fresh = _written(real, text)
            try:
                former = _kept(real)
                if digest_of(read_text(former)) != digest:  # somebody has just saved it with an editor
                    former.unlink()
                    return _changed(read_text(real))
                _put(fresh, real, former)
                _sync(real.parent)
            finally:
                fresh.unlink(missing_ok=True)
            _forget_old(real)
            return SavedText("saved", "", digest_of(text), str(former))


def with_unix_ends(text: str) -> str:
    """A text as it is saved: forms of browsers send other ends of lines."""
    return text.replace("\r\n", "\n")


def digest_of(text: str) -> str:
    """What tells a text from an edited one."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _changed(now: str) -> SavedText:
    told = "the file was changed after it was read; read it again, and edit that"
    return SavedText("changed meanwhile", told, digest_of(now))


def _overridden(before: str, after: str, environ: Mapping[str, str]) -> str:
    """Which edited key has no effect, as a variable has its value; empty where none."""
    try:
        plain, edited = tables_of(before), tables_of(after)
    except ValueError:  # the former text, as no other is judged usable: any usable one mends the file
        return ""
    for key, variable in override({}, environ, Settings)[0].items():
        section, _, name = key.partition(".")
        values = [_key(tables.get(section), name) for tables in (plain, edited)]
        if values[0] != values[1]:
            return f"{key} comes from the variable {variable}: a change has no effect here; set that"
    return ""


def _key(table: object, name: str) -> object:
    return table.get(name) if isinstance(table, Mapping) else None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other process saves a file in this folder by this module."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _written(real: Path, text: str) -> Path:
    """A new file beside the old one, durable, with the same mode and, if that may be, the same owner."""
    fresh, like = real.with_name(f".{real.name}.{uuid4().hex}"), real.stat()
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as out:
            with suppress(PermissionError):
                os.fchown(out.fileno(), like.st_uid, like.st_gid)
            os.fchmod(out.fileno(), like.st_mode & 0o7777)
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    return fresh


def _kept(real: Path) -> Path:
    """The file under a further name, which sorts by time."""
    former = real.with_name(f"{real.name}.{datetime.now(UTC):%Y%m%dT%H%M%S.%f}{_FORMER}")
    try:
        former.hardlink_to(real)
    except OSError:  # a file system without links
        shutil.copy2(real, former)
    return former


def _put(fresh: Path, real: Path, former: Path) -> None:
    """Let the new file take the place; where it cannot, no copy of the one that stays is left over."""
    try:
        fresh.replace(real)
    except OSError:
        former.unlink(missing_ok=True)
        raise


def _forget_old(real: Path) -> None:
    former = sorted(real.parent.glob(f"{real.name}.*{_FORMER}"))
    for path in former[:-FORMER_FILES]:
        path.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
