"""Jobs: one after the other, with progress; they can be stopped, and one that fails harms no other."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from waiting import until

from scp.background.jobs import Job, Jobs
from scp.background.loop import Loop
from scp.errors import ObjectMissing, OutOfResources

pytestmark = pytest.mark.quick


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    made = Jobs("testing")
    loop = Loop(made)
    loop.start()
    yield made
    loop.stop()
    loop.join(20)


def asked(jobs: Jobs, work: object, total: int = 0) -> Job:
    job = Job("verify", "study 1.2", "anna", total, work)  # type: ignore[arg-type]  # any callable of a test
    jobs.ask(job)
    return job


def test_jobs_are_done_one_after_the_other_with_progress(jobs: Jobs) -> None:
    go, order = threading.Event(), []

    def first(job: Job) -> str:
        job.advance(3)
        go.wait(20)
        order.append("first")
        return "found"

    one = asked(jobs, first, 5)
    two = asked(jobs, lambda _: order.append("second"))
    until(lambda: one.progress.done == 3, "it has begun")
    assert (one.progress.state, one.progress.total, two.progress.state) == ("running", 5, "waiting")
    assert not one.wait(0)
    go.set()
    assert two.wait(20)
    assert order == ["first", "second"]
    assert (one.result, one.progress.state, one.progress.fault) == ("found", "done", "")
    assert (one.progress.kind, one.progress.about, one.progress.user) == ("verify", "study 1.2", "anna")
    assert one.progress.ended is not None


def test_one_that_fails_says_why_and_harms_no_other(jobs: Jobs) -> None:
    def missing(_: Job) -> None:
        raise ObjectMissing("nothing is there")

    faults = [asked(jobs, work) for work in (missing, lambda _: 1 / 0)]
    sound = asked(jobs, lambda _: 7)
    assert sound.wait(20)
    assert sound.result == 7
    assert [one.progress.state for one in faults] == ["failed", "failed"]
    assert faults[0].progress.fault == "nothing is there"
    assert "a fault of zscp" in faults[1].progress.fault


def test_the_end_of_the_process_stops_what_runs_and_begins_nothing(jobs: Jobs) -> None:
    def long(job: Job) -> str:
        until(lambda: job.stopping, "it is told to stop")
        job.cut = True
        return "a part of it"

    def never(_: Job) -> None:
        raise AssertionError

    running, waiting = asked(jobs, long), asked(jobs, never)
    until(lambda: running.progress.state == "running", "it runs")
    jobs.stop()
    assert waiting.wait(20)
    assert [one.progress.state for one in (running, waiting)] == ["stopped", "stopped"]
    assert running.result == "a part of it"
    with pytest.raises(OutOfResources):
        asked(jobs, never)


def test_one_that_did_all_of_it_was_not_stopped(jobs: Jobs) -> None:
    def last(job: Job) -> str:
        until(lambda: job.stopping, "it is told to stop")
        return "all of it"

    one = Job("verify", "study 1.2", "anna", 0, last)
    one.stop()
    jobs.ask(one)
    two = asked(jobs, last)
    until(lambda: two.progress.state == "running", "it runs")
    two.stop()
    assert two.wait(20)
    assert (one.progress.state, one.result) == ("stopped", None)
    assert (two.progress.state, two.result) == ("done", "all of it")


def test_neither_waiting_nor_ended_jobs_become_many(jobs: Jobs) -> None:
    go = threading.Event()
    for _ in range(20):
        asked(jobs, lambda _: go.wait(20))
    with pytest.raises(OutOfResources, match="20 jobs wait"):
        asked(jobs, lambda _: None)
    go.set()
    assert all(one.wait(20) for one in jobs.all())
    for _ in range(110):
        assert asked(jobs, lambda _: None).wait(20)
    assert len(jobs.all()) == 50
