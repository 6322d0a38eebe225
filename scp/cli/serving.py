"""Commands about a node: run it, check its configuration, see whether one answers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from scp.cli.common import DATA, ConfigOption, JsonOption, index_fault, opened, settings_of
from scp.errors import ConfigurationError, DestinationUnreachable

if TYPE_CHECKING:
    from scp.config.settings import Settings


app = typer.Typer()


@app.command()
def serve(config: ConfigOption = None) -> None:
    """Run the node until it is told to stop (SIGTERM, SIGINT); SIGHUP reads the configuration again."""
    import structlog

    from scp import telemetry
    from scp.cli import output
    from scp.config.exposure import exposures
    from scp.config.fingerprint import fingerprint
    from scp.config.load import load
    from scp.config.ports import ports
    from scp.node.service import Service
    from scp.node.web import page_lack

    settings = settings_of(config)

    def reread() -> Settings | None:
        try:
            again = load(config, os.environ)
        except ConfigurationError as error:
            structlog.get_logger("zscp").error("configuration not reloaded", reason=str(error))
            return None
        telemetry.configure(again.log)
        return again

    for line in exposures(settings):
        structlog.get_logger("zscp").warning("exposed", reason=line)
    service = Service(settings, reread)
    try:
        with output.progress("rebuilding the index", "objects") as progress:
            host, port = service.start(progress)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {error.filename or settings.node.host}: {error.strerror}; "
            "set node.host, node.port and tls.port to addresses that are free"
        ) from error
    structlog.get_logger("zscp").info(
        "listening",
        aet=settings.node.aet,
        host=host,
        port=port,
        speaks=[choice.speaks for choice in ports(settings)],
        tls_port=next((bound.address[1] for bound in service.ports if bound.secure), None),
        storage=settings.storage.where,
        index=settings.index.shown,
        policy=[rule.name for rule in settings.policy],
        page=settings.http.url if settings.http.port and not page_lack(settings) else None,
        node=service.itself.id,
        name=service.itself.name,
        fingerprint=fingerprint(settings),
    )
    if not service.run():
        raise typer.Exit(DATA)


@app.command()
def check(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Check the configuration, list what has no effect or lets too many in, and compare index and stores."""
    from datetime import UTC, datetime

    from scp.cli import output, serving_output
    from scp.config.certificates import expiry_warnings
    from scp.config.credentials import credentials_of
    from scp.config.exposure import exposures
    from scp.config.load import load, warnings
    from scp.node.encryption import missing_keys

    settings = load(config, os.environ)
    expiring = expiry_warnings(credentials_of(settings.tls).certificates, datetime.now(UTC))
    found = [*warnings(settings), *exposures(settings), *missing_keys(settings), *expiring]
    try:
        unfit = index_fault(settings)
    except ConfigurationError as error:
        if json:
            output.as_json({"usable": False, "index": str(error)})
        raise
    if json:
        told = {"usable": True, "warnings": found, "index": unfit}
        output.as_json({**told, "settings": settings.model_dump(mode="json")})
    else:
        for line in found:
            typer.echo(f"note: {line}")
        serving_output.settings(settings)
        typer.echo(f"{config or 'The default configuration'} can be used.")
        if unfit:
            typer.echo(f"index: {unfit}", err=True)
    if unfit:
        raise typer.Exit(DATA)


@app.command()
def peers(config: ConfigOption = None, json: JsonOption = False) -> None:
    """List who may do what, by the configuration, and whose objects are stored."""
    from scp.cli import serving_output

    with opened(config) as (archive, settings):
        serving_output.peers(settings, archive.senders(), json)


@app.command()
def passcode() -> None:
    """Ask for a passcode, or a password, and print its hash: for a [[user]] or [[http.user]]."""
    from scp.config.users import hashed

    typer.echo(hashed(typer.prompt("Passcode", hide_input=True, confirmation_prompt=True, err=True)))


@app.command()
def echo(
    address: Annotated[str, typer.Argument(metavar="HOST:PORT")],
    aet: Annotated[str, typer.Option(help="AE title to call.")] = "ZSCP",
    calling: Annotated[str | None, typer.Option(help="AE title to call from; the same by default.")] = None,
    seconds: Annotated[float, typer.Option(help="How long to wait.")] = 5.0,
    json: JsonOption = False,
) -> None:
    """Send a C-ECHO: is the node there, and does it answer?"""
    from pydantic import ValidationError

    from scp.cli import output
    from scp.config.settings import Settings
    from scp.config.sources import tell
    from scp.dimse.scu.echo import echo as send_echo

    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise typer.BadParameter("must be HOST:PORT")
    waits = dict.fromkeys(("connect_seconds", "acse_seconds", "dimse_seconds"), seconds)
    try:
        peer = {"aet": aet, "host": host.strip("[]"), "port": int(port)}
        tables = {"node": {"aet": calling or aet}, "limits": waits, "peer": [peer]}
        settings = Settings.model_validate(tables)
    except ValidationError as error:
        raise typer.BadParameter("; ".join(tell(error, Settings, {}))) from None
    try:
        send_echo(settings.peer[0], settings)
        fault = ""
    except DestinationUnreachable as error:
        fault = str(error)
    if json:
        output.as_json({"answered": not fault, "fault": fault})
    else:
        typer.echo(fault or f"{aet} at {address} answers", err=bool(fault))
    if fault:
        raise typer.Exit(DATA)
