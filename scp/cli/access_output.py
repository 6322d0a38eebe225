"""What ``zscp token`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from scp.cli.output import as_json
from scp.config.http import ApiToken

if TYPE_CHECKING:
    from scp.node.tokens import TokenOwner


def made_token(table: ApiToken, secret: str, json_wanted: bool) -> None:
    """A token that was made, and its table: on standard output what may be appended to a configuration."""
    if json_wanted:
        as_json({"token": secret, **table.model_dump(exclude_none=True)})
        return
    typer.echo(f"{secret}\nis the token, which is shown this once. For the configuration:", err=True)
    typer.echo(table.toml)


def owner(found: TokenOwner, json_wanted: bool) -> None:
    """Who is let in by a token."""
    if json_wanted:
        as_json(found)
    elif found.fault:
        typer.echo(found.fault, err=True)
    else:
        may = ", ".join(found.may) or "nothing"
        held = f", as the peer {found.peer}" if found.peer else ""
        typer.echo(f"{found.name} ({found.by}) may: {may}{held}")
