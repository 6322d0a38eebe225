"""TLS in the configuration: the profile, ports, whose certificates count, and when they expire."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import structlog
from certificates import Identity, Issuer

from scp.config.certificates import expiry_warnings, read_certificates
from scp.config.credentials import credentials_of
from scp.config.exposure import exposures
from scp.config.link import link
from scp.config.load import load, warnings
from scp.config.ports import ports
from scp.config.settings import Settings
from scp.config.tls import client_context, names_of, server_context
from scp.errors import ConfigurationError
from scp.node.node import reloaded
from scp.node.renewal import daily, warn_of_expiry

pytestmark = pytest.mark.quick

SUITES = {
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_AES_128_GCM_SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
}


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def own(issuer: Issuer) -> Identity:
    return issuer.signed("node", ("127.0.0.1",))


def settings(issuer: Issuer, own: Identity, peer: tuple[dict[str, Any], ...] = (), **tls: Any) -> Settings:
    files = {"certificate": own.certificate, "key": own.key, "ca": issuer.ca}
    return Settings.model_validate({"tls": {**files, **tls}, "peer": peer})


def test_both_sides_follow_the_profile(issuer: Issuer, own: Identity) -> None:
    """PS3.15 B.12: RFC 9325 3.1.1 (versions), 3.3 (compression), 3.5 (renegotiation), 4.2 (suites)."""
    files = own.certificate, own.key, issuer.ca
    for context in (server_context(*files), client_context(*files), client_context(*files, check_host=True)):
        assert {suite["name"] for suite in context.get_ciphers()} == SUITES
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert context.options & ssl.OP_NO_COMPRESSION
        assert context.options & ssl.OP_NO_RENEGOTIATION
        assert context.verify_mode == ssl.CERT_REQUIRED


def test_no_tickets(issuer: Issuer, own: Identity) -> None:
    """A ticket would admit by a certificate that counts no more."""
    server = server_context(own.certificate, own.key, issuer.ca)
    client = ssl.create_default_context(cafile=issuer.ca)  # one that would resume
    client.check_hostname = False
    client.load_cert_chain(own.certificate, own.key)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        client.maximum_version = client.minimum_version = version
        with _shaken(server, client) as first:
            session = first.session
            assert session is None or not session.has_ticket
            first.unwrap()  # a session that is broken off is resumed by nobody
        with _shaken(server, client, session) as second:
            assert not (second.session_reused and version == ssl.TLSVersion.TLSv1_3)
            second.unwrap()


def _shaken(
    server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> ssl.SSLSocket:
    """The client's end, after a byte from the server, which waits for the end."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with server.wrap_socket(ours, server_side=True) as serving:
            serving.send(b"x")
            with suppress(OSError):
                serving.unwrap()

    threading.Thread(target=serve, daemon=True).start()
    secure = client.wrap_socket(theirs, session=session)
    assert secure.recv(1) == b"x"
    return secure


def test_a_weak_key_is_refused_with_the_remedy(issuer: Issuer) -> None:
    weak = issuer.signed("weak", bits=1024)
    _, faults = link(settings(issuer, weak))
    assert [key for key, _ in faults] == ["tls.key"]
    assert "2048 bits" in faults[0][1]


def test_odd_names_in_a_certificate(issuer: Issuer, own: Identity) -> None:
    """A directory name among the alternative names is no text."""
    odd = issuer.signed("Odd", ("/elsewhere", "10.0.0.1", "odd.example.org"))
    server = server_context(odd.certificate, odd.key, "")
    with _shaken(server, client_context("", "", issuer.ca)) as secure:
        assert names_of(secure) == {"odd", "10.0.0.1", "odd.example.org"}


# -- ports -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        ({}, [("node.port", 11112, True)]),
        ({"port": 2762}, [("node.port", 11112, False), ("tls.port", 2762, True)]),
        ({"certificate": "", "key": ""}, [("node.port", 11112, False)]),
    ],
)
def test_what_each_port_speaks(issuer: Issuer, own: Identity, tls: dict[str, Any], expected: Any) -> None:
    found = ports(settings(issuer, own, **tls))
    assert [(port.key, port.number, port.secure) for port in found] == expected


@pytest.mark.parametrize(
    ("tls", "key"),
    [
        ({"port": 2762, "certificate": "", "key": ""}, "tls.port"),
        ({"port": 11112}, "tls.port"),
        ({"clients": "required", "ca": ""}, "tls.clients"),
        ({"clients": "optional", "ca": ""}, "tls.clients"),
        ({"clients": "optional", "port": 2762}, None),
        ({"clients": "none", "ca": ""}, None),
    ],
)
def test_keys_that_do_not_fit_together(
    issuer: Issuer, own: Identity, tls: dict[str, Any], key: str | None
) -> None:
    _, faults = link(settings(issuer, own, **tls))
    assert [key for key, _ in faults] == ([key] if key else [])


def test_the_port_from_the_environment(issuer: Issuer, own: Identity) -> None:
    files = {"ZSCP_TLS__CERTIFICATE": own.certificate, "ZSCP_TLS__KEY": own.key}
    assert load(None, {**files, "ZSCP_TLS__PORT": "2762"}).tls.port == 2762
    assert load(None, {**files, "ZSCP_TLS__PORT": ""}).tls.port is None
    for wrong in ("70000", "-1", "true", "high"):
        with pytest.raises(ConfigurationError, match=r"tls\.port.*2762"):
            load(None, {**files, "ZSCP_TLS__PORT": wrong})


