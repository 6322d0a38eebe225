"""What ``zscp dictionary`` prints."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.uid import UID
from rich.table import Table

from scp.cli.output import as_json, percent, show, show_rows, size
from scp.lifecycle.dictionary_use import HeldDictionary
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
    show_rows(table, "There are no objects to train a dictionary from.")
    if any(one.entry for one in results):
        show(
            "New objects use them where their rule says dictionary = true, which the default policy does. "
            "The node packs stored ones anew; `zscp plan` shows what that saves."
        )


def listing(rows: Sequence[HeldDictionary], unknown: int, json_wanted: bool) -> None:
    """The dictionaries that are stored: each with its size, whether new objects use it, and what needs it."""
    if json_wanted:
        as_json(
            [
                {
                    **_entry(one.entry),
                    "size": one.size,
                    "newest": one.newest,
                    "objects": one.use.instances,
                    "stored_size": one.use.stored_size,
                    "unknown": unknown,
                }
                for one in rows
            ]
        )
        return
    table = Table("SOP class", "version", "ID", "size", "for new objects")
    table.add_column("needed by", justify="right")
    table.add_column("file")
    for one in rows:
        entry, used = one.entry, "yes" if one.newest else "no"
        name, needed = _name(entry.sop_class_uid), f"{one.use.instances} ({size(one.use.stored_size)})"
        table.add_row(name, str(entry.version), str(entry.id), size(one.size), used, needed, entry.key)
    show_rows(table, "No dictionary is stored yet; a node trains one where that makes objects smaller.")
    if unknown:
        show(f"Of {unknown} objects, stored by an earlier version, only the files say what they need.")
    for one in rows:
        if not one.newest and not one.use.instances and not unknown:
            show(f"No object needs {one.entry.id}: `zscp dictionary remove {one.entry.id}` removes it.")


def _fields(one: Trained) -> dict[str, object]:
    fields = {name: getattr(one, name) for name in Trained.__dataclass_fields__}
    fields["entry"] = _entry(one.entry) if one.entry else None
    return fields


def _entry(entry: DictionaryName) -> dict[str, object]:
    return {name: getattr(entry, name) for name in DictionaryName.__dataclass_fields__}


def _name(uid: str) -> str:
    return UID(uid).keyword or uid
