"""Metrics and health of a node of several processes, as Prometheus sees them."""

from __future__ import annotations

import os
import re
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from scp.config.exposure import exposures
from scp.metrics.catalogue import METRICS

from .configured import settings_of, tables_of
from .conftest import NodeProcess, zscp
from .peers import EXPLICIT, MR_IMAGE, VERIFICATION, Scu, free_port, image, until

COUNT = 5


class Measured:
    """A node with two workers, and its HTTP port."""

    def __init__(self, make: Callable[..., NodeProcess]) -> None:
        self.port = free_port()
        peer = [{"aet": "CT1", "host": "127.0.0.1", "port": 104}]
        self.node = make(node={"workers": 2}, http={"port": self.port}, access={"allow": "known"}, peer=peer)
        self.node.start()

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def scrape(self) -> dict[str, float]:
        status, text = self.get("/metrics")
        assert status == 200
        found = {}
        for family in text_string_to_metric_families(text):
            for one in family.samples:
                labels = ",".join(f"{name}={value}" for name, value in sorted(one.labels.items()))
                found[f"{one.name}{{{labels}}}" if labels else one.name] = one.value
        return found

    def ready(self) -> bool:
        try:
            return self.get("/ready")[0] == 200
        except OSError:
            return False

    def worker(self) -> int:
        """The process id of a worker that has served."""
        served = [one["association"] for one in self.node.events() if one.get("event") == "c-echo"]
        return int(served[-1].partition("-")[0])


def test_figures_of_a_node(process: Callable[..., NodeProcess]) -> None:
    measured = Measured(process)
    node = measured.node
    until(measured.ready, "the node is ready", 20)
    contexts = [(MR_IMAGE, [EXPLICIT]), (VERIFICATION, [EXPLICIT])]
    sent = [image(instance=f"1.2.3.4.{n}", seed=n) for n in range(COUNT)]
    with Scu(node.address, contexts, calling="CT1") as scu:
        assert scu.echo() == 0
        assert [scu.store(one).status for one in sent] == [0] * COUNT
        assert measured.scrape()["zscp_associations_open"] == 1
    with pytest.raises(AssertionError), Scu(node.address, contexts, calling="STRANGER1"):
        pass
    ended = "zscp_associations_total{outcome=%s}"
    until(lambda: measured.scrape()[ended % "rejected"] == 1, "the rejection is counted")
    until(lambda: measured.scrape()[ended % "released"] == 1, "the association has ended")
    # The node is ready with its first worker, and a process works before it first says that it is alive.
    begun = [f"zscp_process_up{{process={name}}}" for name in ("worker 1", "worker 2", "encoder")]
    until(lambda: all(measured.scrape()[name] == 1 for name in begun), "all processes have begun")

    found = measured.scrape()
    assert found["zscp_associations_open"] == 0
    assert found["zscp_associations_rejected_total{reason=calling AE title}"] == 1
    assert found["zscp_requests_total{service=c-echo,status=success}"] == 1
    assert found["zscp_requests_total{service=c-store,status=success}"] == COUNT
    assert found["zscp_request_seconds_count{service=c-store}"] == COUNT
    assert found["zscp_peer_request_seconds_count{peer=CT1,service=c-store}"] == COUNT
    assert found["zscp_received_bytes_total"] == sum(len(one.data) for one in sent)
    assert found["zscp_kept_bytes_total"] > 0
    assert found["zscp_encodings_total{form=htj2k,outcome=kept}"] == COUNT
    assert found["zscp_memory_budget_used_bytes"] < found["zscp_memory_budget_bytes"]
    assert found["zscp_disk_free_bytes{store=first}"] > 0
    assert found["zscp_ready"] == 1
    text = measured.get("/metrics")[1]
    assert "STRANGER1" not in text
    assert set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)) <= METRICS.keys()

    killed = measured.worker()
    os.kill(killed, signal.SIGKILL)
    until(
        lambda: measured.scrape()["zscp_process_restarts_total{kind=worker}"] == 1, "the restart is counted"
    )
    after = measured.scrape()
    assert [name for name, value in found.items() if "_total" in name and after[name] < value] == []
    assert after["zscp_requests_total{service=c-store,status=success}"] == COUNT

    with socket.create_connection(("127.0.0.1", measured.port)) as slow:
        slow.sendall(b"GET /met")
        with Scu(node.address, contexts, calling="CT1") as scu:
            assert scu.echo() == 0
        assert measured.get("/live")[0] == 200
    assert node.kill(signal.SIGTERM) == 0


def test_a_port_that_is_taken_stops_the_start(tmp_path: Path, process: Callable[..., NodeProcess]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        node = process(http={"port": port})
        done = zscp("serve", "-c", node.config, status=2, cwd=node.root)
    assert f"cannot listen on 127.0.0.1:{port} for HTTP: Address already in use; set http.host" in done.stderr


def test_a_port_that_others_reach_is_warned_of(tmp_path: Path) -> None:
    def told(**http: object) -> list[str]:
        return exposures(settings_of(tables_of(tmp_path, {"http": http})))

    assert told() == told(port=11180) == []
    assert told(host="10.0.0.1", port=11180)[0].startswith("http.host: whoever reaches 10.0.0.1:11180")
