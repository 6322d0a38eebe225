"""Only the typed command's file is made into commands; all of them where help or an error names them."""

from __future__ import annotations

import pytest
import typer

from scp.cli.main import app, app_for

pytestmark = pytest.mark.quick

ALL = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ALL)
def test_a_command_is_there_with_its_file_alone(name: str) -> None:
    made = typer.main.get_command(app_for([name, "--json"])).commands  # type: ignore[attr-defined]
    assert len(made) < len(ALL) / 2
    assert [one.name for one in made[name].params] == [one.name for one in ALL[name].params]
    assert getattr(made[name], "commands", {}).keys() == getattr(ALL[name], "commands", {}).keys()


@pytest.mark.parametrize("typed", [[], ["--help"], ["--version"], ["nonsense"]])
def test_all_are_there_where_none_is_typed(typed: list[str]) -> None:
    assert app_for(typed) is app
