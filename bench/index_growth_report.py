"""What bench.index_growth measured, as JSON, as Markdown and as a chart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NAME = "index_growth"


def join(out: Path, machine: dict[str, str], points: list[dict[str, Any]]) -> None:
    """Put points into the JSON, in the place of those of the same index."""
    path = out / f"{NAME}.json"
    held = json.loads(path.read_text())["points"] if path.exists() else []
    new = {_key(one) for one in points}
    every = sorted([one for one in held if _key(one) not in new] + points, key=_key)
    path.write_text(json.dumps({"machine": machine, "points": every}, indent=1) + "\n")


def _key(point: dict[str, Any]) -> tuple[int, int, str]:
    return (-point["a_study"], point["studies"], point["database"])


def write(out: Path) -> None:
    """Make the page and the chart."""
