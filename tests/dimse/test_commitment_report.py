"""When a report may go out on the association of its request."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from scp.dimse.own_requests import OwnRequests
from scp.dimse.services.commitment_report import _is_quiet

pytestmark = pytest.mark.quick


class Association:
    """Has been quiet for what is said, one look after the other; the last for ever."""

    def __init__(self, *quiet: float) -> None:
        self.own = OwnRequests()
        self.looks = 0
        self._quiet = quiet

    @property
    def quiet_seconds(self) -> float:
        self.looks += 1
        return self._quiet[min(self.looks, len(self._quiet)) - 1]


def test_one_that_is_quiet() -> None:
    association: Any = Association(0.0, 0.0, 0.02)
    assert _is_quiet(association, 0.02, float("inf"))
    assert association.looks == 3


def test_one_that_never_rests() -> None:
    association: Any = Association(0.0)
    assert not _is_quiet(association, 0.01, 0.01)


def test_one_that_ends() -> None:
    association: Any = Association(0.0)
    threading.Timer(0.01, association.own.end).start()
    assert not _is_quiet(association, 60.0, float("inf"))
    assert association.looks == 1
