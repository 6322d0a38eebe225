"""A node that is told to stop while it is at something slow: no object is to blame if it is killed then."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from scp.background.doorbell import Doorbell
from scp.background.loop import Loop
from scp.lifecycle.encoder import Encoder
from scp.node.tasks import Bells
from scp.objects.attempts import Attempts

from .conftest import NodeProcess, Starter
from .peers import EXPLICIT, MR_IMAGE, Scu, image, until

# Encodes for minutes, and has a second to end.
_SLOW = """
    import time
    from pathlib import Path
    from scp.archive import encode
    from scp.cli.main import main
    from scp.node import supervisor

    def slow(form, *given):
        if form in ("received", "zstd"):
            return encoded(form, *given)
        Path("begun").touch()
        time.sleep(600)

    encoded, encode.encoded, supervisor._GRACE_SECONDS = encode.encoded, slow, 1.0
    main()
"""


class SlowNode(NodeProcess):
    def command(self) -> list[str]:
        return [sys.executable, "-c", textwrap.dedent(_SLOW), "serve", "-c", str(self.config)]


@pytest.mark.parametrize(("backlog", "ends"), [("1GB", "stopped"), (0, "parent killed")])
def test_what_is_killed_as_it_takes_too_long_to_stop_is_no_suspect(
    tmp_path: Path, backlog: Any, ends: str
) -> None:
    """Twice would have been enough for a large, sound object to be refused for ever."""
    node = SlowNode(tmp_path, storage={"backlog": backlog}, node={"workers": 1})
    node.start()
    try:
        sending = threading.Thread(target=_send, args=(node,))
        sending.start()
        until((node.root / "begun").exists, "it is being encoded")
        node.kill(signal.SIGTERM if ends == "stopped" else signal.SIGKILL)
        sending.join()
        processes = node.root / "objects" / ".attempts" / "processes"
        until(lambda: not _alive(processes), "its processes have ended")
        attempts = Attempts(node.root / "objects")
        assert attempts.take_up(lambda _: "") == []
        assert attempts.suspects.all() == []
    finally:
        node.kill()


def _send(node: NodeProcess) -> None:
    with Scu(node.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
        try:
            scu.store(image())
        except Exception:  # noqa: BLE001 - the node ends meanwhile
            return


def _alive(processes: Path) -> bool:
    return any(Path(f"/proc/{one.name.split('-')[0]}").exists() for one in processes.glob("*-*"))


def test_an_encoder_that_is_to_stop_begins_no_other_object(
    start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = start({"bells": Bells()}, storage={"backlog": "1GB"})
    node.keep(*(image(instance=f"1.2.3.8.{number}", seed=number) for number in range(20)))
    encoder, encode, begun = Encoder(node.archive, Doorbell()), node.archive.encode, []

    def encodes(*given: Any) -> Any:
        begun.append(given)
        encoder.stop()
        return encode(*given)

    monkeypatch.setattr(node.archive, "encode", encodes)
    Loop(encoder).run()
    assert 1 <= len(begun) <= (os.cpu_count() or 1)
    assert node.archive.index.count_pending().instances == 20 - len(begun)
