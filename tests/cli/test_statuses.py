"""With which status commands end that cannot do what was typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scp.cli.main import app

pytestmark = pytest.mark.quick


def test_a_file_is_saved_in_the_place_of_one_that_is_named(tmp_path: Path) -> None:
    edited = tmp_path / "edited.toml"
    edited.write_text("", encoding="utf-8")
    done = CliRunner().invoke(app, ["policy", "save", str(edited)])
    assert done.exit_code == 2
    assert "--config" in done.output


@pytest.mark.parametrize(
    ("to", "status", "told"),
    [
        ("", 2, "there is no audit trail"),
        ("syslog+udp://127.0.0.1:514", 2, "look there"),
        ("file://{folder}", 1, "cannot be read"),
        ("file://{folder}/audit.xml", 0, "nothing was recorded yet"),
    ],
)
def test_an_audit_trail_that_is_not_there_is_said_to_be(
    tmp_path: Path, to: str, status: int, told: str
) -> None:
    config = tmp_path / "zscp.toml"
    config.write_text(f'[audit]\nto = "{to.format(folder=tmp_path)}"\n', encoding="utf-8")
    done = CliRunner().invoke(app, ["audit", "--json", "-c", str(config)])
    assert done.exit_code == status, done.output
    assert told in json.loads(done.stdout)["unread"]
