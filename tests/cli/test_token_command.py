"""``zscp token``: one is made for the configuration, and one that is there is tried. And what help shows."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from issuers import MadeIssuer
from typer.testing import CliRunner

from scp.cli.main import app
from scp.config.http import digest_of
from scp.config.load import load

pytestmark = pytest.mark.quick

ALL: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _log_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A runner's stream is closed when its command has ended; tests behind these would log to it."""
    monkeypatch.setattr("scp.telemetry.configure", lambda *_: None)


def run(*words: str, typed: str = "", status: int = 0) -> tuple[str, str]:
    """What a command prints on standard output, and beside it."""
    found = CliRunner().invoke(app, list(words), input=typed)
    assert found.exit_code == status, found.output
    return found.stdout, found.stderr


def test_the_table_can_be_appended_and_the_token_stands_beside_it(tmp_path: Path) -> None:
    table, told = run("token", 'the "ward"', "--may", "find")
    secret = told.splitlines()[0]
    assert secret not in table
    path = tmp_path / "zscp.toml"
    path.write_text(table, encoding="utf-8")
    (kept,) = load(path, {}).http.token
    assert (kept.name, kept.may, kept.digest) == ('the "ward"', ("find",), digest_of(secret))


def test_a_program_gets_both() -> None:
    told = json.loads(run("token", "--json")[0])
    assert told["digest"] == digest_of(told["token"])
    assert (told["name"], told["may"]) == ("viewer", ["find", "get"])


@pytest.mark.parametrize("words", [("--may", "fnd"), ("x" * 65,), ("--peer", "more than 16 characters")])
def test_what_is_no_token_is_not_made(words: tuple[str, ...]) -> None:
    out, told = run("token", *words, status=2)
    assert not out
    assert "Invalid value" in told


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with a token that is held to a peer."""
    path = tmp_path / "zscp.toml"
    peer = '[[peer]]\naet = "HELD"\nhost = "10.0.0.1"\nport = 104\nmay = ["find"]\naddresses = "10.0.0.1"\n'
    path.write_text(f'[[http.token]]\nname = "held"\ndigest = "{digest_of("its")}"\npeer = "HELD"\n{peer}')
    return path


def test_whose_a_token_is(config: Path) -> None:
    words = ("token", "--check", "-c", str(config))
    assert (
        run(*words, "--from", "10.0.0.1", typed="its\n")[0]
        == "held (http.token) may: find, as the peer HELD\n"
    )
    told = json.loads(run(*words, "--from", "10.0.0.1", "--json", typed="its\n")[0])
    assert told == {"name": "held", "by": "http.token", "may": ["find"], "peer": "HELD", "fault": ""}
    assert "none of the `addresses` of its [[peer]]" in run(*words, typed="its\n", status=1)[1]
    assert "no [[http.token]]'s" in run(*words, typed="another\n", status=1)[1]


def test_why_a_token_of_an_issuer_is_refused(tmp_path: Path) -> None:
    issuer = MadeIssuer()
    keys = "\n".join(
        f"{key} = {json.dumps(value)}" for key, value in issuer.table().items() if key != "grant"
    )
    path = tmp_path / "zscp.toml"
    path.write_text(f'[http.oidc]\n{keys}\n[[http.oidc.grant]]\nvalues = "dicom"\n')
    words = ("token", "--check", "-c", str(path))
    try:
        assert run(*words, typed=issuer.token())[0] == "anna (http.oidc) may: find, get\n"
        assert run(*words, typed=issuer.token(scope="mail"))[0] == "anna (http.oidc) may: nothing\n"
        assert "not for this archive (aud" in run(*words, typed=issuer.token(aud="mail"), status=1)[1]
    finally:
        issuer.stop()
    assert "the issuer cannot be asked" in run(*words, typed=issuer.token(), status=1)[1]


def _marked(name: str) -> list[str]:
    """What the help of a command has in brackets."""
    texts = [ALL[name].help or "", *(getattr(one, "help", None) or "" for one in ALL[name].params)]
    return re.findall(r"\[\[[\w.]+\]\]|<\w+>", " ".join(texts))


@pytest.mark.parametrize("name", [name for name in ALL if _marked(name)])
def test_help_shows_what_is_in_brackets(name: str) -> None:
    """Rich's markup takes [[peer]] for a style, and Markdown <study> for HTML."""
    shown = run(name, "--help")[0]
    assert [word for word in _marked(name) if word not in shown] == []


def test_the_table_of_a_token_is_toml() -> None:
    assert tomllib.loads(run("token")[0])["http"]["token"][0]["name"] == "viewer"
