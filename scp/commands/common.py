"""What the commands share: their options, the archive that the configuration describes, what is selected."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from scp import report, telemetry
from scp.archive import Archive
from scp.config import Settings, load
from scp.errors import IndexUnfit, OutOfResources
from scp.index.files import exists
from scp.index.sql import SqlIndex
from scp.lifecycle.rebuild import make_fit
from scp.model import LEVELS, Instance, Query, QueryKey
from scp.node import open_archive, require_index

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="The configuration file; without one, defaults.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs: JSON on standard output.")]
MatchOption = Annotated[
    list[str] | None,
    typer.Option("--match", "-m", metavar="KEY=VALUE", help="As in C-FIND; may be given several times."),
]

DATA, USAGE = 1, 2  # exit statuses


def settings_of(config: Path | None) -> Settings:
    """The configuration, with the log set up by it. Raises ConfigurationError."""
    settings = load(config, os.environ)
    telemetry.configure(settings.log)
    return settings


@contextmanager
def opened(config: Path | None, works: bool = False) -> Iterator[tuple[Archive, Settings]]:
    """The archive that a configuration describes, with an index that knows what is stored.

    Where it does not, a command that ``works`` makes it anew first, as a node would; all others change
    nothing, and raise IndexUnfit or IndexDamaged, which say what to do. Raises ConfigurationError and
    OutOfResources.
    """
    settings = settings_of(config)
    if not works:
        require_index(settings)
    archive = open_archive(settings, mends=works)
    try:
        if works:
            with report.progress("making the index anew", "objects") as progress:
                make_fit(archive, progress)
        if archive.pairing is not None:
            archive.pairing.require()
        yield archive, settings
        if works and archive.pairing is not None:
            archive.pairing.advance_if_changed()
    finally:
        archive.close()


@contextmanager
def opened_unfit(config: Path | None, mends: bool) -> Iterator[tuple[Archive, Settings]]:
    """As :func:`opened`, whatever the index knows of what is stored: for what looks at that, or mends it."""
    settings = settings_of(config)
    if not mends:
        require_index(settings)
    archive = open_archive(settings, mends=mends)
    try:
        yield archive, settings
    finally:
        archive.close()


def index_fault(settings: Settings) -> str:
    """Why the index does not know what is stored; empty where it does, or nothing is stored yet.

    Makes nothing that is not there. Raises ConfigurationError where an admin has to decide what was meant.
    """
    try:
        require_index(settings)
        url = settings.index.url
        if not settings.storage.path.exists() or not exists(url) or not SqlIndex.is_current(url):
            return ""  # nothing is stored yet, or the next start migrates the index first
        archive = open_archive(settings)
        try:
            if archive.pairing is not None:
                archive.pairing.require()
        finally:
            archive.close()
    except (IndexUnfit, OutOfResources) as error:
        return str(error)
    return ""


def query_for(level: str, match: list[str] | None, columns: tuple[str, ...] = ()) -> Query:
    """A relational query by the command line's keys. Raises BadParameter."""
    wanted = {}
    for pair in match or []:
        key, separator, value = pair.partition("=")
        if not separator:
            raise typer.BadParameter(f"--match {pair} is not KEY=VALUE")
        wanted[key] = value
    keys = (*wanted, *(column for column in columns if column not in wanted))
    vrs = {key: report.vr_of(key) for key in keys}
    if unknown := [key for key, vr in vrs.items() if not vr]:
        raise typer.BadParameter(f"--match: {', '.join(unknown)} is no attribute's keyword")
    return Query(
        "PATIENT", level, tuple(QueryKey(key, vrs[key], wanted.get(key, "")) for key in keys), relational=True
    )


def selected(archive: Archive, match: list[str] | None) -> Iterator[Instance]:
    """The instances that match, or all."""
    if not match:
        yield from archive.index.all()
        return
    for found in archive.find(query_for(LEVELS[-1], match, ("SOPInstanceUID",))):
        instance = archive.index.held(found["SOPInstanceUID"])
        if instance is not None:
            yield instance
