"""DICOM over TLS (PS3.15 B.12): DCMTK, pynetdicom and raw sockets against a node with certificates."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority, client

from bench import window
from scp.config.load import load
from scp.config.peers import Peer
from scp.config.settings import Settings
from scp.dimse.scu.echo import echo
from scp.errors import ConfigurationError, DestinationUnreachable

from .conftest import RunningNode, Starter
from .peers import (
    EXPLICIT,
    IMPLICIT,
    MR_IMAGE,
    STUDY_MOVE,
    VERIFICATION,
    as_file,
    dcmtk,
    image,
    until,
)

pytestmark = pytest.mark.peer

CONTEXTS = [(MR_IMAGE, EXPLICIT), (VERIFICATION, IMPLICIT)]


@pytest.fixture
def node(start: Starter, authority: Authority) -> Iterator[RunningNode]:
    """A node that takes only peers whose certificate its authority signed."""
    node = start(tls=authority.table(ca=authority.ca), limits={"acse_seconds": 5})
    yield node
    until(lambda: not node.node.server.associations.all(), "the association is gone")


def objects(count: int, rows: int = 8) -> list[window.Obj]:
    sent = [image(instance=f"1.2.3.1.{n}", seed=n, rows=rows) for n in range(1, count + 1)]
    return [window.Obj(one.sop_class, one.instance, one.syntax, one.data) for one in sent]


@pytest.mark.parametrize("asked", [1, 8])
def test_stores_over_tls(node: RunningNode, authority: Authority, asked: int) -> None:
    sent = objects(12, rows=300)
    with window.Scu(node.address, CONTEXTS, window=asked, tls=client(authority, authority.peer)) as scu:
        assert scu.store(sent) == [0] * len(sent)
        scu.release()
    for one in sent:
        node.archive.verify(node.archive.index.newest(one.instance), deep=True)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_stream_in_small_records(node: RunningNode, authority: Authority, size: int) -> None:
    sent = objects(2)
    with window.Scu(node.address, CONTEXTS, window=2, tls=client(authority, authority.peer)) as scu:
        data = b"".join(scu.prepared(sent))
        for at in range(0, len(data), size):
            scu.socket.sendall(data[at : at + size])
        assert {scu.response()["Status"] for _ in sent} == {0}
        scu.release()


@pytest.mark.parametrize(("name", "admitted"), [("PEER", True), ("ct1", False)])
def test_an_ae_title_belongs_to_a_certificate(
    node: RunningNode, authority: Authority, name: str, admitted: bool
) -> None:
    """By its name; also where this node opens the association."""
    host, port = node.address
    node.reload(peer=[{"aet": "WINDOW", "host": host, "port": port, "certificate_name": name}])
    tls = client(authority, authority.peer)
    if admitted:
        with window.Scu(node.address, CONTEXTS, tls=tls) as scu:
            scu.release()
    else:
        with pytest.raises(ConnectionError):
            window.Scu(node.address, CONTEXTS, tls=tls)


@pytest.mark.parametrize(("name", "answers"), [("node", True), ("other", False)])
def test_the_certificate_of_a_destination_has_its_name(
    node: RunningNode, authority: Authority, name: str, answers: bool
) -> None:
    host, port = node.address
    peer = {"aet": "ZSCP", "host": host, "port": port, "tls": True, "certificate_name": name}
    tables = {"tls": authority.table(ca=authority.ca), "peer": [peer]}
    settings = Settings.model_validate(tables, by_alias=True, by_name=False)
    if answers:
        echo(settings.peer[0], settings)
    else:
        with pytest.raises(DestinationUnreachable, match=r"TLS: its certificate is of .*, node, not other"):
            echo(settings.peer[0], settings)


@pytest.mark.parametrize("who", ["nobody", "stranger", "no TLS"])
def test_who_has_no_certificate_of_the_authority(node: RunningNode, authority: Authority, who: str) -> None:
    """Nothing of DICOM is said to them, and others are served."""
    tls = None if who == "no TLS" else client(authority, None if who == "nobody" else authority.stranger)
    with pytest.raises((ConnectionError, ssl.SSLError)):
        window.Scu(node.address, CONTEXTS, tls=tls)
    with window.Scu(node.address, CONTEXTS, tls=client(authority, authority.peer)) as scu:
        scu.release()


def test_echo_over_tls(node: RunningNode, authority: Authority) -> None:
    host, port = node.address
    own = {"ca": authority.ca, "certificate": authority.peer.certificate, "key": authority.peer.key}
    settings = Settings.model_validate({"tls": own})
    echo(Peer(aet="ZSCP", host=host, port=port, tls=True), settings)
    with pytest.raises(DestinationUnreachable, match="does not answer"):
        echo(Peer(aet="ZSCP", host=host, port=port), settings)


def test_who_says_nothing_holds_up_nobody(start: Starter, authority: Authority) -> None:
    """The handshake is not in the accept loop, and has its time."""
    node = start(tls=authority.table(), limits={"acse_seconds": 1})
    with socket.create_connection(node.address, 10) as silent:
        with window.Scu(node.address, CONTEXTS, tls=client(authority, None)) as scu:
            scu.release()
        silent.settimeout(10)
        assert silent.recv(1) == b""


def test_abort_and_a_lost_connection(node: RunningNode, authority: Authority) -> None:
    (sent,) = objects(1, rows=400)
    for end in (window.ABORT, b""):
        scu = window.Scu(node.address, CONTEXTS, window=4, tls=client(authority, authority.peer))
        data = next(scu.prepared([sent]))
        scu.socket.sendall(data[:-100] + end if not end else data + end)
        scu.socket.close()
        until(lambda: not node.node.server.associations.all(), "the association is gone")


def test_dcmtk_without_a_certificate(start: Starter, authority: Authority, tmp_path: Path) -> None:
    """Where no ca is set, anyone may connect, over TLS."""
    node = start(tls=authority.table())
    sent = image(rows=300)
    path = as_file(sent, tmp_path / "a.dcm")
    host, port = node.address
    done = dcmtk("storescu", "+tla", "-ic", "-aec", "ZSCP", "-xe", host, port, path, status=None)
    if "unknown option" in done.stdout + done.stderr:
        pytest.skip("DCMTK was built without TLS")
    assert done.returncode == 0, done.stderr
    assert node.held(sent).received_size > 0
    assert dcmtk("storescu", "-aec", "ZSCP", host, port, path, status=None).returncode != 0


def test_dcmtk_with_a_certificate(node: RunningNode, authority: Authority, tmp_path: Path) -> None:
    host, port = node.address
    who = authority.peer
    tls = ("+tls", who.key, who.certificate, "+cf", authority.ca)
    path = as_file(image(), tmp_path / "a.dcm")
    done = dcmtk("storescu", *tls, "-aec", "ZSCP", "-xe", host, port, path, status=None)
    if "unknown option" in done.stdout + done.stderr:
        pytest.skip("DCMTK was built without TLS")
    assert done.returncode == 0, done.stderr
    assert len(node.files()) == 1


def test_move_over_tls(node: RunningNode, start: Starter, authority: Authority) -> None:
    """From one node to another, each with its certificate."""
    sent = [image(instance=f"1.2.3.1.{n}", seed=n, rows=300) for n in range(1, 7)]
    source = start(tls={"ca": authority.ca, **authority.table()}, node={"aet": "SOURCE"})
    for one in sent:
        held = window.Obj(one.sop_class, one.instance, one.syntax, one.data)
        with window.Scu(
            source.address, CONTEXTS, called="SOURCE", tls=client(authority, authority.peer)
        ) as scu:
            assert scu.store([held]) == [0]
    for tls, expected in ((True, 0), (False, 0xA702)):
        source.peer("ZSCP", node.address[1], tls=tls)
        assert _moved(source, authority) == expected
    assert len(node.files()) == len(sent)


def _moved(source: RunningNode, authority: Authority) -> int:
    query = b"\x08\0\x52\0CS\x06\0STUDY \x20\0\x0d\0UI\x06\x001.2.3\0"
    contexts = [(STUDY_MOVE, EXPLICIT)]
    with window.Scu(source.address, contexts, called="SOURCE", tls=client(authority, authority.peer)) as scu:
        request = {"CommandField": 0x0021, "MessageID": 1, "AffectedSOPClassUID": STUDY_MOVE, "Priority": 0}
        scu.socket.sendall(window.message(1, {**request, "MoveDestination": "ZSCP"}, query))
        while (status := scu.response()["Status"]) == 0xFF00:
            pass
        scu.release()
    assert isinstance(status, int)
    return status


def test_a_destination_that_the_authority_did_not_sign(start: Starter, authority: Authority) -> None:
    stranger = authority.stranger
    other = start(tls={"certificate": stranger.certificate, "key": stranger.key})
    source = start(tls=authority.table(ca=authority.ca), node={"aet": "SOURCE"})
    (one,) = objects(1)
    with window.Scu(source.address, CONTEXTS, called="SOURCE", tls=client(authority, authority.peer)) as scu:
        assert scu.store([one]) == [0]
    source.peer("ZSCP", other.address[1], tls=True)
    assert _moved(source, authority) == 0xA702
    assert other.files() == []


# -- configuration -----------------------------------------------------------------------------------------


def told(tmp_path: Path, text: str) -> str:
    path = tmp_path / "zscp.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load(path, {})
    return str(caught.value).partition("\n")[2].strip()


def test_faults_name_key_and_remedy(authority: Authority, tmp_path: Path) -> None:
    node, other = authority.node, authority.stranger
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")

    def table(**keys: str) -> str:
        return "[tls]\n" + "".join(f'{key} = "{value}"\n' for key, value in keys.items())

    cases: list[tuple[str, str, str]] = [
        (table(certificate=node.certificate), "tls.key: ", "without key"),
        (table(key=node.key), "tls.key: ", "without certificate"),
        (table(certificate="/none.pem", key=node.key), "tls.certificate: ", "/none.pem"),
        (table(certificate=node.certificate, key=other.key), "tls.key: ", "is not the key of"),
        (table(certificate=str(junk), key=node.key), "tls.key: ", "PEM"),
        (table(ca=str(junk)), "tls.ca: ", "holds no certificates"),
        (table() + '[[peer]]\naet = "A"\nhost = "h"\nport = 1\ntls = true\n', "peer[0].tls", "tls.ca"),
    ]
    for text, start, part in cases:
        line, _, found = told(tmp_path, text).partition(": ")
        assert line.startswith("line ")
        assert found.startswith(start), found
        assert part in found


def test_files_that_can_be_used(authority: Authority, tmp_path: Path) -> None:
    path = tmp_path / "zscp.toml"
    keys: dict[str, Any] = authority.table(ca=authority.ca)
    path.write_text("[tls]\n" + "".join(f'{key} = "{value}"\n' for key, value in keys.items()))
    assert load(path, {}).tls.ca == authority.ca


def test_threads_share_a_tls_connection(node: RunningNode, authority: Authority) -> None:
    """Answers of several threads while the peer still sends: whole, each once."""
    sent = objects(40, rows=200)
    with window.Scu(node.address, CONTEXTS, window=16, tls=client(authority, authority.peer)) as scu:
        assert scu.store(sent) == [0] * len(sent)
        assert sorted(scu.order) == list(range(1, len(sent) + 1))
        scu.release()
