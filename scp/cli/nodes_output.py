"""What ``zscp nodes`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.table import Table

from scp.cli.output import as_json, number, show, size
from scp.index.nodes import KnownNode


def listing(known: Sequence[KnownNode], json_wanted: bool) -> None:
    """A row for each node."""
    if json_wanted:
        as_json([_told(one) for one in known])
        return
    table = Table("node", "id", "address", "state", "version", "configuration")
    table.add_column("associations", justify="right")
    table.add_column("pending", justify="right")
    for one in known:
        said = one.report
        held = str(said.associations.get("all", 0)) if one.lives else ""
        told = (said.name, said.id, said.address, f"{_state(one)}, {one.age:.0f} s ago", said.version)
        table.add_row(*told, said.fingerprint, held, size(said.pending))
    show(table)
    if len({one.report.fingerprint for one in known if one.lives}) > 1:
        show("These nodes run different configurations.")


def forgotten(told: str, given_up: Sequence[str], json_wanted: bool) -> None:
    """What was forgotten, and which objects were given up with it."""
    if json_wanted:
        as_json({"node": told, "given_up": list(given_up)})
        return
    show(f"{told} is forgotten.")
    if given_up:
        show(
            f"{number(len(given_up), 'object')} that only it had, by SOP Instance UID; have them sent again:"
        )
        show(*given_up)


def _state(one: KnownNode) -> str:
    return "lives" if one.lives else "stopped" if one.stopped else "silent"


def _told(one: KnownNode) -> dict[str, object]:
    said = asdict(one.report) | {"associations": one.report.associations.get("all", 0)}
    return {**said, "state": _state(one), "age_seconds": round(one.age, 1)}
