"""The tables of docs/metrics.md: every metric, from the table of the code, and every alert, from its file.

``python -m scripts.metrics`` writes them anew. With ``--check`` it changes nothing, and exits with 1 where
the page is not current.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from scp.metrics.catalogue import COUNTED, LOOKED_UP, Metric
from scripts.sections import Sections, main, table

_ROOT = Path(__file__).parents[1]
DOCUMENT = _ROOT / "docs" / "metrics.md"
ALERTS = _ROOT / "conf" / "prometheus" / "alerts.yml"


def _listed(metrics: Mapping[str, Metric]) -> str:
    rows = [
        (f"`{one.name}`", one.kind, ", ".join(f"`{label}`" for label in one.labels), one.meaning)
        for one in metrics.values()
    ]
    return table(("metric", "kind", "labels", "what it is"), rows)


def _alerts() -> str:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    rows = [
        (f"`{rule['alert']}`", rule["labels"]["severity"], rule["annotations"]["remedy"]) for rule in rules
    ]
    return table(("alert", "severity", "what to do"), rows)


SECTIONS: Sections = {
    "counted": lambda: _listed(COUNTED),
    "looked-up": lambda: _listed(LOOKED_UP),
    "alerts": _alerts,
}

if __name__ == "__main__":
    sys.exit(main(DOCUMENT, SECTIONS, "make metrics", sys.argv[1:]))
