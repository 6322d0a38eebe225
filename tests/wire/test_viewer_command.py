"""``make viewer`` from its start to Ctrl-C, without npm and a browser: with a file that stands for OHIF."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts import npm

from .peers import as_file, image, until

pytestmark = [pytest.mark.dicomweb, pytest.mark.slow]

PROJECT = Path(__file__).parents[2]
_RUN = """\
import sys
from pathlib import Path
from scripts import npm, viewer
npm.CACHE = Path(sys.argv[1])
sys.exit(viewer.main(sys.argv[2:]))
"""


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Where npm's packages are, with something that stands for OHIF."""
    folder = tmp_path / "cache" / npm.OHIF.folder.relative_to(npm.CACHE)
    folder.mkdir(parents=True)
    (folder / npm.OHIF.start).write_text("the viewer")
    return tmp_path / "cache"


@pytest.fixture
def objects(tmp_path: Path) -> Path:
    """Two images, one that no node takes, and what is no object."""
    folder = tmp_path / "objects"
    folder.mkdir()
    for number in (1, 2):
        as_file(image(instance=f"1.2.3.1.{number}"), folder / f"{number}.dcm")
    as_file(image(sop_class="1.2.840.10008.5.1.4.31", Modality="A" * 16), folder / "odd.dcm")
    (folder / "notes.txt").write_text("none")
    return folder


@contextmanager
def running(cache: Path, *arguments: object, **more: str) -> Iterator[subprocess.Popen[str]]:
    """The command, in a group of processes of its own, as a terminal has it."""
    temporary = cache.parent / "temporary"
    temporary.mkdir(exist_ok=True)
    screenless = {key: value for key, value in os.environ.items() if "DISPLAY" not in key}
    environment = screenless | {"TMPDIR": str(temporary), "ZSCP_NODE__WORKERS": "1", **more}
    process = subprocess.Popen(
        [sys.executable, "-c", _RUN, str(cache), *map(str, arguments)],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def told(process: subprocess.Popen[str], last: str) -> str:
    """What it says up to a line."""
    assert process.stdout is not None
    found = ""
    while last not in found:
        line = process.stdout.readline()
        assert line or process.poll() is None, f"{found}{process.stderr and process.stderr.read()}"
        found += line
    return found


def ended(process: subprocess.Popen[str], signals: Sequence[int]) -> tuple[int, str]:
    """Its exit status and what it complained of, after Ctrl-C or another signal to all of its group."""
    for number in signals:
        os.killpg(process.pid, number)
    _, complaints = process.communicate(timeout=120)
    until(lambda: not _lives(process.pid), "the node has ended, too")
    return process.returncode, complaints


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _got(address: str, **headers: str) -> str:
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=60) as answer:
        return str(answer.read().decode())


def test_it_shows_the_objects_of_a_folder_and_ends_by_ctrl_c(cache: Path, objects: Path) -> None:
    with running(cache, objects) as process:
        text = told(process, "Ctrl-C")
        assert "Storing 3 objects" in text
        assert re.search(r"1 of 3 were not taken, \S+/odd\.dcm:", text)
        origin, root = re.findall(r"http://127\.0\.0\.1:\d+\S*(?=[,.]\s)", text)
        assert _got(origin) == _got(f"{origin}viewer?StudyInstanceUIDs=1") == "the viewer"
        token = re.findall(r'"Bearer " \+ "([^"]+)"', _got(f"{origin}app-config.js"))
        assert root in _got(f"{origin}app-config.js")
        found = _got(f"{root}/instances", Authorization=f"Bearer {token[0]}", Origin=origin.rstrip("/"))
        assert {f"1.2.3.1.{number}" for number in (1, 2)} <= set(re.findall(r'"([\d.]+)"', found))
        with pytest.raises(urllib.error.HTTPError, match="401"):
            _got(f"{root}/instances", Origin=origin)
        assert ended(process, [signal.SIGINT, signal.SIGINT, signal.SIGINT]) == (0, "")
    assert list((cache.parent / "temporary").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_it_ends_while_it_starts(cache: Path, objects: Path, number: int) -> None:
    """By `kill`, or with its terminal, which tells the node of the same folder, too."""
    with running(cache, objects) as process:
        until(lambda: list((cache.parent / "temporary").glob("*/log")), "the node is started")
        assert ended(process, [number])[0] == 0
    assert list((cache.parent / "temporary").iterdir()) == []


def test_without_objects_or_npm_it_says_what_is_missing(cache: Path, objects: Path, tmp_path: Path) -> None:
    with running(cache, tmp_path / "nowhere") as process:
        complaints = process.communicate(timeout=120)[1]
        assert (process.returncode, complaints) == (1, f"{tmp_path}/nowhere: there are no DICOM objects\n")
    with running(tmp_path / "empty", objects, PATH=str(tmp_path)) as process:
        complaints = process.communicate(timeout=120)[1]
        assert process.returncode == 1
        assert "npm is not installed" in complaints
    assert list((cache.parent / "temporary").iterdir()) == []
