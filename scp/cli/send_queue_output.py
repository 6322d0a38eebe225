"""What ``zscp ls --send-queue`` prints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.markup import escape
from rich.table import Table

from scp.cli.output import as_json, moment_text, size, terminal
from scp.model import Instance, QueuedSend


def send_queue(
    sends: list[QueuedSend], held: Callable[[QueuedSend], Instance | None], json_wanted: bool
) -> None:
    """What is yet to be sent, by destination, rule and state; sizes as stored."""
    groups: dict[tuple[str, str, str], list[QueuedSend]] = {}
    for one in sends:
        groups.setdefault((one.destination, one.rule, one.state), []).append(one)
    rows = [_row(key, of, held) for key, of in sorted(groups.items())]
    if json_wanted:
        as_json(rows)
        return
    table = Table("to", "rule", "objects", "stored", "queued since", "attempts", "next", "last fault")
    for row in rows:
        following = "given up" if row["state"] == "given up" else "under way"
        if row["next_attempt"] is not None:
            following = moment_text(row["next_attempt"])
        figures = (
            str(row["objects"]),
            size(row["bytes"]),
            moment_text(row["queued_at"]),
            str(row["attempts"]),
        )
        names = (escape(row["destination"]), escape(row["rule"]))
        table.add_row(*names, *figures, following, escape(row["fault"]))
    terminal().print(table)


def _row(
    key: tuple[str, str, str], of: list[QueuedSend], held: Callable[[QueuedSend], Instance | None]
) -> dict[str, Any]:
    destination, rule, state = key
    waiting = [one.due for one in of if not one.holder and state == "waiting"]
    found = [instance for one in of if (instance := held(one)) is not None]
    return {
        "destination": destination,
        "rule": rule,
        "state": state,
        "objects": len(of),
        "bytes": sum(instance.stored_size for instance in found),
        "queued_at": min(one.queued_at for one in of),
        "attempts": max(one.attempts for one in of),
        "next_attempt": min(waiting, default=None),
        "fault": next((one.fault for one in reversed(of) if one.fault), ""),
    }
