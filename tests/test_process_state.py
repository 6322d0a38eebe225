"""A test that failed in one run in twenty met the limits of another one that had run before it."""

from __future__ import annotations

from pathlib import Path

import pytest
from process_state import put_back
from wire.configured import settings_of, tables_of

from scp import spool
from scp.node.build import open_archive
from scp.resources import bounds, budget, room

pytestmark = pytest.mark.quick


def _now() -> tuple[object, ...]:
    return bounds.bounds(), budget._budget, room._rooms, spool._room


def test_what_a_node_sets_for_its_process_is_put_back(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    before = _now()
    limits = {"inflated_bytes": "16MB", "memory": "300MB"}
    with put_back():
        open_archive(settings_of(tables_of(tmp_path, {"limits": limits}))).close()
        assert all(now != was for now, was in zip(_now(), before, strict=True))
    assert _now() == before


@pytest.mark.parametrize("turn", [1, 2])
def test_no_test_meets_what_another_set(turn: int) -> None:
    assert bounds.bounds() == bounds.DEFAULTS
    bounds.use(bounds.Bounds(inflated_bytes=turn))
