"""A codec process: it serves one request after another, within its limits, until nobody can ask any more.

It is forked from a process with one thread that has imported everything (:mod:`scp.encoding.cage.nursery`).
"""

from __future__ import annotations

import mmap
import signal
import socket
import time

import numpy as np

from scp.encoding.cage import work
from scp.encoding.cage.confinement import give_up_rights, limit_memory
from scp.encoding.cage.messages import MOST_BYTES, CodecRequest, NoRoom, done, failed, result_at
from scp.encoding.pixels import Frame
from scp.resources.bounds import use


def serve(requests: socket.socket, shared: mmap.mmap, memory: int) -> None:
    """Answer requests until the other end is closed."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends this process: no library can be talked out of a loop
    base, allowed = give_up_rights(memory), memory
    view = np.frombuffer(shared, "u1")
    while packet := requests.recv(MOST_BYTES):
        request, size = CodecRequest.unpacked(packet)
        use(request.bounds)
        if request.memory != allowed:
            allowed = request.memory
            limit_memory(base + min(allowed, memory), base + memory)
        signal.setitimer(signal.ITIMER_PROF, request.seconds)
        requests.send(_answer(request, size, view))


def _answer(request: CodecRequest, size: int, view: Frame) -> bytes:
    # With a timer of processor time, the kernel tells that of a process only up to its last tick, 4 ms ago.
    begun = time.thread_time_ns()
    try:
        result = work.done(request.job, view[:size], request.form, request.setting)
        made = _put(result, view[result_at(size) :][: request.room])
    except Exception as error:  # noqa: BLE001 - whatever it is, the other side is to know
        return failed(error, time.thread_time_ns() - begun)
    return done(made, time.thread_time_ns() - begun)


def _put(result: Frame | bytes, room: Frame) -> int:
    samples = np.frombuffer(result, "u1") if isinstance(result, bytes) else result
    if samples.nbytes > room.nbytes:
        raise NoRoom(samples.nbytes)
    np.copyto(room[: samples.nbytes].view(samples.dtype).reshape(samples.shape), samples)
    return samples.nbytes
