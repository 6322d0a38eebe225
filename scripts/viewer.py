"""A viewer beside a node, to try DICOMweb with: ``python -m scripts.viewer [FOLDER]`` (make viewer).

A node is started in a temporary folder, with the objects below FOLDER (../shared/corpus, or else the test
files that pydicom brings along: all of them public). OHIF shows them in a browser until Ctrl-C.
"""

from __future__ import annotations

import os
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
from scripts import demo, npm, ohif
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


# What ends it: Ctrl-C, a terminal that is closed, `kill`.
_ENDS = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
# A browser that opens elsewhere than on a screen is one of text, and takes the terminal.
_SCREENS = ("DISPLAY", "WAYLAND_DISPLAY")
_NAMED = 5  # of the files that were not taken


@contextmanager
def beside_a_node(folder: Path, chosen: Path | None) -> Iterator[str]:
    """A viewer meanwhile, beside a node with its data in ``folder``, and its address.

    ``chosen`` is the folder with the objects to show. Raises Failed, and NotThere.
    """
    groups, application = files_of(chosen), npm.OHIF.fetched()
    bound, origin = ohif.listening()
    port, token = free_port(), secrets.token_urlsafe()
    base = f"http://127.0.0.1:{port}"
    config = folder / "zscp.toml"
    config.write_text(
        _CONFIGURATION.format(port=port, origin=origin, digest=digest_of(token)), encoding="utf-8"
    )
    app = ohif.Application(application, ohif.configured(f"{base}/dicom-web", token))
    with bound, demo.node(folder, "-c", str(config)) as dicom, ohif.served(app, bound):
        count = sum(len(group.files) for group in groups.values())
        _say(f"Storing {count} objects at port {dicom}.")
        if refused := store(dicom, groups):
            names = ", ".join(str(path) for path in refused[:_NAMED])
            _say(f"{len(refused)} of {count} were not taken, {names}: {folder}/log says why.")
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


def _end(_number: int, _frame: object) -> None:
    """End, once: what comes again while all is put away would leave some of it."""
    for number in _ENDS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main(arguments: Sequence[str]) -> int:
    """Show the objects of a folder; the exit status."""
    for number in _ENDS:
        signal.signal(number, _end)
    chosen = Path(arguments[0]) if arguments else None
    try:
        with tempfile.TemporaryDirectory(prefix="zscp-") as name, beside_a_node(Path(name), chosen) as origin:
            _say("Ctrl-C ends both.")
            if any(map(os.environ.get, _SCREENS)):
                webbrowser.open(f"{origin}/")
            threading.Event().wait()
    except (Failed, npm.NotThere, RuntimeError) as error:  # pynetdicom's, where an association has ended
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
