"""What serves the viewer (scripts/ohif.py): without a browser, and without npm."""

from __future__ import annotations

import base64
import hashlib
import tarfile
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from scripts import ohif

pytestmark = pytest.mark.dicomweb


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An npm that packs a small application, and the package that it packs."""
    built = tmp_path / "dist"
    built.mkdir()
    for name in ("index.html", "app.js", "app.js.map"):
        (built / name).write_text(name)
    package = tmp_path / "packed.tgz"
    with tarfile.open(package, "w:gz") as archive:
        archive.add(built, "package/dist")
    command = tmp_path / "npm"
    command.write_text(f"#!/bin/sh\ncp '{package}' .\n")
    command.chmod(0o755)
    monkeypatch.setattr("scripts.ohif.shutil.which", lambda name: str(command))
    monkeypatch.setattr(ohif, "CACHE", tmp_path / "cache")
    return package


def test_the_package_is_unpacked_without_its_maps(npm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = base64.b64encode(hashlib.sha512(npm.read_bytes()).digest()).decode()
    monkeypatch.setattr(ohif, "INTEGRITY", f"sha512-{digest}")
    assert not ohif.is_fetched()
    folder = ohif.application()
    assert ohif.is_fetched()
    assert sorted(path.name for path in folder.iterdir()) == ["app.js", "index.html"]


def test_another_package_is_not_unpacked(npm: Path) -> None:
    with pytest.raises(ohif.NotThere, match="another"):
        ohif.application()
    assert not ohif.is_fetched()


def test_without_npm_it_says_so(npm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.ohif.shutil.which", lambda name: None)
    with pytest.raises(ohif.NotThere, match="npm is not installed"):
        ohif.application()


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/app.js", "app"),
        ("/", "start"),
        ("/viewer", "start"),
        ("/../secret", "start"),
        ("/app-config.js", "made"),
    ],
)
def test_files_the_start_page_and_the_configuration_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, answer: str
) -> None:
    monkeypatch.setattr(ohif, "is_of_this_account", lambda client, server: True)
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "app"
    folder.mkdir()
    for name, text in {"index.html": "start", "app.js": "app", "app-config.js": "as it was built"}.items():
        (folder / name).write_text(text)
    assert TestClient(ohif.Application(folder, "made")).get(path).text == answer


def test_another_account_gets_nothing(tmp_path: Path) -> None:
    answer = TestClient(ohif.Application(tmp_path, "the token")).get("/app-config.js")
    assert answer.status_code == 403
    assert "the token" not in answer.text
