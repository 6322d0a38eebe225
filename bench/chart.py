"""A bar chart as SVG, written by hand: milliseconds an object by receiver, one group a scenario."""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape

from bench.results import Key, Summary

WIDTH, LABEL, BAR, GAP, HEAD = 960, 310, 18, 4, 30
OWN, OTHER = "#0b6e99", "#b8bec4"
PAGE = "background:#fff"  # viewers with a dark page would hide the text


def chart(summaries: Mapping[Key, Summary], titles: Mapping[str, str]) -> str:
    """Shorter is better; every group has its own scale, as scenarios are not compared with each other."""
    parts: list[str] = []
    y = GAP
    for scenario in dict.fromkeys(key[0] for key in summaries):
        group = [summary for key, summary in summaries.items() if key[0] == scenario]
        parts.append(_text(8, y + 20, titles.get(scenario, scenario), "bold"))
        y += HEAD
        longest = max(summary.ms for summary in group)
        for summary in group:
            parts += _bar(y, summary, longest)
            y += BAR + GAP
        y += GAP * 2
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + HEAD}" width="{WIDTH}" '
        f'height="{y + HEAD}" font-family="sans-serif" font-size="13" style="{PAGE}">'
    )
    foot = _text(
        8, y + 18, "milliseconds an object, median of the rounds; thin line: fastest to slowest round"
    )
    return "\n".join([head, *parts, foot, "</svg>"]) + "\n"


def _bar(y: int, summary: Summary, longest: float) -> list[str]:
    room = WIDTH - LABEL - 110

    def length(seconds: float) -> float:
        return room * min(1.05, 1000 * seconds / summary.objects / longest)

    colour = OWN if summary.receiver.startswith("zscp") else OTHER
    middle = y + BAR / 2
    long = max(1.0, length(summary.seconds))
    left, right = LABEL + length(summary.fastest), LABEL + length(summary.slowest)
    return [
        _text(LABEL - 8, y + 14, summary.receiver, anchor="end"),
        f'<rect x="{LABEL}" y="{y}" width="{long:.1f}" height="{BAR}" fill="{colour}"/>',
        f'<path d="M{left:.1f} {middle}H{right:.1f}" stroke="#222"/>',
        _text(max(right, LABEL + long) + 6, y + 14, f"{summary.ms:.2f} ms"),
    ]


def _text(x: float, y: float, text: str, weight: str = "normal", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y}" font-weight="{weight}" text-anchor="{anchor}">{escape(text)}</text>'
