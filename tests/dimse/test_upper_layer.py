"""PDUs and messages over a real socket, cut in every way that TCP and PS3.8 allow."""

from __future__ import annotations

import hashlib
import mmap
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from scp.config.tls import client_context, server_context
from scp.dimse.wire import messages, upper_layer
from scp.dimse.wire.messages import Message, read_command, write_command
from scp.dimse.wire.upper_layer import Ended, UpperLayer
from scp.errors import OutOfResources, UnreadableDataset
from scp.spool import Buffer, Spool

LONGEST = 4096
STORE: dict[str, messages.Value] = {
    "CommandField": messages.C_STORE_RQ,
    "MessageID": 7,
    "AffectedSOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
    "AffectedSOPInstanceUID": "1.2.3",
    "Priority": 0,
    "CommandDataSetType": 0,
}
ECHO: dict[str, messages.Value] = {
    "CommandField": messages.C_ECHO_RQ,
    "MessageID": 8,
    "AffectedSOPClassUID": "1.2.840.10008.1.1",
    "CommandDataSetType": messages.NO_DATASET,
}
RELEASE_RQ = struct.pack(">BxLL", 5, 4, 0)
RELEASE_RP = struct.pack(">BxLL", 6, 4, 0)
ABORT = struct.pack(">BxLL", 7, 4, 0)


def pdv(data: bytes, *, command: bool, last: bool, context: int = 1) -> bytes:
    return struct.pack(">LBB", len(data) + 2, context, command | last << 1) + data


def pdu(*values: bytes) -> bytes:
    body = b"".join(values)
    return struct.pack(">BxL", 4, len(body)) + body


def whole(command: dict[str, messages.Value], dataset: bytes | None = None) -> bytes:
    """A message with a PDU each for command and dataset."""
    data = pdu(pdv(write_command(command), command=True, last=True))
    return data if dataset is None else data + pdu(pdv(dataset, command=False, last=True))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A certificate and key of the test's own."""
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command is not installed")
    folder = tmp_path_factory.mktemp("tls")
    made = (str(folder / "node.pem"), str(folder / "node.key"))
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=node"]
    subprocess.run(
        [*command, "-out", made[0], "-keyout", made[1]], capture_output=True, check=True, timeout=60
    )
    return made


def connected(tls: tuple[str, str] | None) -> tuple[socket.socket, socket.socket]:
    """Two ends of a connection, with TLS between them where a certificate is given."""
    ours, peer = socket.socketpair()
    peer.settimeout(10)
    if tls is None:
        return ours, peer
    server = server_context(*tls, "")
    client = client_context("", "", tls[0])
    wrapped = server.wrap_socket(ours, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=wrapped.do_handshake)
    thread.start()
    other = client.wrap_socket(peer)
    thread.join(10)
    return wrapped, other


def hang_up(peer: socket.socket) -> None:
    """No more comes from it; an SSLSocket's own shutdown would also stop it from reading."""
    socket.socket.shutdown(peer, socket.SHUT_WR)


