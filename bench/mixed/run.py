"""A soak with mixed peers, good and bad, against one node: ``python -m bench.mixed.run --seconds 1800``.

It uses loopback only, ends by itself and only what it started, and exits with 1 if a claim does not hold.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import processes
from bench.mixed import back, node, verdicts
from bench.mixed.acting import FULL
from bench.mixed.ledger import Ledger, Lines
from bench.mixed.node import Node, Sample
from bench.mixed.peer import SIXTEEN, WELL_BEHAVED
from bench.mixed.verdicts import Claim
from bench.processes import ROOT, BenchError

PAGE = ROOT / "bench" / "results" / "soak.md"
_PROGRESS, _LOOK = 30.0, 0.5
_ENDING, _DRAIN = 120.0, 1800.0
_DISK_SHARE = 4  # of what is free, at most a quarter is filled


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.mixed.run", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument(
        "--roles", nargs="+", default=list(SIXTEEN), metavar="ROLE", help="default: sixteen peers"
    )
    parser.add_argument("--gigabytes", type=float, default=4.0, help="what is stored at most, as received")
    parser.add_argument(
        "--disk", type=Path, help="a folder on the disk to use; default: the system's for such"
    )
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    parser.add_argument(
        "--keep", action="store_true", help="keep the folder; it stays anyhow if a claim fails"
    )
    return parser.parse_args(given)


@dataclass
class Peers:
    """The peers' processes. One that kills itself is started again; another that ends tells of a fault."""

    port: int
    folder: Path
    roles: Sequence[str]
    children: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)

    def start(self, number: int) -> None:
        command = processes.python(
            "-m", "bench.mixed.peer", self.roles[number], number, self.port, self.folder
        )
        with (self.folder / f"peer-{number:02}.log").open("ab") as log:
            self.children[number] = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=processes.environment(True),
                cwd=self.folder, start_new_session=True,
            )  # fmt: skip

    def look(self) -> None:
        for number, child in list(self.children.items()):
            if (status := child.poll()) is not None:
                if status != -signal.SIGKILL or self.roles[number] != "dying":
                    self.ended.append(f"peer {number} ({self.roles[number]}) ended with {status}")
                self.start(number)

    def stop(self) -> None:
        """Let them end what they are at, and kill who does not."""
        for child in self.children.values():
            if child.stdin is not None:
                child.stdin.close()
        until = time.monotonic() + _ENDING
        for number, child in self.children.items():
            try:
                child.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.ended.append(f"peer {number} ({self.roles[number]}) did not end")
                child.kill()
                child.wait(10)
        self.children.clear()


@dataclass
class Seen:
    """What the peers have told, and what the node took."""

    counts: Counter[str] = field(default_factory=Counter)
    took: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    faults: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    of_bad_peers: list[str] = field(default_factory=list)
    arrived: list[tuple[str, str]] = field(default_factory=list)
    bytes: int = 0
    samples: list[Sample] = field(default_factory=list)

    def take(self, line: dict[str, Any]) -> None:
        what, role = line["did"], line["by"].partition("-")[2]
        self.counts[f"{what} by bad peers" if what == "fault" and role not in WELL_BEHAVED else what] += 1
        self.bytes += line.get("bytes", 0)
        if "took" in line:
            self.took[what].append(line["took"])
        if what == "wrong":
            self.wrong.append(f"{line['by']}: {line['detail']}")
        elif what == "fault":
            told = self.faults if role in WELL_BEHAVED else self.of_bad_peers
            told.append(f"{line['by']}: {line['detail']}")
        elif what == "arrived":
            self.arrived.append((line["instance"], line["sha256"]))

    def progress(self, elapsed: float) -> str:
        last, shown = self.samples[-1], ("store", "find", "move", "get", "cancel", "abort", "break", "die")
        did = ", ".join(f"{self.counts[what]} {what}" for what in shown)
        echo = verdicts.quantiles(self.took["echo"][-200:])
        return (
            f"{elapsed:.0f} s: {did}; {self.bytes / 1e6:.0f} MB; "
            f"{last.processes} processes, {last.pss:.0f} MB, {last.descriptors} files; "
            f"echo {echo} ms; {len(self.faults)} faults, {len(self.wrong)} wrong"
        )


def main(given: Sequence[str] | None = None) -> int:
    """See the module."""
    asked = arguments(given)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="zscp-soak-", dir=asked.disk))
    print(f"{len(asked.roles)} peers for {asked.seconds:.0f} s, in {folder}", flush=True)
    sink_port = processes.free_port()
    sink = subprocess.Popen(
        processes.python("-m", "bench.mixed.sink", sink_port, folder / "events" / "99-sink.jsonl"),
        stdin=subprocess.PIPE, env=processes.environment(True), start_new_session=True,
    )  # fmt: skip
    try:
        claims = _soak(asked, folder, sink_port)
    finally:
        sink.kill()
        sink.wait(10)
    for claim in claims:
        print(f"{'holds' if claim.holds else 'FAILS'}: {claim.what}: {claim.found}")
    sound = all(claim.holds for claim in claims)
    if sound and not asked.keep:
        shutil.rmtree(folder)
    else:
        print(f"the node's folder, its log, and what each peer did: {folder}")
    return 0 if sound else 1


