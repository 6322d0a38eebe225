"""All cases of tests/data/cases in one archive, as an admin would look at them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread

from scp.objects import part10
from scp.spool import copied

from .conftest import NodeProcess

CASES = Path(__file__).parents[1] / "data" / "cases"
# What is not whole, and what contradicts another in whose it is (tests/cases/README.md).
DAMAGED = {
    dcmread(CASES / f"{name}.dcm").SOPInstanceUID
    for name in ("htj2k-crashes-openjph", "htj2k-cut", "jpeg-baseline-cut", "jpeg-lossless-cut")
}
CONFLICTS = {"one study, several patients", "one patient, different data"}


@pytest.mark.parametrize("rule", ["the default", "jpegls", "zstd"])
def test_all_of_them_are_kept_sound_and_given_back(
    process: Callable[..., NodeProcess], tmp_path: Path, rule: str
) -> None:
    policy = {} if rule == "the default" else {"policy": [{"name": rule, "stages": [{"form": rule}]}]}
    node = process(**policy)
    count = len(list(CASES.glob("*.dcm")))
    imported = json.loads(node.here("import", CASES, "--json"))
    assert (imported["outcomes"], imported["faults"]) == ({"kept": count}, [])
    _look(node, count)
    _lose_the_index(node)
    assert f"{count} recorded, 0 damaged" in node.here("reindex")
    _look(node, count)
    node.here("export", tmp_path / "out")
    assert sorted(map(_dataset, (tmp_path / "out").rglob("*.dcm"))) == sorted(
        map(_dataset, CASES.glob("*.dcm"))
    )


def _look(node: NodeProcess, count: int) -> None:
    verdict = json.loads(node.here("verify", "--deep", "--json"))
    assert (verdict["sound"], verdict["damaged"]) == (count, 0)
    assert {each["sop_instance_uid"] for each in verdict["undecodable"]} == DAMAGED
    assert "Files and index agree" in node.here("fsck")
    conflicts = json.loads(node.here("ls", "--conflicts", "--json"))
    assert {each["kind"] for each in conflicts} == CONFLICTS


def _lose_the_index(node: NodeProcess) -> None:
    for file in node.root.glob("index.db*"):
        file.unlink()
    node.here("fsck", status=1)


def _dataset(path: Path) -> bytes:
    return bytes(part10.unpack(copied(path)).dataset)
