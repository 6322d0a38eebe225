"""What was sent and acknowledged, a line each, written by the peers and read by all.

A line "sent" is written before the first byte goes out, "held" once Success came: whoever is killed in
between leaves an object that may be there or not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.mixed.made import Made


class Lines:
    """Whole lines of JSON of all files of a folder, each once; the files are still being written."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._places = folder, dict[Path, int]()

    def new(self) -> Iterator[dict[str, Any]]:
        for path in sorted(self._folder.glob("*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._places.get(path, 0))
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._places[path] = self._places.get(path, 0) + len(whole)
            for line in whole.splitlines():
                yield {**json.loads(line), "by": path.stem}


class Writer:
    """Appends lines; each is in the kernel's hands when ``write`` returns, so a kill loses none."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)

    def write(self, **line: object) -> None:
        os.write(self._file, json.dumps(line).encode() + b"\n")


@dataclass
class Known:
    """One SOP Instance UID: what its last acknowledged content is, and all that it may be."""

    made: Made | None = None  # as acknowledged last
    since: list[Made] = field(default_factory=list)  # sent after that, and not acknowledged
    digests: set[str] = field(default_factory=set)  # ever sent


class Ledger:
    """All that the peers have written so far."""

    def __init__(self, folder: Path) -> None:
        self._lines = Lines(folder)
        self.known: dict[str, Known] = {}
        self.studies: dict[str, list[str]] = {}  # of acknowledged instances
        self.sent: set[str] = set()

    def read(self) -> None:
        for line in self._lines.new():
            made = Made(line["kind"], line["instance"], line["seed"])
            known = self.known.setdefault(made.instance, Known())
            known.digests.add(line["sha256"])
            if line["state"] == "sent":
                known.since.append(made)
                continue
            if known.made is None:
                self.studies.setdefault(made.study, []).append(made.instance)
            known.made, known.since = made, []  # each UID is one peer's, which sends it once at a time

    def held(self) -> dict[str, Known]:
        return {uid: known for uid, known in self.known.items() if known.made is not None}
