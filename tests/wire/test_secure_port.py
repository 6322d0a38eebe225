"""A secure port beside the plain one: DCMTK and OpenSSL as peers, certificates of every kind, and reloads."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from certificates import Authority, Identity, client
from pydicom.dataset import Dataset

from bench import window
from scp.config.peers import Peer
from scp.dimse.scu.echo import echo
from scp.errors import DestinationUnreachable

from .configured import settings_of
from .conftest import NodeProcess, RunningNode, Starter
from .peers import IMPLICIT, STUDY_MOVE, VERIFICATION, as_file, dcmtk, image, storescp, until

pytestmark = pytest.mark.peer

CONTEXTS = [(VERIFICATION, IMPLICIT)]
ECHO: dict[str, int | str] = {"CommandField": 0x0030, "MessageID": 1, "AffectedSOPClassUID": VERIFICATION}
BOUND = {"aet": "BOUND", "host": "127.0.0.1", "port": 104, "certificate_name": "peer"}


@pytest.fixture(scope="module")
def both(start_shared: Starter, authority: Authority) -> Iterator[RunningNode]:
    """A node with a plain and a secure port; certificates are optional, and one peer has to show its own."""
    tls = authority.table(ca=authority.ca, port=0, clients="optional")
    node = start_shared(tls=tls, peer=[BOUND], limits={"acse_seconds": 1})
    yield node
    until(lambda: not node.node.server.associations.all(), "the association is gone")


@pytest.fixture(scope="module")
def strict(start_shared: Starter, authority: Authority) -> RunningNode:
    """A node with a plain and a secure port, where certificates are required."""
    return start_shared(tls=authority.table(ca=authority.ca, port=0))


def secure(node: RunningNode) -> tuple[str, int]:
    (port,) = [port for port in node.node.server.ports if port.secure]
    return port.address


# -- the profile -------------------------------------------------------------------------------------------


def s_client(node: RunningNode, *options: str, who: Identity | None = None) -> str:
    """What ``openssl s_client`` says."""
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command is not installed")
    shown = ["-cert", who.certificate, "-key", who.key] if who else []
    where = "{}:{}".format(*secure(node))
    command = ["openssl", "s_client", "-connect", where, "-brief", *shown, *options]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=subprocess.STDOUT, encoding="utf-8") as run:
        assert run.stdout is not None
        said = ""
        while (line := run.stdout.readline()) and "Verif" not in line:
            said += line
        said += run.communicate("", timeout=10)[0]
    return said


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"], "alert protocol version"),
        (["-tls1", "-cipher", "DEFAULT@SECLEVEL=0"], "alert protocol version"),
        (["-tls1_2", "-cipher", "AES128-SHA"], "alert handshake failure"),
        (["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA256"], "alert handshake failure"),
        (["-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"], "alert handshake failure"),
        (["-tls1_2", "-cipher", "ECDHE-RSA-CHACHA20-POLY1305"], "alert handshake failure"),
        (["-tls1_2", "-sigalgs", "RSA+SHA1", "-cipher", "DEFAULT@SECLEVEL=0"], "alert handshake failure"),
        (["-tls1_2"], "ECDHE-RSA-AES256-GCM-SHA384"),
        (["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], "ECDHE-RSA-AES128-GCM-SHA256"),
        (["-tls1_3"], "TLS_AES_256_GCM_SHA384"),
        ([], "TLSv1.3"),
    ],
)
def test_versions_and_suites(
    strict: RunningNode,
    authority: Authority,
    options: list[str],
    part: str,
) -> None:
    said = s_client(strict, *options, who=authority.peer)
    assert part in said
    assert ("CONNECTION ESTABLISHED" in said) == ("alert" not in part)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("who", ["nobody", "stranger", "expired"])
def test_no_certificate_that_counts(
    strict: RunningNode,
    authority: Authority,
    who: str,
    version: ssl.TLSVersion,
) -> None:
    """Nothing of DICOM is said, and one line says why."""
    expired = authority.issuer.signed("expired", lasts=timedelta(days=-1))
    shown = {"nobody": None, "stranger": authority.stranger, "expired": expired}[who]
    told = {
        "nobody": "showed no certificate",
        "stranger": "is not accepted: unable to get local issuer certificate",
        "expired": "is not accepted: certificate has expired",
    }
    with structlog.testing.capture_logs() as events:
        tls = client(authority, shown)
        tls.maximum_version = version
        with pytest.raises(OSError):  # noqa: PT011 - in TLS 1.3 it shows at the first read
            window.Scu(secure(strict), CONTEXTS, tls=tls)
        until(lambda: any(one["event"] == "association" for one in events), "it is logged")
    (line,) = [one for one in events if one["log_level"] != "info"]
    assert line["log_level"] == "warning"
    assert told[who] in line["reason"]


def test_no_renegotiation(strict: RunningNode, authority: Authority) -> None:
    """RFC 9325 3.5: in TLS 1.2 it lets a peer make the node work at will."""
    where = "{}:{}".format(*secure(strict))
    who = authority.peer
    command = ["openssl", "s_client", "-tls1_2", "-connect", where, "-cert", who.certificate, "-key", who.key]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=subprocess.STDOUT, encoding="utf-8") as run:
        assert run.stdout is not None
        said = ""
        while (line := run.stdout.readline()) and "Extended master secret" not in line:
            said += line
        said += run.communicate("R\n", timeout=10)[0]
    assert "Compression: NONE" in said
    assert "no renegotiation" in said


# -- two ports ---------------------------------------------------------------------------------------------


def test_each_port_speaks_one_thing(both: RunningNode, authority: Authority) -> None:
    assert both.address != secure(both)
    for address, tls, version in (
        (both.address, None, None),
        (secure(both), client(authority, None), "TLSv1.3"),
    ):
        with structlog.testing.capture_logs() as events:
            with window.Scu(address, CONTEXTS, tls=tls) as scu:
                scu.release()
            until(lambda: any(one["event"] == "association" for one in events), "it is logged")
        assert events[-1].get("tls") == version
    for address, tls in ((secure(both), None), (both.address, client(authority, None))):
        with pytest.raises(OSError):  # noqa: PT011 - of either side
            window.Scu(address, CONTEXTS, tls=tls)


@pytest.mark.parametrize(
    ("way", "who", "admitted"),
    [
        ("TLS", "peer", True),
        ("TLS", "wrong name", False),
        ("TLS", "nobody", False),
        ("plain", "nobody", False),
    ],
)
def test_an_ae_title_that_belongs_to_a_certificate(
    both: RunningNode,
    authority: Authority,
    way: str,
    who: str,
    admitted: bool,
) -> None:
    """It comes by TLS with this certificate, and never otherwise; other AE titles are not affected."""
    shown = {"peer": authority.peer, "wrong name": authority.node, "nobody": None}[who]
    options = ["+tls", shown.key, shown.certificate] if shown else ["+tla"] if way == "TLS" else []
    options += ["+cf", authority.ca] if way == "TLS" else []
    address = secure(both) if way == "TLS" else both.address
    for calling, expected in (("BOUND", admitted), ("OTHER", True)):
        done = dcmtk("echoscu", *options, "-aet", calling, "-aec", "ZSCP", *address, status=None)
        assert (done.returncode == 0) == expected, done.stderr
        assert ("Calling AE Title Not Recognized" in done.stderr) == (not expected)


@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])
def test_dcmtk_stores_over_tls(
    both: RunningNode,
    authority: Authority,
    tmp_path: Path,
    profile: str,
) -> None:
    """By each of its BCP 195 profiles; the object is the same as over the plain port."""
    sent = image(instance=f"1.2.3.{ord(profile[2])}")
    path = as_file(sent, tmp_path / "a.dcm")
    who = authority.peer
    tls = ("+tls", who.key, who.certificate, "+cf", authority.ca, profile)
    dcmtk("storescu", *tls, "-aet", "BOUND", "-aec", "ZSCP", "-xe", *secure(both), path)
    assert both.held(sent).received_size > 0


def test_who_stalls_in_the_handshake_takes_no_seat(start: Starter, authority: Authority) -> None:
    """A byte now and then is no more patience either: the handshake as a whole has limits.acse_seconds."""
    node = start(
        tls=authority.table(port=0),
        limits={"acse_seconds": 1, "associations": 1, "associations_by_address": 1},
    )
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)
    started = time.monotonic()
    with (
        socket.create_connection(secure(node), 10) as slow,
        socket.create_connection(secure(node), 10) as mute,
    ):
        slow.settimeout(0.1)
        for address, tls in ((secure(node), client(authority, None)), (node.address, None)):
            with window.Scu(address, CONTEXTS, tls=tls) as scu:
                scu.release()
            until(lambda: len(node.node.server.associations.all()) <= 2, "its seat is free")
        ended = False
        for at in range(len(hello)):
            try:
                slow.sendall(hello[at : at + 1])
                ended = slow.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                ended = True
            if ended:
                break
        assert ended
        assert time.monotonic() - started < 4
        mute.settimeout(5)
        assert mute.recv(1) == b""


# -- associations that zscp opens ----------------------------------------------------------------------------


def _moved(node: RunningNode, **peer: Any) -> int:
    node.reload(peer=[{"aet": "DEST", "host": "127.0.0.1", "tls": True, **peer}])
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", "1.2.3"
    with node.scu((STUDY_MOVE, [IMPLICIT])) as scu:
        return int(scu.move(STUDY_MOVE, query, "DEST").final.status)


@pytest.mark.parametrize(
    ("name", "host", "expected"),
    [
        (None, "127.0.0.1", 0),  # its address is in its certificate
        (None, "localhost", 0),
        ("node", "127.0.0.1", 0),
        ("other", "127.0.0.1", 0xA702),
    ],
)
def test_a_move_to_a_secure_storescp(
    start: Starter,
    authority: Authority,
    tmp_path: Path,
    name: str | None,
    host: str,
    expected: int,
) -> None:
    """It asks for a certificate itself; both sides check names and authority."""
    own = authority.peer
    tls = {"ca": authority.ca, "certificate": own.certificate, "key": own.key, "port": 0}
    node = start(tls=tls)
    node.keep(image())
    dest = authority.node
    options = ("+tls", dest.key, dest.certificate, "+cf", authority.ca)
    with storescp(tmp_path / "dest", *options) as port:
        assert _moved(node, port=port, host=host, certificate_name=name) == expected
    assert len(list((tmp_path / "dest").iterdir())) == (expected == 0)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("expired", "its certificate is not accepted: certificate has expired"),
        ("elsewhere", "IP address mismatch.*write a name in it as certificate_name"),
        ("requires ours", "the peer requires a certificate; set tls.certificate and tls.key"),
        ("plain", "does not agree on TLS"),
    ],
)
def test_why_a_secure_peer_is_not_reached(
    start: Starter,
    authority: Authority,
    kind: str,
    why: str,
) -> None:
    made = {
        "expired": authority.issuer.signed("gone", ("127.0.0.1",), timedelta(days=-1)),
        "elsewhere": authority.issuer.signed("elsewhere", ("10.0.0.1", "elsewhere")),
    }.get(kind, authority.node)
    asks = {"ca": authority.ca} if kind == "requires ours" else {}
    tls = {} if kind == "plain" else {"certificate": made.certificate, "key": made.key, **asks}
    other = start(tls=tls)
    settings = settings_of({"tls": {"ca": authority.ca}, "limits": {"acse_seconds": 2, "connect_seconds": 2}})
    with pytest.raises(DestinationUnreachable, match=why):
        echo(Peer(aet="ZSCP", host="127.0.0.1", port=other.address[1], tls=True), settings)


# -- reload ------------------------------------------------------------------------------------------------


def _serial(address: tuple[str, int], authority: Authority) -> Any:
    tls = client(authority, authority.peer)
    with socket.create_connection(address, 10) as sock, tls.wrap_socket(sock) as found:
        certificate = found.getpeercert()
        assert certificate is not None
        return certificate["serialNumber"]


def test_a_new_certificate_while_associations_go_on(start: Starter, authority: Authority) -> None:
    own = authority.issuer.signed("turning", ("127.0.0.1",))
    node = start(tls={"certificate": own.certificate, "key": own.key, "port": 0})
    first = _serial(secure(node), authority)
    with window.Scu(secure(node), CONTEXTS, tls=client(authority, None)) as scu:
        authority.issuer.signed("turning", ("127.0.0.1",))
        assert _serial(secure(node), authority) == first
        node.reload()
        assert _serial(secure(node), authority) != first
        scu.socket.sendall(window.message(1, dict(ECHO)))
        assert scu.response()["Status"] == 0
        scu.release()


def test_a_bad_file_at_a_reload_and_a_worker_that_dies(
    process: Callable[..., NodeProcess],
    authority: Authority,
) -> None:
    """All workers serve both ports, and go on with what was read, also one that is started later."""
    issuer = authority.issuer
    own = issuer.signed("serving", ("127.0.0.1",), timedelta(days=9))
    tls = {"certificate": own.certificate, "key": own.key, "port": 0}
    node = process(tls=tls, node={"workers": 2})
    node.start()
    (line,) = [event for event in node.events() if event["event"] == "listening"]
    assert line["speaks"] == ["plain DICOM", "DICOM over TLS"]
    address = ("127.0.0.1", int(line["tls_port"]))
    (warned,) = [event for event in node.events() if event["event"] == "certificate"]
    assert "expires in 8 days" in warned["reason"]
    Path(own.certificate).write_text("junk")
    node.process.send_signal(signal.SIGHUP)
    until(lambda: any("not reloaded" in e["event"] for e in node.events()), "it is refused")
    _kill_workers(node)
    for _ in range(6):
        _serial(address, authority)
        with window.Scu(node.address, CONTEXTS) as scu:
            scu.release()
    (line,) = [event for event in node.events() if "not reloaded" in event["event"]]
    assert own.certificate in line["reason"]
    assert node.kill(signal.SIGTERM) == 0


def _kill_workers(node: NodeProcess) -> None:
    """Both workers, which are the node's first children."""
    children = Path(f"/proc/{node.process.pid}/task/{node.process.pid}/children")
    before = children.read_text().split()
    for child in before[:2]:
        os.kill(int(child), signal.SIGKILL)
    until(lambda: sum("process ended" in e["event"] for e in node.events()) == 2, "they are gone")


def test_check_and_peers_tell_which_port_is_which(
    process: Callable[..., NodeProcess],
    authority: Authority,
) -> None:
    own = authority.issuer.signed("soon", lasts=timedelta(days=3))
    tls = {"certificate": own.certificate, "key": own.key, "ca": authority.ca, "port": 2762}
    node = process(tls=tls, peer=[BOUND, {**BOUND, "aet": "SENT", "tls": True, "certificate_name": "x"}])
    shown = re.sub(r"\s+", " ", node.here("check"))
    assert "127.0.0.1:0, plain DICOM" in shown
    assert "127.0.0.1:2762, DICOM over TLS, peers must show a certificate" in shown
    assert "CN=soon, until" in shown
    assert "note: tls.certificate: CN=soon" in shown
    assert "expires in 2 days" in shown
    rows = {row["aet"]: row for row in _json(node, "peers")}
    assert rows["BOUND"]["by"] == ["TLS as peer"]
    assert rows["all others"]["by"] == ["plain DICOM", "DICOM over TLS"]
    assert (rows["SENT"]["tls"], rows["BOUND"]["tls"]) == (True, False)


def _json(node: NodeProcess, *arguments: str) -> Any:
    return json.loads(node.here(*arguments, "--json"))