@pytest.fixture(params=["plain", "tls"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[UpperLayer, socket.socket]]:
    tls = request.getfixturevalue("certificate") if request.param == "tls" else None
    ours, peer = connected(tls)
    layer = UpperLayer(ours, LONGEST, 0, 5.0)
    yield layer, peer
    ours.close()
    peer.close()


def test_a_stream_cut_at_every_offset(pair: tuple[UpperLayer, socket.socket]) -> None:
    layer, peer = pair
    stream = whole(STORE, b"dataset!") + whole(ECHO)
    for cut in range(1, len(stream)):
        sent = threading.Event()

        def send(cut: int = cut, sent: threading.Event = sent) -> None:
            peer.sendall(stream[:cut])
            sent.wait(0.001)  # long enough for the reader to wait for the rest
            peer.sendall(stream[cut:])

        sender = threading.Thread(target=send)
        sender.start()
        assert layer.receive() == Message(1, STORE, b"dataset!")
        assert layer.receive() == Message(1, ECHO, None)
        sender.join()


def test_a_byte_at_a_time(pair: tuple[UpperLayer, socket.socket]) -> None:
    layer, peer = pair
    stream = whole(STORE, b"dataset!")

    def send() -> None:
        for at in range(len(stream)):
            peer.sendall(stream[at : at + 1])

    threading.Thread(target=send).start()
    assert layer.receive() == Message(1, STORE, b"dataset!")


def test_values_in_every_grouping(pair: tuple[UpperLayer, socket.socket]) -> None:
    layer, peer = pair
    command, dataset = write_command(STORE), bytes(range(200))
    parts = [
        pdv(command[:10], command=True, last=False),
        pdv(command[10:], command=True, last=True),
        pdv(dataset[:1], command=False, last=False),
        pdv(b"", command=False, last=False),
        pdv(dataset[1:199], command=False, last=False),
        pdv(dataset[199:], command=False, last=True),
    ]
    for grouping in range(2 ** (len(parts) - 1)):
        groups, current = [], [parts[0]]
        for number, part in enumerate(parts[1:]):
            if grouping >> number & 1:
                groups.append(current)
                current = []
            current.append(part)
        peer.sendall(b"".join(pdu(*group) for group in [*groups, current]))
        assert layer.receive() == Message(1, STORE, dataset)


@pytest.mark.parametrize("tls", ["plain", "tls"])
@pytest.mark.parametrize("size", [LONGEST, 16_384, 131_072])
def test_large_datasets_in_pdus_of_many_sizes(size: int, tls: str, request: pytest.FixtureRequest) -> None:
    ours, peer = connected(request.getfixturevalue("certificate") if tls == "tls" else None)
    layer = UpperLayer(ours, size, 0, 5.0)
    dataset = bytes(i * 7 % 251 for i in range(1_000_003))
    step = size - 6
    stream = whole({**STORE, "MessageID": 1})[:0] + pdu(pdv(write_command(STORE), command=True, last=True))
    for at in range(0, len(dataset), step):
        part = dataset[at : at + step]
        stream += pdu(pdv(part, command=False, last=at + step >= len(dataset)))
    sender = threading.Thread(target=peer.sendall, args=(stream,))
    sender.start()
    message = layer.receive()
    assert message.dataset == dataset
    assert message.sha256 == hashlib.sha256(dataset).hexdigest()
    sender.join()
    layer.close()
    peer.close()


@pytest.mark.parametrize("tls", ["plain", "tls"])
@pytest.mark.parametrize("longest", [0, 16, 1000, 16_384])
def test_what_is_sent_respects_the_peers_maximum(
    longest: int, tls: str, request: pytest.FixtureRequest
) -> None:
    ours, peer = connected(request.getfixturevalue("certificate") if tls == "tls" else None)
    layer = UpperLayer(ours, LONGEST, longest, 5.0)
    reader = UpperLayer(peer, 1 << 21, 0, 5.0)
    seen: list[Message] = []
    thread = threading.Thread(target=lambda: seen.append(reader.receive()))
    thread.start()
    dataset = bytes(range(256)) * (100 if longest != 16 else 1)
    layer.send(3, {k: v for k, v in STORE.items() if k != "CommandDataSetType"}, [dataset])
    thread.join(10)
    assert seen[0].dataset == dataset
    assert seen[0].context_id == 3
    assert seen[0].text("AffectedSOPInstanceUID") == "1.2.3"
    layer.close()
    reader.close()


def test_pdus_never_pass_the_peers_maximum(pair: tuple[UpperLayer, socket.socket]) -> None:
    ours, peer = socket.socketpair()
    layer = UpperLayer(ours, LONGEST, 100, 5.0)
    layer.send(1, {"CommandField": messages.C_ECHO_RSP, "Status": 0}, [bytes(1000)])
    layer.close()
    stream = b""
    while data := peer.recv(65536):
        stream += data
    at = 0
    while at < len(stream):
        length = struct.unpack_from(">xxL", stream, at)[0]
        assert length <= 100
        at += 6 + length
    assert at == len(stream)


def test_poll_takes_what_is_there_and_waits_for_nothing(pair: tuple[UpperLayer, socket.socket]) -> None:
    layer, peer = pair
    assert layer.poll() == []
    cancel = {
        "CommandField": messages.C_CANCEL_RQ,
        "MessageIDBeingRespondedTo": 7,
        "CommandDataSetType": 0x101,
    }
    peer.sendall(whole(cancel) + whole(ECHO) + whole(STORE, b"x")[:20])
    # The unfinished last message is waited for, as its PDU has begun: send its rest from beside.
    threading.Timer(0.05, peer.sendall, [whole(STORE, b"x")[20:]]).start()
    found = layer.poll()
    while len(found) < 3:
        found += layer.poll()
    assert [message.number("CommandField") for message in found] == [0x0FFF, 0x0030, 0x0001]


@pytest.mark.parametrize(("end", "how"), [(ABORT, "aborted"), (RELEASE_RQ, "released"), (b"", "lost")])
def test_poll_gives_what_came_before_the_end(
    pair: tuple[UpperLayer, socket.socket], end: bytes, how: str
) -> None:
    layer, peer = pair
    peer.sendall(whole(ECHO) * 3 + end)
    hang_up(peer)
    found = layer.poll()
    while len(found) < 3:
        found += layer.poll()
    for ask in (layer.poll, layer.receive):
        with pytest.raises(Ended) as ended:
            ask()
        assert ended.value.how == how


def _answer(peer: socket.socket) -> bytes:
    data = b""
    with suppress(OSError):
        while part := peer.recv(1000):
            data += part
    return data


@pytest.mark.parametrize(
    ("sent", "how", "answer"),
    [
        (RELEASE_RQ, "released", RELEASE_RP),
        (ABORT, "aborted", b""),
        (b"", "lost", b""),
        (whole(STORE, b"12345678")[:-3], "lost", b""),
    ],
    ids=["release", "abort", "gone", "gone in mid-object"],
)
def test_ends(pair: tuple[UpperLayer, socket.socket], sent: bytes, how: str, answer: bytes) -> None:
    layer, peer = pair
    peer.sendall(sent)
    hang_up(peer)
    with pytest.raises(Ended) as ended:
        layer.receive()
    assert ended.value.how == how
    layer.close()
    assert _answer(peer) == answer


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack(">BxL", 4, LONGEST + 1),
        struct.pack(">BxL", 4, 0xFFFFFFFF),
        struct.pack(">BxLL", 1, 4, 0),
        struct.pack(">BxL", 9, 4) + bytes(4),
        struct.pack(">BxL", 7, 1 << 20),
        pdu(b"\0\0\0\1\1"),
        pdu(struct.pack(">LBB", 1000, 1, 3) + b"x"),
        pdu(struct.pack(">LBB", 1, 1, 3)),
        pdu(pdv(b"data", command=False, last=True)),
        pdu(pdv(b"no command", command=True, last=True)),
        pdu(
            pdv(write_command(STORE), command=True, last=True),
            pdv(b"x", command=False, last=False, context=3),
        ),
        pdu(
            pdv(write_command(STORE), command=True, last=True),
            pdv(write_command(ECHO), command=True, last=True),
        ),
    ],
)
def test_what_is_no_dicom_is_answered_with_an_abort(
    pair: tuple[UpperLayer, socket.socket], sent: bytes
) -> None:
    layer, peer = pair
    peer.sendall(sent)
    threading.Timer(0.2, hang_up, [peer]).start()
    with pytest.raises(Ended) as ended:
        layer.receive()
    assert ended.value.how == "protocol"
    assert _answer(peer)[:1] == b"\7"


