"""The command ``zscp``: each command reads the configuration, does one thing, and says what came of it.

Exit status 0: done. 1: something was wrong with the data. 2: usage or configuration.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from math import inf
from pathlib import Path
from typing import Annotated

import structlog
import typer
from pydicom import uid as registered
from pydicom.uid import UID

from scp import advice, explained, report, report_dictionaries, report_stages, telemetry
from scp.archive import Archive
from scp.config import Settings, load, warnings
from scp.config_values import byte_count, duration
from scp.dimse.client import echo as send_echo
from scp.errors import ConfigurationError, DestinationUnreachable, ZscpError
from scp.lifecycle import training, transfer
from scp.lifecycle.advise import Wanted
from scp.lifecycle.advise import advise as compare
from scp.lifecycle.explain import explain as explain_object
from scp.lifecycle.forecast import forecast
from scp.lifecycle.recompress import recompress as carry_out
from scp.lifecycle.reindex import reindex as rebuild
from scp.lifecycle.verify import verify as check_objects
from scp.model import LEVELS, Instance, Query, QueryKey
from scp.node import Service, open_archive, take_up
from scp.syntaxes import BY_KEYWORD, BY_UID

app = typer.Typer(no_args_is_help=True, add_completion=False, help="zscp, a DICOM archive node.")
dictionary_app = typer.Typer(no_args_is_help=True, help="zstd dictionaries, for small objects of one kind.")
app.add_typer(dictionary_app, name="dictionary")

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="The configuration file; without one, defaults.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs: JSON on standard output.")]
MatchOption = Annotated[
    list[str] | None,
    typer.Option("--match", "-m", metavar="KEY=VALUE", help="As in C-FIND; may be given several times."),
]

DATA, USAGE = 1, 2


def main() -> None:
    """Run the command line; errors that are expected end in one line and a status."""
    try:
        app()
    except ConfigurationError as error:
        _end(str(error), USAGE)
    except ZscpError as error:
        _end(f"{type(error).__name__}: {error}", DATA)


def _end(message: str, status: int) -> None:
    typer.echo(f"zscp: {message}", err=True)
    sys.exit(status)


def _settings(config: Path | None) -> Settings:
    settings = load(config, os.environ)
    telemetry.configure(settings.log)
    return settings


@contextmanager
def _archive(config: Path | None) -> Iterator[tuple[Archive, Settings]]:
    settings = _settings(config)
    archive = open_archive(settings)
    try:
        yield archive, settings
    finally:
        archive.close()


@app.command()
def serve(config: ConfigOption = None) -> None:
    """Run the node until it is told to stop (SIGTERM, SIGINT); SIGHUP reads the configuration again."""
    settings = _settings(config)

    def reread() -> Settings | None:
        try:
            again = load(config, os.environ)
        except ConfigurationError as error:
            structlog.get_logger("zscp").error("configuration not reloaded", reason=str(error))
            return None
        telemetry.configure(again.log)
        return again

    service = Service(settings, reread)
    try:
        host, port = service.start()
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {settings.node.host}:{settings.node.port}: {error.strerror}; "
            "set node.host and node.port to an address that is free"
        ) from error
    structlog.get_logger("zscp").info(
        "listening",
        aet=settings.node.aet,
        host=host,
        port=port,
        storage=str(settings.storage.path.absolute()),
        index=str(settings.index.path.absolute()),
        policy=[rule.name for rule in settings.policy],
    )
    if not service.run():
        raise typer.Exit(DATA)


@app.command()
def check(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Say whether the configuration can be used, and what in it has no effect."""
    settings = load(config, os.environ)
    found = warnings(settings)
    if json:
        report.as_json({"usable": True, "warnings": found, "settings": settings.model_dump(mode="json")})
        return
    for line in found:
        typer.echo(f"note: {line}")
    report.settings(settings)
    typer.echo(f"{config or 'The default configuration'} can be used.")


@app.command()
def echo(
    address: Annotated[str, typer.Argument(metavar="HOST:PORT")],
    aet: Annotated[str, typer.Option(help="AE title to call.")] = "ZSCP",
    calling: Annotated[str | None, typer.Option(help="AE title to call from; the same by default.")] = None,
    seconds: Annotated[float, typer.Option(help="How long to wait.")] = 5.0,
    json: JsonOption = False,
) -> None:
    """Send a C-ECHO: is the node there, and does it answer?"""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise typer.BadParameter("must be HOST:PORT")
    try:
        send_echo(host.strip("[]"), int(port), aet, calling or aet, seconds)
        fault = ""
    except DestinationUnreachable as error:
        fault = str(error)
    if json:
        report.as_json({"answered": not fault, "fault": fault})
    else:
        typer.echo(fault or f"{aet} at {address} answers", err=bool(fault))
    if fault:
        raise typer.Exit(DATA)


