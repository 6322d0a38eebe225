"""``zscp status``: a command asks the running node's own port."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from desks import PASSWORDS, MadePage, http_settings, users
from typer.testing import CliRunner, Result
from waiting import until

from scp.cli.main import app
from scp.config.settings import Settings
from scp.dimse.negotiation.listener import bound
from scp.errors import ConfigurationError, NotAuthorized, OutOfResources
from scp.node.asking import NodePage
from scp.web.looks import Look
from scp.web.page.serving import PageService

pytestmark = pytest.mark.quick


def asked(port: int) -> Settings:
    return Settings.model_validate({"http": {"port": port}})


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """That of a page with users, of a node whose index is away."""
    page = MadePage(http_settings(user=users(victor="viewer")), tmp_path, look=Look(index_fault="it is away"))
    figures = page.figures.of("worker 1")
    figures.board.show("1-1", "CT\x1b1", "ZSCP", "10.0.0.17").begins("c-store")
    figures.add("zscp_associations_open")
    page.figures.own.add("zscp_limit_reached_total", ("limits.associations",), 3)
    listening = bound("127.0.0.1", 0)
    service = PageService(listening, page.app, None, lambda: None)
    service.start()
    number: int = listening.getsockname()[1]
    yield number
    service.stop()


def run(port: int, tmp_path: Path, *arguments: str, given: str = "") -> Result:
    config = tmp_path / "zscp.toml"
    config.write_text(f"[http]\nport = {port}\n", encoding="utf-8")
    return CliRunner().invoke(app, ["status", "--config", str(config), *arguments], input=given)


def test_a_user_sees_what_the_page_shows(port: int, tmp_path: Path) -> None:
    until(lambda: _answers(port), "the page is served")
    password = PASSWORDS["victor"] + "\n"
    done = run(port, tmp_path, "--user", "victor", "--json", given=password)
    assert done.exit_code == 1, done.output  # peers cannot be served
    told = json.loads(done.stdout)
    assert [one["calling_aet"] for one in told["now"]["associations"]] == ["CT\x1b1"]
    assert told["health"]["limits"] == {"limits.associations": 3}
    text = run(port, tmp_path, "--user", "victor", given=password).stdout
    assert "not ready: " in text
    assert "the index cannot be used: it is away" in text
    assert "limits.associations 3" in text
    assert "\x1b" not in text


def test_who_may_not_ask_is_told(port: int, tmp_path: Path) -> None:
    until(lambda: _answers(port), "the page is served")
    assert "give --user NAME" in str(run(port, tmp_path).exception)
    wrong = run(port, tmp_path, "--user", "victor", given="wrong\n")
    assert isinstance(wrong.exception, NotAuthorized)


def test_a_node_that_is_not_there_is_told() -> None:
    listening = bound("127.0.0.1", 0)
    free: int = listening.getsockname()[1]
    listening.close()
    with pytest.raises(OutOfResources, match="is it running"):
        NodePage(asked(free)).get("/api/now")
    with pytest.raises(ConfigurationError, match=r"http\.port is 0"):
        NodePage(asked(0))


def _answers(port: int) -> bool:
    try:
        NodePage(asked(port)).get("/api/now")
    except NotAuthorized:
        return True
    except OutOfResources:
        return False
    return True
