"""What ``zscp status`` prints."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from scp.cli.output import number, show, size


def status(now: dict[str, Any], health: dict[str, Any]) -> None:
    """What ``/api/now`` and ``/api/health`` say, in short."""
    state = "ready: peers are served" if now["ready"] else f"not ready: {'; '.join(now['faults'])}"
    flow, since = now["per_second"], now["since_start"]
    show(
        f"{now['name']} ({now['node']}) is {state}.",
        f"{number(now['open'], 'association')} open, of {now['open_limit']} at most; "
        f"{flow['requests']:.1f} requests/s, {size(flow['bytes_received'])}/s in, "
        f"{size(flow['bytes_sent'])}/s out.",
        f"Since {since['started']}: {since['requests']} requests, {size(since['bytes_received'])} in, "
        f"{size(since['bytes_sent'])} out.",
        f"{number(now['pending_objects'], 'object')}, {size(now['pending_bytes'])} pending.",
    )
    _associations(now["associations"])
    _troubles(now["troubles"])
    counts = [
        number(health["damaged"], "damaged or missing file"),
        number(health["refused"], "refused object"),
        number(health["commitments"], "commitment") + " yet to be reported",
        number(health["forwards"], "object") + " to be sent to peers",
    ]
    show(f"{', '.join(counts)}.")
    if health["clock_doubt"]:
        show(f"The clock is not trusted: {health['clock_doubt']}.")
    if health["limits"]:
        show(
            "Limits that were reached: "
            + ", ".join(f"{key} {n}" for key, n in health["limits"].items())
            + "."
        )
    nodes = [f"{one['name']} {one['state']}" for one in now["nodes"]]
    show(f"Nodes of this archive: {', '.join(nodes) or 'not known, as the index has not answered'}.")


def _associations(found: list[dict[str, Any]]) -> None:
    if not found:
        return
    table = Table("calling AE title", "address", "since", "asks for")
    for heading in ("requests", "received", "sent"):
        table.add_column(heading, justify="right")
    for one in found:
        amounts = (str(one["requests"]), size(one["bytes_received"]), size(one["bytes_sent"]))
        table.add_row(one["calling_aet"], one["address"], one["since"], one["service"], *amounts)
    show(table)


def _troubles(found: list[dict[str, Any]]) -> None:
    if not found:
        return
    table = Table("when", "level", "what", "reason", "about", "times")
    for one in found:
        row = (one["at"], one["level"], one["event"], one["reason"], one["about"], str(one["times"]))
        table.add_row(*row)
    show(table)
