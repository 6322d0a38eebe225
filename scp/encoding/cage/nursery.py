"""The process that codec processes are forked from: it has one thread, and all codecs imported and used once.

A node's process cannot fork them itself: it has threads, and open files and keys that are none of a codec's
business. This one is started anew (exec), knows nothing but codecs, and sees neither frame nor codestream. It
ends when the node's process does, and takes its children along.
"""

from __future__ import annotations

import gc
import json
import mmap
import os
import signal
import socket
import sys
from collections import OrderedDict
from contextlib import suppress

from scp.encoding.cage import codec_process, work
from scp.encoding.cage.confinement import end_with

_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # who asked for codecs ends, and this with it
_MOST_REMEMBERED = 1000

# Exit codes by process id, as of os.waitstatus_to_exitcode. SIGCHLD may come while another is handled, so
# each change of it is one call that nothing interrupts.
_ended: OrderedDict[int, int] = OrderedDict()


def main(descriptor: int) -> None:
    """Fork codec processes for whoever holds the other end of a socket, until that is closed."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, _reap)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    control = socket.socket(fileno=descriptor)
    work.warm_up()
    gc.collect()
    gc.freeze()  # pages that a collection would write to stay shared
    with suppress(ConnectionError):
        control.send(json.dumps(work.libraries()).encode())
        while True:
            packet, descriptors, _, _ = socket.recv_fds(control, 1024, 2)
            if not packet:
                break
            _obey(control, json.loads(packet), descriptors)


def _obey(control: socket.socket, order: dict[str, int], descriptors: list[int]) -> None:
    if "ended" in order:
        control.send(json.dumps(_exit_code(order["ended"])).encode())
        return
    try:
        child = _fork(control, order, descriptors)
        handle = os.pidfd_open(child)
    except OSError as error:
        control.send(json.dumps(str(error)).encode())
        return
    finally:
        for each in descriptors:
            os.close(each)
    socket.send_fds(control, [json.dumps(child).encode()], [handle])
    os.close(handle)


def _fork(control: socket.socket, order: dict[str, int], descriptors: list[int]) -> int:
    parent = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    try:
        child = os.fork()
        if not child:
            _become_codec_process(parent, control, order, descriptors)
        _ended.pop(child, None)  # of one before it with its number, not its own: that is not looked at yet
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    return child


def _become_codec_process(
    parent: int, control: socket.socket, order: dict[str, int], descriptors: list[int]
) -> None:
    try:
        end_with(parent)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        control.close()
        _set_priority(order["policy"], order["nice"])
        requests, shared = descriptors
        memory = mmap.mmap(shared, order["shared"])
        os.close(shared)
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):  # what a library prints of a peer's codestream is nobody's
            os.dup2(nothing, standard)
        os.close(nothing)
        codec_process.serve(socket.socket(fileno=requests), memory, order["memory"])
    except ConnectionError:
        os._exit(0)  # who asked is gone
    except BaseException:  # noqa: BLE001 - its parent's loop is not to go on in it
        os._exit(1)
    os._exit(0)


def _set_priority(policy: int, nice: int) -> None:
    """That of the thread that asks: what encodes behind others must not come before them here."""
    with suppress(OSError):
        os.sched_setscheduler(0, policy, os.sched_param(0))
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, nice)


def _reap(*_: object) -> None:
    with suppress(ChildProcessError):
        while True:
            child, status = os.waitpid(-1, os.WNOHANG)
            if not child:
                return
            _note(child, status)


def _note(child: int, status: int) -> None:
    _ended[child] = os.waitstatus_to_exitcode(status)
    while len(_ended) > _MOST_REMEMBERED:
        _ended.popitem(last=False)


def _exit_code(child: int) -> int | None:
    """How a process ended that was told to; it is waited for."""
    if child not in _ended:
        with suppress(ChildProcessError):
            _note(*os.waitpid(child, 0))
    return _ended.pop(child, None)


if __name__ == "__main__":
    main(int(sys.argv[1]))
