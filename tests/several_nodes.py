"""Several nodes for tests: one index and one store, and for each node a folder of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from objects import Shape, phantom

from scp.archive.archive import Archive
from scp.background.doorbell import Doorbell
from scp.config.link import link
from scp.config.settings import Settings
from scp.errors import OutOfResources
from scp.index.nodes import EXPIRES_SECONDS
from scp.lifecycle.encoder import Encoder
from scp.lifecycle.uploads import Uploader
from scp.model import Kept, Received
from scp.node import build, heartbeat
from scp.node.build import open_archive
from scp.node.heartbeat import Heartbeat
from scp.node.itself import itself
from scp.objects.trash import Trash


def settings_in(root: Path, **tables: Any) -> Settings:
    """A configuration that all nodes of a test share; ``tables`` go over it."""
    plain: dict[str, Any] = {
        "node": {"host": "127.0.0.1", "port": 0},
        "storage": {"url": f"file://{root}/objects", "reserve": 0},
        "index": {"url": f"sqlite:///{root}/index.db"},
        "lifecycle": {"workers": 0},
    }
    merged = tables | {key: {**table, **tables.get(key, {})} for key, table in plain.items()}
    return link(Settings.model_validate(merged, by_alias=True, by_name=False))[0]


class OneNode:
    """A node without processes: an archive with a landing log of its own, and tasks that a test turns."""

    def __init__(self, root: Path, name: str, **tables: Any) -> None:
        self.own = root / name
        self.settings = settings_in(root, **tables)
        with pytest.MonkeyPatch.context() as patch:
            for module in (build, heartbeat):
                patch.setattr(module, "own_folder", lambda _: self.own)
            self.archive: Archive = open_archive(self.settings, Doorbell(), repairs=True)
            self.heart = Heartbeat(self.archive, lambda: self.settings, f"start of {name}")
        self.id = itself(self.own).id
        self.encoder = Encoder(self.archive, Doorbell(), owner=name)
        # A node of a test ends as if it were killed: what it has in its landing log stays there.
        self.uploader = Uploader(self.archive, lambda: 0.0)

    def beat(self) -> None:
        self.heart.turn()

    def keep(self, received: Received) -> Kept:
        return self.archive.ingest(received)

    def key(self, received: Received) -> str:
        """The key under which the index has an object; empty if it has none."""
        found = self.archive.named(received.sop_instance_uid)
        assert len(found) <= 1
        return found[0].key if found else ""

    def content(self, received: Received) -> bytes:
        """What this node would send of an object, in the transfer syntax in which it came."""
        (held,) = self.archive.named(received.sop_instance_uid)
        found = self.archive.fetch(held, [received.transfer_syntax])
        return b"".join(bytes(chunk) for chunk in found.chunks)

    def close(self) -> None:
        self.encoder.close()
        self.uploader.close()
        self.archive.close()


@contextmanager
def nodes(root: Path, *names: str, **tables: Any) -> Iterator[list[OneNode]]:
    """Nodes that know of each other."""
    made = [OneNode(root, name, **tables) for name in names]
    try:
        know_each_other(made)
        yield made
    finally:
        for one in made:
            one.close()


def know_each_other(made: list[OneNode]) -> None:
    for one in [*made, *made]:  # the first did not hear of the last in its first beat
        one.beat()


def die(node: OneNode, others: OneNode) -> None:
    """As if a node had been silent for so long that others count it as dead."""
    silent(node, EXPIRES_SECONDS + 1)
    others.archive.elsewhere.cluster._until = 0


def silent(node: OneNode, seconds: float) -> None:
    """As if a node had said nothing for so long."""
    index = node.archive.index
    with index._writer.transaction() as connection:  # type: ignore[attr-defined]
        connection.exec_driver_sql(
            "UPDATE node SET seen = datetime('now', ?) WHERE id = ?",
            (f"-{seconds} seconds", node.id),
        )


def an_object(seed: int = 0, noise: float = 0.1, size: int = 16) -> Received:
    """A small object, which lands, received now; ``seed`` names it, ``noise`` changes its content.

    It has ``size`` rows and columns.
    """
    return replace(phantom(Shape(size, size, seed=seed, noise=noise)), received_at=datetime.now(UTC))


class Uploading:
    """While this is on, a node does what others ask it for."""

    def __init__(self, node: OneNode) -> None:
        self._node = node
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._over.wait(0.02):
            with suppress(OutOfResources):  # a loop tries again
                self._node.uploader.turn()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def trashed(node: OneNode) -> list[str]:
    """The SHA-256 of what was received, of each object in the trash."""
    trash = Trash({"": node.settings.storage.path})
    return sorted(one.received_sha256 for one in trash.entries() if one.state == "gone")
