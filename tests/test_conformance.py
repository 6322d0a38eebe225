"""docs/conformance.md, docs/commands.md and docs/metrics.md say what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import commands, conformance, metrics
from scripts.sections import Sections, renewed

pytestmark = pytest.mark.quick
_DOCUMENTS = {
    "conformance": (conformance.DOCUMENT, conformance.TABLES),
    "commands": (commands.DOCUMENT, commands.SECTIONS),
    "metrics": (metrics.DOCUMENT, metrics.SECTIONS),
}
_EACH = pytest.mark.parametrize(("document", "sections"), _DOCUMENTS.values(), ids=_DOCUMENTS)


@_EACH
def test_the_document_is_current(document: Path, sections: Sections) -> None:
    text = document.read_text(encoding="utf-8")
    assert renewed(text, sections) == text, f"run `make {document.stem}`"


@_EACH
def test_each_section_stands_in_the_document(document: Path, sections: Sections) -> None:
    text = document.read_text(encoding="utf-8")
    for name in sections:
        assert text.count(f"<!-- generated: {name} -->") == 1


@pytest.mark.parametrize(
    ("name", "is_now", "was"),
    [
        ("conformance", "HTJ2K", "HTJ3K"),
        ("commands", "--level", "--lvel"),
        ("metrics", "zscp_ready", "zscp_reday"),
    ],
)
def test_what_is_not_current_is_found(name: str, is_now: str, was: str) -> None:
    document, sections = _DOCUMENTS[name]
    text = document.read_text(encoding="utf-8")
    stale = text.replace(is_now, was)
    assert stale != text
    assert renewed(stale, sections) != stale
