"""When a report may go out on the association of its request."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from scp.background.doorbell import Doorbell
from scp.config.settings import Settings
from scp.dimse.own_requests import OwnRequests
from scp.dimse.scu import report
from scp.dimse.scu.report import Reporter
from scp.dimse.services.commitment_report import _is_quiet
from scp.dimse.verdict import Verdict
from scp.index.sql import SqlIndex
from scp.model import Commitment

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


def test_a_request_that_cannot_be_judged_holds_up_no_other_of_its_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, now = SqlIndex.open(f"sqlite:///{tmp_path}/index.db"), datetime.now(UTC)
    for number in (1, 2, 3):
        index.commitments.add(Commitment(f"1.2.3.{number}", "CT1", (), now, now))
    archive: Any = SimpleNamespace(commitments=index.commitments, sync=index.sync)
    peers = {"peer": [{"aet": "CT1", "host": "127.0.0.1", "port": 1}]}
    settings = Settings.model_validate(peers, by_alias=True, by_name=False)

    def judge(_: Any, commitment: Commitment, __: bool, ___: Callable[[], bool]) -> Verdict:
        if commitment.transaction_uid == "1.2.3.1":
            raise KeyError("what nobody thought of")
        return Verdict(commitment.transaction_uid, (), ())

    monkeypatch.setattr(report, "judge", judge)
    reporter, reported = Reporter(archive, lambda: settings, Doorbell()), list[str]()
    monkeypatch.setattr(reporter, "_connect", lambda _: None)
    monkeypatch.setattr(reporter, "_tell", lambda _, one, __: reported.append(one.transaction_uid) or "")
    with capture_logs() as logs:
        reporter.turn()
    assert reported == ["1.2.3.2", "1.2.3.3"]
    assert "commitment not judged" in [one["event"] for one in logs]
    (left,) = index.commitments.all()
    assert (left.transaction_uid, left.attempts) == ("1.2.3.1", 1)
    index.close()
