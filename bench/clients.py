"""The clients, the same real ones for every receiver: dcmsend, getscu, movescu. Loopback only."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from bench import processes
from bench.line import line_to
from bench.objects import ObjectSet
from bench.processes import LOOPBACK, ROOT, BenchError
from bench.receivers import CLIENT_AET, PDU_BYTES, Running

QUERY_CLASS = "1.2.840.10008.5.1.4.1.2.2.1"  # Study Root FIND: a file has to name some SOP class
WINDOW = ROOT / "bench" / "window.py"
_WINDOW_LINE = re.compile(r"(\d+) objects, .*?window (\d+): ([\d.]+) s,.* (\d+) refused")


def limit(objects: int) -> float:
    """Seconds that clients may take: ten times the slowest that was ever seen, and half a minute."""
    return 30 + 1.0 * objects


def _tool(name: str) -> str:
    path = processes.tool(name)
    if path is None:
        raise BenchError(f"{name} is missing: scripts/install-peers.sh installs it")
    return path


def send_command(running: Running, folders: Sequence[Path]) -> list[str]:
    options = ["-q", "+sd", "-dn", "-nuc", "-pdu", str(PDU_BYTES), "-aet", CLIENT_AET, "-aec", running.aet]
    return [_tool("dcmsend"), *options, LOOPBACK, str(running.port), *map(str, folders)]


def send(running: Running, sent: ObjectSet, associations: int, nodelay: bool = True) -> float:
    """C-STORE a set with as many dcmsend as associations, each with its part; seconds."""
    commands = [send_command(running, part) for part in sent.parts(associations)]
    env = processes.environment(nodelay)
    return processes.run_together(commands, running.folder / "clients.log", env, limit(sent.count))


def queries(sent: ObjectSet, associations: int, folder: Path) -> list[Path]:
    """A query file for each client: the study for a single one, else each its part of the series."""
    folder.mkdir(parents=True, exist_ok=True)
    if associations == 1:
        return [_query(folder / "study.dcm", QueryRetrieveLevel="STUDY", StudyInstanceUID=sent.study)]
    made = []
    for i in range(associations):
        keys = {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": sent.study}
        uids = "\\".join(sent.series[i::associations])  # a list, as getscu 3.6.7 crashes on several queries
        made.append(_query(folder / f"{i}.dcm", **keys, SeriesInstanceUID=uids))
    return made


def _query(path: Path, **keys: str) -> Path:
    dataset = Dataset()
    for keyword, value in keys.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = QUERY_CLASS
    dataset.file_meta.MediaStorageSOPInstanceUID = "2.25.1"
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


def get(running: Running, sent: ObjectSet, associations: int) -> float:
    """C-GET a set with as many getscu as associations; seconds. All of it must arrive."""
    into = [running.folder / "got" / str(i) for i in range(associations)]
    asked = queries(sent, associations, running.folder / "queries")
    options = ["-q", "-S", "+xe", "+B", "-pdu", str(PDU_BYTES), "-aet", CLIENT_AET, "-aec", running.aet]
    commands = [
        [_tool("getscu"), *options, "-od", str(folder), LOOPBACK, str(running.port), str(query)]
        for folder, query in zip(into, asked, strict=True)
    ]
    return _retrieve(running, sent, into, commands)


def move(running: Running, sent: ObjectSet, _associations: int) -> float:
    """C-MOVE a set to a storescp; seconds. The destination has one port, so there is one client.

    movescu could receive by itself (+P), but 3.6.7 then waits a second before it ends, which is as long as
    all the rest takes.
    """
    into = running.folder / "got" / "0"
    (asked,) = queries(sent, 1, running.folder / "queries")
    options = [
        "-q",
        "-S",
        "-pdu",
        str(PDU_BYTES),
        "-aet",
        CLIENT_AET,
        "-aem",
        CLIENT_AET,
        "-aec",
        running.aet,
    ]
    command = [_tool("movescu"), *options, LOOPBACK, str(running.port), str(asked)]
    receive = ["-q", "+xe", "+B", "-pdu", str(PDU_BYTES), "-aet", CLIENT_AET, "-od", str(into)]
    receiver = [_tool("storescp"), *receive, str(running.move_port)]
    into.mkdir(parents=True)
    log, env = running.folder / "destination.log", processes.environment(running.nodelay)
    with processes.running(receiver, log, env) as destination:
        processes.until(lambda: processes.listens(running.move_port), "storescp listens", 30)
        destination.check_runs()
        return _retrieve(running, sent, [into], [command])


def _retrieve(running: Running, sent: ObjectSet, into: Sequence[Path], commands: list[list[str]]) -> float:
    for folder in into:
        folder.mkdir(parents=True, exist_ok=True)
    env = processes.environment(running.nodelay)
    seconds = processes.run_together(commands, running.folder / "clients.log", env, limit(sent.count))
    files = [path for folder in into for path in folder.iterdir()]
    expected = sent.size * 0.9  # headers may be written otherwise; pixels come uncompressed
    size = sum(path.stat().st_size for path in files)
    shutil.rmtree(running.folder / "got")
    if len(files) != sent.count or size < expected:
        raise BenchError(f"{len(files)} files of {size} bytes came, of {sent.count} of {sent.size} bytes")
    return seconds


def send_windowed(running: Running, sent: ObjectSet, window: int, line: float = 0.0) -> float:
    """C-STORE a set over one association of bench/window.py; seconds, by its own clock.

    ``line`` is the delay of a line in between, in seconds each way.

    Its interface: ``python -m bench.window FOLDER --host H --port P --aet CALLED --window N`` sends the files
    below the folder, and prints "N objects, … window GRANTED: S s, … M refused", or an object of JSON with
    ``objects``, ``seconds`` and ``window``.
    """
    folder = sent.folders[0].parent
    log = running.folder / f"window{window}.log"
    with line_to(running.port, line) if line else nullcontext(running.port) as port:
        command = processes.python("-m", "bench.window", folder, "--host", LOOPBACK, "--port", port)
        command += ["--aet", running.aet, "--window", str(window)]
        processes.run_together([command], log, processes.environment(running.nodelay), limit(sent.count))
    objects, granted, seconds = window_result(log.read_text())
    if objects != sent.count or granted != window:
        raise BenchError(f"bench.window sent {objects} of {sent.count}, window {granted} of {window}")
    return seconds


def window_result(printed: str) -> tuple[int, int, float]:
    """Objects taken, window granted, and seconds of what bench.window printed."""
    last = printed.strip().splitlines()[-1] if printed.strip() else ""
    if last.startswith("{"):
        found = json.loads(last)
        return int(found["objects"]), int(found["window"]), float(found["seconds"])
    match = _WINDOW_LINE.match(last)
    if match is None:
        raise BenchError(f"bench.window printed {printed!r}")
    return int(match[1]) - int(match[4]), int(match[2]), float(match[3])
