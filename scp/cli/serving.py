"""Commands about a node: run it, check its configuration, see whether one answers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scp.cli.common import DATA, USAGE, ConfigOption, JsonOption, index_fault, opened, settings_of
from scp.errors import ConfigurationError, DestinationUnknown

if TYPE_CHECKING:
    from scp.config.peers import Peer
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
    from scp.config.saving import ConfigurationFile
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
    service = Service(settings, reread, ConfigurationFile(config, os.environ))
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
        unfit = index_fault(settings, found.append)
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
    """List who may do what, by the configuration, whose objects are stored, and how many wait for whom."""
    from scp.cli import serving_output
    from scp.node.peers import peer_rows

    with opened(config) as (archive, settings):
        serving_output.peers(peer_rows(settings, archive.senders(), archive.send_queue.sums()), json)


@app.command()
def audit(
    last: Annotated[int, typer.Option(min=1, help="How many messages, the newest first.")] = 50,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show the last messages of the audit trail, where it goes to a file; patients are left out."""
    from scp.audit.tail import tail_of
    from scp.cli import serving_output

    found = tail_of(settings_of(config).audit, last)
    serving_output.audit(found, json)
    if found.fault:
        raise typer.Exit(USAGE if found.fault == "no file" else DATA)


@app.command()
def echo(
    address: Annotated[
        str, typer.Argument(metavar="HOST:PORT", help="Or the AE title of a [[peer]] of the configuration.")
    ],
    aet: Annotated[str, typer.Option(help="AE title to call.")] = "ZSCP",
    calling: Annotated[str | None, typer.Option(help="AE title to call from; the same by default.")] = None,
    seconds: Annotated[float, typer.Option(help="How long to wait.")] = 5.0,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Send a C-ECHO: is the node there, and does it answer?"""
    from scp.cli import output
    from scp.node.peers import try_echo

    peer, settings = _addressed(address, aet, calling) if ":" in address else _named(address, config)
    found = try_echo(peer, settings, seconds)
    if json:
        output.as_json(found)
    else:
        typer.echo(found.fault or f"{found.aet} at {found.address} answers", err=not found.answered)
    if not found.answered:
        raise typer.Exit(DATA)


def _addressed(address: str, aet: str, calling: str | None) -> tuple[Peer, Settings]:
    """A peer by its address, and settings that know it."""
    from pydantic import ValidationError

    from scp.config.settings import Settings
    from scp.config.sources import tell

    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise typer.BadParameter("must be HOST:PORT, or the AE title of a [[peer]]")
    try:
        peer = {"aet": aet, "host": host.strip("[]"), "port": int(port)}
        settings = Settings.model_validate({"node": {"aet": calling or aet}, "peer": [peer]})
    except ValidationError as error:
        faults = (f"{key}: {what}" for key, what in tell(error, Settings))
        raise typer.BadParameter("; ".join(faults)) from None
    return settings.peer[0], settings


def _named(aet: str, config: Path | None) -> tuple[Peer, Settings]:
    """A peer of the configuration."""
    from scp.node.peers import configured_peer

    settings = settings_of(config)
    try:
        return configured_peer(settings, aet), settings
    except DestinationUnknown as error:
        raise typer.BadParameter(f"must be HOST:PORT, or the AE title of a [[peer]]: {error}") from None
