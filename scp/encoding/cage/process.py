"""The two kinds of processes that a node's process starts, from its side: the nursery and codec processes."""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from weakref import WeakSet

import numpy as np

from scp.encoding.cage.messages import MOST_BYTES, CodecAnswer, CodecRequest, result_at
from scp.encoding.pixels import Frame
from scp.errors import CodecProcessFailed
from scp.spool import Buffer

# -P: the folder that the node was started in is none to import from.
COMMAND = ("-P", "-m", "scp.encoding.cage.nursery")
_OVER = 1.5  # times its limit of processor time: it ends itself long before
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_STOPPED = "Tt"
_UNKNOWN = "?"
_STOPPED_OR_ASLEEP = f"S{_STOPPED}{_UNKNOWN}"

_open: WeakSet[CodecProcess] = WeakSet()


class Priority(NamedTuple):
    """How a thread stands in line for a processor: its scheduling policy and niceness."""

    policy: int
    nice: int

    @staticmethod
    def of_this_thread() -> Priority:
        """On Linux each thread has its own."""
        return Priority(os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0))


class Watching(NamedTuple):
    """How often a process that has not answered yet is looked at; and how long it may do nothing, in seconds.

    That is without using a processor, and without waiting for one.
    """

    every: int = 5
    asleep: float = 60.0


class ProcessGone(Exception):
    """A codec process had ended, while it was idle, before it was given work."""


class ProcessDied(Exception):
    """A codec process ended while it worked; ``code`` is its exit status, negative for a signal's number.

    None where nobody knows. ``innocent``: it was killed from outside.
    """

    def __init__(self, code: int | None) -> None:
        super().__init__(f"exit status {code}")
        self.code = code

    @property
    def innocent(self) -> bool:
        """Whether the work may have had no part in it."""
        return self.code is None or self.code == -signal.SIGKILL


# It forks in some ms, and imports in 0.4 s; on a machine that is overloaded both may take long.
_ANSWER_SECONDS = 60.0


