"""DICOMweb of zscp beside Orthanc's plugin: ``python -m bench.dicomweb --help``.

In each round both servers begin empty, one after the other, and one client does with each the same: it stores
a CT study by STOW-RS, a request a series, and then asks for its metadata, twice, for each frame as it is
stored, and for some rendered images. The client is the same program, and reads all that it is sent. What zscp
encodes after the answer is done before anything is asked for; its time stands beside.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom

from bench import processes
from bench.objects import Objects, ObjectSet
from bench.processes import LOOPBACK
from bench.receivers import Orthanc, Receiver, Running, started
from scp.config.http import digest_of, new_token

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
BOUNDARY = "bench-of-dicomweb"
STORED = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
AS_STORED = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
RENDERED = 30

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


def measured(name: str, folder: Path, objects: ObjectSet, warm: bytes) -> Seconds:
    """The seconds that each part of a round takes; ``warm`` is stored before."""
    sent, instances, study = bodies(objects), paths(objects), objects.study
    found: Seconds = {}

    with served(name, folder) as (running, client):

        def timed(what: str, work: Callable[[], object]) -> None:
            client.close()  # servers end connections that are idle
            cpu, begun = running.cpu(), time.perf_counter()
            work()
            found[what] = time.perf_counter() - begun, running.cpu() - cpu

        def store() -> None:
            for body in sent:
                told: dict[str, Any] = json.loads(
                    client.ask("POST", "/studies", body, Content_Type=STORED, Accept="application/dicom+json")
                )
                if told.get("00081198", {}).get("Value"):
                    raise processes.BenchError(f"{name} refused objects: {told['00081198']}")

        def metadata() -> None:
            found_ = json.loads(
                client.ask("GET", f"/studies/{study}/metadata", Accept="application/dicom+json")
            )
            if len(found_) != len(instances):
                raise processes.BenchError(f"{name} told of {len(found_)} objects of {len(instances)}")

        client.ask("POST", "/studies", warm, Content_Type=STORED, Accept="application/dicom+json")
        running.drain()
        timed("store", store)
        running.check_count(len(instances) + warm.count(BOUNDARY.encode()) - 1)
        timed("encode after the answer", running.drain)
        timed("metadata", metadata)
        timed("metadata again", metadata)
        timed(
            "frames as stored",
            lambda: [client.ask("GET", f"{one}/frames/1", Accept=AS_STORED) for one in instances],
        )
        timed(
            "rendered",
            lambda: [
                client.ask("GET", f"{one}/rendered", Accept="image/jpeg") for one in instances[:RENDERED]
            ],
        )
    return found


def main(arguments: list[str]) -> int:
    """Measure, and print a table; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.dicomweb", description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the set of CT images, 448 at 1")
    parser.add_argument("--corpus", type=Path, help="real objects that are copied; else they are made")
    chosen = parser.parse_args(arguments)
    names = ["zscp", *(["Orthanc"] if processes.orthanc() and PLUGIN.exists() else [])]
    rounds: dict[str, list[Seconds]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="dicomweb-") as place:
        sets = Objects(Path(place) / "objects", chosen.corpus, chosen.scale)
        objects, (warm, *_) = sets["ct"], bodies(sets["warm"])
        print(f"{objects.count} CT images, {objects.size / 1e6:.0f} MB, a request for each series")
        for number in range(chosen.rounds):
            for name in names if number % 2 == 0 else reversed(names):
                folder = Path(place) / f"{name}-{number}"
                rounds[name].append(measured(name, folder, objects, warm))
    for what in rounds["zscp"][0]:
        for number, unit in enumerate(("s", "s of processor")):
            took = {name: statistics.median(one[what][number] for one in rounds[name]) for name in names}
            told = ", ".join(f"{name} {seconds:.2f} {unit}" for name, seconds in took.items())
            ratio = f", ratio {took['zscp'] / took['Orthanc']:.2f}" if took.get("Orthanc", 0) > 0.01 else ""
            print(f"{what}: {told}{ratio}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
