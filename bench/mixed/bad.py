"""What badly behaved peers do. How the node ends their associations is up to it; what they do may fail."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from contextlib import suppress

from bench import window
from bench.mixed.acting import Acting
from bench.mixed.made import IMPLICIT
from bench.mixed.wire import (
    CANCELLED,
    FIND,
    SECONDS,
    VERIFICATION,
    Peer,
    contexts_of_kinds,
    getter,
    identifier,
    querier,
)


def canceller(acting: Acting) -> None:
    """A query, a C-GET or a C-MOVE, cancelled after the first answer; or it is done already."""
    study = acting.study()
    if not study:
        return
    way = acting.draw.choice(("find", "get", "move"))
    keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": study}
    if way == "get":
        peer = getter(acting.address, acting.calling)
        for one in peer.get(cancel_after=1, **keys):
            status = one["Status"] if isinstance(one, dict) else 0
    else:
        peer = querier(acting.address, acting.calling)
        if way == "find":
            status, _ = peer.find(
                cancel_after=1, QueryRetrieveLevel="STUDY", PatientName="*", StudyInstanceUID=""
            )
        else:
            status = peer.move(cancel_after=1, **keys)["Status"]
    if status not in (0, CANCELLED):
        raise ConnectionError(f"a cancelled {way} ended with {status:04X}")
    acting.did("cancel")
    peer.leave()


def _begun(acting: Acting) -> tuple[Peer, bytes]:
    """An association, and a request of a part of which it is up to the caller how much is sent."""
    peer = Peer(acting.address, contexts_of_kinds(), calling=acting.calling)
    made = next(acting.objects(1))
    data = acting.request(peer, made, acting.begin(made))
    return peer, data[: acting.draw.randrange(1, len(data))]


def aborter(acting: Acting) -> None:
    """A-ABORT in the middle of a message, and in the middle of a PDU."""
    peer, part = _begun(acting)
    if acting.draw.random() < 0.5:  # at the end of a PDU
        part = part[: _whole_pdus(part)]
    with suppress(OSError):
        peer.socket.sendall(part + window.ABORT)
        if acting.draw.random() < 0.5:  # in the middle of a PDU it is none: the node waits for the rest
            peer.socket.settimeout(2.0)
            peer.socket.recv(1000)
    peer.socket.close()
    acting.did("abort")


def _whole_pdus(data: bytes) -> int:
    at = 0
    while at + 6 <= len(data) and (end := at + 6 + struct.unpack_from(">L", data, at + 2)[0]) <= len(data):
        at = end
    return at


def dying(acting: Acting) -> None:
    """A modality that sends some objects, and is killed in the middle of a PDU."""
    if acting.full:
        acting.over.wait(1.0)
        return
    peer = Peer(acting.address, contexts_of_kinds(), calling=acting.calling)
    for made in acting.objects(acting.draw.randrange(1, 6)):
        data = acting.begin(made)
        peer.socket.sendall(acting.request(peer, made, data))
        acting.settle(made, data, peer.message()[1]["Status"])
    made = next(acting.objects(1))
    data = acting.request(peer, made, acting.begin(made))
    peer.socket.sendall(data[: acting.draw.randrange(1, len(data))])
    acting.did("die")
    os.kill(os.getpid(), signal.SIGKILL)


def breaker(acting: Acting) -> None:
    """A socket that is closed, or reset, in the middle of a PDU, of an answer, or of a retrieve."""
    way = acting.draw.choice(("close", "reset", "during get", "during find"))
    study = acting.study()
    if way.startswith("during") and study:
        asks_get = way == "during get"
        peer = (getter if asks_get else querier)(acting.address, acting.calling)
        sop_class, field = (peer.pairs[1][0], 0x10) if asks_get else (FIND, 0x20)
        keys = {"StudyInstanceUID": study} if asks_get else {"StudyInstanceUID": "", "PatientName": "*"}
        peer.ask(field, sop_class, identifier(QueryRetrieveLevel="STUDY", **keys), Priority=0)
        peer.socket.recv(acting.draw.randrange(1, 100_000))
    else:
        peer, part = _begun(acting)
        with suppress(OSError):
            peer.socket.sendall(part)
    if way != "close":
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.socket.close()
    acting.did("break")


def _garbage(acting: Acting) -> bytes:
    """What is no DICOM, or hardly any."""
    noise = acting.draw.randbytes(acting.draw.randrange(1, 4000))
    asked = window.associate_rq([(VERIFICATION, IMPLICIT)], calling=acting.calling)
    broken = bytearray(asked)
    for _ in range(5):
        broken[acting.draw.randrange(6, len(broken))] = acting.draw.randrange(256)
    return acting.draw.choice((
        noise,
        b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n",
        bytes.fromhex("1603010200010001fc0303") + noise,
        struct.pack(">BxL", 1, 0xFFFFFFFF) + noise,
        struct.pack(">BxL", 4, 100) + bytes(100),
        bytes(broken),
        asked + noise,
        asked + struct.pack(">BxLLBB", 4, 6 + len(noise), 2 + len(noise), 1, 3) + noise,
        asked[: acting.draw.randrange(len(asked))],
    ))  # fmt: skip


def garbage(acting: Acting) -> None:
    """Some of that, on a connection of its own; and a query that is made to be slow."""
    if acting.draw.random() < 0.1:
        peer = querier(acting.address, acting.calling)
        hostile = acting.draw.choice(("*A*?" * 40, "^" * 4000, "*" + "?" * 150, "\\".join(["A*B*"] * 90)))
        peer.find(QueryRetrieveLevel="STUDY", PatientName=hostile, StudyInstanceUID="")
        peer.leave()
    else:
        with socket.create_connection(acting.address, SECONDS) as plain, suppress(OSError):
            plain.settimeout(5)
            plain.sendall(_garbage(acting))
            while acting.draw.random() < 0.7 and plain.recv(10_000):
                pass
    acting.did("garbage")


def slow(acting: Acting) -> None:
    """A reader of a few KB a second of a C-GET, or a sender of such; 20 s, then it is gone."""
    study = acting.study()
    if not study:
        return
    until = time.monotonic() + 20
    if acting.draw.random() < 0.5:
        peer = getter(acting.address, acting.calling)
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": study}
        peer.ask(0x10, peer.pairs[1][0], identifier(**keys), Priority=0)
        peer.socket.settimeout(5.0)
        with suppress(TimeoutError):  # a whole object has come, and the node waits for its answer
            while time.monotonic() < until and not acting.over.wait(0.2) and peer.socket.recv(2000):
                pass
    else:
        peer, part = _begun(acting)
        with suppress(OSError):
            for at in range(0, len(part), 2000):
                peer.socket.sendall(part[at : at + 2000])
                if time.monotonic() > until or acting.over.wait(0.2):
                    break
    peer.socket.close()
    acting.did("slow")
