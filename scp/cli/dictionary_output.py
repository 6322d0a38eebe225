"""What ``zscp dictionary`` prints."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.uid import UID
from rich.table import Table

from scp.cli.output import as_json, percent, show, size
from scp.lifecycle.training import Trained
from scp.objects.names import DictionaryName


def trained(results: list[Trained], json_wanted: bool) -> None:
    """What training came to, a row for each SOP class."""
    if json_wanted:
        as_json([{**_fields(one), "saves": one.saves} for one in results])
        return
    table = Table("SOP class", title="Held-out objects in % of what was received")
    for heading in ("objects", "kept", "without", "now", "with the new one", "saves of all"):
        table.add_column(heading, justify="right")
    table.add_column("outcome")
    for one in results:
        outcome = f"version {one.entry.version}, ID {one.entry.id}" if one.entry else f"none: {one.reason}"
        shares = (percent(part, one.received) for part in (one.without, one.now, one.then))
        saves = size(one.saves) if one.entry else ""
        name = _name(one.sop_class_uid)
        table.add_row(name, str(one.objects), size(one.stored_size), *shares, saves, outcome)
    show(table)
    if any(one.entry for one in results):
        show(
            "New objects use them where their rule says dictionary = true; "
            "what would be saved of all is what that would come to if all were encoded again."
        )


def listing(rows: Iterable[tuple[DictionaryName, int, bool]], json_wanted: bool) -> None:
    """The dictionaries that are stored: each with its size, and whether new objects use it."""
    rows = list(rows)
    if json_wanted:
        as_json([{**_entry(entry), "size": held, "newest": newest} for entry, held, newest in rows])
        return
    table = Table("SOP class", "version", "ID", "size", "for new objects", "file")
    for entry, held, newest in rows:
        used = "yes" if newest else "no"
        name = _name(entry.sop_class_uid)
        table.add_row(name, str(entry.version), str(entry.id), size(held), used, entry.key)
    show(table)


def _fields(one: Trained) -> dict[str, object]:
    fields = {name: getattr(one, name) for name in Trained.__dataclass_fields__}
    fields["entry"] = _entry(one.entry) if one.entry else None
    return fields


def _entry(entry: DictionaryName) -> dict[str, object]:
    return {name: getattr(entry, name) for name in DictionaryName.__dataclass_fields__}


def _name(uid: str) -> str:
    return UID(uid).keyword or uid
