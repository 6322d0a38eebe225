"""The composition root: the one place where the parts are built and joined."""

from __future__ import annotations

import threading

import structlog

from scp.archive import Archive
from scp.config import Settings
from scp.dimse.server import DimseServer
from scp.index.sql import SqlIndex
from scp.objects.local import LocalStore


def open_archive(settings: Settings) -> Archive:
    """The archive that the settings describe, its folders and index made where missing.

    Raises OutOfResources when the index cannot be opened.
    """
    settings.storage.path.mkdir(parents=True, exist_ok=True)
    store = LocalStore(settings.storage.path, settings.storage.reserve)
    index = SqlIndex.open(settings.index.url)
    return Archive(store, index, settings.policy, settings.storage.duplicates)


class Node:
    """A running node: an archive and its DIMSE server."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.archive = open_archive(settings)
        self.server = DimseServer(self.archive, lambda: self.settings)
        self._asked = threading.Event()

    def start(self) -> tuple[str, int]:
        """Recover what a crash left, then listen; returns host and port."""
        recovered = self.archive.recover()
        if recovered.recorded or recovered.damaged:
            found = {"objects": recovered.recorded, "damaged": recovered.damaged}
            structlog.get_logger("zscp").warning("recovered", **found)
        return self.server.start()

    def reload(self, settings: Settings) -> None:
        """Take over peers, policy, access and limits; what is under way finishes as it began."""
        kept = {"node": self.settings.node, "storage": self.settings.storage, "index": self.settings.index}
        self.settings = settings.model_copy(update=kept)
        self.archive.policy = tuple(self.settings.policy)
        self.server.apply_settings()
        structlog.get_logger("zscp").info("configuration reloaded", peers=len(settings.peer))

    def ask_to_stop(self) -> None:
        """Make :meth:`wait` stop the node; safe in a signal handler."""
        self._asked.set()

    def wait(self) -> None:
        """Serve until asked to stop."""
        self._asked.wait()
        self.stop()

    def stop(self) -> None:
        """Stop serving and let go of everything."""
        self.server.stop()
        self.archive.close()
