"""What the disk holds before each step of a process: all that is left of it, where it is killed there.

The process stands still before each step, with all its threads, and its folder is copied meanwhile. To have a
process die at each step instead takes one for each, which does all the steps before it once more.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from typing import Any

from scp.index.sql import SqlIndex

STOPPED = 9  # the exit status that stands for a death


def stand_still(*steps: tuple[Any, Iterable[str]]) -> None:
    """From now on this process stands still before it calls any of these functions, by what has them."""
    for where, names in steps:
        for name in names:
            setattr(where, name, _standing_still(getattr(where, name)))


def _standing_still(work: Callable[..., Any]) -> Callable[..., Any]:
    def step(*arguments: Any, **named: Any) -> Any:
        # To this thread: sent to the process, another one might take it, and this one go on until it has.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        return work(*arguments, **named)

    return step


def remember_synced(index: Path) -> None:
    """From now on ``synced``, in the folder of the process, has what the disk holds of the index for sure.

    The rest of its log is gone where the power fails.
    """
    sync, replace = SqlIndex.sync, os.replace  # before this process stands still at them
    folder, one_at_a_time = Path("synced"), threading.Lock()
    folder.mkdir(exist_ok=True)

    def remembering(self: SqlIndex) -> None:
        sync(self)
        with one_at_a_time:
            # Another thread may come to a step meanwhile: what is copied then has all of the one before.
            at = f"{time.monotonic_ns()}-"
            for file in index.parent.glob(f"{index.name}*"):
                shutil.copy(file, folder / f"{at}{file.name}")
            (folder / "next").write_text(at)
            replace(folder / "next", folder / "newest")

    SqlIndex.sync = remembering  # type: ignore[method-assign]


def cut_power(folder: Path, index: Path) -> None:
    """Put the index of a copy back to what was synced of it."""
    for file in (folder / index.parent).glob(f"{index.name}*"):
        file.unlink()
    at = (folder / "synced" / "newest").read_text()
    for file in (folder / "synced").glob(f"{at}*"):
        file.rename(folder / index.parent / file.name.removeprefix(at))


def state_of(folder: Path) -> str:
    """A digest of what a restart finds in a folder: names, contents, and which names are of one file.

    A step that only syncs changes none of it. What a restart makes of it need not be looked at again.
    """
    digest, files = hashlib.sha256(), dict[int, int]()
    for path in sorted(folder.rglob("*")):
        name, found = path.relative_to(folder), path.lstat()
        if name.parts[0] != "synced":
            content = path.read_bytes() if path.is_file() else b""
            told = (str(name), found.st_mode, files.setdefault(found.st_ino, len(files)), len(content))
            digest.update(repr(told).encode() + content)
    return digest.hexdigest()


def run_to_the_end(work: Callable[[], None], folder: Path) -> None:
    """Do ``work`` in a process of its own, in ``folder``; it ends without closing anything."""
    _, status = os.waitpid(_begun(work, folder), 0)
    assert status == 0, status


def copy_at_each_step(work: Callable[[], None], folder: Path, base: Path) -> None:
    """The same, and copies of ``folder`` are made in ``base``, named 1 and so on.

    For each a line is printed, with its name and a status: 9, and 0 for the last one, which is of the end.
    """
    child = _begun(work, folder)
    for number in count(1):
        _, status = os.waitpid(child, os.WUNTRACED)
        stopped = os.WIFSTOPPED(status)
        # Not shutil: what is on its way into the store is known by its hard link.
        subprocess.run(["cp", "-a", folder, base / str(number)], check=True)
        sys.stdout.write(f"{number} {STOPPED if stopped else os.waitstatus_to_exitcode(status)}\n")
        if not stopped:
            assert status == 0, status
            return
        os.kill(child, signal.SIGCONT)


def _begun(work: Callable[[], None], folder: Path) -> int:
    if child := os.fork():
        return child
    os.chdir(folder)
    work()
    os._exit(0)