def _soak(asked: argparse.Namespace, folder: Path, sink_port: int) -> list[Claim]:
    most = min(asked.gigabytes * 1e9, shutil.disk_usage(folder).free / _DISK_SHARE)
    running = node.started(folder / "node", sink_port, asked.seconds)
    stopped = False
    try:
        peers, seen = Peers(running.port, folder, asked.roles), Seen()
        _run(asked.seconds, most, running, peers, seen)
        rows = [("acknowledged objects", f"{seen.counts['store']:,}, {seen.bytes / 1e6:,.0f} MB as received")]
        print("waiting until all is encoded", flush=True)
        _drain(running)
        ledger = Ledger(folder / "ledger")
        ledger.read()
        print(f"getting {len(ledger.held())} objects back", flush=True)
        begun = time.monotonic()
        found = back.everything(running.address, ledger.held())
        rows += [
            ("objects held at the end", f"{len(ledger.held()):,}"),
            ("got back, byte for byte and by pydicom", f"{found.same_bytes:,}"),
            ("got back in another transfer syntax, by pydicom", f"{found.same_values:,}"),
            ("seconds for both", f"{time.monotonic() - begun:.0f}"),
            ("echo on an association that stays: median, p99, max ms", verdicts.quantiles(seen.took["echo"])),
            ("associate, echo, release: median, p99, max ms", verdicts.quantiles(seen.took["call"])),
            *_rows_of_samples(seen.samples),
        ]
        status, stopped = running.stop(), True
        claims = _claims(seen, peers, ledger, found, running, status)
    finally:
        if not stopped:
            running.stop()
    if asked.page:
        command = f"make soak SOAK_SECONDS={asked.seconds:.0f}"
        text = verdicts.page(asked.seconds, len(asked.roles), seen.counts, claims, rows, command)
        PAGE.write_text(text, encoding="utf-8")
    return claims


def _run(seconds: float, most: float, running: Node, peers: Peers, seen: Seen) -> None:
    """Have the peers act for so long."""
    events = Lines(peers.folder / "events")
    (peers.folder / "events").mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    told, every, sampled = 0.0, min(5.0, max(0.5, seconds / 60)), -60.0
    try:
        for number in range(len(peers.roles)):
            peers.start(number)
        while (elapsed := time.monotonic() - begun) < seconds:
            running.child.check_runs()
            peers.look()
            for line in events.new():
                seen.take(line)
            if seen.bytes > most:
                (peers.folder / FULL).touch()
            if elapsed - sampled >= every:
                seen.samples.append(node.sample(running.child.process.pid, elapsed))
                sampled = elapsed
            if elapsed - told >= _PROGRESS:
                print(seen.progress(elapsed), flush=True)
                told = elapsed
            time.sleep(_LOOK)
    finally:
        peers.stop()
    for line in events.new():
        seen.take(line)
    print(seen.progress(time.monotonic() - begun), flush=True)


def _drain(running: Node) -> None:
    """Wait until nothing is pending any more."""
    processes.until(lambda: not running.statistics()["pending"]["instances"], "encoding ends", _DRAIN, 1.0)


def _claims(
    seen: Seen, peers: Peers, ledger: Ledger, found: back.Back, running: Node, status: int
) -> list[Claim]:
    print("zscp verify --deep, and zscp fsck", flush=True)
    verified, _ = running.command("verify", "--deep", "--json")
    checked, _ = running.command("fsck", "--json")
    unlike = [
        f"{uid} came to the sink as {digest[:12]}"
        for uid, digest in seen.arrived
        if uid not in ledger.known or digest not in ledger.known[uid].digests
    ]
    held = len(ledger.held())
    return [
        Claim(
            "every acknowledged object comes back, byte for byte",
            f"{found.same_bytes:,} of {held:,}",
            found.same_bytes == held and held > 0,
        ),
        Claim(
            "and in another transfer syntax, with equal attributes and pixels",
            f"{found.same_values:,} of {held:,}",
            found.same_values == held,
        ),
        verdicts.none_of("nothing acknowledged is lost", found.lost),
        verdicts.none_of("no wrong bytes at the end", found.wrong),
        verdicts.none_of("no wrong bytes, and nothing missing, during the soak", [*seen.wrong, *unlike]),
        verdicts.none_of("no request of a well-behaved peer fails", [*seen.faults, *peers.ended]),
        verdicts.none_of("what bad peers ask for properly is answered properly", seen.of_bad_peers),
        *verdicts.flat(seen.samples),
        Claim("the node ends on SIGTERM", f"exit status {status}", status == 0),
        Claim("zscp verify --deep finds nothing", f"exit status {verified}", verified == 0),
        Claim("zscp fsck finds nothing", f"exit status {checked}", checked == 0),
        verdicts.none_of("no error and no traceback in the log", list(running.complaints())),
    ]


def _rows_of_samples(samples: Sequence[Sample]) -> list[tuple[str, str]]:
    memory, files = verdicts.rise(samples, "pss"), verdicts.rise(samples, "descriptors")
    return [
        (
            "memory of all processes (PSS), second half",
            f"mean {memory.mean:.0f} MB, fit {memory.rise:+.0f} MB",
        ),
        ("most memory", f"{max(one.pss for one in samples):.0f} MB"),
        ("open files, second half", f"mean {files.mean:.0f}, fit {files.rise:+.1f}"),
        ("processes", f"{min(one.processes for one in samples)} to {max(one.processes for one in samples)}"),
    ]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"soak: {error}")