@pytest.mark.parametrize(
    ("tls", "is_open"),
    [
        ({}, False),  # TLS alone, and certificates required
        ({"clients": "optional"}, True),
        ({"clients": "none"}, True),
        ({"port": 2762}, True),  # the plain port lets in whoever reaches it
    ],
)
def test_an_open_node_with_tls(issuer: Issuer, own: Identity, tls: dict[str, Any], is_open: bool) -> None:
    assert any("access.allow" in line for line in exposures(settings(issuer, own, **tls))) == is_open


@pytest.mark.parametrize("secure", [False, True])
def test_a_peer_whose_certificate_is_not_looked_at_when_zscp_connects(
    issuer: Issuer, own: Identity, secure: bool
) -> None:
    peer = ({"aet": "CT", "host": "10.0.0.1", "port": 104, "certificate_name": "ct", "tls": secure},)
    found = exposures(settings(issuer, own, peer))
    assert [line.startswith("peer[CT].tls: zscp connects to 10.0.0.1:104") for line in found] == [True] * (
        not secure
    )


def test_a_certificate_that_no_port_asks_for(issuer: Issuer, own: Identity) -> None:
    peer = ({"aet": "CT", "host": "10.0.0.1", "port": 104, "certificate_name": "ct"},)
    assert warnings(settings(issuer, own, peer)) == []
    (line,) = warnings(settings(issuer, own, peer, clients="none"))
    assert line.startswith("peer[0].certificate_name: CT can open no association")


# -- expiry ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "told"),
    [(31, ""), (29.5, "expires in 29 days"), (0.5, "expires in 0 days"), (-1, "expired on ")],
)
def test_certificates_that_expire(issuer: Issuer, days: float, told: str) -> None:
    own = issuer.signed("brief", lasts=timedelta(days=days))
    (found,) = read_certificates("tls.certificate", own.certificate)
    now = datetime.now(UTC)
    lines = expiry_warnings([found], now)
    assert [told in line and "tls.certificate: CN=brief" in line for line in lines] == [True] * bool(told)
    assert found.days_left(now) == pytest.approx(days, abs=0.01)


def test_the_authority_expires_too(issuer: Issuer, own: Identity) -> None:
    certificates = credentials_of(settings(issuer, own).tls).certificates
    assert [one.key for one in certificates] == ["tls.certificate", "tls.ca"]
    later = datetime.now(UTC) + timedelta(days=299)
    assert [line.partition(":")[0] for line in expiry_warnings(certificates, later)] == [
        "tls.certificate",
        "tls.ca",
    ]


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    (line,) = expiry_warnings(read_certificates("tls.ca", str(junk)), datetime.now(UTC))
    assert "cannot be read" in line


def test_the_log_warns_once_a_day(issuer: Issuer) -> None:
    chosen = settings(issuer, issuer.signed("soon", lasts=timedelta(days=3)))
    with structlog.testing.capture_logs() as events:
        warn_of_expiry(chosen)
        task = daily(lambda: chosen)
        assert 86_000 < task.turn() <= 86_400
        task._next -= 86_400
        task.turn()
    assert [one["event"] for one in events] == ["certificate"] * 2
    assert "CN=soon" in events[0]["reason"]


# -- reload ------------------------------------------------------------------------------------------------


def test_a_reload_reads_the_files_again(issuer: Issuer) -> None:
    before = settings(issuer, issuer.signed("turn", lasts=timedelta(days=3)))
    first = credentials_of(before.tls)
    issuer.signed("turn")
    assert credentials_of(before.tls) is first  # not by itself
    after = reloaded(before, before)
    assert credentials_of(after.tls) is not first
    (own, _) = credentials_of(after.tls).certificates
    assert (own.days_left(datetime.now(UTC)) or 0) > 200


def test_a_bad_file_changes_nothing(issuer: Issuer, tmp_path: Path) -> None:
    own = issuer.signed("kept")
    before = settings(issuer, own)
    first = credentials_of(before.tls)
    Path(own.certificate).write_text("junk")
    with structlog.testing.capture_logs() as events:
        assert reloaded(before, before).tls == before.tls
    assert credentials_of(before.tls) is first
    (line,) = events
    assert (line["event"], line["log_level"]) == ("certificates not reloaded", "error")
    assert own.certificate in line["reason"]


def test_a_file_that_goes_away_while_it_is_read_changes_nothing(
    issuer: Issuer, own: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even the process that starts all others ends by it."""
    before = settings(issuer, own)
    first = credentials_of(before.tls)
    monkeypatch.setattr(
        ssl.SSLContext, "load_verify_locations", Mock(side_effect=FileNotFoundError(2, "gone"))
    )
    with structlog.testing.capture_logs() as events:
        assert reloaded(before, before).tls == before.tls
    assert credentials_of(before.tls) is first
    assert [one["event"] for one in events] == ["certificates not reloaded"]


def test_a_reload_changes_no_port(issuer: Issuer, own: Identity) -> None:
    plain, one = Settings(), settings(issuer, own)
    two = settings(issuer, own, port=2762, clients="optional")
    for before, after in ((plain, one), (plain, two), (one, plain), (one, two), (two, one), (two, plain)):
        assert ports(reloaded(before, after)) == ports(before)
    assert reloaded(one, two).tls.clients == "optional"
