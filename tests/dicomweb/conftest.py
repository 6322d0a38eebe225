"""Fixtures for the tests of DICOMweb."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dicomweb_desks import MadeDicomWeb


@pytest.fixture
def web(tmp_path: Path) -> Iterator[MadeDicomWeb]:
    """DICOMweb on an empty archive, with one token that may find and get."""
    made = MadeDicomWeb(tmp_path)
    yield made
    made.close()
