"""What ``zscp nodes`` prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from scp.cli.output import as_json, number, show, show_rows, size
from scp.index.nodes import KnownNode, state_of


def listing(known: Sequence[KnownNode], json_wanted: bool) -> None:
    """A row for each node."""
    if json_wanted:
        as_json([state_of(one) for one in known])
        return
    table = Table("node", "id", "address", "state", "version", "configuration")
    table.add_column("associations", justify="right")
    table.add_column("pending", justify="right")
    for one in map(state_of, known):
        held = str(one.associations) if one.state == "lives" else ""
        told = (one.name, one.id, one.address, f"{one.state}, {one.age_seconds:.0f} s ago", one.version)
        table.add_row(*told, one.fingerprint, held, size(one.pending))
    show_rows(table, "No node has started yet.")
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
