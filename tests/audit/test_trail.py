"""Where messages go: a file of several processes, UDP, TLS; and collectors that are away, and come back."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import structlog
from audit_schema import checked
from waiting import until

from scp.audit import events, messages, trail
from scp.audit.actors import this_process
from scp.audit.events import AuditEvent
from scp.audit.trail import Trail, recording, trail_of
from scp.audit.transports import AuditFile
from scp.background.back_off import BackOff
from scp.config.link import link
from scp.config.settings import Settings


def settings(to: str, **audit: Any) -> Settings:
    chosen = Settings.model_validate({"audit": {"to": to, **audit}}, by_alias=True, by_name=False)
    return link(chosen)[0]


def event(text: str = "x") -> AuditEvent:
    return messages.alert(events.NODE_AUTHENTICATION, (this_process(),), messages.node_subject(text), "told")


def subjects(lines: list[bytes]) -> list[str]:
    """What the messages are about, after each was compared with the schema."""
    found = [checked(line).find("ParticipantObjectIdentification") for line in lines]
    return [one.get("ParticipantObjectID", "") for one in found if one is not None]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail, "_PAUSES", BackOff(0.02))


# -- a file --------------------------------------------------------------------------------------------------


@pytest.mark.quick
def test_a_line_is_a_message(tmp_path: Path) -> None:
    path = tmp_path / "audit.xml"
    with recording(settings(f"file://{path}")) as told:
        for number in range(3):
            told.record(event(str(number)))
    assert subjects(path.read_bytes().splitlines()) == ["0", "1", "2"]
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.quick
@pytest.mark.parametrize("created", [False, True], ids=["gone", "made by logrotate"])
def test_a_file_that_was_rotated_is_made_anew(tmp_path: Path, created: bool) -> None:
    path = tmp_path / "audit.xml"
    with recording(settings(f"file://{path}")) as told:
        told.record(event("before"))
        until(lambda: path.exists() and path.stat().st_size)
        path.rename(tmp_path / "audit.xml.1")
        if created:
            path.touch()
        told.record(event("after"))
    assert subjects((tmp_path / "audit.xml.1").read_bytes().splitlines()) == ["before"]
    assert subjects(path.read_bytes().splitlines()) == ["after"]


@pytest.mark.quick
def test_two_processes_share_a_file(tmp_path: Path) -> None:
    path, children = tmp_path / "audit.xml", []
    for name in "ab":
        child = os.fork()
        if not child:
            try:
                with recording(settings(f"file://{path}")) as told:
                    for number in range(300):
                        told.record(event(f"{name}{number}" + "y" * (number * 40)))
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    found = [one.rstrip("y") for one in subjects(path.read_bytes().splitlines())]
    for name in "ab":
        assert [one for one in found if one[0] == name] == [f"{name}{number}" for number in range(300)]


@pytest.mark.quick
def test_a_full_disk_tears_no_other_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of a line stays, alone in its line; the message follows whole."""
    path, write = tmp_path / "audit.xml", os.write
    torn: list[int] = []

    def tear(file: int, data: bytes) -> int:
        if b"second" in data and not torn:
            torn.append(file)
            return write(file, data[:40])
        return write(file, data)

    monkeypatch.setattr(os, "write", tear)
    with recording(settings(f"file://{path}")) as told:
        for name in ("first", "second", "third"):
            told.record(event(name))
    lines = path.read_bytes().splitlines()
    assert len(lines[1]) == 40
    assert subjects([lines[0], *lines[2:]]) == ["first", "second", "third"]


@pytest.mark.quick
@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_root_is_the_folders_owners(tmp_path: Path) -> None:
    """A command by sudo may be the first after a rotation, and the node must be able to append."""
    folder = tmp_path / "log"
    folder.mkdir()
    os.chown(folder, 65_534, 65_534)
    with recording(settings(f"file://{folder}/audit.xml")) as told:
        told.record(event())
    assert (folder / "audit.xml").stat().st_uid == 65_534


# -- UDP -----------------------------------------------------------------------------------------------------


@pytest.mark.quick
def test_a_datagram_is_a_message() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind(("127.0.0.1", 0))
        collector.settimeout(5)
        port = collector.getsockname()[1]
        with recording(settings(f"syslog+udp://127.0.0.1:{port}")) as told:
            told.record(event("10.0.0.7"))
        header, _, xml = collector.recv(65_536).partition(b"\xef\xbb\xbf")
    assert header.startswith(b"<84>1 ")
    assert subjects([xml]) == ["10.0.0.7"]


