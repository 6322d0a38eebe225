"""docs/conformance.md says what the code does."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.quick

_PROJECT = Path(__file__).parents[1]
_SCRIPT = _PROJECT / "scripts" / "conformance.py"


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return runpy.run_path(str(_SCRIPT))


def test_the_document_is_current() -> None:
    done = subprocess.run(
        [sys.executable, _SCRIPT, "--check"],
        check=False,
        capture_output=True,
        env={"PYTHONPATH": str(_PROJECT)},
    )
    assert done.returncode == 0


def test_each_table_stands_in_the_document(made: dict[str, Any]) -> None:
    text = made["DOCUMENT"].read_text(encoding="utf-8")
    for name in made["TABLES"]:
        assert text.count(f"<!-- generated: {name} -->") == 1


def test_what_is_not_current_is_found(made: dict[str, Any]) -> None:
    text = made["DOCUMENT"].read_text(encoding="utf-8")
    stale = text.replace("HTJ2K", "HTJ3K")
    assert made["renewed"](stale) != stale
    assert made["renewed"](text) == text
