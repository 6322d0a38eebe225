"""Commands about the policy as a whole: what its rules hold, and what edited ones would change."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from scp.cli.common import USAGE, ConfigOption, JsonOption, opened

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
