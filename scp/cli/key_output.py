"""What ``zscp key`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.table import Table

from scp.cli.output import as_json, number, show, show_rows, size
from scp.lifecycle.rotation import Rotated
from scp.node.encryption import KeyState

_TOLD = {
    "newest": "encrypts new files",
    "older": "still needed",
    "unused": "not needed by any file",
    "held": "KEEP IT: a node that runs still encrypts with it; restart that",
    "unknown": "KEEP IT: the store, or some of its files, could not be read",
    "missing": "MISSING: these files cannot be read",
    "none": "not encrypted",
}


def listing(states: Sequence[KeyState], json_wanted: bool) -> None:
    """A row for each key of each store."""
    if json_wanted:
        as_json([asdict(one) for one in states])
        return
    table = Table("store", "key")
    table.add_column("files", justify="right")
    table.add_column("of them set aside", justify="right")
    table.add_column("state")
    for one in states:
        key = one.key_id or "none"
        table.add_row(one.store, key, str(one.files), str(one.set_aside), _TOLD[one.state])
    show_rows(table, "No files are stored, and no key is configured.")
    if any(one.set_aside and one.state in {"older", "none"} for one in states):
        show("What is set aside (the trash, damaged files that were kept) is not encrypted anew.")


def rotated(done: Rotated, json_wanted: bool) -> None:
    """What rotating came to."""
    if json_wanted:
        as_json(asdict(done))
        return
    left = f"; {number(done.left, 'file')} could not be, see the log" if done.left else ""
    show(f"{number(done.files, 'file')} of {size(done.bytes)} encrypted anew{left}.")
