"""What ``zscp header`` and ``zscp picture`` print."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from rich.table import Table

from scp.cli.output import as_json, show, size
from scp.syntaxes import lookup
from scp.viewing.header import ElementRow, HeaderView
from scp.viewing.picture import Picture


def header(found: HeaderView, json_wanted: bool) -> None:
    """The elements of an object."""
    if json_wanted:
        as_json(found)
        return
    known = found.provenance
    came = f"{known.received_at:%Y-%m-%d %H:%M:%S %Z} from {known.calling_aet or 'a file'}"
    show(f"Stored in {lookup(found.transfer_syntax).keyword}, form {known.form}; received {came}")
    show(_table("File Meta Information", found.file_meta), _table("Dataset", found.rows))
    if found.more:
        show(f"There are more rows: --first {found.first + len(found.rows)} shows them.")
    if found.unread:
        show(
            f"The last {size(found.unread)} were not read, and this was not compared with the file's digest;"
            " --whole reads all."
        )
    if found.fault:
        show(f"It cannot be followed any further: {found.fault}")


def _table(title: str, rows: tuple[ElementRow, ...]) -> Table:
    table = Table("tag", "VR", "keyword", "length", "value", title=title, title_justify="left")
    for row in rows:
        length = "undefined" if row.length is None else str(row.length)
        value = row.value + "…" * row.shortened
        table.add_row("  " * row.depth + row.tag, row.vr, row.keyword, length, value)
    return table


def picture(found: Picture, target: Path, json_wanted: bool) -> None:
    """What picture was written."""
    if json_wanted:
        told = {each.name: getattr(found, each.name) for each in fields(found) if each.name != "png"}
        as_json({"file": str(target), **told})
        return
    of = f"frame {found.frame} of {found.frames}" if found.frames > 1 else "the image"
    shades = f"window {found.window.center:g}/{found.window.width:g}, " if found.window else ""
    show(f"{of}, {found.columns} x {found.rows}, written to {target} as {found.width} x {found.height}")
    show(f"{found.photometric}; {shades}shades by: {found.chosen}")
