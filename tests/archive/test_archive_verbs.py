"""Other rooms ask the archive by its verbs and its named parts: nobody reaches through to what is below."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import scp

_ROOT = Path(scp.__file__).parent
# The archive's own rooms: it is made of a store and an index, and the node gives it both.
_OWN = ("archive", "node")
_BELOW = ("index", "store", "landing", "replacer", "receiver", "forms")
_MODULES = [path for path in sorted(_ROOT.rglob("*.py")) if path.relative_to(_ROOT).parts[0] not in _OWN]


def _reaching(path: Path) -> Iterator[str]:
    """What looks like ``archive.index`` and ``self._archive.files.store``, with its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr in _BELOW:
            through = re.findall(r"\w+", ast.unparse(node.value))
            if "archive" in {name.strip("_") for name in through}:
                yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("path", _MODULES, ids=lambda path: str(path.relative_to(_ROOT)))
def test_no_other_room_reaches_through_the_archive(path: Path) -> None:
    assert list(_reaching(path)) == []


def test_the_look_finds_what_it_is_for(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("archive.index.all()\nself._archive.files.store.get('a')\narchive.all()\nindex.store()\n")
    assert list(_reaching(path)) == ["line 1: archive.index", "line 2: self._archive.files.store"]
