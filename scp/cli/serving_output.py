"""What ``zscp check`` and ``zscp peers`` print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from scp.cli.output import as_json, show, terminal
from scp.config.credentials import credentials_of
from scp.config.peers import Peer
from scp.config.ports import PortChoice, ports
from scp.config.settings import Settings
from scp.policy.wording import forms_of

if TYPE_CHECKING:
    from scp.index.index import SenderCount


def peers(settings: Settings, senders: Sequence[SenderCount], json_wanted: bool) -> None:
    """A row for each peer of the configuration, one for all others, and one for each other sender."""
    sent = {one.calling_aet: one for one in senders}
    rows = [_row(peer.aet, peer, settings, sent.pop(peer.aet, None)) for peer in settings.peer]
    if settings.access.allow == "any":
        rows.append(_row("all others", None, settings, None))
    rows += [_row(aet, None, settings, one) for aet, one in sent.items()]
    if json_wanted:
        as_json(rows)
        return
    table = Table(
        "AE title", "address", "comes from", "by", "may", "moves to", "sees", "objects", "last stored"
    )
    for row in rows:
        last = row["last"]
        moves_to = "" if row["moves_to"] is None else ", ".join(row["moves_to"]) or "nowhere"
        address = f"{row['address']} by TLS" if row["tls"] else row["address"]
        by = ", ".join(row["by"]) or "nowhere"
        cells = [row["aet"], address, ", ".join(row["from"]), by, ", ".join(row["may"]), moves_to]
        cells += ["; ".join(f"{key} {', '.join(wanted)}" for key, wanted in row["sees"].items())]
        cells += [str(row["objects"] or ""), f"{last:%Y-%m-%d %H:%M:%S %Z}" if last else ""]
        table.add_row(*cells)
    show(table, "An empty cell in “comes from”, “moves to” or “sees”: no restriction.")


def _row(aet: str, peer: Peer | None, settings: Settings, sent: SenderCount | None) -> dict[str, Any]:
    may = peer.may if peer else settings.access.may if settings.access.allow == "any" else ()
    return {
        "aet": aet,
        "address": f"{peer.host}:{peer.port}" if peer else "",
        "tls": peer is not None and peer.tls,
        "by": _ways(peer, settings),
        "from": [str(network) for network in peer.addresses] if peer else [],
        "may": list(may),
        "moves_to": None if peer is None or peer.destinations is None else list(peer.destinations),
        "sees": {key: list(wanted) for key, wanted in peer.sees.items()} if peer else {},
        "objects": sent.instances if sent else 0,
        "last": sent.last if sent else None,
    }


_CLIENTS = {
    "required": "peers must show a certificate",
    "optional": "peers may show a certificate",
    "none": "any peer",
}


def _spoken(port: PortChoice, chosen: Settings) -> str:
    return f"{port.speaks}, {_CLIENTS[chosen.tls.asked_of_clients]}" if port.secure else port.speaks


def _ways(peer: Peer | None, chosen: Settings) -> list[str]:
    """By which ports a peer may come."""
    if peer is None or not peer.certificate_name:
        return [port.speaks for port in ports(chosen)]
    if chosen.tls.asked_of_clients == "none":
        return []
    return [f"TLS as {peer.certificate_name}" for port in ports(chosen) if port.secure]


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
        stages = " → ".join(map(forms_of, rule.stages))
        table.add_row(f"rule: {rule.name}", stages)
    terminal().print(table)
