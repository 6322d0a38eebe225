"""Peers beside the bad object: each echoes and stores once a second, and tells how long each took.

A program of its own, so that what the test does is not in its way: it writes a line of JSON for each request
until its input ends. The same is done to a second node, which nobody sends anything else to: what takes long
there takes long for the machine's sake.

    python -m hostile.bystander PORT-OF-THE-NODE PORT-OF-THE-OTHER
"""

from __future__ import annotations

import itertools
import json
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

from wire.peers import EXPLICIT, IMPLICIT, MR_IMAGE, VERIFICATION, image

from bench import window

CALLING = "BYSTANDER"
SECOND = 1.0
# Associations that stay, so that each worker has some; one more is opened anew for each request.
STAYING = 4
# An echo shows that a worker stands still as well as a store does, and costs the node far less.
_ECHOES = 3  # to a store
# No answer for so long counts as none. What takes over a second is told as such.
_SECONDS = 30.0
_CONTEXTS = [(VERIFICATION, IMPLICIT), (MR_IMAGE, EXPLICIT)]
_UID = "1.2.826.0.1.77.1000000000000"
_DATA = image(instance=_UID, study="1.2.826.0.1.77", rows=64).data
_ECHO = {"CommandField": 0x30, "MessageID": 1, "AffectedSOPClassUID": VERIFICATION}
_numbers = itertools.count()
_writing = threading.Lock()


def _told(whose: str, what: str, work: Callable[[], None]) -> None:
    begun, fault = time.monotonic(), ""
    try:
        work()
    except OSError as error:  # refused, cut off, or no answer
        fault = f"{type(error).__name__}: {error}"
    line = {"whose": whose, "what": what, "begun": begun, "took": time.monotonic() - begun, "fault": fault}
    with _writing:
        sys.stdout.write(f"{json.dumps(line)}\n")
        sys.stdout.flush()


def _echo(scu: window.Scu) -> None:
    scu.socket.sendall(window.message(1, dict(_ECHO)))
    if status := scu.response()["Status"]:
        raise ConnectionError(f"echo: {status}")


def _store(scu: window.Scu) -> None:
    with _writing:
        uid = f"{_UID[:-13]}{1_000_000_000_000 + next(_numbers)}"
    sent = window.Obj(MR_IMAGE, uid, EXPLICIT, _DATA.replace(_UID.encode(), uid.encode()))
    if statuses := [status for status in scu.store([sent]) if status]:
        raise ConnectionError(f"store: {statuses}")


def _stay(whose: str, address: tuple[str, int], over: threading.Event, wait: float) -> None:
    over.wait(wait)
    scu: window.Scu | None = None
    for turn in itertools.count():
        if over.is_set():
            break
        started = time.monotonic()
        try:
            scu = scu or window.Scu(address, _CONTEXTS, seconds=_SECONDS, calling=CALLING)
            ends: list[BaseException] = []
            for what, work in (("echo", _echo), ("store", _store))[: 1 if turn % _ECHOES else 2]:
                _told(whose, what, partial(_noted, work, scu, ends))
            if ends:
                scu = None
        except OSError as error:
            _told(whose, "associate", _raising(error))
            scu = None
        over.wait(max(0.0, SECOND - (time.monotonic() - started)))
    if scu is not None:
        scu.release()


def _noted(work: Callable[[window.Scu], None], scu: window.Scu, ends: list[BaseException]) -> None:
    try:
        work(scu)
    except OSError as error:
        ends.append(error)
        raise


def _raising(error: OSError) -> Callable[[], None]:
    def raise_it() -> None:
        raise error

    return raise_it


def _come_and_go(whose: str, address: tuple[str, int], over: threading.Event) -> None:
    def once() -> None:
        with window.Scu(address, _CONTEXTS, seconds=_SECONDS, calling=CALLING) as scu:
            _echo(scu)
            _store(scu)
            scu.release()

    while not over.wait(SECOND):
        _told(whose, "association", once)


def main() -> None:
    """Go on until the input ends."""
    node, other = (("127.0.0.1", int(port)) for port in sys.argv[1:3])
    over = threading.Event()
    threads = [threading.Thread(target=_come_and_go, args=("node", node, over))]
    for number in range(STAYING):
        wait = number * SECOND / STAYING
        threads.append(threading.Thread(target=_stay, args=("node", node, over, wait)))
    threads += [threading.Thread(target=_stay, args=("other", other, over, n / 2)) for n in range(2)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
