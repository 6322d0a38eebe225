"""Senders that store until each object is acknowledged, whatever dies meanwhile; a ledger; a comparison.

A sender behaves as a good modality does: what was not answered with Success it sends again, over a new
association. The ledger (bench/mixed) has a line for each object before its first byte goes out, and one when
Success came: at the end each acknowledged object has to come back with the bytes that were sent.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

from bench.mixed.ledger import Ledger, Writer
from bench.mixed.made import KINDS, Made, instance_uid, study_uid
from bench.mixed.wire import Peer, contexts_of_kinds, getter, request_of

Address = tuple[str, int]
# Of each kind that is quickly made; together they have most transfer syntaxes that modalities send.
_KINDS = ("mr", "implicit", "big", "colour", "jpegls", "deflated", "report", "ct")
_STUDY = 12
_REJECTED, _TRANSIENT = "PDU of type 3: 00", 2
_PAUSE = 0.2
# An object that was not taken is sent again for so long; then something does not come back by itself.
_AGAIN_SECONDS = 120.0


@dataclass
class Seen:
    """What the senders saw; ``faults`` is what a good archive never shows.

    ``counts`` has "stored", the statuses of refusals as "A700", "rejected" (transiently) and "broken off" (an
    A-ABORT, or a connection that was refused or closed). ``gaps`` are the longest times without any Success,
    in seconds.
    """

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    stored_at: list[float] = field(default_factory=list)

    def longest_gap(self) -> float:
        """The longest time in which no sender got a Success, in seconds."""
        at = sorted(self.stored_at)
        return max((later - earlier for earlier, later in pairwise(at)), default=0.0)


class Senders:
    """``count`` associations that store at once, each in a thread, until :meth:`stop`.

    ``most`` bounds the objects of each sender; it is done when all of them are acknowledged. ``pause`` is the
    time between two objects, in seconds, so that a long test does not store more than it can compare.
    The number of the ``first`` one is another where others have written the same ledger before.
    """

    def __init__(
        self,
        address: Address,
        folder: Path,
        count: int = 8,
        most: int = 1 << 30,
        pause: float = 0.1,
        first: int = 0,
    ) -> None:
        self.seen = Seen()
        self.ledger = folder / "ledger"
        self._address, self._most, self._pause = address, most, pause
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._guarded, args=(number,), daemon=True)
            for number in range(first, first + count)
        ]

    def __enter__(self) -> Senders:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let each finish its object: it is sent until it is acknowledged, for two minutes at most."""
        self._over.set()
        self.wait()

    def wait(self, seconds: float = 2 * _AGAIN_SECONDS) -> None:
        """Until all have sent all that they were to send."""
        for thread in self._threads:
            thread.join(seconds)
            assert not thread.is_alive(), "a sender did not come to an end"

    def stored(self) -> int:
        return self.seen.counts["stored"]

    def _count(self, what: str) -> None:
        with self._lock:
            self.seen.counts[what] += 1
            if what == "stored":
                self.seen.stored_at.append(time.monotonic())

    def _fault(self, number: int, what: object) -> None:
        with self._lock:
            self.seen.faults.append(f"sender {number}: {what}")

    def _guarded(self, number: int) -> None:
        try:
            self._send_all(number)
        except Exception as error:  # noqa: BLE001 - told at the end; the others go on
            self._fault(number, repr(error))

    def _send_all(self, number: int) -> None:
        draw = random.Random(number)
        writer = Writer(self.ledger / f"{number:02}.jsonl")
        peer: Peer | None = None
        for place in range(self._most):
            if self._over.is_set():
                break
            uid = instance_uid(study_uid(number, place // _STUDY), place % _STUDY)
            made = Made(draw.choice(_KINDS), uid, draw.randrange(1 << 40))
            if place % _STUDY == 0 and peer is not None:  # a new association for each study
                peer.leave()
                peer = None
            peer = self._until_acknowledged(number, peer, made, writer)
            self._over.wait(self._pause)
        if peer is not None:
            peer.leave()

    def _until_acknowledged(self, number: int, peer: Peer | None, made: Made, writer: Writer) -> Peer | None:
        data = made.data()
        line = {"kind": made.kind, "instance": made.instance, "seed": made.seed}
        line["sha256"] = sha256(data).hexdigest()
        writer.write(state="sent", **line)
        end = time.monotonic() + _AGAIN_SECONDS
        while time.monotonic() < end:
            try:
                if peer is None:
                    peer = Peer(self._address, contexts_of_kinds(), calling=f"SENDER{number}")
                status = _store(peer, made, data)
            except OSError as error:
                self._broken_off(number, error)
                if peer is not None:
                    peer.socket.close()
                peer = None
            else:
                if status == 0:
                    writer.write(state="held", **line)
                    self._count("stored")
                    return peer
                self._count(f"{status:04X}")
                if status & 0xFF00 != 0xA700:  # out of resources: the one failure that passes (PS3.4 B.2.3)
                    self._fault(number, f"{made.instance} was answered {status:04X}")
            time.sleep(_PAUSE)
        self._fault(number, f"{made.instance} was not taken within {_AGAIN_SECONDS:.0f} s")
        return peer

    def _broken_off(self, number: int, error: OSError) -> None:
        if isinstance(error, TimeoutError):
            self._fault(number, "no answer within a minute")
            return
        _, rejected, rest = str(error).partition(_REJECTED)
        if rejected and int(rest[:2], 16) != _TRANSIENT:  # PS3.8 9.3.4
            self._fault(number, error)
        self._count("rejected" if rejected else "broken off")


def _store(peer: Peer, made: Made, data: bytes) -> int:
    kind = KINDS[made.kind]
    context = peer._contexts[kind.sop_class, kind.syntax]
    peer.socket.sendall(request_of(made, data, 1, context, peer.longest))
    return int(peer.message()[1]["Status"])


@dataclass
class Compared:
    """What C-GET brought of all that was acknowledged."""

    same: int = 0
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)


def compare(ledger: Path, addresses: Iterable[Address]) -> Compared:
    """Get back every study from each address, in the transfer syntaxes in which it came, and compare bytes.

    An object has to come from one of the addresses, and once from each at most. One that was sent and not
    acknowledged may be there or not; if it is, it has the bytes that were sent.
    """
    known = Ledger(ledger)
    known.read()
    studies = sorted({(one.made or one.since[0]).study for one in known.known.values()})
    came: set[str] = set()
    found = Compared()
    for address in addresses:
        here = Counter[str]()
        for study in studies:
            for uid, digest in _of_study(address, study, found):
                here[uid] += 1
                if digest not in known.known[uid].digests:
                    found.wrong.append(f"{uid} came from {address} with other bytes than were sent")
        found.twice += [f"{uid} came {count} times" for uid, count in here.items() if count > 1]
        came |= here.keys()
    held = known.held().keys()
    found.lost += [f"{uid} was acknowledged and does not come back" for uid in held - came]
    found.same = len(held & came)
    return found


def _of_study(address: Address, study: str, found: Compared) -> list[tuple[str, str]]:
    """(SOP Instance UID, digest) of each object; what fails is noted as lost."""
    peer = getter(address, "COMPARER")
    brought: list[tuple[str, str]] = []
    for one in peer.get(QueryRetrieveLevel="STUDY", StudyInstanceUID=study):
        if not isinstance(one, dict):
            brought.append((one[0], sha256(one[2]).hexdigest()))
        elif one["Status"]:
            found.lost.append(f"C-GET of {study} from {address} ended with {one['Status']:04X}")
    peer.leave()
    return brought
