"""DICOMweb of zscp beside Orthanc's plugin: ``python -m bench.dicomweb --help``.

In each round both servers begin empty, one after the other, and one client does with each the same. It stores
the CT set by STOW-RS, a request for each of its 16 series, and a series of 500 images in one request. Of that
series it asks for the metadata, twice, for each frame as it is stored, and for thumbnails of some images. The
client is the same program, and reads all that it is sent. Before the clock starts, both were asked for each
once, of other objects, what zscp encodes after an answer is done, and what was written is on the disk.
"""

from __future__ import annotations

import argparse
import http.client
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom

from bench import machine, processes
from bench.measure import settle
from bench.objects import Objects, ObjectSet
from bench.processes import LOOPBACK
from bench.receivers import Orthanc, Receiver, Running, started
from bench.report import table
from scp.config.http import digest_of, new_token

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
BOUNDARY = "bench-of-dicomweb"
STORED = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
AS_STORED = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
JSON = "application/dicom+json"
THUMBNAILS, THUMBNAIL = 100, "rendered?viewport=128,128"  # Orthanc's plugin has no /thumbnail
# What was done → the most that zscp may take of Orthanc's time.
TARGETS = {"STOW of the CT set": 0.8, "metadata": 0.5, "metadata again": 0.5, "frames as stored": 0.5}

# What was done → seconds that it took, and processor seconds of the server's processes meanwhile.
Seconds = dict[str, tuple[float, float]]


class Client:
    """One client with one connection."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self._connection = http.client.HTTPConnection(LOOPBACK, port, timeout=300)
        self.port, self._headers = port, headers

    def by(self, port: int) -> Client:
        """The same client on another way to the server."""
        return Client(port, self._headers)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
        """A whole answer. Raises BenchError for one that is no success."""
        return self.told(method, path, body, **headers)[0]

    def told(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[bytes, http.client.HTTPMessage]:
        """The same, with its headers."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, f"/dicom-web{path}", body, {**self._headers, **named})
        answer = self._connection.getresponse()
        told = answer.read()
        if answer.status not in (200, 204, 206):
            raise processes.BenchError(f"{method} {path}: {answer.status} {told[:200]!r}")
        return told, answer.headers

    def close(self) -> None:
        """Begin with a new connection."""
        self._connection.close()


@contextmanager
def served(name: str, folder: Path, **options: Any) -> Iterator[tuple[Running, Client]]:
    """A server with nothing in it, and its client; ``options`` are more tables of zscp's configuration."""
    if name == "Orthanc":
        web = {"Enable": True, "Root": "/dicom-web/", "EnableWado": False, "StudiesMetadata": "Full"}
        receiver = Receiver(name, "orthanc", {"Plugins": [str(PLUGIN)], "DicomWeb": web})
        with started(receiver, folder) as running:
            port = running.http_port if isinstance(running, Orthanc) else 0
            yield running, Client(port, {})
        return
    port, token = processes.free_port(), new_token()
    tokens = [{"name": "bench", "digest": digest_of(token), "may": ["find", "get", "store"]}]
    receiver = Receiver(name, "zscp", {"http": {"port": port, "page": "on", "token": tokens}, **options})
    with started(receiver, folder) as running:
        client = Client(port, {"Authorization": f"Bearer {token}"})
        processes.until(lambda: _answers(client), "DICOMweb is served", 60.0, 0.1)
        yield running, client


def _answers(client: Client) -> bool:
    try:
        client.ask("GET", "/studies")
    except (OSError, http.client.HTTPException, processes.BenchError):
        client.close()
        return False
    return True


def bodies(objects: ObjectSet) -> list[bytes]:
    """What is stored: a series each."""
    head = f"\r\n--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    end = f"\r\n--{BOUNDARY}--\r\n".encode()
    return [
        b"".join(head + path.read_bytes() for path in sorted(folder.iterdir())) + end
        for folder in objects.folders
    ]


def paths(objects: ObjectSet) -> list[str]:
    """The resource of each object."""
    found = []
    for path in objects.files():
        one = pydicom.dcmread(path, stop_before_pixels=True)
        found.append(
            f"/studies/{one.StudyInstanceUID}/series/{one.SeriesInstanceUID}/instances/{one.SOPInstanceUID}"
        )
    return found


