"""What processes count: it outlives them, is added up, and has bounded labels."""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path
from typing import get_args

import pytest

from scp import telemetry
from scp.config.settings import Settings
from scp.dimse.negotiation.listener import bound
from scp.dimse.wire.upper_layer import Outcome
from scp.metrics import counting
from scp.metrics.catalogue import COUNTED, METRICS
from scp.metrics.counting import NodeFigures
from scp.metrics.figures import Figures
from scp.node.web import WebProcess
from scp.telemetry import status_class
from scp.web import exposition
from scp.web.exposition import counted

pytestmark = pytest.mark.quick

REQUESTS = "zscp_requests_total"


def in_a_child(
    figures: NodeFigures, name: str, *calls: tuple[str, tuple[str, ...]], dies: bool = True
) -> None:
    child = os.fork()
    if not child:
        figures.begin(name)
        for metric, labels in calls:
            counting.count(metric, *labels)
        counting.alive()
        os._exit(0)
    os.waitpid(child, 0)
    if dies:
        figures.ended(name)


def value(figures: NodeFigures, name: str, *labels: str) -> float:
    return counted(figures.all())[name][labels][0]


def test_counts_of_the_dead_stay_and_their_gauges_go() -> None:
    figures = NodeFigures()
    for name in ("worker 1", "worker 2"):
        figures.reserve(name)
    calls = ((REQUESTS, ("c-echo", "success")), ("zscp_associations_open", ()))
    in_a_child(figures, "worker 1", *calls)
    in_a_child(figures, "worker 2", *calls, dies=False)
    assert value(figures, REQUESTS, "c-echo", "success") == 2
    assert value(figures, "zscp_associations_open") == 1
    in_a_child(figures, "worker 1", *calls, (REQUESTS, ("c-store", "failure")))  # its successor goes on
    assert value(figures, REQUESTS, "c-echo", "success") == 3
    assert value(figures, REQUESTS, "c-store", "failure") == 1
    series = [(one.metric.name, one.labels) for one in figures.processes()["worker 1"].read()]
    assert len(series) == len(set(series)) == 3  # or each restart would take more room
    assert figures.processes()["worker 2"].alive
    assert not figures.processes()["worker 1"].alive


def test_no_count_of_threads_is_lost(figures: Figures) -> None:
    def work() -> None:
        for n in range(2000):
            counting.count(REQUESTS, "c-echo", str(n % 7))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sum(one.numbers[0] for one in figures.read()) == 8000


def test_a_histogram_has_each_value_in_the_first_bucket_that_takes_it(figures: Figures) -> None:
    for seconds in (0.0005, 0.001, 0.3, 100.0):
        counting.observe("zscp_request_seconds", "c-echo", value=seconds)
    (series,) = figures.read()
    *counts, total = series.numbers
    buckets = [*series.metric.buckets, float("inf")]
    assert {buckets[at]: count for at, count in enumerate(counts) if count} == {
        0.001: 2,
        0.5: 1,
        float("inf"): 1,
    }
    assert total == pytest.approx(100.3015)


def test_strangers_are_no_labels(figures: Figures) -> None:
    counting.know_peers(["CT1"])
    for aet in ("CT1", "STRANGER", "STRANGER2"):
        with telemetry.request("c-store", calling_aet=aet) as event:
            event.add(status=0, bytes_received=1000, bytes_kept=200)
    found = counted([figures])
    assert {peer for _, peer in found["zscp_peer_request_seconds"]} == {"CT1", "other"}
    assert found["zscp_received_bytes_total"] == {(): (3000.0,)}
    assert found["zscp_kept_bytes_total"] == {(): (600.0,)}
    assert found[REQUESTS] == {("c-store", "success"): (3.0,)}


def test_there_are_at_most_two_hundred_peers(figures: Figures) -> None:
    counting.know_peers(f"CT{n:03}" for n in range(300))
    for n in range(300):
        counting.request("c-echo", "success", 0.1, {"calling_aet": f"CT{n:03}"})
    assert len(counted([figures])["zscp_peer_request_seconds"]) == 201


def test_without_room_for_a_new_series_those_that_are_there_go_on(figures: Figures) -> None:
    for n in range(40_000):
        counting.count(REQUESTS, "c-echo", str(n))
    before = len(figures.read())
    counting.count(REQUESTS, "c-echo", "0")
    assert 10_000 < len(figures.read()) == before
    assert figures.read()[0].numbers == (2.0,)


def test_limits_that_bite_are_counted_by_key(figures: Figures) -> None:
    telemetry.limit_reached("limits.associations", "association rejected")
    assert counted([figures])["zscp_limit_reached_total"] == {("limits.associations",): (1.0,)}


@pytest.mark.parametrize(
    ("status", "expected"),
    [(0x0000, "success"), (0xFF01, "pending"), (0xFE00, "cancel"), (0xB000, "warning"), (0x0107, "warning"),
     (0xA700, "failure"), (0x0211, "failure")],
)  # fmt: skip
def test_the_class_of_a_status(status: int, expected: str) -> None:
    """PS3.7 Annex C."""
    assert status_class(status) == expected


def test_names_are_as_prometheus_asks() -> None:
    for name, metric in METRICS.items():
        assert name.startswith("zscp_")
        assert name.endswith("_total") == (metric.kind == "counter")
        assert metric.meaning.endswith(".")
        assert not (metric.known and len(metric.labels) != 1)
        assert (name in COUNTED) or metric.kind == "gauge"


def test_the_catalogue_names_each_outcome_of_an_association() -> None:
    meaning = COUNTED["zscp_associations_total"].meaning
    assert [one for one in get_args(Outcome) if f"`{one}`" not in meaning] == []


def test_the_node_began_when_it_did_whenever_the_process_that_tells_it_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = NodeFigures()
    monkeypatch.setattr(time, "time", lambda: 2e9)
    with bound("127.0.0.1", 0) as listening:
        web = WebProcess(Settings(), lambda: None, listening, node, lambda: None)
        _, _, body = web._pages()["/metrics"]("")
    (told,) = re.findall(rb"^zscp_start_time_seconds (\S+)", body, re.MULTILINE)
    assert float(told) == node.began < 2e9


def test_a_disk_that_lets_one_scrape_wait_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a network drive that is away: the HTTP side has 16 threads, and /live needs one of them."""
    waits, ends = threading.Event(), threading.Event()

    def hangs(_: Path) -> int:
        waits.set()
        ends.wait(10)
        return 5

    monkeypatch.setattr(exposition, "free_bytes", hangs)
    with bound("127.0.0.1", 0) as listening:
        page = WebProcess(Settings(), lambda: None, listening, NodeFigures(), lambda: None)._pages()[
            "/metrics"
        ]
        stuck = threading.Thread(target=page, args=("",))
        stuck.start()
        assert waits.wait(5)
        began = time.monotonic()
        assert b"zscp_disk_free_bytes{" not in page("")[2]
        assert time.monotonic() - began < 3
        ends.set()
        stuck.join()
        assert b"zscp_disk_free_bytes{" in page("")[2]
