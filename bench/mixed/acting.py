"""What all peers of the mixed soak have: whom they talk to, what they know, what they write."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from bench.mixed.ledger import Ledger, Writer
from bench.mixed.made import KINDS, Made, instance_uid, study_uid
from bench.mixed.wire import Peer, request_of

STUDY = 12  # objects
_AGAIN = 0.04  # the share of objects that are sent again, half of them with other content
FULL = "full"  # a file of this name: enough is stored


class WrongBytes(Exception):
    """Something else came back than was sent."""


@dataclass
class Acting:
    """One peer."""

    role: str
    number: int
    address: tuple[str, int]
    folder: Path
    draw: random.Random
    over: threading.Event
    peer: Peer | None = None  # an association that stays from one act to the next
    _sent: list[Made] = field(default_factory=list)
    _count: int = 0

    def __post_init__(self) -> None:
        name = f"{self.number:02}-{self.role}.jsonl"
        self.events, self.ledger = (
            Writer(self.folder / "events" / name),
            Writer(self.folder / "ledger" / name),
        )
        self.known = Ledger(self.folder / "ledger")
        # Whoever is killed begins a study that none before it had.
        self._first = int(time.time() * 10) % 8_000_000
        self.calling = f"{self.role.upper()}{self.number}"

    def once(self, act: Callable[[Acting], None]) -> None:
        """One act; what fails is written down, and the association given up."""
        try:
            act(self)
        except WrongBytes as error:
            self.events.write(did="wrong", detail=str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and the soak goes on
            self.events.write(did="fault", detail=f"{type(error).__name__}: {error}"[:300])
            self.drop()
            self.over.wait(1.0)

    def did(self, what: str, **more: object) -> None:
        self.events.write(did=what, **more)

    def drop(self) -> None:
        if self.peer is not None:
            self.peer.socket.close()
        self.peer = None

    def leave(self) -> None:
        if self.peer is not None:
            self.peer.leave()
        self.peer = None

    @property
    def full(self) -> bool:
        return (self.folder / FULL).exists()

    def objects(self, count: int) -> Iterator[Made]:
        """New ones, of one study, and now and then one of before, as it was or with other content."""
        names = [name for name, kind in KINDS.items() for _ in range(kind.weight)]
        for _ in range(count):
            seed = self.draw.randrange(1 << 40)
            if self._sent and self.draw.random() < _AGAIN:
                old = self.draw.choice(self._sent)
                seed = seed if self.draw.random() < 0.5 else old.seed
                made = Made(old.kind, old.instance, seed)
            else:
                study = study_uid(self.number, (self._first + self._count // STUDY) % 8_000_000)
                uid = instance_uid(study, self._count % STUDY)
                made = Made(self.draw.choice(names), uid, seed)
                self._count += 1
                self._sent = [*self._sent[-50:], made]
            yield made

    def begin(self, made: Made) -> bytes:
        """Write down that an object is sent, and give its dataset."""
        data = made.data()
        self._write("sent", made, data)
        return data

    def held(self, made: Made, data: bytes) -> None:
        self._write("held", made, data)
        self.did("store", bytes=len(data))

    def _write(self, state: str, made: Made, data: bytes) -> None:
        self.ledger.write(
            state=state, kind=made.kind, instance=made.instance, seed=made.seed,
            sha256=sha256(data).hexdigest(),
        )  # fmt: skip

    def request(self, peer: Peer, made: Made, data: bytes, number: int = 1) -> bytes:
        kind = KINDS[made.kind]
        context = peer._contexts[kind.sop_class, kind.syntax]  # noqa: SLF001 - of the same benches
        return request_of(made, data, number, context, peer.longest)

    def settle(self, made: Made, data: bytes, status: int) -> None:
        """What a C-STORE was answered: held, refused for now, or a fault."""
        if status == 0:
            self.held(made, data)
        elif status & 0xFF00 == 0xA700:
            self.did("refused", status=status)
            self.over.wait(1.0)
        else:
            raise ConnectionError(f"C-STORE of a {made.kind} was answered {status:04X}")

    def study(self) -> str:
        """A study that somebody has stored; empty while there is none."""
        self.known.read()
        return self.draw.choice(list(self.known.studies)) if self.known.studies else ""
