"""The chart of ``zscp advise``: size, encoding and decoding speed of each codec, one row of panels a group.

matplotlib draws it: the extra ``zscp[charts]`` of the distribution, which a node does without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from typer import BadParameter

from scp.advise.advise import Advice, ComparisonTable
from scp.advise.measuring import Row
from scp.errors import ConfigurationError

_BEST, _STORABLE, _OTHER, _LOSSY = "#0b6e99", "#86bdd3", "#c9ced3", "#dda15e"
_MEANINGS = {
    _BEST: "form that no other beats in both size and encoding speed",
    _STORABLE: "other form",
    _OTHER: "not storable as DICOM",
    _LOSSY: "lossy",
}
# Inches: of the page, of a bar, of what stands above and below the bars, of the legend, of a letter, between
# panels.
_WIDTH, _BAR, _ABOVE, _BELOW, _LEGEND, _LETTER, _APART = 11.0, 0.24, 0.7, 0.3, 0.4, 0.075, 0.25
_SPEEDS = (1, 1000)  # MB/s: both ends of the scale; what passes it is cut off
SUFFIXES = (".svg", ".png")
# Text stays text, and the file is the same each time.
_STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "zscp", "font.size": 9}


def require() -> None:
    """Raises ConfigurationError, with the remedy, where matplotlib is not installed."""
    try:
        import_module("matplotlib")
    except ImportError as error:
        remedy = "pip install '.[charts]' in a clone of zscp installs it"
        raise ConfigurationError(f"--chart needs matplotlib, which is not installed; {remedy}") from error


def check_names(files: Sequence[Path]) -> None:
    """Check, before the work, that charts can be drawn into these files.

    Raises BadParameter for a name, ConfigurationError where matplotlib is not installed.
    """
    if unknown := [path.name for path in files if path.suffix.lower() not in SUFFIXES]:
        raise BadParameter(f"--chart {unknown[0]}: must end in .svg or .png")
    if files:
        require()


def draw(advice: Advice, files: Sequence[Path]) -> None:
    """Draw the figures into each file, in the format that its name says. Raises ConfigurationError."""
    draw_figure(lambda: _figure(advice), files)


def draw_figure(made: Callable[[], Any], files: Sequence[Path]) -> None:
    """Draw what ``made`` makes of matplotlib, into each file. Raises ConfigurationError."""
    require()
    from matplotlib import rc_context

    with rc_context(_STYLE):
        figure = made()
        for path in files:
            known = {"Date": None} if path.suffix.lower() == ".svg" else None
            try:
                figure.savefig(path, dpi=150, metadata=known)
            except OSError as error:
                raise ConfigurationError(f"--chart {path} cannot be written: {error.strerror}") from error


def _figure(advice: Advice) -> Any:
    """All groups, one below the other; each codec stands where its size puts it, the smallest first."""
    from matplotlib.figure import Figure

    panels = [
        (table, sorted(shown(table), key=lambda row: row.disk, reverse=True)) for table in advice.tables
    ]
    heights = [len(rows) * _BAR + _ABOVE + _BELOW for _, rows in panels]
    # Places are told, not found by matplotlib's layout engines: those draw all of it four times.
    figure = Figure(figsize=(_WIDTH, _LEGEND + sum(heights)))
    head, *parts = figure.subfigures(1 + len(panels), 1, height_ratios=[_LEGEND, *heights], squeeze=False)[
        :, 0
    ]
    _legend(head, panels)
    most = max((row.disk for _, rows in panels for row in rows), default=100.0)
    left = _LETTER * max((len(row.candidate.name) for _, rows in panels for row in rows), default=0)
    for part, height, (table, rows) in zip(parts, heights, panels, strict=True):
        room = {
            "left": (_APART + left) / _WIDTH, "right": 1 - _APART / _WIDTH, "wspace": 3 * _APART / _WIDTH,
            "top": 1 - _ABOVE / height, "bottom": _BELOW / height,
        }  # fmt: skip
        _panels(part, table, rows, most, room)
    return figure


def _legend(part: Any, panels: Sequence[tuple[ComparisonTable, Sequence[Row]]]) -> None:
    from matplotlib.patches import Patch

    used = {_colour(row, best(rows)) for _, rows in panels for row in rows}
    patches = [Patch(color=colour, label=what) for colour, what in _MEANINGS.items() if colour in used]
    part.legend(handles=patches, loc="center", ncols=len(_MEANINGS), frameon=False)


def _panels(
    part: Any, table: ComparisonTable, rows: Sequence[Row], most: float, room: dict[str, float]
) -> None:
    """One group; the scale of sizes is one for all groups, so that these compare."""
    share = 100 * table.headers / max(table.raw, 1)
    measured = f"{table.measured} of {table.group.objects} objects measured; {share:.1f} % header"
    title = f"{table.group.name}: {measured}"
    part.suptitle(title, x=0.01, y=(1 + room["top"]) / 2, ha="left", va="bottom", weight="bold")
    size, encode, decode = part.subplots(1, 3, sharey=True, width_ratios=(5, 4, 4), gridspec_kw=room)
    _bars(size, rows, [row.disk for row in rows], "on disk, % of uncompressed")
    size.set_xlim(0, most * 1.15)
    for axes, speeds, title in (
        (encode, [row.encode for row in rows], "encode, MB/s"),
        (decode, [row.decode for row in rows], "decode, MB/s"),
    ):
        _bars(axes, rows, speeds, title)
        axes.set_xscale("log")
        axes.minorticks_off()  # a fifth of the work of drawing
        axes.set_xlim(_SPEEDS[0], _SPEEDS[1] * 4)


def _bars(axes: Any, rows: Sequence[Row], values: Sequence[float], title: str) -> None:
    leading = best(rows)
    bars = axes.barh(
        [row.candidate.name for row in rows], values, color=[_colour(row, leading) for row in rows]
    )
    axes.bar_label(bars, [f"{value:.1f}" if value < 100 else f"{value:.0f}" for value in values], padding=3)
    axes.set_title(title, loc="left", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)


def shown(table: ComparisonTable) -> list[Row]:
    """The rows that have figures, without the uncompressed form, which would be off every scale."""
    return [row for row in table.rows if row.taken and row.candidate.form != "native"]


def best(rows: Sequence[Row]) -> list[Row]:
    """Those of the storable ones that no other storable one beats in both size and encode speed."""
    able = [row for row in rows if row.candidate.storable and row.verdict == "lossless"]
    return [
        row
        for row in able
        if not any(
            other.disk <= row.disk and other.encode >= row.encode and other is not row for other in able
        )
    ]


def _colour(row: Row, leading: Sequence[Row]) -> str:
    if row.candidate.lossy:
        return _LOSSY
    if not row.candidate.storable:
        return _OTHER
    return _BEST if row in leading else _STORABLE