@dataclass(frozen=True)
class Sent:
    """A set as it is stored, and where its objects are afterwards."""

    bodies: list[bytes]
    paths: list[str]

    @classmethod
    def of(cls, objects: ObjectSet) -> Sent:
        """A request for each series."""
        return cls(bodies(objects), paths(objects))

    def store(self, client: Client, name: str) -> None:
        """Store it. Raises BenchError where not all of it was taken."""
        for body in self.bodies:
            told: dict[str, Any] = json.loads(
                client.ask("POST", "/studies", body, Content_Type=STORED, Accept=JSON)
            )
            if told.get("00081198", {}).get("Value"):
                raise processes.BenchError(f"{name} refused objects: {told['00081198']}")

    def metadata(self, client: Client, name: str) -> None:
        """Get the metadata of its first series. Raises BenchError where that is not of all its objects."""
        series = self.paths[0].partition("/instances/")[0]
        wanted = sum(one.startswith(f"{series}/") for one in self.paths)
        found = len(json.loads(client.ask("GET", f"{series}/metadata", Accept=JSON)))
        if found != wanted:
            raise processes.BenchError(f"{name} told of {found} objects of {wanted}")

    def frames(self, client: Client) -> None:
        """Get the frame of each object as it is stored."""
        for one in self.paths:
            client.ask("GET", f"{one}/frames/1", Accept=AS_STORED)

    def thumbnails(self, client: Client) -> None:
        """Get a small picture of some objects."""
        for one in self.paths[:THUMBNAILS]:
            client.ask("GET", f"{one}/{THUMBNAIL}", Accept="image/jpeg")


def measured(name: str, folder: Path, sets: dict[str, Sent]) -> Seconds:
    """The seconds that each part of a round takes."""
    found: Seconds = {}
    warm, study, series = sets["warm"], sets["ct"], sets["ct-series"]
    with served(name, folder) as (running, client):

        def timed(what: str, work: Callable[[], object]) -> None:
            client.close()
            settle()
            cpu, begun = running.cpu(), time.perf_counter()
            work()
            found[what] = time.perf_counter() - begun, running.cpu() - cpu

        warm.store(client, name)
        running.drain()
        client.close()  # servers end connections that are idle
        warm.metadata(client, name)
        warm.frames(client)
        warm.thumbnails(client)
        timed("STOW of the CT set", lambda: study.store(client, name))
        timed("encoding after the answer", running.drain)
        timed("STOW of 500 images in one request", lambda: series.store(client, name))
        running.check_count(sum(len(each.paths) for each in sets.values()))
        running.drain()
        timed("metadata", lambda: series.metadata(client, name))
        timed("metadata again", lambda: series.metadata(client, name))
        timed("frames as stored", lambda: series.frames(client))
        timed("thumbnails", lambda: series.thumbnails(client))
    return found


def result(rounds: dict[str, list[Seconds]]) -> str:
    """A Markdown table of the medians."""

    def median(name: str, what: str, place: int) -> float:
        return statistics.median(one[what][place] for one in rounds[name])

    names = list(rounds)
    rows = []
    for what in rounds["zscp"][0]:
        took = [median(name, what, 0) for name in names]
        ratio = took[0] / took[1] if len(took) > 1 and took[1] > 0.01 else None
        target = TARGETS.get(what)
        rows.append(
            [
                what,
                *(f"{seconds:.2f}" for seconds in took),
                f"{ratio:.2f}" if ratio is not None else "",
                f"≤ {target:g}" if target is not None else "",
                *(f"{median(name, what, 1):.2f}" for name in names),
            ]
        )
    heads = [
        "",
        *(f"{name}, s" for name in names),
        "ratio",
        "asked",
        *(f"processor, {name}" for name in names),
    ]
    return table(heads, rows)


def main(arguments: list[str]) -> int:
    """Measure, and print a table; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.dicomweb", description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the sets: 448 and 500 CT images at 1")
    parser.add_argument("--corpus", type=Path, help="real objects that are copied; else they are made")
    parser.add_argument("--disk", type=Path, help="folder on the disk that both write to")
    chosen = parser.parse_args(arguments)
    names = ["zscp", *(["Orthanc"] if processes.orthanc() and PLUGIN.exists() else [])]
    rounds: dict[str, list[Seconds]] = {name: [] for name in names}
    load = machine.busy()
    with tempfile.TemporaryDirectory(prefix="dicomweb-", dir=chosen.disk) as place:
        made = Objects(Path(place) / "objects", chosen.corpus, chosen.scale)
        sets = {name: Sent.of(made[name]) for name in ("warm", "ct", "ct-series")}
        told = machine.describe(
            Path(place), chosen.rounds, chosen.scale, chosen.corpus is not None, load, "bench.dicomweb"
        )
        print(table(["measured on", ""], told.items(), 2), flush=True)
        for number in range(chosen.rounds):
            for name in names if number % 2 == 0 else reversed(names):
                folder = Path(place) / f"{name}-{number}"
                rounds[name].append(measured(name, folder, sets))
                shutil.rmtree(folder)
    print(f"\n{result(rounds)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
