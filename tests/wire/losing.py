"""What a forked child does to an archive: objects come in and wait, an encoder works, and it ends.

Run as a program it has imported everything, and forks a child for each line that it is sent: a start takes
milliseconds, and an end by ``kill`` is one.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scp.background.doorbell import Doorbell
from scp.config.load import load
from scp.errors import OutOfResources
from scp.lifecycle.encoder import Encoder
from scp.model import Received
from scp.node.build import open_archive, take_up

_MR, _EXPLICIT = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1"


def _receive(archive: Any, folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        uids = (_MR, path.name, _EXPLICIT)
        archive.ingest(Received(*uids, path.read_bytes(), "A", "B", datetime.now(UTC)))


def _encode(archive: Any, most: int | None = None) -> None:
    encoder = Encoder(archive, Doorbell())
    while encoder.round() and (most is None or (most := most - 1) > 0):
        pass
    encoder.free()


def _act(archive: Any, step: str) -> None:
    """``receive <folder>``, ``encode``, ``try`` to encode, ``remove <file>``, ``advance``, ``kill``."""
    name, _, argument = step.partition(" ")
    if name == "receive":
        _receive(archive, Path(argument))
    elif name == "encode":
        _encode(archive)
    elif name == "try":
        with suppress(OutOfResources):  # as its loop does, until the process is ended
            _encode(archive)
    elif name == "remove":
        for end in ("", "-wal", "-shm"):
            Path(f"{argument}{end}").unlink(missing_ok=True)
    elif name == "advance":
        archive.pairing.advance_if_changed()
    elif name == "kill":
        os._exit(9)


def _live(config: str, steps: list[str]) -> None:
    settings = load(Path(config), {})
    archive = open_archive(settings, Doorbell(), repairs=True)
    archive.store.log._size = 1 << 19
    archive.store.log.prepare = lambda: None
    take_up(archive)
    for step in steps:
        _act(archive, step)
    archive.pairing.advance_if_changed()
    archive.close()


def _main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what is logged is not an answer
    for line in sys.stdin:
        child = os.fork()
        if not child:
            status = 1
            try:
                _live(**json.loads(line))
                status = 0
            except BaseException:  # noqa: BLE001 - the test shows it
                traceback.print_exc()
            finally:
                os._exit(status)
        answers.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        answers.flush()


if __name__ == "__main__":
    _main()