@pytest.mark.quick
def test_what_no_datagram_holds_does_not_stop_the_others(reached: Callable[[str], float]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind(("127.0.0.1", 0))
        collector.settimeout(5)
        with recording(settings(f"syslog+udp://127.0.0.1:{collector.getsockname()[1]}")) as told:
            told.record(event("x" * 70_000))
            told.record(event("10.0.0.7"))
        assert b"10.0.0.7" in collector.recv(65_536)
    assert reached("audit message") == 1


# -- TLS -----------------------------------------------------------------------------------------------------


class Collector:
    """A syslog server over TLS (RFC 5425): one connection at a time, messages by their octet counts."""

    def __init__(self, certificate: Path, port: int = 0) -> None:
        self.messages: list[bytes] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._listening = socket.create_server(("127.0.0.1", port))
        self.port = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listening.accept()
                with self._context.wrap_socket(plain, server_side=True) as connection:
                    self._open = [connection]
                    self._read(connection)
            except ssl.SSLError:
                continue
            except OSError:
                return

    def _read(self, connection: ssl.SSLSocket) -> None:
        stream = connection.makefile("rb")
        while digits := _digits(stream):
            self.messages.append(stream.read(int(digits)).partition(b"\xef\xbb\xbf")[2])

    def close(self) -> None:
        for one in (self._listening, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._listening.close()


def _digits(stream: Any) -> bytes:
    found = b""
    while (one := stream.read(1)) not in (b" ", b""):
        found += one
    return found


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command is not installed")
    path = tmp_path_factory.mktemp("audit") / "collector.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=collector"
    )
    command += f" -addext subjectAltName=IP:127.0.0.1 -keyout {path}.key -out {path}.crt"
    subprocess.run(command.split(), check=True, capture_output=True, timeout=60)
    path.write_bytes(Path(f"{path}.crt").read_bytes() + Path(f"{path}.key").read_bytes())
    return path


@pytest.fixture
def collectors(certificate: Path) -> Iterator[Callable[..., Collector]]:
    made: list[Collector] = []

    def make(port: int = 0) -> Collector:
        made.append(Collector(certificate, port))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_messages_are_counted_in_octets(collectors: Callable[..., Collector], certificate: Path) -> None:
    collector = collectors()
    with recording(settings(f"syslog+tls://127.0.0.1:{collector.port}", ca=str(certificate))) as told:
        for name in ("ä", "b", "c" * 40_000):
            told.record(event(name))
        until(lambda: len(collector.messages) == 3)
    assert subjects(collector.messages) == ["ä", "b", "c" * 40_000]


def test_a_collector_of_another_name_gets_nothing(
    collectors: Callable[..., Collector], certificate: Path
) -> None:
    """RFC 5425 5.2: its certificate must be of the host that the configuration names."""
    collector = collectors()
    told = trail_of(settings(f"syslog+tls://localhost:{collector.port}", ca=str(certificate)))
    assert isinstance(told, Trail)
    with structlog.testing.capture_logs() as logged:
        told.start()
        told.record(event())
        until(lambda: logged)
        told.close(0.2)
    assert "certificate" in logged[0]["reason"]
    assert logged[-1]["event"] == "audit messages lost"
    assert logged[-1]["lost"] == 1
    assert collector.messages == []


def test_a_certificate_that_cannot_be_used_holds_up_nothing_but_the_trail(
    collectors: Callable[..., Collector], certificate: Path, tmp_path: Path
) -> None:
    """A process that is started in another's place makes its trail anew; while a file is replaced, too."""
    collector, own = collectors(), tmp_path / "ca.pem"
    own.write_bytes(certificate.read_bytes())
    chosen = settings(f"syslog+tls://127.0.0.1:{collector.port}", ca=str(own))
    own.unlink()
    told = trail_of(chosen)
    assert isinstance(told, Trail)
    with structlog.testing.capture_logs() as logged:
        told.start()
        told.record(event("a"))
        until(lambda: logged)
        own.write_bytes(certificate.read_bytes())
        until(lambda: collector.messages)
        told.close()
    assert str(own) in logged[0]["reason"]
    assert subjects(collector.messages) == ["a"]


_LOST = b'csd-code="110133"'  # audit recording stopped


def test_messages_wait_for_a_collector_that_is_away(
    collectors: Callable[..., Collector], certificate: Path, reached: Callable[[str], float]
) -> None:
    first = collectors()
    told = trail_of(settings(f"syslog+tls://127.0.0.1:{first.port}", ca=str(certificate), queue=65_536))
    assert isinstance(told, Trail)
    told.start()
    with structlog.testing.capture_logs() as logged:
        told.record(event("a"))
        until(lambda: first.messages)
        first.close()
        began = time.perf_counter()
        for number in range(100):  # of 0.9 KB each: some 60 find room
            told.record(event(str(number)))
        assert time.perf_counter() - began < 0.5
        lost = reached("audit.queue")
        until(lambda: any(one["event"] == "audit trail waits" for one in logged))
        again = collectors(first.port)
        until(lambda: any(one["event"] == "audit trail goes on" for one in logged))
        told.close()
    until(lambda: any(_LOST in one for one in again.messages))  # it reads in a thread of its own
    assert lost > 0
    found = subjects(again.messages)
    kept = [one for one in found if one.isdigit()]
    assert kept == [str(number) for number in range(len(kept))]
    assert 30 < len(kept) < 100
    alerts = [one for one in again.messages if _LOST in one]
    assert len(alerts) == 1
    gone = [one["lost"] for one in logged if one["event"] == "audit trail goes on" and one["lost"]]
    assert gone == [100 - len(kept)], "told once, and all of them"


@pytest.mark.quick
def test_a_file_that_cannot_be_written_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "audit.xml"
    told = Trail(AuditFile(path), events.AuditSource("ZSCP"), 65_536)
    told.start()
    told.record(event("a"))
    time.sleep(0.05)
    path.parent.mkdir()
    until(path.exists)
    told.close()
    assert subjects(path.read_bytes().splitlines()) == ["a"]


@pytest.mark.quick
@pytest.mark.parametrize(
    ("to", "told"),
    [
        ("syslog://host", "is no place for an audit trail"),
        ("syslog+udp://host:0", "is no place"),
        ("syslog+udp://host:70000", "is no place"),
        ("file://relative", "in a folder that is there"),
        ("file:///nowhere/at/all.xml", "in a folder that is there"),
    ],
)
def test_a_place_that_is_none_stops_the_start(to: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        settings(to)


@pytest.mark.quick
def test_tls_needs_to_know_whom_to_believe() -> None:
    chosen = Settings.model_validate({"audit": {"to": "syslog+tls://[::1]"}}, by_alias=True, by_name=False)
    assert chosen.audit.collector == ("::1", 6514)
    assert [key for key, _ in link(chosen)[1]] == ["audit.to"]
    assert settings("syslog+udp://host").audit.collector == ("host", 514)