def _stalls_in_a_pdu(peer: socket.socket) -> None:
    peer.sendall(whole(STORE, b"12345678")[:-3])


def _says_nothing(_peer: socket.socket) -> None:
    pass


def _drips(peer: socket.socket) -> None:
    def drip() -> None:
        with suppress(OSError):
            for byte in struct.pack(">BxL", 4, 1000) + bytes(1000):
                peer.send(bytes([byte]))
                stop.wait(0.05)

    stop = threading.Event()
    threading.Thread(target=drip, daemon=True).start()


@pytest.mark.parametrize("behave", [_says_nothing, _stalls_in_a_pdu, _drips])
def test_nobody_holds_an_association_for_ever(behave: Callable[[socket.socket], None]) -> None:
    """A peer that sends a byte now and then restarts no timer: a PDU has its time as a whole."""
    ours, peer = socket.socketpair()
    layer = UpperLayer(ours, LONGEST, 0, 0.3)
    behave(peer)
    with pytest.raises(Ended) as ended:
        layer.receive()
    assert ended.value.how == ("idle" if behave is _says_nothing else "stalled")
    layer.close()
    peer.close()


def test_a_message_that_has_begun_has_less_time() -> None:
    """A peer may be quiet between messages, and not within one; headers are no progress."""
    ours, peer = socket.socketpair()
    layer = UpperLayer(ours, LONGEST, 0, 30.0, stall_seconds=0.3)
    threading.Timer(0.6, peer.sendall, [whole(STORE, b"")[:-12]]).start()  # the command alone, after a while
    started = time.monotonic()
    with pytest.raises(Ended) as ended:
        layer.receive()
    assert (ended.value.how, ended.value.limit) == ("stalled", "limits.stall_seconds")
    assert 0.8 < time.monotonic() - started < 5
    layer.close()
    peer.close()


def test_a_slow_line_that_goes_on_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upper_layer, "_LEAST", 64)
    ours, peer = socket.socketpair()
    layer = UpperLayer(ours, LONGEST, 0, 30.0, stall_seconds=0.3)
    data, stop = whole(STORE, bytes(1000)), threading.Event()

    def drip() -> None:
        for at in range(0, len(data), 50):
            peer.sendall(data[at : at + 50])
            stop.wait(0.04)

    thread = threading.Thread(target=drip)
    thread.start()
    assert layer.receive() == Message(1, STORE, bytes(1000))
    thread.join()
    layer.close()
    peer.close()


