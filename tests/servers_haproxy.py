"""HAProxy with the configuration that is shipped (conf/cluster/haproxy.cfg), on loopback, on free ports."""

from __future__ import annotations

import re
import shutil
import subprocess
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from waiting import until

SHIPPED = Path(__file__).parents[1] / "conf" / "cluster" / "haproxy.cfg"
# Debian puts it where ordinary users do not look.
PROGRAM = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
# The nodes' `node.proxies`. All of 127.0.0.0/8 is this machine; what comes from 127.0.0.1 is no proxy.
SOURCE = "127.0.0.9"


@dataclass(frozen=True)
class Backend:
    """A node as HAProxy sees it: the port of DICOM, and the one on which it answers /ready."""

    port: int
    http: int
    host: str = "127.0.0.1"


def _replaced(text: str, places: dict[str, str]) -> str:
    """The text with something else in places that are there once each."""
    for place, instead in places.items():
        text, count = re.subn(place, lambda _, new=instead: new, text, flags=re.MULTILINE)  # type: ignore[misc]
        assert count == 1, f"{place} is {count} times in {SHIPPED.name}"
    return text


def nodes(backends: Sequence[Backend]) -> dict[str, str]:
    """The name of the service, which only Docker's name server knows, becomes a line for each node."""
    servers = "\n".join(
        f"    server node{number} {one.host}:{one.port} check port {one.http} source {SOURCE}"
        for number, one in enumerate(backends, 1)
    )
    return {r"^    server-template node \d+ zscp:11112 resolvers docker init-addr none$": servers}


def replicas(names: int, port: int, http: int) -> dict[str, str]:
    """What the name server on port ``names`` of loopback knows as zscp, which answers on two ports."""
    return {
        r"nameserver dns 127.0.0.11:53$": f"nameserver dns 127.0.0.1:{names}",
        r"^    default-server check port 11180": f"    default-server check port {http}",
        r"zscp:11112 ": f"zscp:{port} ",
    }


class HAProxy:
    """HAProxy with the shipped file, which differs in addresses and ports alone, and in nothing else.

    ``behind`` says what is behind it, by :func:`nodes` or :func:`replicas`. Peers call the port ``dicom``;
    ``figures`` has its metrics.
    """

    def __init__(self, folder: Path, behind: dict[str, str], dicom: int, figures: int) -> None:
        self.address, self._figures = ("127.0.0.1", dicom), figures
        self._log, self._config = folder / "haproxy.log", folder / "haproxy.cfg"
        self._process: subprocess.Popen[bytes] | None = None
        places = {
            r"^    bind :11112$": f"    bind 127.0.0.1:{dicom}",
            r"^    bind :8404$": f"    bind 127.0.0.1:{figures}",
        }
        shipped = SHIPPED.read_text(encoding="utf-8")
        self._config.write_text(_replaced(shipped, places | behind), encoding="utf-8")

    def start(self) -> None:
        assert PROGRAM is not None, "haproxy is missing; scripts/install-cluster.sh installs it"
        with self._log.open("ab") as log:
            command = [PROGRAM, "-db", "-f", str(self._config)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self._answers, "HAProxy answers")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        try:
            return bool(self._metrics())
        except OSError:
            return False

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        """End it at once, with all connections that it carries."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._figures}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def _of_servers(self, metric: str, **labels: str) -> dict[str, float]:
        wanted = {"proxy": "nodes", **labels}
        return {
            one.labels["server"]: one.value
            for family in text_string_to_metric_families(self._metrics())
            for one in family.samples
            if one.name == metric and wanted.items() <= one.labels.items()
        }

    def up(self) -> set[str]:
        """The names of the nodes that get new associations: node1, node2, …

        HAProxy takes a node for one of them until it has asked it; that counts only afterwards here.
        """
        states = self._of_servers("haproxy_server_status", state="UP")
        checks = self._of_servers("haproxy_server_check_status", state="L7OK")
        return {name for name, value in states.items() if value and checks.get(name)}

    def carried(self) -> dict[str, int]:
        """How many connections each node has now."""
        found = self._of_servers("haproxy_server_current_sessions")
        return {name: int(value) for name, value in found.items()}
