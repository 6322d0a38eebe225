"""C-MOVE goes on where its destination aborts, dies, restarts, hangs or refuses (PS3.4 C.4.2)."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from pynetdicom.dimse_primitives import C_MOVE

from bench import window
from scp.background.back_off import BackOff
from scp.dimse.patience import PAUSES

from .conftest import RunningNode, Starter
from .destination import Destination
from .peers import (
    EXPLICIT,
    PENDING,
    STUDY_MOVE,
    Retrieved,
    _listens,
    dcmtk_command,
    files_in,
    free_port,
    identifier,
    image,
    storescp,
    until,
)

pytestmark = pytest.mark.peer

STUDY = identifier("STUDY", StudyInstanceUID="1.2.3")
COUNT = 10
SENT = [image(instance=f"1.2.3.1.{n}", InstanceNumber=n, seed=n) for n in range(1, COUNT + 1)]
UIDS = [one.instance for one in SENT]
BAD = UIDS[3]


@pytest.fixture(scope="module")
def node(start_shared: Starter) -> Iterator[RunningNode]:
    node = start_shared(limits=LIMITS)
    node.keep(*SENT)
    yield node
    until(lambda: not node.node.server.associations.all(), "all associations are gone")


LIMITS: dict[str, Any] = {"move_retry_seconds": 5, "dimse_seconds": 0.6, "acse_seconds": 2, "operations": 4}


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    return {"pauses": replace(PAUSES, move=BackOff(0.1, 8), cancel=0.5)}


def move(node: RunningNode, port: int, associations: int = 1, **limits: Any) -> tuple[Retrieved, list[Any]]:
    """A C-MOVE of the study, and what was logged of it."""
    node.reload(limits=LIMITS | limits)
    node.peer("DEST", port, associations=associations)
    with structlog.testing.capture_logs() as logged, node.scu((STUDY_MOVE, [EXPLICIT])) as scu:
        done = scu.move(STUDY_MOVE, STUDY, "DEST")
    assert {one.status for one in done.answers[:-1]} <= set(PENDING)
    for one in done.answers:
        assert sum(number or 0 for number in one.counts) == COUNT
    return done, logged


def failed(done: Retrieved) -> list[str]:
    listed = done.final.identifier.FailedSOPInstanceUIDList if done.final.identifier else []
    return [listed] if isinstance(listed, str) else list(listed)


def events(logged: list[Any], name: str) -> list[Any]:
    return [event for event in logged if event["event"] == name]


ONE_AND_MANY = pytest.mark.parametrize(("associations", "most"), [(1, 1), (3, 1), (3, 4)])


@ONE_AND_MANY
@pytest.mark.parametrize("how", ["abort", "die", "hang"])
def test_one_object_that_it_cannot_take(node: RunningNode, how: str, associations: int, most: int) -> None:
    """It fails alone and is named, the rest arrives; nothing is sent a third time."""
    with Destination(lambda uid, _: how if uid == BAD else 0, most=most) as there:
        done, logged = move(node, there.port, associations)
        assert (done.final.status, done.final.counts) == (0xB000, (None, COUNT - 1, 1, 0))
        assert failed(done) == [BAD]
        assert there.taken == set(UIDS) - {BAD}
        assert there.seen[BAD] == 2
        assert max(there.seen.values()) == 2
    assert "twice" in done.final.comment
    broke = events(logged, "association broke")
    assert sum(BAD in event["under_way"] for event in broke) == 2
    assert broke[-1]["under_way"] == [BAD]
    (told,) = events(logged, "c-move")
    assert (told["log_level"], told["outcome"]) == ("warning", "incomplete")


@ONE_AND_MANY
@pytest.mark.parametrize("how", ["abort", "close", "die"])
def test_once_is_no_failure(node: RunningNode, how: str, associations: int, most: int) -> None:
    with Destination(lambda uid, times: how if uid == BAD and times == 1 else 0, most=most) as there:
        done, logged = move(node, there.port, associations)
        assert (done.final.status, done.final.counts) == (0, (None, COUNT, 0, 0))
        assert there.taken == set(UIDS)
    assert events(logged, "c-move")[0]["log_level"] == "info"


def test_several_objects_in_a_row(node: RunningNode) -> None:
    bad = set(UIDS[2:5])
    with Destination(lambda uid, _: "abort" if uid in bad else 0, most=4) as there:
        done, _ = move(node, there.port)
        assert there.taken == set(UIDS) - bad
    assert (done.final.status, failed(done)) == (0xB000, UIDS[2:5])


@pytest.mark.parametrize("how", ["abort", "hang", "die"])
def test_a_destination_that_takes_nothing(node: RunningNode, how: str) -> None:
    """In bounded time, with growing pauses, and not two associations an object."""
    with Destination(lambda *_: how) as there:
        started = time.monotonic()
        done, _ = move(node, there.port, move_retry_seconds=0.7, dimse_seconds=0.3)
        assert time.monotonic() - started < 40
        assert there.associations < 12
    assert (done.final.status, done.final.counts) == (0xA702, (None, 0, COUNT, 0))
    assert failed(done) == UIDS
    assert "DEST" in done.final.comment


def test_a_destination_that_stays_away(node: RunningNode) -> None:
    with Destination(lambda uid, _: "die" if uid == BAD else 0, away=60) as there:
        done, logged = move(node, there.port, move_retry_seconds=0.7)
    assert (done.final.status, done.final.counts) == (0xB000, (None, 3, COUNT - 3, 0))
    assert failed(done) == UIDS[3:]
    assert "does not answer" in done.final.comment
    assert len(events(logged, "destination given up")) == 2  # for what was left, and what was under way


def test_no_second_try_where_none_is_wanted(node: RunningNode) -> None:
    with Destination(lambda uid, _: "abort" if uid == BAD else 0) as there:
        done, _ = move(node, there.port, move_retry_seconds=0)
        assert there.associations == 1
    assert (done.final.status, failed(done)) == (0xB000, UIDS[3:])


def test_a_refusal_is_an_answer(node: RunningNode) -> None:
    """A700 or A900: the object has failed, is named, and is not sent again; the association stays."""
    with Destination(lambda uid, _: {BAD: 0xA700, UIDS[5]: 0xA900}.get(uid, 0)) as there:
        done, logged = move(node, there.port)
        assert there.associations == 1
        assert max(there.seen.values()) == 1
    assert (done.final.status, failed(done)) == (0xB000, [BAD, UIDS[5]])
    assert "A900" in done.final.comment
    refused = [(event["sop_instance"], event["status"]) for event in events(logged, "object refused")]
    assert refused == [(BAD, "0xA700"), (UIDS[5], "0xA900")]


def test_rejected_from_the_beginning(node: RunningNode) -> None:
    """There is nothing to wait for: the answer comes at once, with the reason."""
    with Destination(lambda *_: 0, allowed=0) as there:
        done, _ = move(node, there.port)
        assert there.associations == 1
    assert (done.final.status, failed(done)) == (0xA702, UIDS)
    assert "refused the association" in done.final.comment


def test_rejected_after_it_broke(node: RunningNode) -> None:
    with Destination(lambda *_: 0) as there:

        def leave(uid: str, _: int) -> int | str:
            there.allowed = 0 if uid == BAD else 1
            return "abort" if uid == BAD else 0

        there.behave = leave
        done, _ = move(node, there.port, move_retry_seconds=0.7)
        assert 2 <= there.rejected <= 12
    assert (done.final.status, failed(done)) == (0xB000, UIDS[3:])


def test_it_accepts_nothing_afterwards(node: RunningNode) -> None:
    """No other answer would come later: what is left fails at once."""
    with Destination(lambda *_: 0) as there:

        def leave(uid: str, _: int) -> int | str:
            there.accepts = uid != BAD
            return "abort" if uid == BAD else 0

        there.behave = leave
        done, _ = move(node, there.port, move_retry_seconds=60)
        assert there.associations <= 3
    assert (done.final.status, failed(done)) == (0xB000, UIDS[3:])
    assert "accepts nothing" in done.final.comment


def test_it_takes_fewer_associations_afterwards(node: RunningNode) -> None:
    """The one that it takes does the work, and the others do not hammer at it."""
    with Destination(lambda *_: 0) as there:

        def restart(uid: str, times: int) -> int | str:
            if uid == BAD and times == 1:
                there.allowed = 1
                return "die"
            return 0

        there.behave = restart
        done, _ = move(node, there.port, associations=3)
        assert there.taken == set(UIDS)
        assert there.rejected < 12
    assert (done.final.status, done.final.counts) == (0, (None, COUNT, 0, 0))


@pytest.mark.parametrize("longest", [1, 7])
def test_a_length_that_carries_nothing(node: RunningNode, longest: int) -> None:
    with Destination(lambda *_: 0) as there:
        there.longest = longest
        done, logged = move(node, there.port)
    assert (done.final.status, failed(done)) == (0xA702, UIDS)
    assert "is not understood" in done.final.comment
    assert f"maximum length of {longest}" in events(logged, "c-move")[0]["reason"]


@pytest.mark.parametrize("longest", [8, 64])
def test_an_answer_that_is_odd(node: RunningNode, longest: int) -> None:
    """Small PDUs, unknown sub-items and a long version name do not matter."""
    with Destination(lambda *_: 0) as there:
        there.longest = longest
        there.user = window.item(0x5B, b"?") + window.item(0x55, b"A VERY LONG VERSION NAME \xff")
        done, _ = move(node, there.port)
        assert there.taken == set(UIDS)
    assert done.final.status == 0


# -- cancelled, or left, while nothing can be sent -----------------------------------------------------------


def test_cancelled_while_the_destination_reads_nothing(start: Starter) -> None:
    """Blocked in sending an object, not in waiting for its answer."""
    as_it_came = [{"name": "all", "stages": [{"form": "received"}]}]
    node = start(limits={"idle_seconds": 300, "dimse_seconds": 300}, policy=as_it_came)
    large = image(study="1.2.3", rows=1700)
    node.keep(large)
    with Destination(lambda *_: 0) as there:
        there.reads = False
        node.peer("DEST", there.port)
        with node.scu((STUDY_MOVE, [EXPLICIT])) as scu:
            request = C_MOVE()
            request.MoveDestination = "DEST"
            context = scu.begin(request, STUDY_MOVE, STUDY)
            until(lambda: there.associations, "the association is there")
            time.sleep(0.3)
            scu.cancel(context)
            answer = scu._answer(scu.message()[1], EXPLICIT)
    assert (answer.status, answer.counts) == (0xFE00, (1, 0, 0, 0))
    until(lambda: not node.node.server.associations.all(), "the request is over")


@pytest.mark.parametrize("how", ["hang", "die", "full"])
def test_cancelled_meanwhile(node: RunningNode, how: str) -> None:
    """While an answer, the destination, or its answer to an association request is waited for."""
    node.reload(limits=LIMITS | {"move_retry_seconds": 60, "dimse_seconds": 60, "acse_seconds": 60})
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Destination(lambda uid, _: uid == BAD and how) as there,
    ):
        there.away = 60
        node.peer("DEST", silent.getsockname()[1] if how == "full" else there.port)
        with node.scu((STUDY_MOVE, [EXPLICIT])) as scu:
            request = C_MOVE()
            request.MoveDestination = "DEST"
            context = scu.begin(request, STUDY_MOVE, STUDY)
            until(lambda: there.seen[BAD] or how == "full", "it hangs")
            started = time.monotonic()
            scu.cancel(context)
            answers = [scu._answer(scu.message()[1], EXPLICIT)]
            while answers[-1].status in PENDING:
                answers.append(scu._answer(scu.message()[1], EXPLICIT))
            assert time.monotonic() - started < 40
    remaining, completed, wrong, _ = answers[-1].counts
    assert (answers[-1].status, completed, wrong) == (0xFE00, 0 if how == "full" else 3, 0)
    assert remaining == COUNT - completed


def test_the_requester_goes_meanwhile(node: RunningNode) -> None:
    node.reload(limits=LIMITS | {"move_retry_seconds": 60})
    with Destination(lambda uid, _: "die" if uid == BAD else 0, away=60) as there:
        node.peer("DEST", there.port)
        with node.scu((STUDY_MOVE, [EXPLICIT])) as scu:
            request = C_MOVE()
            request.MoveDestination = "DEST"
            scu.begin(request, STUDY_MOVE, STUDY)
            until(lambda: there.seen[BAD], "the destination is away")
            scu.association.abort()
    until(lambda: not node.node.server.associations.all(), "the request is over")


def test_the_requester_hears_that_it_goes_on(node: RunningNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many give up after 30 s without a response."""
    monkeypatch.setattr("scp.dimse.services.suboperations._PENDING_SECONDS", 0.1)
    with Destination(lambda uid, times: "die" if uid == BAD and times == 1 else 0, away=1.0) as there:
        done, _ = move(node, there.port)
    assert done.final.status == 0
    repeated = Counter(one.counts for one in done.answers)
    assert repeated.most_common(1)[0][1] >= 2


