"""Commands about the policy as a whole: what its rules hold, what edited ones change, saving them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from scp.cli.common import DATA, USAGE, ConfigOption, JsonOption, opened, settings_of

app = typer.Typer()
policy = typer.Typer(no_args_is_help=True, help="The policy's rules: what they hold, and edited ones.")
app.add_typer(policy, name="policy")

EditedArgument = Annotated[
    Path, typer.Argument(metavar="EDITED", exists=True, dir_okay=False, help="A configuration file.")
]


@policy.command("rules")
def rules(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show what each rule holds, in which forms, what comes next and when; and what retention lets go."""
    from scp.cli import policy_output
    from scp.lifecycle.holdings import holdings

    with opened(config) as (archive, settings):
        policy_output.holdings(holdings(archive, settings), json)


@policy.command("try")
def try_(
    edited: EditedArgument,
    every: Annotated[
        bool, typer.Option("--all", help="Look at all objects: exact, and minutes for many millions.")
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Check an edited configuration, and show what its rules would change for what is stored.

    Nothing is changed. Of more than 20,000 objects some are picked at random, and figures are estimates.
    """
    from scp.cli import policy_output
    from scp.config.sources import read_text
    from scp.lifecycle.comparison import PICKED, try_text

    text = read_text(edited)
    with opened(config) as (archive, settings):
        trial = try_text(archive, settings, text, os.environ, None if every else PICKED)
    policy_output.trial(trial, edited, json)
    if trial.faults:
        raise typer.Exit(USAGE)


@policy.command("save")
def save(
    edited: EditedArgument,
    digest: Annotated[
        str, typer.Option(help="Only where the file in use still has this SHA-256, as of when it was copied.")
    ] = "",
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Put an edited configuration in the place of the file that --config names, and keep the former one.

    A running node takes it up with its next reload (SIGHUP).
    """
    from scp.audit.actors import operator, this_command
    from scp.audit.trail import recording
    from scp.cli import policy_output
    from scp.config.saving import ConfigurationFile
    from scp.config.sources import read_text
    from scp.node.policy_desk import save_text

    if config is None:
        raise typer.BadParameter("name the file to replace with --config FILE")
    text, settings = read_text(edited), settings_of(config)
    file = ConfigurationFile(config, os.environ)
    with recording(settings) as trail:
        who = (operator(), this_command())
        done = save_text(file, text, digest or file.read().digest, settings, trail, who)
    policy_output.saved(done, edited, json)
    if done.saved.outcome not in ("saved", "unchanged"):
        raise typer.Exit(USAGE if done.saved.outcome == "invalid" else DATA)
