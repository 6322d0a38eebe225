"""What ``zscp stats --by`` prints: what came in, went out and is kept, and when disks are full."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.table import Table

from scp.archive.history import OVER_TIME, DiskForecast, HistoryReport
from scp.cli.output import as_json, percent, show, size
from scp.index.history import KeptRow, TrafficRow

_BARS = "▁▂▃▄▅▆▇█"
_MOST_BARS = 60
_NAMES = {"peer": "peer", "modality": "modality", "service": "service", "form": "form", "store": "store"}
_WRITTEN = {"hour": "%Y-%m-%d %H:00", "day": "%Y-%m-%d", "month": "%Y-%m"}
_NOTHING = TrafficRow(None, "", "", "")


def report(found: HistoryReport, json_wanted: bool) -> None:
    """A table, and lines of small bars where it goes over time."""
    if json_wanted:
        as_json(found)
        return
    keys = _keys(found)
    if not keys:
        show("There are no figures yet; a node that runs writes them every minute.")
    else:
        show(_table(found, keys))
    if found.by in OVER_TIME and len(keys) > 1:
        for name, rows in (("in", found.inbound), ("out", found.outbound)):
            known = {_key(found, row): row.wire_size for row in rows}
            show(f"{name:>5} {sparkline([known.get(key, 0) for key in keys])}")
        sizes = {_key(found, row): row.stored_size for row in found.kept}
        show(f" kept {sparkline([sizes[key] for key in keys if key in sizes])}")
    show(*(_disk(one) for one in found.disks))


def sparkline(values: Sequence[float]) -> str:
    """Values as bars of one character each, from nothing to the greatest; of many, the last."""
    last = values[-_MOST_BARS:]
    most = max(last, default=0)
    steps = len(_BARS) - 1
    return "".join(_BARS[round(steps * value / most)] if most > 0 else _BARS[0] for value in last)


def _keys(found: HistoryReport) -> list[object]:
    rows: list[TrafficRow | KeptRow] = [*found.requests, *found.kept]
    return sorted({_key(found, row) for row in rows}, key=str)


def _key(found: HistoryReport, row: TrafficRow | KeptRow) -> object:
    if found.by in OVER_TIME:
        return row.start
    if found.by == "peer" and isinstance(row, KeptRow):
        return row.calling_aet
    return getattr(row, found.by)


def _table(found: HistoryReport, keys: Sequence[object]) -> Table:
    has_traffic, has_kept = found.by not in {"form", "store"}, found.by != "service"
    parts: dict[str, dict[object, TrafficRow]] = {
        name: {_key(found, row): row for row in rows}
        for name, rows in (("all", found.requests), ("in", found.inbound), ("out", found.outbound))
    }
    kept = {_key(found, row): row for row in found.kept}
    table = Table(_NAMES.get(found.by, f"{found.by} (UTC)"))
    for heading in (
        *(("requests", "failed", "in", "received", "out", "sent") if has_traffic else ()),
        *(("kept objects", "as received", "as kept", "kept / received") if has_kept else ()),
    ):
        table.add_column(heading, justify="right")
    for key in keys:
        cells = (
            _traffic([parts[name].get(key, _NOTHING) for name in ("all", "in", "out")]) if has_traffic else []
        )
        table.add_row(_label(found, key), *cells, *(_kept(kept.get(key)) if has_kept else ()))
    return table


def _traffic(rows: Sequence[TrafficRow]) -> list[str]:
    every, came, went = rows
    cells = [str(every.requests or ""), str(every.failures or "")]
    for one in (came, went):
        cells += [str(one.instances or ""), size(one.wire_size) if one.instances else ""]
    return cells


def _kept(row: KeptRow | None) -> list[str]:
    if row is None:
        return [""] * 4
    share = percent(row.stored_size, row.received_size)
    return [str(row.instances), size(row.received_size), size(row.stored_size), share]


def _label(found: HistoryReport, key: object) -> str:
    if isinstance(key, datetime):
        return format(key, _WRITTEN[found.by])
    return str(key) or ("first" if found.by == "store" else "-")


def _disk(one: DiskForecast) -> str:
    store = one.store or "the first store"
    begins = f"Disk of {store}: {size(one.free)} free"
    if one.full is None:
        return f"{begins}; {one.told}."
    until = "never" if one.latest is None else f"{one.latest:%Y-%m-%d}"
    earliest = f"{one.earliest:%Y-%m-%d}" if one.earliest is not None else "?"
    return (
        f"{begins}, {size(one.daily)} more a day: full on {one.full:%Y-%m-%d} at this rate, "
        f"between {earliest} and {until}; {one.told}."
    )