# -- DCMTK ---------------------------------------------------------------------------------------------------


@contextmanager
def storescp_at(port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    folder.mkdir(exist_ok=True)
    command = dcmtk_command("storescp", "-od", folder, "+B", port)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: _listens(port), "storescp listens")
        yield process
    finally:
        process.kill()
        process.wait(10)


def test_storescp_is_killed_and_comes_back(
    node: RunningNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL in the midst of the study."""
    port, folder = free_port(), tmp_path / "in"
    fetch, gate, fetched = node.archive.fetch, threading.Event(), []

    def slow(*arguments: Any) -> Any:
        fetched.append(arguments)
        if len(fetched) > 5:
            gate.wait(20)
        return fetch(*arguments)

    monkeypatch.setattr(node.archive, "fetch", slow)
    done: list[Retrieved] = []
    with storescp_at(port, folder):
        thread = threading.Thread(target=lambda: done.append(move(node, port, move_retry_seconds=15)[0]))
        thread.start()
        until(lambda: len(list(folder.iterdir())) == 5, "half of it is there")
    gate.set()
    with storescp_at(port, folder):
        thread.join(30)
    assert (done[0].final.status, done[0].final.counts) == (0, (None, COUNT, 0, 0))
    assert set(files_in(folder)) == set(UIDS)


def test_storescp_that_aborts_at_each_object(node: RunningNode, tmp_path: Path) -> None:
    with storescp(tmp_path / "in", "--abort-after") as port:
        done, _ = move(node, port, move_retry_seconds=0.7)
    assert (done.final.status, failed(done)) == (0xA702, UIDS)
