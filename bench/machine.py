"""The machine and the versions, without which a figure means nothing."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import imagecodecs

from bench import receivers
from bench.processes import ROOT


def busy(seconds: float = 2.0) -> float:
    """The part of all cores that is in use, from 0 to 1, while this process waits; 0 where nobody tells."""
    before = _ticks()
    time.sleep(seconds)
    used, idle = (after - earlier for after, earlier in zip(_ticks(), before, strict=True))
    return used / (used + idle) if used + idle else 0.0


def _ticks() -> tuple[int, int]:
    """Of all cores since they began, in ticks: in use, and idle or waiting for a disk (proc(5))."""
    first, *_ = [*_lines("/proc/stat"), "cpu 0 0 0 0 0 0 0 0"]
    user, nice, system, idle, waiting, *others = map(int, first.split()[1:9])
    return user + nice + system + sum(others), idle + waiting


def describe(
    folder: Path, rounds: int, scale: float, corpus: bool, busy_before: float, program: str = "bench.run"
) -> dict[str, str]:
    """Everything that the results need to be read, in the order in which it is shown."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{_memory_gb():.0f} GB",
        "disk": f"{_disk(folder)}; one folder for all receivers",
        "kernel": f"{platform.system()} {platform.release()}",
        "busy before": f"{100 * busy_before:.0f} %",
        "zscp": _zscp(),
        "DCMTK": receivers.version("storescp"),
        "Orthanc": receivers.version("orthanc"),
        "Python": f"{platform.python_version()}, imagecodecs {imagecodecs.__version__}",
        "objects": "real CT and MR (corpus)" if corpus else "generated (no corpus)",
        "rounds": f"{rounds}, interleaved; medians",
        "scale": f"{scale:g}",
        "command": _command(program),
    }


def of_this_one() -> dict[str, str]:
    """What a page has to say of the machine and of zscp."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{_memory_gb():.0f} GB",
        "kernel": f"{platform.system()} {platform.release()}",
        "zscp": _zscp(),
        "Python": f"{platform.python_version()}, imagecodecs {imagecodecs.__version__}",
    }


def _command(program: str) -> str:
    """As typed, but for folders, which belong to this machine."""
    shown = [Path(word).name if word.startswith("/") else word for word in sys.argv[1:]]
    return shlex.join(["python", "-m", program, *shown])


def _processor() -> str:
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory_gb() -> float:
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemTotal"):
            return int(line.split()[1]) / 1e6
    return 0.0


def _disk(folder: Path) -> str:
    """File system and device of the mount that ``folder`` lies on."""
    best, described = -1, "unknown"
    for line in _lines("/proc/mounts"):
        device, mount, kind, *_ = line.split()
        if folder.resolve().is_relative_to(mount) and len(mount) > best:
            best, described = len(mount), f"{kind} on {Path(device).name}"
    return described


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _zscp() -> str:
    """Its version, and the commit with "-dirty" where files were changed."""
    try:
        found = version("zscp")
    except PackageNotFoundError:
        found = "not installed"
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return found
    return f"{found}, commit {done.stdout.strip()}"
