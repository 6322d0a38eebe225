"""What ``zscp plan`` and ``zscp recompress`` print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from rich.table import Table

from scp.cli.output import as_json, percent, size, terminal
from scp.config.settings import Settings
from scp.lifecycle.forecast import Forecast, ForecastGroup
from scp.lifecycle.recompress import Recompressed
from scp.node.planned import plan_report
from scp.policy.wording import becomes_in_words, forms_of

_NOTHING = "Nothing is due."
_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def span(seconds: float | None) -> str:
    """A time as people say it: 3.2 h."""
    if seconds is None:
        return "?"
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds * 1000:.0f} ms"


def forecast(found: Forecast, at: datetime, settings: Settings, json_wanted: bool) -> None:
    """What would be done, how long it would take, and what it would save."""
    groups = found.groups
    if json_wanted:
        as_json(plan_report(found, at))
        return
    table = Table("rule", "modality", "form now", "form then", show_footer=True)
    table.columns[0].footer = "all"
    stored, saved = sum(group.stored_size for group in groups), sum(group.saved or 0 for group in groups)
    seconds = sum(group.seconds or 0 for group in groups)
    for heading, footer in (
        ("objects", str(sum(group.objects for group in groups))),
        ("stored", size(stored)),
        ("saves", size(saved)),
        ("of stored", percent(saved, stored)),
        ("one core", span(seconds)),
        ("measured on", str(sum(group.measured.objects for group in groups))),
    ):
        table.add_column(heading, footer, justify="right")
    for group in groups:
        share = "?" if group.saved is None else percent(group.saved, group.stored_size)
        figures = (
            str(group.objects),
            size(group.stored_size),
            _size(group.saved),
            share,
            span(group.seconds),
        )
        becomes = becomes_in_words(group.stage, group.packs)
        names = (group.rule, group.modality or "-", group.form, becomes)
        table.add_row(*names, *figures, str(group.measured.objects))
    if groups:
        terminal().print(table)
        _losses(groups)
    else:
        terminal().print(_NOTHING)
    terminal().print(_conclusion(found, at, settings))


def _losses(groups: Sequence[ForecastGroup]) -> None:
    """What stages with loss would lose, and what would stay as it is."""
    lossy = [group for group in groups if group.stage.lossy]
    if not lossy:
        return
    table = Table(
        "rule", "modality", "with loss", "copies", "worst error", "mean error", "least PSNR", "stay"
    )
    for group in lossy:
        loss = group.measured.loss
        psnr = "-" if loss.psnr is None else f"{loss.psnr:.1f} dB"
        errors = (str(loss.max_error), f"{loss.mean_error:.3g}", psnr) if loss.copies else ("?", "?", "?")
        names = (group.rule, group.modality or "-", f"{forms_of(group.stage)}, {group.stage.loss.words}")
        table.add_row(*names, str(loss.copies), *errors, str(loss.reasons.total()))
    terminal().print(table)
    for reason, count in sum((group.measured.loss.reasons for group in lossy), Counter[str]()).items():
        terminal().print(f"{count} of those measured would stay as they are: {reason}.", highlight=False)


def _conclusion(found: Forecast, at: datetime, settings: Settings) -> str:
    chosen = settings.lifecycle
    told = f"Due at {at:%Y-%m-%d %H:%M}, of {found.looked_at} objects"
    if not found.groups:
        return f"{told}."
    if not chosen.workers:
        return f"{told}; with lifecycle.workers = 0 only `zscp recompress` does it."
    hours = "" if chosen.hours is None else ", in its hours"
    pace = f"lifecycle.max_cpu = {chosen.max_cpu:g}{hours}"
    return f"{told}; takes the node about {span(found.seconds)} at {pace}."


def _size(count: int | None) -> str:
    return "?" if count is None else size(count) if count >= 0 else f"-{size(-count)}"


def recompressed(done: Recompressed, json_wanted: bool) -> None:
    """What a recompression came to."""
    if json_wanted:
        as_json(done)
        return
    if not any((done.settled, done.encoded, done.packed, done.moved, done.no_gain, done.cannot, done.left)):
        terminal().print(_NOTHING)
        return
    anew = f", {done.packed} packed anew" if done.packed else ""
    told = [f"{done.encoded} encoded{anew}: {size(done.before)} became {size(done.after)}"]
    if done.encoded or done.packed:
        told[0] += f" ({percent(done.after, done.before)})"
    if done.lossy:
        told.append(f"{done.lossy} of them with loss: the originals are in the trash")
    for count, meaning in (
        (done.settled, "encoded that were pending"),
        (done.moved, "moved to another store"),
        (done.no_gain, "stay as they are: no gain"),
        (done.cannot, "cannot take the form"),
        (done.left, "left: they cannot be read (zscp verify tells), or another process works on them"),
    ):
        if count:
            told.append(f"{count} {meaning}")
    terminal().print("; ".join(told) + ".", highlight=False)
