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

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page for folder in (".", "docs", "docs/decisions", "tests/cases") for page in (ROOT / folder).glob("*.md")
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


def test_the_readme_stays_short_and_leads_to_all_pages() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 180
    linked = {link[1] for link in _LINK.finditer(text)}
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= linked


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
