"""A real Azurite, Microsoft's emulator of Azure Blob Storage, for tests: on a free port, on loopback."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from scp.config.stores import BucketPlace

# Every Azurite has this account, and its key is printed in Microsoft's manual.
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_SECONDS = 120.0  # Node takes seconds to load it, and many where others need the processor
_CONTAINER = "zscp"
_VERSION = "2021-12-02"


def azurite() -> list[str] | None:
    """The command that starts it, as scripts/install-cluster.sh installed it; None where it is not."""
    main = Path(sys.prefix) / "azurite/node_modules/azurite/dist/src/blob/main.js"
    node = shutil.which("node") or shutil.which("nodejs")
    return [node, str(main)] if node and main.exists() else None


class Azurite:
    """A server on loopback that runs inside the block; its log is in ``folder``, its data in its memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self._port}/{ACCOUNT}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Azurite:
        command = azurite()
        if command is None:
            raise FileNotFoundError("there is no Azurite; make cluster installs it, with npm")
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "azurite.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(*command, "--inMemoryPersistence", "--blobHost", "127.0.0.1"),
                    *("--blobPort", str(self._port), "--disableTelemetry", "--silent"),
                ],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                env={**os.environ, "HOME": str(self.folder)},
            )
        self._wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def place(self) -> BucketPlace:
        """A new prefix of a container."""
        prefix = f"p{uuid.uuid4().hex[:12]}"
        return BucketPlace(
            _CONTAINER, prefix, self.endpoint, secret_key=ACCOUNT_KEY, scheme="az", account=ACCOUNT
        )

    def storage(self) -> dict[str, str]:
        """The keys of a ``[storage]`` in a new prefix of a container, but for its ``spool``."""
        place = self.place()
        return {
            "url": place.name,
            "endpoint": place.endpoint,
            "account": place.account,
            "secret_key": place.secret_key,
        }

    def _wait(self) -> None:
        """Until it has made the container."""
        until = time.monotonic() + _SECONDS
        while True:
            try:
                self._make(_CONTAINER)
                return
            except (urllib.error.URLError, OSError):
                if self._process is None or self._process.poll() is not None or time.monotonic() > until:
                    told = (self.folder / "azurite.log").read_text(errors="replace")[-3000:]
                    raise RuntimeError(f"Azurite did not start:\n{told}") from None
                time.sleep(0.2)

    def _make(self, container: str) -> None:
        """Make a container, which obstore cannot: a request signed with the account's shared key."""
        now = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        of_azure = f"x-ms-date:{now}\nx-ms-version:{_VERSION}"
        signed = "PUT" + "\n" * 12 + f"{of_azure}\n/{ACCOUNT}/{ACCOUNT}/{container}\nrestype:container"
        digest = hmac.new(base64.b64decode(ACCOUNT_KEY), signed.encode(), hashlib.sha256).digest()
        request = urllib.request.Request(
            f"{self.endpoint}/{container}?restype=container",
            method="PUT",
            headers={
                "x-ms-date": now,
                "x-ms-version": _VERSION,
                "Authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}",
                "Content-Length": "0",
            },
        )
        with urllib.request.urlopen(request, timeout=10):
            return
