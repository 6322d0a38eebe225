"""A viewer beside a node, to try DICOMweb with: ``python -m scripts.viewer [FOLDER]`` (make viewer).

A node is started in a temporary folder, with the objects below FOLDER (../shared/corpus, or else the test
files that pydicom brings along: all of them public). OHIF shows them in a browser until Ctrl-C.
"""

from __future__ import annotations

import secrets
import signal
import sys
import tempfile
import threading
import urllib.request
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from scp.config.http import digest_of
from scripts import demo, ohif
from scripts.screenshots import Failed, files_of, free_port, store, until

_CONFIGURATION = """
[node]
host = "127.0.0.1"
port = 0
[http]
port = {port}
page = "on"
[dicomweb]
origins = ["{origin}"]
[[http.token]]
name = "viewer"
digest = "{digest}"
"""


@contextmanager
def beside_a_node(folder: Path, chosen: Path | None) -> Iterator[str]:
    """A viewer meanwhile, beside a node with its data in ``folder``, and its address.

    ``chosen`` is the folder with the objects to show. Raises Failed, and NotThere.
    """
    application, groups = ohif.application(), files_of(chosen)
    port, own, token = free_port(), free_port(), secrets.token_urlsafe()
    origin, base = f"http://127.0.0.1:{own}", f"http://127.0.0.1:{port}"
    config = folder / "zscp.toml"
    config.write_text(
        _CONFIGURATION.format(port=port, origin=origin, digest=digest_of(token)), encoding="utf-8"
    )
    app = ohif.Application(application, ohif.configured(f"{base}/dicom-web", token))
    with demo.node(folder, "-c", str(config)) as dicom, ohif.served(app, own):
        _say(f"Storing {sum(len(group.files) for group in groups.values())} objects at port {dicom}.")
        store(dicom, groups)
        until(lambda: _is_ready(base), "the node answers by HTTP")
        _say(f"The viewer is at {origin}/, DICOMweb at {base}/dicom-web.")
        yield origin


def _is_ready(base: str) -> bool:
    try:
        with urllib.request.urlopen(f"{base}/ready", timeout=30) as answer:  # noqa: S310 - of ours
            return bool(answer.status == 200)
    except OSError:
        return False


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Show the objects of a folder; the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    chosen = Path(arguments[0]) if arguments else None
    try:
        with tempfile.TemporaryDirectory(prefix="zscp-") as name, beside_a_node(Path(name), chosen) as origin:
            _say("Ctrl-C ends both.")
            webbrowser.open(f"{origin}/")
            threading.Event().wait()
    except (Failed, ohif.NotThere, RuntimeError) as error:  # pynetdicom's, where an association has ended
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
