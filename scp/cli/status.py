"""The command about what a running node does at this moment."""

from __future__ import annotations

from typing import Annotated

import typer

from scp.cli.common import DATA, ConfigOption, JsonOption, settings_of

app = typer.Typer()


@app.command()
def status(
    user: Annotated[
        str, typer.Option(help="An [[http.user]], where there are any; the password is asked for.")
    ] = "",
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show what the running node does now, and its health, as its page does; it is asked at http.port.

    The exit status is 1 where peers cannot be served.
    """
    from scp.cli import output, status_output
    from scp.errors import NotAuthorized
    from scp.node.asking import NodePage

    page = NodePage(settings_of(config))
    if user:
        page.log_in(user, typer.prompt("Password", hide_input=True, err=True))
    try:
        now, health = page.get("/api/now"), page.get("/api/health")
    except NotAuthorized as error:
        if not user:
            raise NotAuthorized(f"{error} Where the node has users, give --user NAME") from error
        raise
    if json:
        output.as_json({"now": now, "health": health})
    else:
        status_output.status(now, health)
    if not now["ready"]:
        raise typer.Exit(DATA)
