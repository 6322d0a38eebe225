"""What a service manager is told, and the unit that makes one listen."""

from __future__ import annotations

import configparser
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from scp.config.settings import Settings
from scp.node import supervisor
from scp.node.manager import READY, ServiceManager
from scp.node.supervisor import Processes

UNIT = Path(__file__).parents[2] / "conf" / "zscp.service"


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(10)
        yield sock


def manager(sock: socket.socket, **more: str) -> ServiceManager:
    return ServiceManager({"NOTIFY_SOCKET": sock.getsockname(), **more})


@pytest.mark.quick
def test_a_line_a_datagram(listening: socket.socket) -> None:
    manager(listening).tell(READY)
    assert listening.recv(100) == b"READY=1"


@pytest.mark.quick
def test_an_abstract_address() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0zscp-test-{os.getpid()}")
        sock.settimeout(10)
        ServiceManager({"NOTIFY_SOCKET": f"@zscp-test-{os.getpid()}"}).tell(READY)
        assert sock.recv(100) == b"READY=1"


@pytest.mark.quick
def test_nobody_listens(tmp_path: Path) -> None:
    ServiceManager({}).tell(READY)
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "nothing")}).tell(READY)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("more", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_how_often(listening: socket.socket, more: dict[str, str], seconds: float | None) -> None:
    assert manager(listening, **more).alive_seconds == seconds


def test_while_processes_are_looked_after(listening: socket.socket) -> None:
    """Alive as long as no signal comes, also between two; then stopping, once."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    child = os.fork()
    if not child:
        processes = Processes(manager=manager(listening, WATCHDOG_USEC="100000"))
        processes.run(lambda: False)
        os._exit(0)
    try:
        told = [listening.recv(100) for _ in range(3)]
        os.kill(child, signal.SIGHUP)
        told += [listening.recv(100) for _ in range(3)]
        assert told == [b"WATCHDOG=1"] * 6
        os.kill(child, signal.SIGTERM)
        while (last := listening.recv(100)) == b"WATCHDOG=1":
            pass
        assert last == b"STOPPING=1"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.quick
def test_the_unit_fits_the_node() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(UNIT.read_text(encoding="utf-8"))
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert service["UMask"] == "0027"
    waits = Settings().limits.stop_seconds + supervisor._GRACE_SECONDS
    assert float(service["TimeoutStopSec"]) > waits
    assert {service[key] for key in ("NoNewPrivileges", "PrivateTmp", "ProtectHome")} == {"true"}
    assert service["ProtectSystem"] == "strict"
    assert service["ReadWritePaths"] == service["WorkingDirectory"] == "/var/lib/zscp"


@pytest.mark.quick
def test_the_unit_sets_no_key() -> None:
    """It would count over the file, in a cluster over bucket and server, and not for commands."""
    text = UNIT.read_text(encoding="utf-8")
    assert "ZSCP_" not in text
