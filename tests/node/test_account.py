"""Root in the archive of another account: it makes nothing there that the node could not read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scp.config.settings import Settings
from scp.errors import ConfigurationError
from scp.node import account
from scp.node.build import open_archive

pytestmark = pytest.mark.quick

_NODES = 12345  # an account without a name


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of an archive that was opened once."""
    tables = {
        "storage": {"url": f"file://{tmp_path}/objects"},
        "index": {"url": f"sqlite:///{tmp_path}/index.db"},
    }
    made = Settings.model_validate(tables)
    open_archive(made).close()
    return made


@pytest.fixture
def of_the_node(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The same, as root finds it where another account made it."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(account, "_owner_of_archive", lambda _: _NODES)
    monkeypatch.setattr(account, "_owner_of_new_files", lambda _: 0)
    return settings


def test_root_is_refused_and_told_which_account(of_the_node: Settings) -> None:
    before = sorted(of_the_node.storage.path.rglob("*"))
    with pytest.raises(ConfigurationError, match=f"sudo -u #{_NODES} zscp"):
        open_archive(of_the_node)
    assert sorted(of_the_node.storage.path.rglob("*")) == before


def test_the_account_itself_is_not(of_the_node: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: _NODES)
    open_archive(of_the_node).close()


def test_nor_is_root_where_its_files_are_that_accounts(
    of_the_node: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS, where root is squashed."""
    monkeypatch.setattr(account, "_owner_of_new_files", lambda _: _NODES)
    open_archive(of_the_node).close()


def test_nor_where_root_made_the_archive(of_the_node: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "_owner_of_archive", lambda _: 0)
    open_archive(of_the_node).close()


def test_an_archive_is_of_who_made_it(settings: Settings) -> None:
    assert account._owner_of_archive(settings.storage.path) == os.geteuid()


def test_new_files_are_whose_process_it_is(tmp_path: Path) -> None:
    assert account._owner_of_new_files(tmp_path) == os.geteuid()
    assert list(tmp_path.iterdir()) == []


def test_an_account_has_its_name() -> None:
    assert account._name_of(0) == "root"
