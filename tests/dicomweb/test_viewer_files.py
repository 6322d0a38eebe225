"""What serves the viewer (scripts/ohif.py): without a browser, and without npm."""

from __future__ import annotations

import base64
import hashlib
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from scripts import npm, ohif

pytestmark = pytest.mark.dicomweb

ADDRESS = "http://127.0.0.1:4000"
Fetched = tuple[npm.NpmPackage, Path]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fetched:
    """A small application as a package, and the npm that packs it."""
    built = tmp_path / "dist"
    built.mkdir()
    for name in ("index.html", "app.js", "app.js.map"):
        (built / name).write_text(name)
    packed = tmp_path / "packed.tgz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(built, "package/dist")
        archive.add(built / "app.js", "package/other.js")
    command = tmp_path / "npm"
    command.write_text(f"#!/bin/sh\ncp '{packed}' .\n")
    command.chmod(0o755)
    monkeypatch.setattr("scripts.npm.shutil.which", lambda name: str(command))
    monkeypatch.setattr(npm, "CACHE", tmp_path / "cache")
    digest = base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode()
    return replace(npm.OHIF, integrity=f"sha512-{digest}"), command


def left(package: npm.NpmPackage) -> list[str]:
    """What lies beside the versions of a package."""
    return [path.name for path in package.folder.parent.iterdir()]


def test_the_package_is_unpacked_without_its_maps(package: Fetched) -> None:
    one, command = package
    assert not one.is_fetched()
    folder = one.fetched()
    assert one.is_fetched()
    assert sorted(path.name for path in folder.iterdir()) == ["app.js", "index.html"]
    command.unlink()
    assert one.fetched() == folder
    assert left(one) == [one.version]


def test_another_package_is_not_unpacked(package: Fetched) -> None:
    other = replace(package[0], integrity=npm.OHIF.integrity)
    with pytest.raises(npm.NotThere, match="another"):
        other.fetched()
    assert left(other) == []


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo 'npm error code ENOTFOUND' >&2; exit 1", "npm error code ENOTFOUND"),
        ("exit 0", "npm could not fetch"),
        ("touch part.tgz; kill -9 $$", "npm could not fetch"),
        ("head -c 100 /dev/zero > part.tgz", "another"),
    ],
)
def test_a_download_that_breaks_off_leaves_nothing(package: Fetched, script: str, told: str) -> None:
    one, command = package
    packs = command.read_text()
    command.write_text(f"#!/bin/sh\n{script}\n")
    with pytest.raises(npm.NotThere, match=told):
        one.fetched()
    assert left(one) == []
    command.write_text(packs)
    assert (one.fetched() / "index.html").exists()


def test_of_two_that_fetch_at_once_the_slower_one_takes_what_is_there(package: Fetched) -> None:
    one, command = package
    lines = f"mkdir -p '{one.folder}'\ntouch '{one.folder}/index.html'\n"
    command.write_text(command.read_text() + lines)
    assert one.fetched() == one.folder
    assert left(one) == [one.version]


def test_without_npm_it_says_so(package: Fetched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.npm.shutil.which", lambda name: None)
    with pytest.raises(npm.NotThere, match="npm is not installed"):
        package[0].fetched()


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
    client = TestClient(ohif.Application(folder, "made"), base_url=ADDRESS)
    assert client.get(path).text == answer


def test_another_account_gets_nothing(tmp_path: Path) -> None:
    answer = TestClient(ohif.Application(tmp_path, "the token"), base_url=ADDRESS).get("/app-config.js")
    assert answer.status_code == 403
    assert "the token" not in answer.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Host": "evil.example"}, 421),
    ],
)
def test_the_token_is_for_the_viewers_own_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], status: int
) -> None:
    monkeypatch.setattr(ohif, "is_of_this_account", lambda client, server: True)
    client = TestClient(ohif.Application(tmp_path, "the token"), base_url=ADDRESS)
    answer = client.get("/app-config.js", headers=headers)
    assert (answer.status_code, "the token" in answer.text) == (status, status == 200)
