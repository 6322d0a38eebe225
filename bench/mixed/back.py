"""Everything that was acknowledged is got back and compared, study by study, in a few processes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from multiprocessing import get_context

from bench.mixed.ledger import Known
from bench.mixed.made import KINDS, Made, difference
from bench.mixed.wire import getter

_PROCESSES, _PROGRESS = 2, 30.0


@dataclass
class Back:
    """How many came back, and what was wrong."""

    same_bytes: int = 0
    same_values: int = 0
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Back) -> None:
        self.same_bytes += other.same_bytes
        self.same_values += other.same_values
        self.lost += other.lost
        self.wrong += other.wrong


def everything(address: tuple[str, int], held: Mapping[str, Known]) -> Back:
    """All studies; each twice, in two sets of transfer syntaxes."""
    studies: dict[str, dict[str, Known]] = {}
    for uid, known in held.items():
        if known.made is not None:
            studies.setdefault(known.made.study, {})[uid] = known
    whole = Back()
    with ProcessPoolExecutor(_PROCESSES, mp_context=get_context("spawn")) as pool:
        told = time.monotonic()
        for number, one in enumerate(pool.map(partial(_study, address), studies.items(), chunksize=4), 1):
            whole.add(one)
            if time.monotonic() - told > _PROGRESS:
                told = time.monotonic()
                wrong = f"{len(whole.lost)} lost, {len(whole.wrong)} wrong"
                print(f"{number} of {len(studies)} studies got back; {wrong}", flush=True)
    return whole


def _study(address: tuple[str, int], named: tuple[str, dict[str, Known]]) -> Back:
    study, wanted = named
    back = Back()
    for other in (False, True):
        try:
            _pass(address, study, wanted, other, back)
        except OSError as error:
            back.lost.append(f"C-GET of {study} broke off: {error}")
    return back


def _pass(address: tuple[str, int], study: str, wanted: dict[str, Known], other: bool, back: Back) -> None:
    peer, came = getter(address, "VERIFIER", other), set[str]()
    for one in peer.get(QueryRetrieveLevel="STUDY", StudyInstanceUID=study):
        if isinstance(one, dict):
            if one["Status"]:
                back.lost.append(f"C-GET of {study} ended with {one['Status']:04X}")
            continue
        uid, syntax, data = one
        if uid not in wanted:
            continue  # sent, and not acknowledged before its sender was gone
        came.add(uid)
        told = _differs(wanted[uid], data, syntax, other)
        if told:
            back.wrong.append(f"{uid} in {syntax}: {told}")
        elif other:
            back.same_values += 1
        else:
            back.same_bytes += 1
    back.lost += [f"{uid} was acknowledged and does not come back" for uid in wanted.keys() - came]
    peer.leave()


def _differs(known: Known, data: bytes, syntax: str, other: bool) -> str:
    """Empty if this is what was acknowledged last, or was sent after that."""
    may_be: list[Made] = [*([known.made] if known.made else []), *known.since]
    if not other:
        digest = sha256(data).hexdigest()
        same = any(KINDS[made.kind].syntax == syntax and made.digest() == digest for made in may_be)
        if not same:
            return "other bytes than were acknowledged"
    found = [difference(made, data, syntax) for made in may_be]
    return "" if not all(found) else "; ".join(found)
