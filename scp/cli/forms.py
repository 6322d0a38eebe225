"""Commands about stored forms: what the policy does, would do, and what suits one's objects."""

from __future__ import annotations

import time
from datetime import datetime
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scp.cli.common import DATA, ConfigOption, JsonOption, MatchOption, opened, selected

if TYPE_CHECKING:
    from scp.advise.advise import Advice, Wanted

app = typer.Typer()


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

    Also what it costs to serve. For a file that is not in the archive: what would be done with it.
    """
    from scp.cli import explain_output
    from scp.lifecycle.explain import explain as explain_object

    with opened(config) as (archive, settings):
        explain_output.show(explain_object(archive, what, settings.node.aet, again, costs), json)


@app.command()
def advise(  # noqa: PLR0913, PLR0917 - each is an option
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATHS", exists=True, help="Files, or folders of them."),
    ] = None,
    stored: Annotated[
        bool, typer.Option("--stored", help="Instead of PATHS: some of what is stored, at random.")
    ] = False,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Measure for so long, about; without it, the whole sample.")
    ] = None,
    by: Annotated[str, typer.Option(help="One table for each modality or folder.")] = "modality",
    sample: Annotated[int, typer.Option(min=1, help="Most objects measured in a table.")] = 32,
    megabytes: Annotated[int, typer.Option(min=1, help="About as much is measured in a table.")] = 16,
    link: Annotated[float, typer.Option(min=0.001, help="A line's Mbit/s: how long would a study take?")] = 5,
    lossy: Annotated[bool, typer.Option("--lossy", help="Also some lossy codecs, and their errors.")] = False,
    chart: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Draw the figures: a .svg or .png; again for both. Needs matplotlib."
        ),
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Compare codecs on your own objects, and propose a policy that fits them. Stores nothing."""
    from scp.advise.advise import Wanted
    from scp.cli import advise_output
    from scp.cli import chart as charts

    if stored == bool(paths):
        raise typer.BadParameter("give PATHS, or --stored")
    if by not in ("modality", "folder"):
        raise typer.BadParameter("--by is modality or folder")
    charts.check_names(chart or ())  # before the work, which takes minutes
    wanted = Wanted(by, sample, megabytes * 10**6, link, lossy, seconds)
    found = _advice(paths, wanted, config)
    advise_output.show(found, json)
    if chart:
        charts.draw(found, chart)
    if found.failed or not found.tables:
        raise typer.Exit(DATA)


def _advice(paths: list[Path] | None, wanted: Wanted, config: Path | None) -> Advice:
    """On files, or without any on what is stored."""
    from scp import telemetry
    from scp.advise.advise import advise as compare
    from scp.advise.stored import StoredSample, advise_stored
    from scp.cli import output
    from scp.config.settings import Settings

    if paths:
        telemetry.configure(Settings().log)  # no archive is opened, so none needs to be configured
        return compare(paths, wanted, output.progress)
    with opened(config) as (archive, _):
        return advise_stored(archive, wanted, StoredSample(), output.progress)


@app.command()
def plan(
    at: Annotated[str, typer.Option(help="Show what will be due after this time: 12h, 30d, 6w.")] = "0s",
    seconds: Annotated[float, typer.Option(help="How long to measure, about.")] = 20.0,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show what the policy would do to what is stored, how long it would take and what it would save."""
    from scp.cli import output, stages_output
    from scp.config.values import duration
    from scp.lifecycle.forecast import forecast

    try:
        ahead = duration(at) or 0
    except ValueError as error:
        raise typer.BadParameter(f"--at: {error}") from error
    now = time.time() + ahead
    with opened(config) as (archive, settings), output.progress("looking", "objects") as progress:
        progress.total(archive.count())
        found = forecast(archive, settings.lifecycle, now, seconds, progress)
    stages_output.forecast(found, datetime.fromtimestamp(now).astimezone(), settings, json)


@app.command()
def recompress(
    match: MatchOption = None,
    now: Annotated[
        bool, typer.Option("--now", help="Carry out all stages, whatever the age of the object.")
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Carry out the stages that are due, at once and with all cores; may be stopped and run again.

    With --now and --match what was refused with those objects is tried again, too (ls --refused), and what
    could only be kept as it was: after a limit was raised, for example.
    """
    from scp.audit.trail import recording
    from scp.cli import output, stages_output
    from scp.lifecycle.loss_audit import by_command
    from scp.lifecycle.recompress import recompress as carry_out
    from scp.node.build import take_up

    with (
        opened(config, works=True) as (archive, settings),
        recording(settings) as trail,
        output.progress("recompressing", "objects") as progress,
    ):
        take_up(archive)  # what an earlier run left that was killed
        some = list(selected(archive, match)) if match else None
        asked = now and some is not None
        clock, audit = (lambda: inf) if now else archive.clock.now, by_command(trail)
        done = carry_out(archive, some, clock, progress, again=asked, audit=audit)
    stages_output.recompressed(done, json)
    if done.left:
        raise typer.Exit(DATA)
