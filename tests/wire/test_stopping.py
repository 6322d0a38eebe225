"""A node that is told to stop while it is at something slow: no object is to blame if it is killed then."""

from __future__ import annotations

import os
import signal
import socket
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scp.background.doorbell import Doorbell
from scp.background.loop import Loop
from scp.lifecycle.encoder import Encoder
from scp.node.tasks import Bells
from scp.objects.attempts import Attempts

from .conftest import NodeProcess, Starter
from .peers import (
    EXPLICIT,
    MR_IMAGE,
    STUDY_GET,
    STUDY_MOVE,
    VERIFICATION,
    Scu,
    Sink,
    identifier,
    image,
    until,
)

RETRIEVES = [(uid, [EXPLICIT]) for uid in (STUDY_MOVE, STUDY_GET, MR_IMAGE)]
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

    encoded, encode.encoded, supervisor._GRACE_SECONDS = encode.encoded, slow, 0.0
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
    limits = {"stop_seconds": 1.0}
    node = SlowNode(tmp_path, storage={"backlog": backlog}, node={"workers": 1}, limits=limits)
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


COUNT = 40


@pytest.mark.parametrize("way", ["move", "get"])
@pytest.mark.parametrize("sent", [0, 10])
def test_a_retrieve_of_a_stopping_node_ends_with_a_final_response(
    start: Starter, way: str, sent: int
) -> None:
    """PS3.4 C.4.2.1.5, C.4.3.1.4: what was not begun has failed, with its UIDs; no dataset is cut off."""
    node = start()
    node.keep(*(image(instance=f"1.2.3.8.{number}", seed=number) for number in range(COUNT)))
    answered: list[int] = []
    stopping = threading.Thread(target=node.node.stop)

    def status(_: Any) -> int:
        answered.append(1)
        if len(answered) == max(sent, 1):
            stopping.start()
            until(lambda: all(one.stopping for one in node.node.server.associations.all()), "it is stopping")
        return 0 if sent else 0xA700

    with Sink(status=status) as sink, node.scu(*RETRIEVES, roles=[MR_IMAGE]) as scu:
        node.peer("SINK", sink.port)
        wanted = identifier("STUDY", StudyInstanceUID="1.2.3")
        if way == "move":
            done = scu.move(STUDY_MOVE, wanted, "SINK")
        else:
            done = scu.get(STUDY_GET, wanted, status=status)
    stopping.join()
    remaining, completed, failed, warning = done.final.counts
    assert done.final.status == (0xB000 if sent else 0xA702)
    assert remaining is None
    assert (completed or 0) + (failed or 0) + (warning or 0) == COUNT
    assert sent <= (completed or 0) < COUNT if sent else completed == 0
    assert done.final.comment == "the node is stopping"
    assert done.final.identifier is not None
    assert len(done.final.identifier.FailedSOPInstanceUIDList) == failed


def test_a_stopping_node_refuses_what_comes(start: Starter) -> None:
    """And ends by itself when its peer goes on sending: what was in flight is answered."""
    node = start(limits={"stop_seconds": 3})
    with node.scu((MR_IMAGE, [EXPLICIT])) as scu:
        node.node.server.associations.all()[0]._stopping = True  # as while another request is served
        answer = scu.store(image())
    assert (answer.status, answer.comment) == (0xA700, "the node is stopping")
    assert node.archive.index.counts().instances == 0


def test_a_service_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", listening.getsockname())
        node = NodeProcess(tmp_path, node={"workers": 1}, lifecycle={"workers": 0})
        node.start()
        try:
            assert listening.recv(100) == b"READY=1"
            with Scu(node.address, [(VERIFICATION, ["1.2.840.10008.1.2"])]) as scu:
                assert scu.echo() == 0
            assert node.kill(signal.SIGTERM) == 0
            assert listening.recv(100) == b"STOPPING=1"
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


def test_a_node_that_stops_refuses_connections_while_it_ends_what_it_has(
    process: Callable[..., NodeProcess],
) -> None:
    """Who is refused tries again, or a load balancer does elsewhere; a connection that nobody takes hangs."""
    node = process(node={"workers": 1})
    node.start()
    objects = [image(instance=f"1.2.3.8.{number}", seed=number) for number in range(2)]
    with Scu(node.address, RETRIEVES, roles=[MR_IMAGE]) as scu:
        assert [scu.store(one).status for one in objects] == [0, 0]
    refused: list[str] = []

    def status(_: Any) -> int:
        """What answers the first object does so when the node stops, and has refused a connection."""
        if not refused:
            node.process.send_signal(signal.SIGTERM)
            until(lambda: _refuses(node.address), "connections are refused")
            refused.append("while the retrieve is under way")
        return 0

    with Scu(node.address, RETRIEVES, roles=[MR_IMAGE]) as scu:
        done = scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID="1.2.3"), status=status)
    assert refused
    assert done.final.status in (0, 0xB000)
    assert node.process.wait(30) == 0


def _refuses(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, 1).close()
    except ConnectionRefusedError:
        return True
    return False
