"""A bar chart as SVG: milliseconds an object by receiver, one group a scenario."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bench.results import Key, Summary
from scp.cli.drawing import Drawing, Line, Rectangle, Shape, Text, svg

WIDTH, LABEL, BAR, GAP, HEAD = 960, 310, 18, 4, 30
OWN, OTHER = "#0b6e99", "#b8bec4"


def chart(summaries: Mapping[Key, Summary], titles: Mapping[str, str]) -> str:
    """Shorter is better; every group has its own scale, as scenarios are not compared with each other."""
    shapes: list[Shape] = []
    y = GAP
    for scenario in dict.fromkeys(key[0] for key in summaries):
        group = [summary for key, summary in summaries.items() if key[0] == scenario]
        shapes.append(Text(8, y + 20, titles.get(scenario, scenario), bold=True))
        y += HEAD
        longest = max(summary.ms for summary in group)
        for summary in group:
            shapes += _bar(y, summary, longest)
            y += BAR + GAP
        y += GAP * 2
    foot = "milliseconds an object, median of the rounds; thin line: fastest to slowest round"
    shapes.append(Text(8, y + 18, foot))
    return svg(Drawing(WIDTH, y + HEAD, shapes))


def _bar(y: int, summary: Summary, longest: float) -> Iterator[Shape]:
    room = WIDTH - LABEL - 110

    def length(seconds: float) -> float:
        return room * min(1.05, 1000 * seconds / summary.objects / longest)

    colour = OWN if summary.receiver.startswith("zscp") else OTHER
    middle = y + BAR / 2
    long = max(1.0, length(summary.seconds))
    left, right = LABEL + length(summary.fastest), LABEL + length(summary.slowest)
    yield Text(LABEL - 8, y + 14, summary.receiver, "end")
    yield Rectangle(LABEL, y, long, BAR, colour)
    yield Line(left, middle, right, middle)
    yield Text(max(right, LABEL + long) + 6, y + 14, f"{summary.ms:.2f} ms")
