"""Folders that survive a power cut, and folders that belong to a process while it lives."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

LOCK = "lock"
ASIDE = ".damaged"  # replaced files that were not sound, and files that could not be read


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make a file's content durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder, and every missing one above it, durably.

    One thread at a time: a folder that exists may be one that another thread has yet to sync.
    """
    missing = list(itertools.takewhile(lambda path: not path.is_dir(), (folder, *folder.parents)))
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def claim(parent: Path, prefix: str = "") -> tuple[Path, int]:
    """A new folder for this process below ``parent``, and the descriptor that locks it.

    Its name begins with ``prefix``.
    """
    folder = parent / f"{prefix}{os.getpid()}-{uuid.uuid4().hex[:8]}"
    parent.mkdir(parents=True, exist_ok=True)
    with locked(parent):  # else a recovery could take it for a dead process's folder
        folder.mkdir()
        descriptor = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return folder, descriptor


def folders_of_the_dead(parent: Path) -> Iterator[Path]:
    """The folders that dead processes left, each locked until the next one is asked for."""
    if not parent.is_dir():
        return
    with locked(parent):
        folders = sorted(path for path in parent.iterdir() if path.is_dir())
    for folder in folders:
        with contextlib.suppress(FileNotFoundError), locked(folder, wait=False) as alone:
            if alone:
                yield folder


@contextlib.contextmanager
def locked(folder: Path, wait: bool = True, name: str = LOCK) -> Iterator[bool]:
    """Hold a folder's lock, or another of its locks by name; yields whether the lock was obtained."""
    descriptor = os.open(folder / name, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)
