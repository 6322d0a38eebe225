"""The house of docs/architecture.md: no import goes in a circle, few modules at the root, none too long.

Layers are import-linter's (pyproject.toml). It does not see a circle within a layer, nor within one package.
"""

from __future__ import annotations

import ast
import tomllib
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

pytestmark = pytest.mark.quick

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "scp"
_MOST_AT_ROOT, _MOST_LINES = 8, 350


def modules() -> dict[str, Path]:
    """Each module of the package by its name."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Modules of the package that one imports: within functions, and for the types alone, too."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            for each in node.names:
                whole = f"{node.module}.{each.name}"
                yield from {whole if whole in known else str(node.module)} & known.keys()
        elif isinstance(node, ast.Import):
            yield from {each.name for each in node.names} & known.keys()


def graph() -> dict[str, set[str]]:
    """What each module imports."""
    known = modules()
    return {name: set(imports(path, known)) - {name} for name, path in known.items()}


def test_no_import_goes_in_a_circle() -> None:
    found = graph()
    for name in TopologicalSorter(found).static_order():  # raises CycleError, with the circle
        print(name, "←", *sorted(found[name]))  # noqa: T201 - pytest -s -k circle shows the graph


def test_few_modules_are_at_the_root() -> None:
    assert len([path for path in PACKAGE.glob("*.py") if path.stat().st_size]) <= _MOST_AT_ROOT


@pytest.mark.parametrize(("banned", "room"), [("pynetdicom", "dimse"), ("sqlalchemy", "index")])
def test_a_ban_leaves_no_room_out_but_one(banned: str, room: str) -> None:
    """Import-linter has no way to name all rooms but one."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = [one for one in contracts if banned in one.get("forbidden_modules", ())]
    rooms = {name for name in modules() if name.count(".") == 1} - {f"scp.{room}"}
    assert set(contract["source_modules"]) == rooms


def test_no_class_name_stands_twice() -> None:
    """Private ones included: who searches for a name finds one thing."""
    trees = (ast.parse(path.read_bytes()) for path in modules().values())
    names = Counter(node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef))
    assert [name for name, count in names.items() if count > 1] == []


def test_no_module_is_too_long() -> None:
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in modules().values()
    }
    assert {name: count for name, count in lines.items() if count > _MOST_LINES} == {}