class Nursery:
    """The process that codec processes are forked from; it ends when this object goes, or its process."""

    def __init__(self, watching: Watching | None = None) -> None:
        self.watching = watching or Watching()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._answer_seconds = _ANSWER_SECONDS
        self._lock = threading.Lock()
        self._libraries: dict[str, str] | None = None
        # None of the node's own settings and keys, which its environment may hold.
        kept = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "TZ")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        environment |= {"PYTHONPATH": str(Path(__file__).parents[3]), "OPENBLAS_NUM_THREADS": "1"}
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this module's own
                [sys.executable, *COMMAND, str(theirs.fileno())],
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def libraries(self) -> dict[str, str]:
        """Name and version of each codec's library. Waits until the nursery has imported all."""
        with self._lock:
            return self._ready()

    def _ready(self) -> dict[str, str]:
        if self._libraries is None:
            self._libraries = json.loads(self._received()[0])
        return self._libraries

    def _received(self) -> tuple[bytes, list[int]]:
        self._control.settimeout(self._answer_seconds)
        try:
            packet, descriptors, _, _ = socket.recv_fds(self._control, MOST_BYTES, 1)
        except TimeoutError:
            self._process.kill()  # it was stopped, or hangs: whoever asks next gets another
            packet = b""
        if not packet:
            raise ConnectionError("the process that makes codec processes is gone")
        return packet, descriptors

    def new_process(self, priority: Priority, shared: int, memory: int) -> CodecProcess:
        """A codec process with ``shared`` bytes of shared memory, that takes ``memory`` bytes at most.

        Raises OSError where there is none to be had.
        """
        memory += shared
        descriptor = _sealed_memory(shared)
        try:
            mapped = mmap.mmap(descriptor, shared)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except BaseException:
            os.close(descriptor)
            raise
        try:
            order = {"policy": priority.policy, "nice": priority.nice, "shared": shared, "memory": memory}
            with self._lock:
                self._ready()
                socket.send_fds(self._control, [json.dumps(order).encode()], [theirs.fileno(), descriptor])
                packet, handles = self._received()
            answer = json.loads(packet)
            if not handles:  # its number without a handle: that did not fit in here
                raise OSError("there are too many open files" if isinstance(answer, int) else answer)
            return CodecProcess(self, answer, handles[0], ours, mapped)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(descriptor)

    def exit_code(self, pid: int) -> int | None:
        """How a codec process ended; None where nobody knows."""
        with self._lock, suppress(OSError):
            self._control.send(json.dumps({"ended": pid}).encode())
            code: int | None = json.loads(self._received()[0])
            return code
        return None

    def let_go(self) -> None:
        """In a child that was forked: the descriptors are closed, and the process is its parent's."""
        self._process.returncode = 0  # not this process's child: Popen does not wait for it
        self._control.close()

    def close(self) -> None:
        """End it, with all codec processes that it made."""
        self._control.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _sealed_memory(size: int) -> int:
    """Memory to share, that nobody can make smaller (SIGBUS for who has it mapped) or larger."""
    descriptor = os.memfd_create("zscp-codec", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


class _Watch:
    """Ends what its own limit has not ended, and what sleeps: never what only waits for a processor."""

    def __init__(self, limit: float, watching: Watching) -> None:
        self._most = limit * _OVER + watching.every
        self._asleep = watching.asleep
        self._first: float | None = None
        self._moved = time.monotonic()

    def look(self, state: str, seconds: float) -> None:
        """See what a process does, and what it has used in all.

        Raises CodecProcessFailed, and ProcessDied where it was stopped from outside: it is to be ended then.
        """
        if self._first is None and state != _UNKNOWN:
            self._first = seconds
        if state not in _STOPPED_OR_ASLEEP:
            self._moved = time.monotonic()
        if self._first is not None and seconds - self._first > self._most:
            raise CodecProcessFailed(f"took over {self._most:.0f} s of processor time")
        if time.monotonic() - self._moved > self._asleep:
            if state in _STOPPED:
                raise ProcessDied(-signal.SIGKILL)
            raise CodecProcessFailed(f"did nothing for {self._asleep:.0f} s")


class CodecProcess:
    """One codec process. One thread at a time asks it."""

    def __init__(
        self, nursery: Nursery, pid: int, handle: int, asks: socket.socket, shared: mmap.mmap
    ) -> None:
        self.pid, self.shared = pid, len(shared)
        self.served = 0
        self.idle_since = 0.0
        self._input = 0
        self.owner: object = None
        self._nursery, self._handle, self._asks = nursery, handle, asks
        self._view: Frame = np.frombuffer(shared, "u1")
        _open.add(self)
        asks.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", nursery.watching.every, 0))

    def work(self, request: CodecRequest, data: Buffer | Frame) -> CodecAnswer:
        """Have ``data`` worked on; the result is then in :meth:`result`.

        Raises ProcessGone where it had ended before, ProcessDied, CodecProcessFailed where it was ended for
        what it did, and Garbage.
        """
        given = data if isinstance(data, np.ndarray) else np.frombuffer(data, "u1")
        self._input = given.nbytes
        np.copyto(self._view[: given.nbytes].view(given.dtype).reshape(given.shape), given)
        try:
            self._asks.send(request.packed(given.nbytes))
        except OSError as error:
            raise ProcessGone from error
        self.served += 1
        with suppress(ConnectionError):
            if packet := self._waited_for(request):
                return CodecAnswer.unpacked(packet, request)
        self.kill()
        raise ProcessDied(self._nursery.exit_code(self.pid))

    def _waited_for(self, request: CodecRequest) -> bytes:
        watch = _Watch(request.seconds, self._nursery.watching)
        while True:
            try:
                return self._asks.recv(MOST_BYTES)
            except BlockingIOError:  # not yet
                ended = select.poll()
                ended.register(self._handle, select.POLLIN)
            if ended.poll(0):  # a child of its own may have the other end of the socket
                return b""
            watch.look(*self._state_and_seconds())

    def _state_and_seconds(self) -> tuple[str, float]:
        """What the process does, and how much processor time it has used, in seconds (proc(5)).

        Where that is not to be had, nothing is known but the time that goes by.
        """
        with suppress(OSError, IndexError, ValueError):
            fields = Path(f"/proc/{self.pid}/stat").read_text("ascii").rpartition(")")[2].split()
            return fields[0], (int(fields[11]) + int(fields[12])) / _TICKS
        return _UNKNOWN, 0.0

    def result(self, size: int) -> Frame:
        """The result of the last work, its bytes: to be copied, as what is shared may change at any time."""
        at = result_at(self._input)
        return self._view[at : at + size]

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        with suppress(OSError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def let_go(self) -> None:
        """Close what this process holds of it; so it ends, when it is idle."""
        if self not in _open:
            return
        _open.discard(self)
        self._asks.close()
        os.close(self._handle)
        self._view = np.empty(0, "u1")  # with the last view the map goes


def let_go_of_all() -> None:
    """In a child that was forked: its parent's codec processes are not to wait for it, too."""
    for process in list(_open):
        process.let_go()