@app.command("import")
def import_(
    paths: Annotated[list[Path], typer.Argument(exists=True, help="Files, or folders of them.")],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Keep DICOM files as if they had been received; what is no DICOM file is skipped."""
    with _archive(config) as (archive, settings):
        files = list(transfer.files_below(paths))
        with report.progress("importing", "files") as progress:
            progress.total(len(files))
            summary = report.ImportSummary()
            for result in transfer.import_files(archive, files, settings.node.aet):
                summary.add(result)
                progress.advance()
    summary.show(json)
    if summary.failed:
        raise typer.Exit(DATA)


@app.command()
def export(
    target: Annotated[Path, typer.Argument(help="Folder to write to.")],
    match: MatchOption = None,
    syntax: Annotated[
        str,
        typer.Option(help="received, stored, or a transfer syntax by keyword or UID."),
    ] = "received",
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Write objects as plain DICOM files, <study>/<series>/<instance>.dcm."""
    wanted = _syntax(syntax)
    with _archive(config) as (archive, _):
        instances = list(_selected(archive, match))
        with report.progress("exporting", "objects") as progress:
            progress.total(len(instances))
            summary = report.ExportSummary(target)
            for result in transfer.export(archive, instances, target, wanted):
                summary.add(result)
                progress.advance()
    summary.show(json)
    if summary.failed:
        raise typer.Exit(DATA)


@app.command()
def ls(
    match: MatchOption = None,
    level: Annotated[str, typer.Option(help="patient, study, series or image.")] = "study",
    limit: Annotated[int, typer.Option(help="0: all.")] = 100,
    commitments: Annotated[
        bool, typer.Option("--commitments", help="Instead: storage commitment that is yet to be reported.")
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List what is held."""
    if commitments:
        with _archive(config) as (archive, _):
            report.commitments(archive.index.commitments.all(), json)
        return
    columns = report.COLUMNS.get(level.upper())
    if columns is None:
        raise typer.BadParameter("--level is patient, study, series or image")
    with _archive(config) as (archive, _):
        rows = report.first(archive.find(_query(level.upper(), match, columns)), limit)
        if level.upper() == "IMAGE":
            rows = [report.with_storage(row, archive.index.held(row["SOPInstanceUID"])) for row in rows]
    report.listing(level.upper(), rows, limit, json)


@app.command()
def stats(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show how much is held, and what keeping it compressed saves."""
    with _archive(config) as (archive, _):
        index = archive.index
        outstanding = len(index.commitments.all())
        report.statistics(index.counts(), index.statistics(), index.backlog(), outstanding, json)


@app.command()
def explain(
    what: Annotated[str, typer.Argument(metavar="OBJECT", help="A SOP Instance UID, or a DICOM file.")],
    again: Annotated[bool, typer.Option("--try", help="Try the rule's forms now; keeps nothing.")] = False,
    costs: Annotated[
        bool | None, typer.Option(help="Serve it in each transfer syntax; by default up to 4 MB.")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Say which rule applies to an object and why, which forms were tried, and what is stored.

    And what it costs to serve. For a file that is not in the archive: what would be done with it.
    """
    with _archive(config) as (archive, settings):
        explained.show(explain_object(archive, what, settings.node.aet, again, costs), json)


@app.command()
def advise(  # noqa: PLR0913, PLR0917 - each is an option
    paths: Annotated[list[Path], typer.Argument(exists=True, help="Files, or folders of them.")],
    by: Annotated[str, typer.Option(help="What a table is of: modality or folder.")] = "modality",
    sample: Annotated[int, typer.Option(min=1, help="Most objects measured in a table.")] = 32,
    megabytes: Annotated[int, typer.Option(min=1, help="About as much is measured in a table.")] = 16,
    link: Annotated[float, typer.Option(min=0.001, help="A line's Mbit/s: how long would a study take?")] = 5,
    lossy: Annotated[bool, typer.Option("--lossy", help="Also some lossy codecs, and their errors.")] = False,
    chart: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Draw the figures: a .svg or .png; again for both."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compare codecs on one's own objects, and propose a policy that fits them. Keeps nothing."""
    if by not in ("modality", "folder"):
        raise typer.BadParameter("--by is modality or folder")
    if unknown := [path.name for path in chart or () if path.suffix.lower() not in advice.SUFFIXES]:
        raise typer.BadParameter(f"--chart {unknown[0]}: must end in .svg or .png")
    telemetry.configure(Settings().log)  # no archive is opened, so none needs to be configured
    found = compare(paths, Wanted(by, sample, megabytes * 10**6, link, lossy), report.progress)
    advice.show(found, json)
    advice.write_charts(found, chart or ())
    if found.failed or not found.tables:
        raise typer.Exit(DATA)


@app.command()
def verify(
    match: MatchOption = None,
    deep: Annotated[bool, typer.Option("--deep", help="Also restore what was received.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Read stored objects and check them against the digests of what was written."""
    with _archive(config) as (archive, _), report.progress("verifying", "objects") as progress:
        progress.total(archive.index.counts().instances)
        verdicts = report.VerifySummary()
        for verdict in check_objects(archive, _selected(archive, match), deep):
            verdicts.add(verdict)
            progress.advance()
    verdicts.show(json)
    if verdicts.damaged:
        raise typer.Exit(DATA)


@app.command()
def plan(
    at: Annotated[str, typer.Option(help="What will be due in so long: 12h, 30d, 6w.")] = "0s",
    seconds: Annotated[float, typer.Option(help="How long to measure, about.")] = 20.0,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show what the policy would do to what is stored, how long it would take and what it would save."""
    try:
        ahead = duration(at) or 0
    except ValueError as error:
        raise typer.BadParameter(f"--at: {error}") from error
    now = time.time() + ahead
    with _archive(config) as (archive, settings), report.progress("looking", "objects") as progress:
        progress.total(archive.index.counts().instances)
        found = forecast(archive, settings.lifecycle, now, seconds, progress)
    report_stages.forecast(found, datetime.fromtimestamp(now).astimezone(), settings, json)


@app.command()
def recompress(
    match: MatchOption = None,
    now: Annotated[bool, typer.Option("--now", help="Whatever the age: go on to the last stage.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Carry out the stages that are due, at once and with all cores; may be stopped and run again."""
    with _archive(config) as (archive, _), report.progress("recompressing", "objects") as progress:
        take_up(archive)  # what an earlier run left that was killed
        uids = [one.sop_instance_uid for one in _selected(archive, match)] if match else None
        done = carry_out(archive, uids, lambda: inf if now else time.time(), progress)
    report_stages.recompressed(done, json)
    if done.left:
        raise typer.Exit(DATA)


@app.command()
def reindex(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Make the index anew from the stored objects alone."""
    with _archive(config) as (archive, _), report.progress("reindexing", "objects") as progress:
        outcome = rebuild(archive, progress)
    report.reindexed(outcome, json)
    if outcome.damaged:
        raise typer.Exit(DATA)


@dictionary_app.command("train")
def train_dictionaries(
    sop_class: Annotated[
        str, typer.Option(help="Of this SOP class, by UID or keyword; all by default.")
    ] = "",
    size: Annotated[str, typer.Option(help="Most bytes of a dictionary.")] = f"{training.SIZE >> 10}KiB",
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Train dictionaries from stored objects; those that make such objects smaller are stored, and used."""
    wanted, most = _sop_class(sop_class), _bytes(size)
    results = []
    with _archive(config) as (archive, _):
        with report.progress("looking for objects", "objects") as progress:
            progress.total(archive.index.counts().instances)
            found = training.samples(archive.index.all(), progress, wanted)
        with report.progress("training", "objects") as progress:
            progress.total(sum(len(sample.kept) for sample in found.values()))
            results = [training.train(archive, uid, one, most, progress) for uid, one in found.items()]
    report_dictionaries.trained(results, json)


@dictionary_app.command("list")
def list_dictionaries(config: ConfigOption = None, json: JsonOption = False) -> None:
    """List the dictionaries that are stored; none is ever deleted, as objects need it."""
    with _archive(config) as (archive, _):
        held = archive.dictionaries
        rows = [(one, held.size(one), held.marked(one.sop_class_uid) == one.key) for one in held.entries()]
    report_dictionaries.listing(rows, json)


def _sop_class(name: str) -> str:
    """The UID of a SOP class, given as such or by keyword; empty for none. Raises BadParameter."""
    known = getattr(registered, name, None) if name else ""
    uid = known if isinstance(known, UID) else UID(name)
    if name and not uid.is_valid:
        raise typer.BadParameter(f"--sop-class {name} is no UID, and no keyword of PS3.6")
    return uid


def _bytes(text: str) -> int:
    try:
        return byte_count(text)
    except ValueError as error:
        raise typer.BadParameter(f"--size: {error}") from None


def _syntax(name: str) -> str:
    if name in ("received", "stored"):
        return name
    row = BY_KEYWORD.get(name) or BY_UID.get(name)
    if row is None:
        raise typer.BadParameter(f"{name} is no transfer syntax; try {', '.join(list(BY_KEYWORD)[:3])}, …")
    return row.uid


def _query(level: str, match: list[str] | None, columns: tuple[str, ...] = ()) -> Query:
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


def _selected(archive: Archive, match: list[str] | None) -> Iterator[Instance]:
    """The instances that match, or all."""
    if not match:
        yield from archive.index.all()
        return
    for found in archive.find(_query(LEVELS[-1], match, ("SOPInstanceUID",))):
        instance = archive.index.held(found["SOPInstanceUID"])
        if instance is not None:
            yield instance
