"""Results as Markdown, and as JSON that can be read again. Pure but for the writing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.results import Key, Sample, Summary, Target, Verdict, ratio

BEGIN, END = "<!-- benchmark results: begin -->", "<!-- benchmark results: end -->"
LEGEND = (
    "Ratio: an object's time, divided by that of the scenario's first receiver. MB/s: of what was sent. "
    "Work done: until nothing waited to be encoded any more (to about a second), if later than the clients. "
    "CPU: of all processes of the receiver while the clients ran. Kept: of the bytes sent. Peak: the largest "
    "process of the receiver."
)
UNITS = {"cpu": "processor time", "time": "time", "speed": "speed", "drained": "time to the end of all work"}


@dataclass(frozen=True)
class Report:
    """All that is written."""

    machine: Mapping[str, str]
    titles: Mapping[str, str]  # of the scenarios
    samples: tuple[Sample, ...]
    summaries: Mapping[Key, Summary]
    verdicts: tuple[Verdict, ...]
    soak: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()

    def to_json(self) -> str:
        results = [{**asdict(s), "ms_per_object": s.ms, "mb_per_s": s.rate} for s in self.summaries.values()]
        verdicts = [{"target": sentence(v.target), **asdict(v), "reached": v.reached} for v in self.verdicts]
        whole = {
            "machine": self.machine,
            "notes": self.notes,
            "failures": self.failures,
            "results": results,
            "targets": verdicts,
            "soak": self.soak,
            "samples": [asdict(sample) for sample in self.samples],
        }
        return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def read(text: str) -> tuple[dict[str, str], list[Sample], dict[str, float]]:
    """The machine, the samples and the soak of an earlier run's JSON."""
    whole = json.loads(text)
    lists = ("peaks", "resident")
    samples = [Sample(**{**one, **{k: tuple(one[k]) for k in lists}}) for one in whole["samples"]]
    return whole["machine"], samples, whole["soak"]


def sentence(target: Target) -> str:
    """A target in words."""
    scenario, receiver = target.of
    if target.measure == "peak":
        return f"largest process of {receiver} ≤ {target.limit:g} MB"
    if target.measure == "growth":
        return f"{receiver}: memory in the soak's last quarter ≤ {target.limit:g} × that in the first"
    against = target.than or ("", "")
    than = against[1] if against[1] != receiver else against[0]
    return f"{scenario}: {receiver}, {UNITS[target.measure]} {target.relation} {target.limit:g} × {than}"


def table(headings: Iterable[str], rows: Iterable[Iterable[str]], left: int = 1) -> str:
    """A Markdown table whose first ``left`` columns are aligned left."""
    heads = list(headings)
    rule = ["---" if i < left else "---:" for i in range(len(heads))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [heads, rule, *map(list, rows)])


def figures(report: Report) -> str:
    """A table of all scenarios and receivers."""
    heads = [
        "scenario",
        "receiver",
        "median s",
        "min–max",
        "ms/object",
        "CPU ms/object",
        "MB/s",
        "work done, s",
        "kept",
        "peak MB",
    ]
    shown = ""
    rows = []
    for summary in report.summaries.values():
        title = report.titles.get(summary.scenario, summary.scenario)
        name = f"**{summary.scenario}**: {title}, {summary.objects} objects" if title != shown else ""
        shown = title
        rows.append([name, *_cells(summary)])
    return table(
        [*heads, "ratio"], [_with_ratio(report, row) for row in zip(rows, report.summaries, strict=True)], 2
    )


def _cells(summary: Summary) -> list[str]:
    behind = summary.drained is not None and summary.drained > summary.seconds * 1.001
    return [
        summary.receiver + (f" ({summary.note})" if summary.note else ""),
        f"{summary.seconds:.2f}",
        f"{summary.fastest:.2f}–{summary.slowest:.2f}",
        f"{summary.ms:.2f}",
        f"{1000 * summary.cpu / summary.objects:.2f}" if summary.cpu is not None else "",
        f"{summary.rate:.0f}",
        f"{summary.drained:.1f}" if behind else "",
        f"{100 * summary.kept / summary.size:.0f} %" if summary.kept else "",
        f"{summary.peak:.0f}" if summary.peak else "",
    ]


def _with_ratio(report: Report, row: tuple[list[str], Key]) -> list[str]:
    """The first receiver of a scenario is the measure of the others: how much of its time they take."""
    cells, key = row
    first = next(other for other in report.summaries if other[0] == key[0])
    found = ratio(dict(report.summaries), key, first)
    return [*cells, "1" if key == first else f"{found:.2f}"]


def targets(report: Report) -> str:
    """A table of the targets that were measured."""
    rows = [
        [sentence(verdict.target), f"{verdict.value:.2f}", "yes" if verdict.reached else "**no**"]
        for verdict in report.verdicts
        if verdict.value is not None
    ]
    missing = sum(verdict.value is None for verdict in report.verdicts)
    if missing:
        rows.append([f"{missing} more targets", "", "not measured"])
    return table(["target", "measured", "reached"], rows)


def markdown(report: Report) -> str:
    """What stands in docs/benchmarks.md and in results.md."""
    parts = [
        *(f"**FAILED**, and left out: {failure.splitlines()[0]}" for failure in report.failures),
        table(["measured on", ""], ([key, _escaped(value)] for key, value in report.machine.items()), 2),
        targets(report),
        figures(report),
        LEGEND,
        *report.notes,
    ]
    if report.soak:
        text = (
            "Soak: {objects} objects in {seconds:.0f} s; resident {first:.0f} MB in the first quarter, "
            "{last:.0f} MB in the last (medians of all processes together)."
        )
        parts.append(text.format(**report.soak))
    return "\n\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def into(document: str, text: str) -> str:
    """A document with the text between its two markers replaced."""
    head, begin, rest = document.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document lacks {BEGIN} or {END}")
    return f"{head}{BEGIN}\n{text}{END}{tail}"


def write(report: Report, folder: Path, svg: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(report.to_json(), encoding="utf-8")
    (folder / "results.md").write_text(markdown(report), encoding="utf-8")
    (folder / "chart.svg").write_text(svg, encoding="utf-8")
