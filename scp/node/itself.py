"""Which node this is: an id in its own folder, and a name for people.

Several nodes may share one configuration, one index and one store. What tells them apart is the id, which is
made once and kept where the landing log is. A folder that is copied has the id of the other one; ``place``
then differs.
"""

from __future__ import annotations

import os
import re
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path

import structlog

from scp.config.settings import Settings
from scp.errors import ConfigurationError
from scp.objects.folders import make_folder, sync_file, sync_folder
from scp.objects.mark import FOLDER

_ID = re.compile(r"[0-9a-f]{12}")
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_LONGEST = 64  # bytes of the file that are read


@dataclass(frozen=True, slots=True)
class Itself:
    """``id`` is empty where the folder cannot be written: then other nodes are not told of this one."""

    id: str = ""
    name: str = ""
    place: str = ""


def own_folder(settings: Settings) -> Path:
    """The folder on the node's own disk: landing log, unfinished files, cache, what processes work on."""
    return settings.storage.path


def itself(folder: Path) -> Itself:
    """The node whose own folder this is; its id is made where there is none. Raises ConfigurationError."""
    path = folder / FOLDER / "node"
    try:
        if not path.exists():
            _make(path)
        found = path.read_bytes()[:_LONGEST].decode("ascii", "replace").strip()
        state = path.stat()
    except OSError as error:
        log = structlog.get_logger("zscp")
        log.warning("the node has no id", path=str(path), reason=error.strerror or str(error))
        return Itself("", socket.gethostname())
    if not _ID.fullmatch(found):
        raise ConfigurationError(f"{path} is not what was written; remove it, and the node gets a new id")
    return Itself(found, socket.gethostname(), f"{_boot()}/{state.st_dev}/{state.st_ino}")


def _make(path: Path) -> None:
    """Write a new id durably; of several processes at once the first one's counts."""
    make_folder(path.parent)
    fresh = path.with_name(f"node.{uuid.uuid4().hex}")
    try:
        fresh.write_text(f"{uuid.uuid4().hex[:12]}\n", encoding="ascii")
        sync_file(fresh)
        try:
            os.link(fresh, path)
        except FileExistsError:
            return
        sync_folder(path.parent)
    finally:
        fresh.unlink(missing_ok=True)


def _boot() -> str:
    """Which run of which machine this is; empty where the system does not say."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""