EMPTY_PDU, EMPTY_VALUE = struct.pack(">BxL", 4, 0), struct.pack(">BxLLBB", 4, 6, 2, 1, 1)


@pytest.mark.parametrize("piece", [EMPTY_PDU, EMPTY_VALUE, struct.pack(">BxLLBB", 4, 8, 4, 1, 1) + b"xy"])
def test_pieces_that_carry_nothing_end_it_soon(piece: bytes) -> None:
    """However fast they come, and whatever the time limit."""
    ours, peer = socket.socketpair()
    layer = UpperLayer(ours, LONGEST, 0, 30.0)
    sender = threading.Thread(target=lambda: suppressed(peer.sendall, piece * 5000))
    sender.start()
    with pytest.raises(Ended, match="pieces") as ended:
        layer.receive()
    assert (ended.value.how, ended.value.limit) == ("protocol", "message pieces")
    peer.close()
    sender.join()
    layer.close()


def suppressed(send: Callable[[bytes], None], data: bytes) -> None:
    with suppress(OSError):
        send(data)


def test_a_peer_that_does_not_read_is_given_up() -> None:
    ours, peer = socket.socketpair()
    layer = UpperLayer(ours, LONGEST, 0, 0.3)
    with pytest.raises(Ended) as ended:
        layer.send(1, {"CommandField": messages.C_GET_RSP, "Status": 0xFF00}, [bytes(50_000_000)])
    assert ended.value.how == "idle"
    layer.close()
    peer.close()


@pytest.mark.parametrize("tls", ["plain", "tls"])
def test_a_peer_that_reads_nothing_is_given_up_while_another_thread_reads(
    tls: str, request: pytest.FixtureRequest
) -> None:
    """Reading and writing do not wait for each other."""
    ours, peer = connected(request.getfixturevalue("certificate") if tls == "tls" else None)
    layer = UpperLayer(ours, LONGEST, 0, 0.5)
    ended: list[str] = []

    def send() -> None:
        try:
            layer.send(1, {"CommandField": messages.C_GET_RSP, "Status": 0xFF00}, [bytes(50_000_000)])
        except Ended as end:
            ended.append(end.how)

    sender = threading.Thread(target=send)
    sender.start()
    peer.sendall(whole(ECHO) + whole(STORE, b"dataset!"))
    assert layer.receive() == Message(1, ECHO, None)
    assert layer.receive() == Message(1, STORE, b"dataset!")
    sender.join(10)
    assert ended == ["idle"]
    layer.close()
    peer.close()


def test_large_datasets_lie_in_files(pair: tuple[UpperLayer, socket.socket]) -> None:
    layer, peer = pair
    step = LONGEST - 6

    def send() -> None:
        peer.sendall(pdu(pdv(write_command(STORE), command=True, last=True)))
        for number in range(2000):
            peer.sendall(pdu(pdv(bytes([number % 251]) * step, command=False, last=number == 1999)))

    sender = threading.Thread(target=send)
    sender.start()
    message = layer.receive()
    assert isinstance(message.dataset, memoryview)
    assert isinstance(message.dataset.obj, mmap.mmap)
    assert len(message.dataset) == 2000 * step
    assert message.sha256 == hashlib.sha256(message.dataset).hexdigest()
    sender.join()


def test_a_dataset_without_room_is_read_to_its_end(
    pair: tuple[UpperLayer, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes behind it is whole."""
    layer, peer = pair
    original = Spool.write

    def full(self: Spool, data: Buffer) -> None:
        if bytes(data) == b"bad":
            raise OutOfResources("No space left on device")
        original(self, data)

    monkeypatch.setattr(Spool, "write", full)
    parts = [pdv(part, command=False, last=part == b"end") for part in (b"good", b"bad", b"more", b"end")]
    peer.sendall(
        pdu(pdv(write_command(STORE), command=True, last=True)) + pdu(*parts) + whole(STORE, b"next")
    )
    first, second = layer.receive(), layer.receive()
    assert first.dataset is None
    assert "No space left" in first.fault
    assert (second.dataset, second.fault) == (b"next", "")


def test_command_sets_come_through() -> None:
    fields: dict[str, messages.Value] = {
        **STORE,
        "ErrorComment": "odd",
        "MoveOriginatorApplicationEntityTitle": "WS",
    }
    data = write_command(fields)
    assert read_command(data) == fields
    length = struct.unpack_from("<L", data, 8)[0]
    assert length == len(data) - 12
    for cut in range(len(data)):
        with suppress(UnreadableDataset):
            assert set(read_command(data[:cut]).items()) <= set(fields.items())
