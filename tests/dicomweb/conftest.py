"""Fixtures for the tests of DICOMweb."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dicomweb_desks import MadeDicomWeb, dicomweb_settings


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MadeDicomWeb]:
    """DICOMweb on an empty archive, which the tests of a module share: to make one takes half a second."""
    found = MadeDicomWeb(tmp_path_factory.mktemp("dicomweb"))
    yield found
    found.close()


@pytest.fixture
def web(made: MadeDicomWeb) -> MadeDicomWeb:
    """The same, with one token that may find and get, and nothing in the audit trail."""
    made.settings = dicomweb_settings()
    made.trail.events.clear()
    made.app = made.made_app()
    return made
