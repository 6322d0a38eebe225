"""The documents lead to each other, and what writes into them finds its place."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.report import into
from scp.config.load import load
from scp.errors import ConfigurationError

pytestmark = pytest.mark.quick

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page for folder in (".", "docs", "docs/decisions", "tests/cases") for page in (ROOT / folder).glob("*.md")
)
_MODULE = re.compile(r"\b(?:bench|fuzz|scp|scripts|tests)/[\w/-]+\.py")
_EXAMPLE = re.compile(r"```toml\n(.*?)```", re.DOTALL)
# What an example may lack: a peer that stands in another one, and files of the reader's machine.
_ELSEWHERE = re.compile(
    r"  (line \d+: )?"
    r'(\w+\[0\]\.to: names "HOMEREAD"|(tls\.\w+|audit\.ca|storage\.encryption_keys): "/etc/zscp/).*'
)
_LINK = re.compile(r"\]\(([^)\s#]*)(?:#([^)\s]*))?\)")


def _anchors(page: Path) -> set[str]:
    """Those that its headings have, as GitHub makes them."""
    headings = re.findall(r"(?m)^#+ (.*)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _broken(page: Path) -> Iterator[str]:
    for link in _LINK.finditer(page.read_text(encoding="utf-8")):
        path, anchor = link[1], link[2]
        if path.startswith(("http:", "https:")):
            continue
        there = page.parent / path if path else page
        if not there.exists() or (anchor and anchor not in _anchors(there)):
            yield link[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert list(_broken(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_example_of_a_configuration_can_be_used(page: Path, tmp_path: Path) -> None:
    for example in _EXAMPLE.findall(page.read_text(encoding="utf-8")):
        file = tmp_path / "zscp.toml"
        file.write_text(example, encoding="utf-8")
        try:
            load(file, {})
        except ConfigurationError as error:
            faults = str(error).splitlines()[1:]
            assert [fault for fault in faults if not _ELSEWHERE.fullmatch(fault)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_module_and_test_that_a_page_names_is_there(page: Path) -> None:
    named = set(_MODULE.findall(page.read_text(encoding="utf-8")))
    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_the_readme_stays_short_and_leads_to_all_pages() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 65  # one page
    linked = {link[1] for link in _LINK.finditer(text)}
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= linked


def test_the_list_of_decisions_has_each_with_its_title_status_and_date() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = (folder / "README.md").read_text(encoding="utf-8")
    for page in folder.glob("0*.md"):
        title, _, status = page.read_text(encoding="utf-8").split("\n")[:3]
        found = re.fullmatch(r"((?:Accepted|Superseded)\b.*)\. (\d{4}-\d\d-\d\d)\.", status)
        assert found, f"the third line of {page.name} is no status with a date"
        number, name = title.removeprefix("# ").split(". ", 1)
        assert f"| [{number}]({page.name}) | {name} | {found[1]} | {found[2]} |" in listed


def test_the_benchmark_writes_its_table_into_its_page() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert "| measured on |" not in into(page, "")
    assert into(into(page, ""), "a table\n").count("a table") == 1


def test_the_version_stands_in_one_place() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    printed = subprocess.run(
        [sys.executable, "-m", "scp", "--version"], check=True, capture_output=True, text=True
    ).stdout
    assert printed == f"zscp {version}\n"
