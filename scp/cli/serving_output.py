"""What ``zscp check`` and ``zscp peers`` print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from scp.cli.output import as_json, show, show_rows, terminal
from scp.config.credentials import credentials_of
from scp.config.ports import PortChoice, ports
from scp.config.settings import Settings
from scp.policy.wording import policy_in_words, stage_in_words

if TYPE_CHECKING:
    from scp.audit.tail import AuditTail
    from scp.web.reports import PeerRow


def peers(rows: Sequence[PeerRow], json_wanted: bool) -> None:
    """A row for each peer of the configuration, one for all others, and one for each other sender."""
    if json_wanted:
        as_json(rows)
        return
    table = Table(
        "AE title",
        "address",
        "comes from",
        "by",
        "may",
        "moves to",
        "sees",
        "objects",
        "last stored",
        "waits",
    )
    for row in rows:
        moves_to = "" if row.moves_to is None else ", ".join(row.moves_to) or "nowhere"
        address = f"{row.address} by TLS" if row.tls else row.address
        by = ", ".join(row.by) or "nowhere"
        cells = [row.aet, address, ", ".join(row.comes_from), by, ", ".join(row.may), moves_to]
        cells += ["; ".join(f"{key} {', '.join(wanted)}" for key, wanted in row.sees.items())]
        waits = sum(one.objects for one in row.queue)
        last = f"{row.last:%Y-%m-%d %H:%M:%S %Z}" if row.last else ""
        table.add_row(*cells, str(row.objects or ""), last, str(waits or ""))
    show(table, "An empty cell in “comes from”, “moves to” or “sees”: no restriction.")


def audit(found: AuditTail, json_wanted: bool) -> None:
    """The last messages of the audit trail."""
    if json_wanted:
        as_json(found)
        return
    table = Table("at", "event", "outcome", "who", "about", "why")
    for one in found.lines:
        event = f"{one.event}: {one.kind}" if one.kind else one.event
        outcome = "failed" if one.failed else ""
        table.add_row(one.at, event, outcome, "\n".join(one.who), "\n".join(one.about), one.why)
    if found.lines or not found.unread:
        show_rows(table, "The audit trail has no messages.")
    if found.unread:
        show(f"{found.to or 'audit.to'}: {found.unread}.")


_CLIENTS = {
    "required": "peers must show a certificate",
    "optional": "peers may show a certificate",
    "none": "any peer",
}


def _spoken(port: PortChoice, chosen: Settings) -> str:
    return f"{port.speaks}, {_CLIENTS[chosen.tls.asked_of_clients]}" if port.secure else port.speaks


def _encrypted(keys: Sequence[str]) -> str:
    """By which key new files are encrypted: an entry is ``<id>=<place>``."""
    return f', encrypted with the key "{keys[0].partition("=")[0]}"' if keys else ""


def settings(chosen: Settings) -> None:
    """What a configuration comes to, in short."""
    table = Table("what", "value", show_header=False)
    table.add_row("AE title", chosen.node.aet)
    for port in ports(chosen):
        table.add_row("listens on", f"{chosen.node.host}:{port.number}, {_spoken(port, chosen)}")
    for one in credentials_of(chosen.tls).certificates:
        ends = f", until {one.ends:%Y-%m-%d}" if one.ends else ""
        table.add_row(one.key, f"{one.name}{ends}")
    storage = chosen.storage
    table.add_row("objects", f"{storage.where}{_encrypted(storage.encryption_keys)}")
    if storage.in_bucket:
        table.add_row("spool", str(storage.path.absolute()))
    table.add_row("Success says", storage.promise)
    for tier in chosen.tiers:
        where = f"{tier.where}, {tier.availability}"
        table.add_row(f"store: {tier.name}", f"{where}{_encrypted(tier.encryption_keys)}")
    table.add_row("index", chosen.index.shown)
    table.add_row("audit trail", chosen.audit.to or "none")
    table.add_row("HTTP", f"{chosen.http.host}:{chosen.http.port}" if chosen.http.port else "none")
    table.add_row("peers", ", ".join(peer.aet for peer in chosen.peer) or "none")
    for rule in chosen.policy:
        table.add_row(f"rule: {rule.name}", " → ".join(map(stage_in_words, rule.stages)))
    terminal().print(table)
    for line in policy_in_words(chosen.policy):
        show(line)
