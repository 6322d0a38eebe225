"""Commands about secrets by which people and programs are let in."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from scp.cli.common import DATA, ConfigOption, JsonOption, settings_of

if TYPE_CHECKING:
    from scp.config.http import ApiToken

app = typer.Typer()


@app.command()
def passcode() -> None:
    """Ask for a passcode, or a password, and print its hash: for a [[user]] or [[http.user]]."""
    from scp.config.users import hashed

    typer.echo(hashed(typer.prompt("Passcode", hide_input=True, confirmation_prompt=True, err=True)))


@app.command()
def token(  # noqa: PLR0913, PLR0917 - one for each key of an [[http.token]], and what most commands take
    name: Annotated[str, typer.Argument(help="As the log and the audit trail are to know it.")] = "viewer",
    may: Annotated[str, typer.Option(help="What it may do, of find, get and store.")] = "find,get",
    peer: Annotated[str | None, typer.Option(help="AE title of the [[peer]] that it is held to.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Ask for a token, and say who is let in by it; make none.")
    ] = False,
    address: Annotated[
        str, typer.Option("--from", help="With --check: where it would come from.")
    ] = "127.0.0.1",
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Make a token for a program that uses DICOMweb: the [[http.token]] for the configuration, and the token.

    The token goes to standard error: it is shown this once, as zscp needs its digest alone. With --check
    it is read from standard input, and may be one of an OpenID Connect issuer, too.
    """
    from scp.cli import access_output

    if check:
        from scp.node.tokens import whose

        settings = settings_of(config)
        found = whose(settings, _asked_for("Token"), address)
        access_output.owner(found, json)
        if found.fault:
            raise typer.Exit(DATA)
        return
    from scp.config.http import digest_of, new_token

    made = new_token()
    access_output.made_token(_table(name, digest_of(made), may, peer), made, json)


def _asked_for(what: str) -> str:
    """A secret that is typed, or that comes by a pipe: a terminal takes no more than 4,095 characters."""
    if sys.stdin.isatty():
        return str(typer.prompt(what, hide_input=True, err=True))
    return sys.stdin.readline().strip()


def _table(name: str, digest: str, may: str, peer: str | None) -> ApiToken:
    from pydantic import ValidationError

    from scp.config.http import ApiToken
    from scp.config.sources import tell

    services = [one.strip() for one in may.split(",")]
    try:
        return ApiToken.model_validate({"name": name, "digest": digest, "may": services, "peer": peer})
    except ValidationError as error:
        told = "; ".join(f"{key}: {what}" for key, what in tell(error, ApiToken))
        raise typer.BadParameter(told) from None
