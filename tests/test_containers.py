"""The container files: that what they name exists, and that a node starts from them as a user would."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from scp.config.load import load

pytestmark = pytest.mark.quick

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, arguments)."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines()) if name]


def last(instructions: list[tuple[str, str]], wanted: str) -> str:
    return [rest for name, rest in instructions if name == wanted][-1]


def environment(instructions: list[tuple[str, str]]) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in shlex.split(last(instructions, "ENV")))
    return {name: value for name, _, value in pairs}


def test_the_compose_file_has_one_node(compose: Any) -> None:
    assert list(compose["services"]) == ["zscp"]
    service = compose["services"]["zscp"]
    assert (ROOT / service["build"] / "Dockerfile").is_file()
    assert service["ports"] == ["11112:11112"]
    assert service["restart"] == "unless-stopped"
    assert re.fullmatch(r"\d+s", service["stop_grace_period"])


def test_its_volumes_are_declared_and_its_files_there(compose: Any) -> None:
    mounts = [mount.split(":") for mount in compose["services"]["zscp"]["volumes"]]
    named = {source: target for source, target, *_ in mounts if not source.startswith(".")}
    files = [mount for mount in mounts if mount[0].startswith(".")]
    assert named == {"zscp-data": "/var/lib/zscp"}
    assert set(compose["volumes"]) == set(named)
    assert files == [["./conf/zscp.toml", "/etc/zscp/zscp.toml", "ro"]]
    assert (ROOT / files[0][0]).is_file()


def test_the_mounted_file_loads_and_keeps_everything_in_the_volume(compose: Any) -> None:
    settings = load(ROOT / "conf" / "zscp.toml", compose["services"]["zscp"]["environment"])
    assert settings.storage.path == Path("/var/lib/zscp/objects")
    assert settings.index.path == Path("/var/lib/zscp/index.db")
    assert f"{settings.node.port}:{settings.node.port}" in compose["services"]["zscp"]["ports"]


def test_a_stop_waits_for_what_is_being_stored(compose: Any) -> None:
    grace = int(compose["services"]["zscp"]["stop_grace_period"].removesuffix("s"))
    assert grace > load(None, {}).limits.dimse_seconds


def test_both_files_check_health_by_the_same_echo(compose: Any, instructions: list[tuple[str, str]]) -> None:
    kind, command = compose["services"]["zscp"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    assert command.replace("$$", "$") == last(instructions, "HEALTHCHECK").partition("CMD ")[2]
    settings = load(None, {})
    plain = re.sub(r"\$\$\{\w+:-(\w+)\}", r"\1", command)
    assert shlex.split(plain) == [
        "zscp",
        "echo",
        "--aet",
        settings.node.aet,
        f"127.0.0.1:{settings.node.port}",
    ]
    names = re.findall(r"\$\$\{(\w+):-", command)
    assert names == ["ZSCP_NODE__AET", "ZSCP_NODE__PORT"]
    load(None, dict.fromkeys(names, "11113"))  # the names are ones that zscp knows


def test_the_image_sets_what_the_compose_file_sets(compose: Any, instructions: list[tuple[str, str]]) -> None:
    ours = {name: value for name, value in environment(instructions).items() if name.startswith("ZSCP_")}
    assert ours == compose["services"]["zscp"]["environment"]


def test_the_image_does_not_run_as_root(instructions: list[tuple[str, str]]) -> None:
    assert last(instructions, "USER") == "zscp"
    names = [name for name, _ in instructions]
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert "useradd" in last(instructions, "RUN")


def test_the_image_says_what_it_serves_and_keeps(instructions: list[tuple[str, str]]) -> None:
    assert all(rest.startswith("python:3.12-slim") for name, rest in instructions if name == "FROM")
    assert last(instructions, "VOLUME") == "/var/lib/zscp"
    assert last(instructions, "EXPOSE") == str(load(None, {}).node.port)
    entrypoint = '["zscp", "serve", "--config", "/etc/zscp/zscp.toml"]'
    assert last(instructions, "ENTRYPOINT") == entrypoint
    assert any("-c constraints.txt" in rest for name, rest in instructions if name == "RUN")


def test_all_that_is_copied_exists_and_is_not_ignored(instructions: list[tuple[str, str]]) -> None:
    copied = [rest.split() for name, rest in instructions if name == "COPY" and not rest.startswith("--from")]
    sources = [source for *several, _ in copied for source in several]
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sources
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert [source for source in sources if source.split("/")[0] not in allowed] == []


def test_what_is_installed_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", pin) for pin in pins)
    assert pins == sorted(pins, key=str.casefold)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + [
        line for extra in ("dev", "cluster") for line in project["optional-dependencies"][extra]
    ]
    names = {normal(re.split(r"[<>=!~;\[ ]", line)[0]) for line in wanted}
    names.discard(project["name"])  # dev asks for the distribution's own extras
    assert names - {normal(pin.partition("==")[0]) for pin in pins} == set()


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


INSTALLS = sorted(path.name for path in (ROOT / "scripts").glob("install-*.sh"))


@pytest.mark.parametrize("script", [".ci/run", *(f"scripts/{name}" for name in INSTALLS)])
def test_scripts_can_be_run(script: str) -> None:
    assert (ROOT / script).stat().st_mode & 0o111


@pytest.mark.parametrize("script", INSTALLS)
def test_a_script_that_cannot_install_says_so(script: str, tmp_path: Path) -> None:
    """On a system without apt-get, and without the programs."""
    for name in ("sh", "dirname", "tr"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    # The scripts look into these folders, too: there they find none.
    text = re.sub(
        r"/usr/(local/)?s?bin|/usr/lib/postgresql", "/nowhere", (ROOT / "scripts" / script).read_text()
    )
    copies = tmp_path / "scripts"
    shutil.copytree(ROOT / "scripts", copies)
    (copies / script).write_text(text)
    done = subprocess.run(
        [copies / script], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert "there is no apt-get" in done.stderr
    assert done.returncode == 1


def test_how_packages_are_installed_stands_once() -> None:
    found = [path.name for path in (ROOT / "scripts").glob("*.sh") if "apt-get update" in path.read_text()]
    assert found == ["apt.sh"]
