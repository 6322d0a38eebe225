"""Fuzz all targets, one after another: ``python -m fuzz.run [TARGET ...]``, FUZZ_SECONDS in all (600).

What a target found before stays in ``fuzz/.corpus``, and is where the next run begins. Inputs that end a
target are made small and kept in ``fuzz/.findings``; then the exit status is 1, and it says how to replay
each.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from fuzz.fates import fate, smallest
from fuzz.seeds import write
from fuzz.targets import TARGETS

_HERE = Path(__file__).parent
_CORPUS, _FINDINGS, _RAW = _HERE / ".corpus", _HERE / ".findings", _HERE / ".raw"
_SECONDS = 600.0
_MOST = 5  # findings of one target: more are mostly the same once more
_MINIMISING = 20.0
# Without keep_seed a target in whose code nothing is seen, as a library's, would lose all seeds but one.
_LIMITS = (
    "-rss_limit_mb=2048",
    "-timeout=20",
    "-max_len=65536",
    "-keep_seed=1",
    "-verbosity=0",
    "-print_final_stats=1",
)
_FOUND = ("crash-", "timeout-", "oom-")


def main(names: list[str]) -> int:
    """See the module."""
    names = names or [name for name, target in TARGETS.items() if not target.asked]
    seconds = float(os.environ.get("FUZZ_SECONDS") or _SECONDS)
    os.nice(19)
    write(_CORPUS / "seeds")
    with tempfile.TemporaryDirectory() as scratch:  # what dies leaves its files here
        os.environ["TMPDIR"] = tempfile.tempdir = scratch
        found = [(name, path) for name in names for path in _fuzz(name, seconds / len(names))]
        for name, path in found:
            print(f"{name}: {path} ({path.stat().st_size} bytes): {fate(name, path.read_bytes())}")
            print(f"  replay: .venv/bin/python -m fuzz.replay {name} {path}")
    print(f"{len(names)} targets, {len(found)} findings")
    return 1 if found else 0


def _fuzz(name: str, seconds: float) -> Iterator[Path]:
    """Run a target, again where something ended it, and give what did."""
    for folder in (_CORPUS / name, _FINDINGS, _RAW):
        folder.mkdir(parents=True, exist_ok=True)
    until, number, seen = time.monotonic() + seconds, 0, set[str]()
    while (left := int(until - time.monotonic())) > 0 and number < _MOST:
        before = set(_RAW.iterdir())
        log = _run(name, left)
        new = [path for path in _RAW.iterdir() if path not in before and path.name.startswith(_FOUND)]
        print(f"{name}: {log}", flush=True)
        if not new:
            return
        number += 1
        for path in new:
            data = path.read_bytes()
            path.unlink()
            if (ends := fate(name, data)) not in seen:
                seen.add(ends)
                yield _kept(name, data)


def _run(name: str, seconds: int) -> str:
    """One libFuzzer process; returns what it says of its work."""
    folders = (str(_CORPUS / name), str(_CORPUS / "seeds" / name))
    options = (f"-max_total_time={seconds}", f"-artifact_prefix={_RAW}/", f"-dict={_HERE}/dictionary.txt")
    command = (sys.executable, "-m", "fuzz.harness", name, *folders, *options, *_LIMITS)
    done = subprocess.run(command, cwd=_HERE.parent, capture_output=True, check=False)
    told = done.stderr.decode("utf-8", "replace").splitlines()
    units = next((line.split()[-1] for line in told if "number_of_executed_units" in line), "?")
    ended = next((line for line in told if line.startswith(("==", " === Uncaught"))), "")
    return f"{units} inputs in {seconds} s at most, exit status {done.returncode} {ended}".rstrip()


def _kept(name: str, data: bytes) -> Path:
    data = smallest(name, data, _MINIMISING)
    path = _FINDINGS / f"{name}-{sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
