"""1,000 clients that send or take a byte now and then, on the page's port: others are served meanwhile."""

from __future__ import annotations

import http.client
import random
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.processes import descendants
from scp.config.http import digest_of

from .conftest import ExecutedNode
from .peers import EXPLICIT, SECONDARY_CAPTURE, Scu, Sent, free_port, image, until

pytestmark = [pytest.mark.dicomweb, pytest.mark.slow]

CLIENTS, ADDRESSES, AGAIN = 1000, 20, 50
# What the process that serves them may take: 128 connections, as many that are not secured yet, twice, and
# what it has open besides; and the megabyte of an answer that waits for each of those that are slow.
MOST_DESCRIPTORS, MOST_MEMORY = 600, 400 << 20
STUDY, SIDE = "1.2.3.77", 1024
SECONDS = 60.0


class SlowClients:
    """Clients from 20 addresses, a quarter each: silent, slow with a head, with a body, and with an answer.

    Those whose connections were closed connect again, some at a time.
    """

    def __init__(self, port: int, token: str) -> None:
        authorized = f"Host: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        self._openings = (
            b"",
            b"GET /dicom-web/studies HTTP/1.1\r\nX-Slow: ",
            f"POST /dicom-web/studies HTTP/1.1\r\n{authorized}Content-Type: application/dicom\r\n"
            "Content-Length: 100000000\r\n\r\n".encode(),
            f"GET /dicom-web/studies/{STUDY} HTTP/1.1\r\n{authorized}\r\n".encode(),
        )
        self._port, self._ended, self.turns, self.again = port, threading.Event(), 0, 0
        self._sockets = [self._connected(number) for number in range(CLIENTS)]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        """Close all."""
        self._ended.set()
        self._thread.join()
        for one in self._sockets:
            one.close()

    def _connected(self, number: int) -> socket.socket:
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.bind((f"127.0.1.{1 + number % ADDRESSES}", 0))
        one.settimeout(SECONDS)
        with suppress(OSError):
            one.connect(("127.0.0.1", self._port))
            one.sendall(self._openings[number % 4])
        one.setblocking(False)
        return one

    def _run(self) -> None:
        while not self._ended.is_set():
            closed = [at for at, one in enumerate(self._sockets) if not self._goes_on(at, one)]
            for number in random.sample(closed, min(len(closed), AGAIN)):
                self._sockets[number].close()
                self._sockets[number] = self._connected(number)
                self.again += 1
            self.turns += 1
            self._ended.wait(0.2)

    @staticmethod
    def _goes_on(number: int, one: socket.socket) -> bool:
        """Send or take a byte; whether the connection is there."""
        try:
            if number % 4 in (1, 2):
                one.send(b"x")
            return one.recv(1) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False


class Workstation:
    """One that asks for frames, from an address of its own."""

    def __init__(self, port: int, token: str, sent: Sent) -> None:
        self._port, self._sent = port, sent
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/octet-stream"}
        self._pixels = bytes(sent.dataset.PixelData)

    def gets_a_frame(self) -> float:
        """Ask for it by a connection of its own; the seconds that it took."""
        begun = time.monotonic()
        source = ("127.0.0.9", 0)
        connection = http.client.HTTPConnection("127.0.0.1", self._port, SECONDS, source_address=source)
        series = str(self._sent.dataset.SeriesInstanceUID)
        path = f"/dicom-web/studies/{STUDY}/series/{series}/instances/{self._sent.instance}/frames/1"
        connection.request("GET", path, headers=self._headers)
        answer = connection.getresponse()
        assert (answer.status, answer.read() == self._pixels) == (200, True)
        connection.close()
        return time.monotonic() - begun


class Watched:
    """The most that the node's processes had open, each, and the most memory of one."""

    def __init__(self, pid: int) -> None:
        self.descriptors, self.memory = 0, 0
        self._pids = descendants(pid)

    def look(self) -> None:
        for pid in self._pids:
            with suppress(OSError):
                self.descriptors = max(self.descriptors, len(list(Path(f"/proc/{pid}/fd").iterdir())))
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                self.memory = max(self.memory, pages * 4096)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[tuple[ExecutedNode, int, dict[str, str]]]:
    port, tokens = free_port(), {name: secrets.token_urlsafe() for name in ("slow", "workstation")}
    may = ["find", "get", "store"]
    tables: dict[str, Any] = {
        "http.token": [
            {"name": name, "digest": digest_of(token), "may": may} for name, token in tokens.items()
        ]
    }
    node = ExecutedNode(tmp_path, http={"port": port, "page": "on"}, access={"allow": "any"}, **tables)
    node.start()
    yield node, port, tokens
    node.kill()


def images() -> list[Sent]:
    """A study of 16 MB, more than the buffers of a connection take."""
    chance = np.random.default_rng(77)
    noise = [chance.integers(0, 4096, (SIDE, SIDE), "<u2") for _ in range(8)]
    size: dict[str, Any] = {"Rows": SIDE, "Columns": SIDE, "Modality": "OT"}
    return [
        image(sop_class=SECONDARY_CAPTURE, study=STUDY, **size, PixelData=each.tobytes()) for each in noise
    ]


def test_others_are_served_beside_1000_slow_clients(
    serving: tuple[ExecutedNode, int, dict[str, str]],
) -> None:
    node, port, tokens = serving
    sent = images()
    with Scu(node.address, [(SECONDARY_CAPTURE, [EXPLICIT])]) as scu:
        assert {scu.store(one).status for one in sent} == {0}
    workstation = Workstation(port, tokens["workstation"], sent[0])
    until(lambda: _is_ready(port), "the node answers by HTTP")
    alone = [workstation.gets_a_frame() for _ in range(10)]
    assert node.process is not None
    watched = Watched(node.process.pid)
    slow = SlowClients(port, tokens["slow"])
    try:
        beside = []
        while len(beside) < 20 or slow.turns < 5:
            beside.append(workstation.gets_a_frame())
            watched.look()
            time.sleep(0.1)
        assert slow.again > 0, "the node bounds none of them"
    finally:
        slow.end()
    told = (
        f"a frame took {_told(alone)} alone, {_told(beside)} beside {slow.again} that connected again in "
        f"{slow.turns} turns; {watched.descriptors} descriptors, {watched.memory >> 20} MB"
    )
    assert watched.descriptors < MOST_DESCRIPTORS, told
    assert watched.memory < MOST_MEMORY, told
    workstation.gets_a_frame()


def _told(seconds: list[float]) -> str:
    return f"{sorted(seconds)[len(seconds) // 2] * 1000:.0f} ms (at most {max(seconds) * 1000:.0f})"


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, 20)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
