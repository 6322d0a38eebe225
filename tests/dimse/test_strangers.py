"""What speaks no DICOM is told of in one calm line that names the address: scans, browsers, TLS, garbage."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress
from typing import Any

import pytest
import structlog

from scp.config.settings import Settings
from scp.dimse.negotiation.strangers import handshake_fault
from scp.dimse.server import DimseServer

pytestmark = pytest.mark.quick


def hello() -> bytes:
    """A TLS ClientHello."""
    sent = ssl.MemoryBIO()
    context = ssl.create_default_context()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="node").do_handshake()
    return sent.read()


def message_of(data: bytes) -> list[dict[str, Any]]:
    """What a node logs about a peer that sends this."""
    tables = {"node": {"host": "127.0.0.1", "port": 0}, "limits": {"acse_seconds": 0.3}}
    chosen = Settings.model_validate(tables)
    server = DimseServer(None, lambda: chosen)  # type: ignore[arg-type]
    with structlog.testing.capture_logs() as events:
        address = server.start()
        with socket.create_connection(address, 10) as sock:
            sock.sendall(data)
            while sock.recv(1000):
                pass
        until = time.monotonic() + 10
        while not any(one["event"] == "association" for one in events) and time.monotonic() < until:
            time.sleep(0.01)
        server.stop()
    return [dict(one) for one in events]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"GET / HTTP/1.1\r\nHost: node\r\n\r\n", "an HTTP request: this port speaks DICOM"),
        (b"OPTIONS / HTTP/1.0\r\n\r\n", "an HTTP request: this port speaks DICOM"),
        (hello(), "a TLS handshake: this port speaks plain DICOM"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "an SSH client: this port speaks DICOM"),
        (b"\xff" * 3000, "there is no PDU of type 255"),
    ],
)
def test_one_calm_line(caplog: pytest.LogCaptureFixture, data: bytes, told: str) -> None:
    (warning,) = [one for one in message_of(data) if one["log_level"] != "info"]
    assert warning["log_level"] == "warning"
    assert warning["reason"] == told
    assert warning["peer"] == "127.0.0.1"
    assert "exc_info" not in warning
    assert not caplog.records  # nor do libraries say anything


@pytest.mark.parametrize("data", [b"", b"GET"])
def test_a_scan_that_sends_nothing_is_no_warning(data: bytes) -> None:
    assert {one["log_level"] for one in message_of(data)} == {"info"}


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "an HTTP request: this port speaks DICOM over TLS"),
        (b"\1\0\0\0\0\xd0" + bytes(200), "plain DICOM: this port speaks DICOM over TLS"),
        (b"\x16\3\1\0\5hello", "no TLS that is understood: UNEXPECTED_MESSAGE"),
        (b"\x16\3\1\xff\xff" + bytes(500), "no TLS that is understood: PACKET_LENGTH_TOO_LONG"),
        (b"\xff" * 500, "plain DICOM: this port speaks DICOM over TLS"),
        (b"", ""),
    ],
)
def test_on_a_secure_port(data: bytes, told: str) -> None:
    server, peer = socket.socketpair()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    peer.sendall(data)
    peer.shutdown(socket.SHUT_WR)
    with peer, context.wrap_socket(server, server_side=True, do_handshake_on_connect=False) as sock:
        with pytest.raises(OSError) as failed:  # noqa: PT011 - OpenSSL's
            sock.do_handshake()
        fault = handshake_fault(failed.value)
    assert fault.endswith(told)
    assert bool(fault) == bool(told)
