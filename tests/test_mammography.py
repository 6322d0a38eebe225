"""The mammography study that benchmarks make, and the thin line on which they send it. Nothing is timed."""

from __future__ import annotations

import time
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pydicom
import pytest

from bench import mammography, thin
from bench.line import _Way
from bench.mammography import VIEWS, image, pixels

pytestmark = pytest.mark.quick

ROWS, COLUMNS = 410, 330  # a tenth each way


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_a_breast_on_black(view: mammography.View) -> None:
    found = pixels(view, ROWS, COLUMNS, 12, seed=0)
    wall, far = (found[:, 0], found[:, -1]) if view.laterality == "L" else (found[:, -1], found[:, 0])
    assert found.dtype == np.uint16
    assert found.max() < 4096
    assert not far.any()  # black without anything in it
    assert (wall > 0).mean() > 0.6
    assert 0.3 < (found > 0).mean() < 0.6
    assert np.array_equal(found, pixels(view, ROWS, COLUMNS, 12, seed=0))
    assert not np.array_equal(found, pixels(view, ROWS, COLUMNS, 12, seed=1))


def test_its_structure_grows_with_its_size_as_in_tissue() -> None:
    """A spectrum of 1/f³: differences between neighbours twice as far apart have twice the variance."""
    found = pixels(VIEWS[1], 1024, 825, 12, seed=0).astype(float)
    tissue = found[400:620, 240:460]
    averaged = tissue.reshape(55, 4, 55, 4).mean(axis=(1, 3))  # without the noise of single pixels
    variances = [np.var(averaged[:, far:] - averaged[:, :-far]) for far in (2, 4, 8)]
    for near, far in pairwise(variances):
        assert 1.4 < far / near < 3.5


def test_noise_is_that_which_was_measured() -> None:
    found = pixels(VIEWS[0], 1024, 825, 12, seed=0).astype(float)
    tissue = found[480:560, 560:640]
    kernel = tissue[:-2, :-2] + tissue[:-2, 2:] + tissue[2:, :-2] + tissue[2:, 2:] + 4 * tissue[1:-1, 1:-1]
    kernel -= 2 * (tissue[:-2, 1:-1] + tissue[2:, 1:-1] + tissue[1:-1, :-2] + tissue[1:-1, 2:])
    sigma = np.abs(kernel).mean() * np.sqrt(np.pi / 2) / 6  # Immerkær's estimate
    assert 9 < sigma < 16


@pytest.mark.parametrize("bits", [12, 14])
def test_views_are_dicom_files(bits: int) -> None:
    one = image(VIEWS[2], ROWS, COLUMNS, bits)
    read = pydicom.dcmread(BytesIO(thin.as_file(one)))
    assert (read.BitsStored, read.HighBit, read.Modality) == (bits, bits - 1, "MG")
    assert (read.ViewPosition, read.ImageLaterality, read.BurnedInAnnotation) == ("MLO", "R", "NO")
    values = read.pixel_array
    assert values.max() < 1 << bits
    assert values.max() > 1 << bits - 1


def test_a_whole_study_has_four_views_of_one_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = image
    monkeypatch.setattr(mammography, "image", lambda view, bits, seed: small(view, 40, 33, bits, seed))
    assert mammography.main([str(tmp_path), "--bits", "13"]) == 0
    read = [pydicom.dcmread(path) for path in sorted(tmp_path.iterdir())]
    assert [path.stem for path in sorted(tmp_path.iterdir())] == ["L-CC", "L-MLO", "R-CC", "R-MLO"]
    assert len({one.SOPInstanceUID for one in read}) == 4
    assert len({(one.StudyInstanceUID, one.SeriesInstanceUID, one.PatientID) for one in read}) == 1


def test_when_a_byte_is_due_goes_by_the_rate_of_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    slept: list[float] = []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", slept.append)
    way = _Way(0.02, 5e6)
    assert way.due(625_000) == pytest.approx(101.02)  # 5 Mbit
    assert way.due(62_500) == pytest.approx(101.12)  # behind it, whoever sent it
    way.wait()
    assert slept == [pytest.approx(1.05)]  # of 1.1 s all but what may wait in the line
    now[0] = 200.0
    assert way.due(0) == pytest.approx(200.02)
    plain = _Way(0.02, None)
    plain.wait()
    assert plain.due(10**9) == pytest.approx(200.02)
    assert len(slept) == 1


def test_what_is_shown() -> None:
    seen = [
        thin.Seen("HTJ2K, progressive", 0.44, 1.75, 29.96, 17_500),
        thin.Seen("JPEG XL", 7, 28, 28, 16_000),
    ]
    assert thin.resolutions("120;rows=8;columns=7, 999;rows=16;columns=13") == [120, 999]
    assert "| HTJ2K, progressive | 17.5 | 0.4 | 1.8 | 30.0 |" in thin.table(seen)
