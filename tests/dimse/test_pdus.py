"""Datasets cut to PDUs across the borders of their chunks, and sent without being joined."""

from __future__ import annotations

import array
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scp.dimse.wire import messages
from scp.dimse.wire.messages import Message
from scp.dimse.wire.pdus import GATHERED, gathered, pdus, whole
from scp.dimse.wire.transport import MOST_BUFFERS, Transport, unsent
from scp.dimse.wire.upper_layer import Ended, UpperLayer
from scp.spool import Buffer

pytestmark = pytest.mark.quick

RESPONSE: dict[str, messages.Value] = {"CommandField": messages.C_GET_RSP, "Status": 0}


def values(sent: list[list[Buffer]], longest: int) -> tuple[bytes, list[int]]:
    """What PDUs carry, and their message control headers; each of one PDV within the length."""
    data, controls = b"", []
    for pdu in sent:
        joined = b"".join(pdu)
        kind, length, inner, context, control = struct.unpack_from(">BxLLBB", joined)
        assert (kind, context) == (4, 5)
        assert length == len(joined) - 6 == inner + 4 <= longest
        data += joined[12:]
        controls.append(control)
    return data, controls


@given(st.lists(st.binary(max_size=40), max_size=12), st.integers(8, 60))
def test_chunks_of_any_size(chunks: list[bytes], longest: int) -> None:
    whole = b"".join(chunks)
    data, controls = values(list(pdus(5, 0, chunks, longest)), longest)
    assert data == whole
    assert controls == [0] * (len(controls) - 1) + [2]
    assert len(controls) == max(1, -(-len(whole) // ((longest - 6) // 2 * 2)))


def test_nothing_is_copied() -> None:
    dataset = bytearray(100_000)
    sent = list(pdus(5, 0, [memoryview(dataset)], 16_384))
    dataset[:] = b"x" * len(dataset)
    assert values(sent, 16_384)[0] == dataset


def test_buffers_of_other_items() -> None:
    chunk = memoryview(array.array("H", range(100)))
    assert values(list(pdus(5, 0, [chunk], 64)), 64)[0] == chunk.tobytes()


def test_one_ahead_and_no_more() -> None:
    """A lazy dataset is gone through as it is sent, not before."""
    taken: list[int] = []

    def chunks() -> Iterator[bytes]:
        for number in range(10):
            taken.append(number)
            yield bytes(58)

    sent = pdus(5, 0, chunks(), 64)
    next(sent)
    assert taken == [0, 1]


@given(st.lists(st.integers(1, 200_000), max_size=30))
def test_gathering_keeps_all_in_order(sizes: list[int]) -> None:
    several: list[list[Buffer]] = [[bytes([n]), bytes(size)] for n, size in enumerate(sizes)]
    groups = list(gathered(several))
    assert [buffer for group in groups for buffer in group] == [buffer for pdu in several for buffer in pdu]
    assert all(sum(map(len, group)) >= GATHERED or len(group) >= 256 for group in groups[:-1])


@given(st.lists(st.binary(max_size=5), max_size=6), st.integers(0, 40))
def test_what_is_left_after_a_partial_send(buffers: list[bytes], sent: int) -> None:
    whole = b"".join(buffers)
    assert b"".join(unsent(list(buffers), min(sent, len(whole)))) == whole[sent:]


class Partly:
    """A socket that takes a few bytes at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.calls = 0

    def sendmsg(self, buffers: list[Buffer]) -> int:
        assert len(buffers) <= MOST_BUFFERS
        self.calls += 1
        return self._sock.send(b"".join(buffers)[: 1 + self.calls % 7])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def test_partial_sends_go_on_where_they_stopped() -> None:
    ours, peer = socket.socketpair()
    transport = Transport(ours, 5.0)
    transport._socket = partly = Partly(ours)  # type: ignore[assignment]
    buffers: list[Buffer] = [bytes([n % 251]) * (n % 4) for n in range(3 * MOST_BUFFERS)]
    received = bytearray()

    def read() -> None:
        while part := peer.recv(65536):
            received.extend(part)

    reader = threading.Thread(target=read)
    reader.start()
    transport.write(buffers)
    ours.close()
    reader.join(10)
    assert received == b"".join(buffers)
    assert partly.calls > 100


def _pair(longest: int) -> tuple[UpperLayer, UpperLayer]:
    ours, peer = socket.socketpair()
    return UpperLayer(ours, 4096, longest, 5.0), UpperLayer(peer, 1 << 21, 0, 5.0)


@pytest.mark.parametrize("longest", [0, 200, 16_384])
@pytest.mark.parametrize("count", [0, 1, 5000])
def test_many_chunks_arrive(longest: int, count: int) -> None:
    layer, reader = _pair(longest)
    chunks = [bytes([n % 251]) * (n % 90) for n in range(count)]
    seen: list[Message] = []
    thread = threading.Thread(target=lambda: seen.append(reader.receive()))
    thread.start()
    layer.send(5, RESPONSE, chunks)
    thread.join(10)
    assert seen[0].dataset == b"".join(chunks)
    layer.close()
    reader.close()


def _breaking(size: int) -> Iterator[bytes]:
    yield bytes(size)
    raise ValueError("the second frame cannot be decoded")


def test_an_error_before_anything_was_sent_ends_nothing() -> None:
    layer, reader = _pair(16_384)
    with pytest.raises(ValueError, match="second frame"):
        layer.send(5, RESPONSE, _breaking(1000))
    layer.send(5, RESPONSE, [b"good"])
    assert reader.receive().dataset == b"good"
    layer.close()
    reader.close()


def test_an_error_in_the_middle_is_an_abort() -> None:
    layer, reader = _pair(16_384)
    ended: list[Ended] = []

    def send() -> None:
        with pytest.raises(Ended) as caught:
            layer.send(5, RESPONSE, _breaking(GATHERED * 3))
        ended.append(caught.value)

    thread = threading.Thread(target=send)
    thread.start()
    with pytest.raises(Ended) as seen:
        reader.receive()
    thread.join(10)
    assert (ended[0].how, seen.value.how) == ("failed", "aborted")
    assert isinstance(ended[0].__cause__, ValueError)
    layer.close()
    reader.close()


def test_messages_of_several_threads_do_not_mix() -> None:
    layer, reader = _pair(1000)
    bodies = [bytes([n]) * 20_000 for n in range(8)]

    def send(body: bytes) -> None:
        layer.send(5, RESPONSE, [body[at : at + 700] for at in range(0, len(body), 700)])

    threads = [threading.Thread(target=send, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    assert sorted(bytes(reader.receive().dataset or b"") for _ in bodies) == bodies
    for thread in threads:
        thread.join()
    layer.close()
    reader.close()


def test_broken_off_from_another_thread() -> None:
    """A send that the peer does not take comes back at once."""
    layer, reader = _pair(0)
    threading.Timer(0.2, layer.break_off).start()
    with pytest.raises(Ended):
        layer.send(5, RESPONSE, [bytes(50_000_000)])
    with suppress(Ended):
        layer.receive()
    layer.close()
    reader.close()


@given(st.binary(min_size=2, max_size=60).filter(lambda value: not len(value) % 2), st.integers(8, 70))
def test_a_short_message_is_the_same_pdu_in_one_piece(value: bytes, longest: int) -> None:
    """Which :func:`pdus` makes; a longer message is left to that."""
    sent = list(pdus(5, 0, (value,), longest))
    made = whole(5, 0, value, longest)
    assert made == (b"".join(sent[0]) if len(sent) == 1 else None)


def test_a_shorter_time_out_that_stayed_ends_no_longer_wait() -> None:
    """The socket's own is set again only where it is too long, or far too short."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport, view = Transport(ours, 5.0), memoryview(bytearray(9))
        with pytest.raises(TimeoutError):
            transport.read_into(view, time.monotonic() + 2.2)
        late = threading.Timer(2.5, theirs.sendall, [b"late"])
        late.start()
        assert transport.read_into(view, time.monotonic() + 20) == 4
        late.join()
        with pytest.raises(TimeoutError):
            transport.read_into(view, time.monotonic() + 0.05)
