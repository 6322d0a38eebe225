"""A viewer beside a node, to try DICOMweb with: ``python -m scripts.viewer [FOLDER]`` (make viewer).

A node is started in a temporary folder, with the objects below FOLDER (../shared/corpus, or else the test
files that pydicom brings along: all of them public). OHIF shows them in a browser until Ctrl-C.
"""

from __future__ import annotations

import secrets
import signal
import sys
import tempfile
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from scp.config.http import digest_of
from scripts import demo, ohif
from scripts.screenshots import Failed, files_of, free_port, store

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


def show(folder: Path, chosen: Path | None) -> None:
    """Serve until Ctrl-C, with the node's data in ``folder``. Raises Failed, and NotThere."""
    application, groups = ohif.application(), files_of(chosen)
    port, own, token = free_port(), free_port(), secrets.token_urlsafe()
    origin, root = f"http://127.0.0.1:{own}", f"http://127.0.0.1:{port}/dicom-web"
    config = folder / "zscp.toml"
    config.write_text(
        _CONFIGURATION.format(port=port, origin=origin, digest=digest_of(token)), encoding="utf-8"
    )
    app = ohif.Application(application, ohif.configured(root, token))
    with demo.node(folder, "-c", str(config)) as dicom, ohif.served(app, own):
        objects = sum(len(group.files) for group in groups.values())
        _say(f"Storing {objects} objects at port {dicom}.")
        store(dicom, groups)
        _say(f"The viewer is at {origin}/, DICOMweb at {root}. Ctrl-C ends both.")
        webbrowser.open(f"{origin}/")
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Show the objects of a folder; the exit status."""
    try:
        with tempfile.TemporaryDirectory(prefix="zscp-") as name:
            show(Path(name), Path(arguments[0]) if arguments else None)
    except (Failed, ohif.NotThere) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
