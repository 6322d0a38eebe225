"""What well-behaved peers do. Each function is one act; whatever goes wrong in it is a fault of the node."""

from __future__ import annotations

import time
from hashlib import sha256

from bench.mixed.acting import STUDY, Acting, WrongBytes
from bench.mixed.made import EXPLICIT, IMPLICIT, Made, difference
from bench.mixed.wire import FIND, MOVE, VERIFICATION, Peer, contexts_of_kinds, querier
from bench.mixed.wire import getter as associated_getter

# Within it, an object that was acknowledged on another association has its row.
_RECORDED_SECONDS = 2.0
_WINDOW = 8


def modality(acting: Acting) -> None:
    """A study over one association, an object a second or so."""
    if acting.full:
        acting.over.wait(1.0)
        return
    peer = Peer(acting.address, contexts_of_kinds(), calling=acting.calling)
    for made in acting.objects(STUDY):
        if acting.over.wait(acting.draw.expovariate(1.2)):
            break
        data = acting.begin(made)
        peer.socket.sendall(acting.request(peer, made, data))
        acting.settle(made, data, peer.message()[1]["Status"])
    peer.leave()


def windowed(acting: Acting) -> None:
    """A few objects in flight at once, answered in any order."""
    if acting.full:
        acting.over.wait(1.0)
        return
    peer = Peer(acting.address, contexts_of_kinds(), calling=acting.calling, window=_WINDOW)
    flying: dict[int, tuple[Made, bytes]] = {}
    uids: set[str] = set()
    for number, made in enumerate(acting.objects(peer.window), 1):
        if made.instance in uids:  # in flight together, nobody could say which one counts
            continue
        uids.add(made.instance)
        flying[number] = made, acting.begin(made)
        peer.socket.sendall(acting.request(peer, *flying[number], number))
    while flying:
        answer = peer.message()[1]
        acting.settle(*flying.pop(answer["MessageIDBeingRespondedTo"]), answer["Status"])
    peer.leave()
    acting.over.wait(_WINDOW * acting.draw.expovariate(1.2))


def finder(acting: Acting) -> None:
    """What was acknowledged is found by its UID, and among others by a wildcard and a range."""
    study = acting.study()
    if not study:
        return
    acting.peer = acting.peer or querier(acting.address, acting.calling)
    uid = acting.draw.choice(acting.known.studies[study])
    series = f"{study}.1"
    keys = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": uid}
    status, matches = acting.peer.find(QueryRetrieveLevel="IMAGE", **keys)
    if not status and not matches:  # another association stored it a moment ago (docs/decisions/0194)
        acting.over.wait(_RECORDED_SECONDS)
        status, matches = acting.peer.find(QueryRetrieveLevel="IMAGE", **keys)
    if status or len(matches) != 1 or uid.encode() not in matches[0]:
        raise WrongBytes(f"{uid} was acknowledged, and is found {len(matches)} times ({status:04X})")
    keys = {"PatientName": "SO?K^*", "StudyDate": "20240101-20241231", "StudyInstanceUID": study}
    status, matches = acting.peer.find(QueryRetrieveLevel="STUDY", **keys)
    if status or len(matches) != 1:
        raise WrongBytes(f"the study {study} is found {len(matches)} times ({status:04X})")
    acting.did("find")
    if acting.draw.random() < 0.05:
        acting.leave()


def mover(acting: Acting) -> None:
    """A study to the sink, which writes down what came."""
    study = acting.study()
    if not study:
        return
    acting.peer = acting.peer or Peer(
        acting.address, [(MOVE, EXPLICIT), (FIND, EXPLICIT)], calling=acting.calling
    )
    done = acting.peer.move(QueryRetrieveLevel="STUDY", StudyInstanceUID=study)
    if done["Status"] or done.get("NumberOfFailedSuboperations"):
        raise ConnectionError(f"C-MOVE of {study} ended with {done}")
    acting.did("move", objects=done["NumberOfCompletedSuboperations"])
    if acting.draw.random() < 0.1:
        acting.leave()


def getter(acting: Acting) -> None:
    """A study in the transfer syntaxes in which it came: the same bytes."""
    study = acting.study()
    if not study:
        return
    peer = associated_getter(acting.address, acting.calling)
    came: set[str] = set()
    expected = set(acting.known.studies[study])
    for one in peer.get(QueryRetrieveLevel="STUDY", StudyInstanceUID=study):
        if isinstance(one, dict):
            _check_final(one, study)
            continue
        uid, _, data = one
        came.add(uid)
        acting.known.read()
        if sha256(data).hexdigest() not in acting.known.known[uid].digests:
            raise WrongBytes(f"{uid} came back with other bytes than it was ever sent with")
    if expected - came:
        raise WrongBytes(f"C-GET of {study} left out {sorted(expected - came)}")
    acting.did("get", objects=len(came))
    peer.leave()


def converter(acting: Acting) -> None:
    """One object in another transfer syntax, compared by pydicom."""
    study = acting.study()
    if not study:
        return
    uid = acting.draw.choice(acting.known.studies[study])
    peer = associated_getter(acting.address, acting.calling, other=True)
    keys = {"StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.1", "SOPInstanceUID": uid}
    for one in peer.get(QueryRetrieveLevel="IMAGE", **keys):
        if isinstance(one, dict):
            _check_final(one, uid)
            continue
        acting.known.read()
        known = acting.known.known[uid]
        may_be = [*([known.made] if known.made else []), *known.since]
        found = [difference(made, one[2], one[1]) for made in may_be]
        if all(found):
            raise WrongBytes(f"{uid} came back in {one[1]} with other {found}")
    acting.did("convert")
    peer.leave()


def _check_final(response: dict[str, object], what: str) -> None:
    if response["Status"] or response.get("NumberOfFailedSuboperations"):
        raise ConnectionError(f"C-GET of {what} ended with {response}")


def echo(acting: Acting) -> None:
    """On an association that stays."""
    acting.peer = acting.peer or Peer(acting.address, [(VERIFICATION, IMPLICIT)], calling=acting.calling)
    begun = time.perf_counter()
    acting.peer.echo()
    acting.did("echo", took=time.perf_counter() - begun)


def caller(acting: Acting) -> None:
    """On an association of its own each time, which counts too."""
    begun = time.perf_counter()
    peer = Peer(acting.address, [(VERIFICATION, IMPLICIT)], calling=acting.calling)
    peer.echo()
    peer.leave()
    acting.did("call", took=time.perf_counter() - begun)
