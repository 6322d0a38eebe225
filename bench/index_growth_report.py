"""What bench.index_growth measured, as JSON, as Markdown and as a chart that matplotlib draws."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from bench.chart import OTHER, OWN, STYLE
from bench.index_server import SETTINGS

NAME = "index_growth"
Point = dict[str, Any]
# Points are measured one by one: on machines of this size, but not on one day, or with one processor.
_OF_POINTS = ("date", "zscp", "processor")
_COLOURS = {"SQLite": OTHER, "PostgreSQL": OWN}
# Lines of the chart: the rest of the kinds would hide each other.
DRAWN = {
    "PatientID, a year, modality": "o-",
    "PatientName `DOE*`, a year, modality": "s--",
    "a day, modality": "^:",
    "instances of a series": "v-.",
}


def join(out: Path, machine: dict[str, str], points: list[Point]) -> None:
    """Put points into the JSON, in the place of those of the same index."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{NAME}.json"
    held = json.loads(path.read_text())["points"] if path.exists() else []
    new = {_key(one) for one in points}
    measured = f"{machine['date']}, zscp {machine['zscp']}, {machine['processor']}"
    dated = [one | {"measured": measured} for one in points]
    every = sorted([one for one in held if _key(one) not in new] + dated, key=_key)
    path.write_text(json.dumps({"machine": machine, "points": every}, indent=1) + "\n")


def _key(point: Point) -> tuple[int, int, str]:
    return (-point["a_study"], point["studies"], point["database"])


def write(out: Path) -> None:
    """Make the page and the chart from the JSON."""
    read = json.loads((out / f"{NAME}.json").read_text())
    (out / f"{NAME}.md").write_text(page(read["machine"], read["points"]))
    (out / f"{NAME}.svg").write_text(chart(read["points"]))


def page(machine: Mapping[str, str], points: Sequence[Point]) -> str:
    """Tables of all points, one a shape and database."""
    lines = [
        "| measured on |  |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in machine.items() if name not in _OF_POINTS),
    ]
    settings = ", ".join(f"{name} {value}" for name, value in SETTINGS.items() if name != "listen_addresses")
    lines += [f"| PostgreSQL | {settings}; commits wait for the disk |", ""]
    for a_study in dict.fromkeys(one["a_study"] for one in points):
        for database in _COLOURS:
            chosen = [one for one in points if (one["a_study"], one["database"]) == (a_study, database)]
            if chosen:
                lines += [f"**{database}, {a_study} instances a study**", "", *_table(chosen), ""]
    return "\n".join(lines[:-1]) + "\n"


def _table(points: Sequence[Point]) -> Iterator[str]:
    heads = [f"{one['instances'] / 1e6:.0f} M instances, {_studies(one)}" for one in points]
    yield f"| first match, ms: warm median, **p95**; cold p95 | {' | '.join([*heads, 'p95 grew'])} |"
    yield f"| --- |{' ---: |' * (len(points) + 1)}"
    for kind in points[0]["ms"]:
        times = [one["ms"][kind] for one in points]
        cells = [f"{t['warm'][0]:.1f}, **{t['warm'][1]:.1f}**; {t['cold'][1]:.1f}" for t in times]
        yield f"| {kind} | {' | '.join(cells)} | {_growth([t['warm'][1] for t in times])} |"
    yield f"| measured on | {' | '.join(one['measured'] for one in points)} |  |"
    yield _row("recorded a second, 1 thread", points, lambda one: one["recorded"]["1"], "{:.0f}")
    yield _row("recorded a second, 8 threads", points, lambda one: one["recorded"]["8"], "{:.0f}")
    yield _row("GB", points, lambda one: one["bytes"]["all"] / 1e9, "{:.1f}")
    yield _row("bytes an instance", points, lambda one: one["bytes"]["all"] / one["instances"], "{:.0f}")


def _row(name: str, points: Sequence[Point], value: Callable[[Point], float], form: str) -> str:
    values = [value(one) for one in points]
    return f"| {name} | {' | '.join(map(form.format, values))} | {_growth(values)} |"


def _studies(point: Point) -> str:
    return f"{point['studies']:,} studies"


def _growth(values: Sequence[float]) -> str:
    return f"{values[-1] / values[0]:.2f} times" if len(values) > 1 else ""


def chart(points: Sequence[Point]) -> str:
    """By the number of instances, whose axis is logarithmic: a straight line grows as a logarithm does."""
    deep = max(one["a_study"] for one in points)
    chosen = [one for one in points if one["a_study"] == deep]
    written = StringIO()
    with rc_context(STYLE):
        figure = Figure(figsize=(9.6, 7.2), layout="constrained")
        for axes, (title, draw) in zip(figure.subplots(2, 2).flat, _PANELS.items(), strict=True):
            for database, colour in _COLOURS.items():
                own = [one for one in chosen if one["database"] == database]
                draw(axes, database, colour, [one["instances"] for one in own], own)
            _finish(axes, title, sorted({one["instances"] for one in chosen}))
        figure.supxlabel(f"instances, {deep} a study")
        figure.savefig(written, format="svg", metadata={"Date": None})
    return written.getvalue()


def _finish(axes: Any, title: str, ticks: Sequence[int]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{one / 1e6:.0f} M" for one in ticks])
    axes.minorticks_off()
    axes.set_title(title, loc="left", weight="bold")
    axes.set_ylim(0, 1.1 * axes.dataLim.y1)
    axes.legend(fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def _times(state: str) -> Callable[[Any, str, str, list[int], list[Point]], None]:
    def draw(axes: Any, database: str, colour: str, sizes: list[int], points: list[Point]) -> None:
        for kind, style in DRAWN.items():
            ms = [one["ms"][kind][state][1] for one in points]
            axes.plot(sizes, ms, style, color=colour, label=f"{database}: {kind.replace('`', '')}")

    return draw


def _recorded(axes: Any, database: str, colour: str, sizes: list[int], points: list[Point]) -> None:
    for threads, style in (("1", "o--"), ("8", "s-")):
        rates = [one["recorded"][threads] for one in points]
        axes.plot(sizes, rates, style, color=colour, label=f"{database}, {threads} threads")


def _sizes(axes: Any, database: str, colour: str, sizes: list[int], points: list[Point]) -> None:
    axes.plot(
        sizes, [one["bytes"]["all"] / one["instances"] for one in points], "o-", color=colour, label=database
    )


_PANELS: Mapping[str, Callable[[Any, str, str, list[int], list[Point]], None]] = {
    "C-FIND, first match, p95 in ms: warm": _times("warm"),
    "C-FIND, first match, p95 in ms: cold": _times("cold"),
    "instances recorded a second, each durable": _recorded,
    "bytes an instance": _sizes,
}
