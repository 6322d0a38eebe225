"""What ``zscp check`` prints."""

from __future__ import annotations

from rich.table import Table

from scp.cli.output import form_then, terminal
from scp.config.settings import Settings


def settings(chosen: Settings) -> None:
    """What a configuration comes to, in short."""
    table = Table("what", "value", show_header=False)
    table.add_row("AE title", chosen.node.aet)
    table.add_row("listens on", f"{chosen.node.host}:{chosen.node.port}")
    table.add_row("objects", str(chosen.storage.path.absolute()))
    for tier in chosen.tiers:
        table.add_row(f"store: {tier.name}", f"{tier.path.absolute()}, {tier.availability}")
    table.add_row("index", str(chosen.index.path.absolute()))
    table.add_row("peers", ", ".join(peer.aet for peer in chosen.peer) or "none")
    for rule in chosen.policy:
        stages = " → ".join(map(form_then, rule.stages))
        table.add_row(f"rule: {rule.name}", stages)
    terminal().print(table)
