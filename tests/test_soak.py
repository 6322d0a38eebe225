"""The mixed soak's own parts: a soak that would not notice what goes wrong shows nothing."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.mixed import verdicts
from bench.mixed.ledger import Ledger, Writer
from bench.mixed.made import KINDS, Made, difference, instance_uid, read, study_uid
from bench.mixed.node import Sample
from bench.mixed.peer import ROLES, SIXTEEN, WELL_BEHAVED

pytestmark = [pytest.mark.quick, pytest.mark.filterwarnings("ignore")]
_UID = instance_uid(study_uid(3, 7), 5)


@pytest.mark.parametrize("name", KINDS)
def test_an_object_is_made_again_as_it_was_and_a_changed_one_is_noticed(name: str) -> None:
    made = Made(name, _UID, 1)
    data = made.data()
    assert data == Made(name, _UID, 1).data()
    assert len(data) % 2 == 0
    dataset = read(data, KINDS[name].syntax)
    uids = (dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.StudyInstanceUID)
    assert uids == (KINDS[name].sop_class, _UID, made.study)
    assert not difference(made, data, KINDS[name].syntax)
    assert "0020,4000" in difference(replace(made, seed=2), data, KINDS[name].syntax)


def test_one_sample_that_differs_is_noticed() -> None:
    made = Made("mr", _UID, 1)
    data = bytearray(made.data())
    data[-1] ^= 1
    assert difference(made, bytes(data), KINDS["mr"].syntax).startswith("pixels")


def test_the_ledger_knows_what_may_come_back(tmp_path: Path) -> None:
    def write(state: str, seed: int) -> None:
        writer.write(state=state, kind="mr", instance=_UID, seed=seed, sha256=f"digest {seed}")

    ledger, writer = Ledger(tmp_path), Writer(tmp_path / "00-modality.jsonl")
    write("sent", 1)
    ledger.read()
    assert not ledger.held()
    write("held", 1)
    write("sent", 2)
    ledger.read()
    (known,) = ledger.held().values()
    assert (known.made, known.since) == (Made("mr", _UID, 1), [Made("mr", _UID, 2)])
    assert ledger.studies == {study_uid(3, 7): [_UID]}
    write("held", 2)
    with (tmp_path / "00-modality.jsonl").open("a") as file:
        file.write(json.dumps({"state": "sent"})[:-3])  # a line that is still being written
    ledger.read()
    (known,) = ledger.held().values()
    assert (known.made, known.since) == (Made("mr", _UID, 2), [])
    assert known.digests == {"digest 1", "digest 2"}


@pytest.mark.parametrize(("growth", "holds"), [(0.0, True), (0.05, True), (1.0, False), (-1.0, True)])
def test_growth_is_told_from_noise(growth: float, holds: bool) -> None:
    noise = np.random.default_rng(1).normal(0, 20, 360)
    samples = [Sample(5.0 * n, 400 + growth * n + noise[n], 270 + int(growth * n), 20) for n in range(360)]
    assert [claim.holds for claim in verdicts.flat(samples)] == [holds, holds]


def test_sixteen_peers_take_part_and_some_of_them_behave() -> None:
    assert len(SIXTEEN) == 16
    assert {*SIXTEEN} == {*ROLES} > WELL_BEHAVED
