"""Bar charts as SVG: milliseconds an object by receiver, one panel a scenario. matplotlib draws them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from bench.results import Key, Summary

OWN, OTHER = "#0b6e99", "#b8bec4"
WIDTH, BAR, HEAD = 9.6, 0.25, 0.7  # inches
# Text stays text, and the file is the same each time.
STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 9}


def chart(summaries: Mapping[Key, Summary], titles: Mapping[str, str]) -> str:
    """Shorter is better; every panel has its own scale, as scenarios are not compared with each other."""
    scenarios = list(dict.fromkeys(key[0] for key in summaries))
    groups = [[one for key, one in summaries.items() if key[0] == scenario] for scenario in scenarios]
    heights = [len(group) * BAR + HEAD for group in groups]
    written = StringIO()
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, sum(heights) + HEAD), layout="constrained")
        if groups:  # else every receiver failed
            panels = figure.subplots(len(groups), 1, height_ratios=heights, squeeze=False)
            for axes, scenario, group in zip(panels[:, 0], scenarios, groups, strict=True):
                _bars(axes, titles.get(scenario, scenario), group)
        figure.supxlabel("milliseconds an object, median of the rounds; thin line: fastest to slowest round")
        figure.savefig(written, format="svg", metadata={"Date": None})
    return written.getvalue()


def written(draw: Callable[[Any], None], height: float) -> str:
    """One panel of so many inches, which ``draw`` fills."""
    text = StringIO()
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        draw(figure.subplots())
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def _bars(axes: Any, title: str, group: Sequence[Summary]) -> None:
    def to_ms(seconds: float, of: Summary) -> float:
        return 1000 * seconds / of.objects

    times = [one.ms for one in group]
    ranges = [
        [one.ms - to_ms(one.fastest, one) for one in group],
        [to_ms(one.slowest, one) - one.ms for one in group],
    ]
    colours = [OWN if one.receiver.startswith("zscp") else OTHER for one in group]
    axes.barh([one.receiver for one in group], times, xerr=ranges, color=colours, ecolor="#222222")
    for place, one in enumerate(group):  # a round that was much slower than the others is cut off
        axes.text(min(to_ms(one.slowest, one), 1.05 * max(times)), place, f" {one.ms:.2f} ms", va="center")
    axes.set_title(title, loc="left", weight="bold")
    axes.set_xlim(0, max(times) * 1.2)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
