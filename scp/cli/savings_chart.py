"""The chart of ``zscp stats --chart``: what is kept, saved, came in and went out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scp.archive.history import OVER_TIME, HistoryReport
from scp.cli import chart
from scp.cli.output import size
from scp.index.history import KeptRow, TrafficRow
from scp.telemetry import printable

_RECEIVED, _KEPT, _IN, _OUT = "#c9ced3", "#0b6e99", "#0b6e99", "#dda15e"
_MOST_MODALITIES = 12
_WIDTH, _HEIGHT = 11.0, 9.0  # inches
_ROOM = 1.18  # beside the longest bar, for its label


def draw(found: HistoryReport, by_modality: Sequence[KeptRow], files: Sequence[Path]) -> None:
    """Draw it into each file, in the format that its name says. Raises ConfigurationError.

    ``found`` is by hour, day or month; of another one there is only the part by modality.
    """
    chart.draw_figure(lambda: _figure(found, by_modality), files)


def _figure(found: HistoryReport, by_modality: Sequence[KeptRow]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    over_time = found.by in OVER_TIME
    panels = figure.subplots(3 if over_time else 1, 1, squeeze=False)[:, 0]
    if over_time:
        _kept(panels[0], found.kept)
        _traffic(panels[1], found.inbound, found.outbound)
    _modalities(panels[-1], by_modality)
    return figure


def _kept(axes: Any, rows: Sequence[KeptRow]) -> None:
    starts = [row.start for row in rows]
    axes.fill_between(starts, [row.received_size for row in rows], color=_RECEIVED, label="as received")
    axes.fill_between(starts, [row.stored_size for row in rows], color=_KEPT, label="as kept")
    _finish(axes, _kept_title(rows))
    axes.set_ylim(bottom=0)


def _kept_title(rows: Sequence[KeptRow]) -> str:
    if not rows:
        return "Kept: there are no figures yet"
    last = rows[-1]
    return f"Kept: {size(last.stored_size)} of {size(last.received_size)} that were received"


def _traffic(axes: Any, inbound: Sequence[TrafficRow], outbound: Sequence[TrafficRow]) -> None:
    for name, rows, colour in (("in", inbound, _IN), ("out", outbound, _OUT)):
        starts = [row.start for row in rows]
        axes.plot(starts, [row.wire_size for row in rows], color=colour, label=name, marker="o", markersize=3)
    came, went = (sum(row.wire_size for row in rows) for rows in (inbound, outbound))
    _finish(axes, f"Traffic on the wire: {size(came)} in, {size(went)} out")
    axes.set_ylim(bottom=0)


def _modalities(axes: Any, rows: Sequence[KeptRow]) -> None:
    """The largest ones, the largest on top."""
    chosen = sorted(rows, key=lambda row: row.received_size)[-_MOST_MODALITIES:]
    # A text of objects: a dollar sign would begin a formula of matplotlib's.
    names = [printable(row.modality).replace("$", r"\$") or "-" for row in chosen]
    axes.barh(names, [row.received_size for row in chosen], color=_RECEIVED, label="as received")
    bars = axes.barh(names, [row.stored_size for row in chosen], color=_KEPT, label="as kept")
    shares = (100 * row.stored_size / row.received_size if row.received_size else 100.0 for row in chosen)
    axes.bar_label(bars, [f"{share:.0f} %" for share in shares], padding=3)
    axes.xaxis.set_major_formatter(lambda value, _: size(value))
    axes.set_xlim(0, _ROOM * max((row.received_size for row in chosen), default=1))
    axes.set_title("Kept by modality", loc="left", weight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")


def _finish(axes: Any, title: str) -> None:
    axes.set_title(title, loc="left", weight="bold")
    axes.yaxis.set_major_formatter(lambda value, _: size(value))
    axes.tick_params(axis="x", labelrotation=20)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", ncols=2)
