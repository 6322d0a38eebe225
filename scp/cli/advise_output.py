"""What ``zscp advise`` prints: a table a group, why codecs took nothing, and the proposed policy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from rich.table import Table as Grid

from scp.advise.advise import Advice, ComparisonTable
from scp.advise.measuring import Row
from scp.advise.sampling import Seen
from scp.cli import output


def show(advice: Advice, json_wanted: bool) -> None:
    """Print all that was found."""
    if json_wanted:
        output.as_json(_as_fields(advice))
        return
    output.tell_faults(
        f"{one.outcome}: {one.path}: {one.reason}" for one in (*advice.failed, *advice.skipped)
    )
    say = output.terminal().print
    for table in advice.tables:
        _print(table, advice)
    say(_counted(advice), highlight=False)
    if advice.tables:
        say(_EXPLAINED, highlight=False)
    if advice.proposal:
        say("\nA policy that fits these figures:\n", highlight=False)
        say(advice.proposal.toml, highlight=False, soft_wrap=True)


_EXPLAINED = """\
On disk: the whole object, in a zstd frame where that saves 1 %, in % of it uncompressed; where a codec does
not take an object, zstd 3 counts in its stead. Speeds: MB/s uncompressed, CPU time of one thread. All codecs
saw the same frames. What zstd keeps is sent uncompressed, as zstd is no transfer syntax. +dict: the frame has
a dictionary, trained on other objects of the group. * is no form of a policy, and stands here to compare;
image codecs are put into the same file as if they were. Lossy ones may be sent where a peer's rule asks for
them: ± is a bound of each sample's error, q a quality. Errors are in sample values."""


def _print(table: ComparisonTable, advice: Advice) -> None:
    grid = Grid("codec", title=_title(table), title_justify="left", title_style="bold")
    for heading in ("on disk", "sent", "encode", "decode", f"s at {advice.wanted.link:g} Mbit/s", "lossless"):
        grid.add_column(heading, justify="right" if heading != "lossless" else "left")
    if advice.wanted.lossy:
        grid.add_column("largest error", justify="right")
        grid.add_column("mean error", justify="right")
        grid.add_column("PSNR", justify="right")
    for row in sorted((row for row in table.rows if row.taken), key=lambda row: row.disk):
        grid.add_row(*_cells(row, advice.wanted.lossy))
    console = output.terminal()
    console.print(grid)
    for line in (_of_study(table, advice.wanted.link), *_refusals(table.rows)):
        console.print(line, highlight=False)
    console.print()


def _title(table: ComparisonTable) -> str:
    group = table.group
    share = 100 * table.headers / max(table.raw, 1)
    cut = f", of {table.cut} of them some frames only" if table.cut else ""
    return (
        f"{group.name}: {table.measured} of {group.objects} objects{cut}; "
        f"{output.size(table.raw)} uncompressed, {share:.1f} % of it header"
    )


def _cells(row: Row, lossy: bool) -> list[str]:
    name = row.candidate.name + ("" if row.candidate.storable else " *")
    cells = [
        name,
        f"{row.disk:.1f} %",
        f"{row.line:.1f} %",
        _speed(row.encode),
        _speed(row.decode),
        f"{row.study_seconds:.1f}",
        _verdict(row),
    ]
    if lossy:
        known = row.verdict == "lossy"
        cells += [str(row.max_error), f"{row.mean_error:.2f}"] if known else ["", ""]
        cells.append(f"{row.psnr:.1f} dB" if known and row.psnr else "")
    return cells


def _speed(value: float) -> str:
    return "copy" if value >= 5000 else f"{value:.1f}"


def _verdict(row: Row) -> str:
    said = {"lossless": "yes", "lossy": "no, lossy", "wrong": f"NO: {row.reason}"}[row.verdict]
    return said if row.taken == row.objects else f"{said}; took {row.taken} of {row.objects}"


def _of_study(table: ComparisonTable, link: float) -> str:
    group = table.group
    which = "the one study" if group.studies == 1 else f"the median of {group.studies} studies"
    return f"Seconds: {which} found, {output.size(group.study)} uncompressed, over {link:g} Mbit/s."


def _refusals(rows: Sequence[Row]) -> list[str]:
    """Why codecs took not all objects, those with one reason together."""
    names: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.taken < row.objects:
            names[row.reason].append(row.candidate.name)
    return [f"{', '.join(which)}: {reason}." for reason, which in names.items()]


def _counted(advice: Advice) -> str:
    parts = [
        output.number(advice.files, "file"),
        f"{sum(table.measured for table in advice.tables)} measured",
    ]
    for seen, what in (
        (advice.lossy, "received lossy, which keep their codestream"),
        (advice.skipped, "no DICOM"),
        (advice.failed, "unreadable"),
    ):
        if seen:
            parts.append(f"{len(seen)} {what}")
    return "; ".join(parts) + "."


def _as_fields(advice: Advice) -> dict[str, Any]:
    return {
        "wanted": advice.wanted,
        "groups": [_group_fields(table) for table in advice.tables],
        "files": advice.files,
        "failed": [_row(one) for one in advice.failed],
        "skipped": [_row(one) for one in advice.skipped],
        "lossy": len(advice.lossy),
        "policy": advice.proposal.toml if advice.proposal else "",
    }


def _row(seen: Seen) -> dict[str, str]:
    return {"path": str(seen.path), "reason": seen.reason}


def _group_fields(table: ComparisonTable) -> dict[str, Any]:
    group = table.group
    return {
        "name": group.name,
        "objects": group.objects,
        "measured": table.measured,
        "cut": table.cut,
        "raw_size": table.raw,
        "header_size": table.headers,
        "studies": group.studies,
        "study_size": group.study,
        "codecs": [_row_fields(row) for row in table.rows],
    }


def _row_fields(row: Row) -> dict[str, Any]:
    candidate = row.candidate
    fields = {
        "name": candidate.name,
        "storable": candidate.storable,
        "form": candidate.form,
        "verdict": row.verdict,
        "reason": row.reason,
        "taken": row.taken,
    }
    if not row.taken:
        return fields
    figures = {
        "disk_percent": row.disk,
        "sent_percent": row.line,
        "encode_mb_s": row.encode,
        "decode_mb_s": row.decode,
        "study_seconds": row.study_seconds,
    }
    if row.verdict == "lossy":
        figures |= {"max_error": row.max_error, "mean_error": row.mean_error, "psnr_db": row.psnr}
    return fields | {key: round(value, 3) for key, value in figures.items()}
