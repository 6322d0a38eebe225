"""The chart of ``zscp advise``: size, encode and decode speed of each codec, one panel a group."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scp.advise.advise import Advice, Table
from scp.advise.measuring import Row
from scp.cli.drawing import Drawing, Line, Rectangle, Shape, Text

_BAR, _GAP, _HEAD, _MARGIN = 16, 5, 62, 14
_NAME = 170  # room for the names of codecs
_VALUE = 62  # room behind a bar for its number
_BEST, _STORABLE, _OTHER, _LOSSY = "#0b6e99", "#86bdd3", "#c9ced3", "#dda15e"
_FAINT, _GREY = "#e4e7ea", "#5b6670"


@dataclass(frozen=True, slots=True)
class _Column:
    """One figure of every codec: a heading, where its bars begin, their longest, and marks on its scale."""

    heading: str
    x: float
    width: float
    marks: tuple[float, ...]
    logarithmic: bool = False

    def length(self, value: float) -> float:
        """Of a bar, in pixels; what passes the scale is cut off."""
        low, high = self.marks[0], self.marks[-1]
        if self.logarithmic:
            value, low, high = math.log(max(value, low)), math.log(low), math.log(high)
        share = (value - low) / (high - low)
        return self.width * min(max(share, 0.004), 1.0)


def _sizes(most: float) -> _Column:
    """The scale is one for all panels, so that these compare."""
    marks = tuple(float(mark) for mark in range(0, 25 * max(math.ceil(most / 25), 1) + 1, 25))
    return _Column("on disk, % of uncompressed", _MARGIN + _NAME, 250, marks)


_SIZE = _sizes(100)
_SPEEDS = (1, 10, 100, 1000)
_ENCODE = _Column("encode, MB/s", _SIZE.x + _SIZE.width + _VALUE, 190, _SPEEDS, logarithmic=True)
_DECODE = _Column("decode, MB/s", _ENCODE.x + _ENCODE.width + _VALUE, 190, _SPEEDS, logarithmic=True)
_WIDTH = int(_DECODE.x + _DECODE.width + _VALUE + _MARGIN)


def chart(advice: Advice) -> Drawing:
    """All groups, one below the other; each codec stands where its size puts it, the smallest first."""
    shapes: list[Shape] = list(_legend(_MARGIN + 12, any(map(_has_lossy, advice.tables))))
    y = float(_MARGIN + 30)
    panels = [(table, sorted(shown(table), key=lambda row: row.disk)) for table in advice.tables]
    columns = (_sizes(max((row.disk for _, rows in panels for row in rows), default=100)), _ENCODE, _DECODE)
    for table, rows in panels:
        shapes += _panel(table, rows, columns, y)
        y += _HEAD + len(rows) * (_BAR + _GAP) + 2 * _MARGIN
    return Drawing(_WIDTH, int(y), shapes)


def shown(table: Table) -> list[Row]:
    """The rows that have figures, without the uncompressed form, which would be off every scale."""
    return [row for row in table.rows if row.taken and row.candidate.form != "native"]


def _has_lossy(table: Table) -> bool:
    return any(row.candidate.lossy for row in shown(table))


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


def _legend(y: float, lossy: bool) -> Iterator[Shape]:
    entries = [
        (_BEST, "form that no other beats in both size and encoding speed"),
        (_STORABLE, "other form"),
        (_OTHER, "not storable as DICOM"),
    ]
    x = float(_MARGIN)
    for colour, text in [*entries, *([(_LOSSY, "lossy")] if lossy else [])]:
        yield Rectangle(x, y - 11, 12, 12, colour)
        yield Text(x + 18, y, text, colour=_GREY)
        x += 18 + 7.2 * len(text) + 24  # no font is wider than that on average


def _panel(table: Table, rows: Sequence[Row], columns: Sequence[_Column], y: float) -> Iterator[Shape]:
    yield Text(_MARGIN, y + 16, table.group.name, bold=True, size=16)
    yield Text(_WIDTH - _MARGIN, y + 16, _measured(table), "end", colour=_GREY)
    top = y + _HEAD
    bottom = top + len(rows) * (_BAR + _GAP)
    for column in columns:
        yield Text(column.x, y + 38, column.heading, bold=True)
        for mark in column.marks:
            x = column.x + (0 if mark == column.marks[0] else column.length(mark))
            yield Line(x, top - 4, x, bottom, _FAINT)
            yield Text(x, top - 8, f"{mark:g}", "middle", colour=_GREY, size=11)
    leading = best(rows)
    for each, row in enumerate(rows):
        yield from _bars(row, columns, top + each * (_BAR + _GAP), row in leading)


def _measured(table: Table) -> str:
    share = 100 * table.headers / max(table.raw, 1)
    return f"{table.measured} of {table.group.objects} objects measured; {share:.1f} % header"


def _bars(row: Row, columns: Sequence[_Column], y: float, leads: bool) -> Iterator[Shape]:
    base = y + _BAR - 3.5
    yield Text(columns[0].x - 8, base, row.candidate.name, "end", bold=leads)
    for column, value in zip(columns, (row.disk, row.encode, row.decode), strict=True):
        length = column.length(value)
        yield Rectangle(column.x, y, length, _BAR, _colour(row, leads))
        yield Text(column.x + length + 5, base, _number(value), bold=leads and column is columns[0])


def _colour(row: Row, leads: bool) -> str:
    if row.candidate.lossy:
        return _LOSSY
    if not row.candidate.storable:
        return _OTHER
    return _BEST if leads else _STORABLE


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"
