"""Lists of what there is none of: a sentence, and not a table without rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scp.cli.main import app

pytestmark = pytest.mark.quick

LISTS = [
    ["dictionary", "list"],
    ["dictionary", "train"],
    ["hold", "list"],
    ["key", "list"],
    ["ls"],
    ["ls", "--commitments"],
    ["ls", "--conflicts"],
    ["ls", "--damaged"],
    ["ls", "--refused"],
    ["ls", "--send-queue"],
    ["ls", "--unreadable"],
    ["nodes"],
    ["plan"],
    ["retention"],
    ["retention", "--schedule"],
    ["trash", "list"],
]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("empty")
    file = root / "zscp.toml"
    file.write_text(
        f'[storage]\nurl = "file://{root}/objects"\n[index]\nurl = "sqlite:///{root}/index.db"\n',
        encoding="utf-8",
    )
    assert CliRunner().invoke(app, ["reindex", "-c", str(file)]).exit_code == 0
    return file


@pytest.mark.parametrize("typed", LISTS, ids=" ".join)
def test_a_list_of_nothing_is_a_sentence(config: Path, typed: list[str]) -> None:
    done = CliRunner().invoke(app, [*typed, "-c", str(config)])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip().endswith("."), done.stdout
    assert not set("┏━│└") & set(done.stdout), done.stdout


@pytest.mark.parametrize("typed", [one for one in LISTS if "plan" not in one], ids=" ".join)
def test_for_programs_it_stays_json(config: Path, typed: list[str]) -> None:
    done = CliRunner().invoke(app, [*typed, "--json", "-c", str(config)])
    assert json.loads(done.stdout) in ([], {"studies": [], "held": 0, "schedule": []}), done.stdout
