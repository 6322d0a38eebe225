"""Commands about the nodes that share an index."""

from __future__ import annotations

from typing import Annotated

import typer

from scp.cli.common import ConfigOption, JsonOption, opened

app = typer.Typer()
group = typer.Typer(
    name="nodes",
    invoke_without_command=True,
    help="The nodes that share this index: when each was last seen, and what it runs.",
)
app.add_typer(group)


@group.callback()
def list_nodes(context: typer.Context, config: ConfigOption = None, json: JsonOption = False) -> None:
    """List the nodes that share this index: when each was last seen, and what it runs."""
    if context.invoked_subcommand is not None:
        return
    from scp.cli import nodes_output

    with opened(config) as (archive, _):
        known = archive.elsewhere.cluster.nodes.all()
    nodes_output.listing(known, json)


@group.command("forget")
def forget_node(
    node: Annotated[str, typer.Argument(metavar="ID")],
    lost: Annotated[
        bool, typer.Option("--lost", help="Its disk is lost: give up the objects that were only there.")
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Remove a node that is gone for ever; not one that lives, or whose landing log still has objects."""
    from scp.cli import nodes_output
    from scp.lifecycle.forgetting import forget

    with opened(config) as (archive, _):
        told, given_up = forget(archive, node, lost)
    nodes_output.forgotten(told, given_up, json)
