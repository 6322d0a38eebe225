"""A node that takes too much memory: no new association, then no new object; queries and echoes go on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from scp.resources import pressure
from scp.resources.pressure import Pressure

from .conftest import RunningNode
from .peers import EXPLICIT, MR_IMAGE, STUDY_FIND, STUDY_GET, VERIFICATION, Scu, identifier, image, until

CONTEXTS = [(uid, [EXPLICIT]) for uid in (VERIFICATION, MR_IMAGE, STUDY_FIND, STUDY_GET)]
STUDY = identifier("STUDY", StudyInstanceUID="1.2.3")


def test_peers_are_slowed_down_by_what_the_node_takes(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch, reached: Callable[[str], float]
) -> None:
    taken = 50
    measured = Pressure(100, lambda: taken, lambda: taken)
    monkeypatch.setattr(pressure, "_pressure", measured)
    with node.scu(*CONTEXTS, roles=[MR_IMAGE]) as scu:
        assert scu.store(image()).status == 0
        taken = 95
        measured.look()
        with capture_logs() as logged:
            rejected = Scu(node.address, CONTEXTS).association.acceptor.primitive
            until(lambda: [one for one in logged if one["event"] == "association rejected"], "it is logged")
        # PS3.8 9.3.4: transient, by the service provider (presentation): temporary congestion
        assert (rejected.result, rejected.result_source, rejected.diagnostic) == (2, 3, 1)
        (line,) = [one for one in logged if one["event"] == "association rejected"]
        assert line["limit"] == "limits.node_memory"
        assert scu.store(image()).status == 0
        taken = 101
        measured.look()
        refused = image()
        with capture_logs() as logged:
            assert scu.store(refused).status == 0xA700
            until(lambda: refused.instance in [one.get("sop_instance") for one in logged], "the log names it")
        assert scu.get(STUDY_GET, STUDY).final.status == 0xA701
        assert reached("limits.node_memory") == 3
        assert len(scu.find(STUDY_FIND, STUDY)) == 2
        assert scu.echo() == 0
        taken = 50
        measured.look()
        assert scu.store(image()).status == 0
    with node.scu(*CONTEXTS) as scu:
        assert scu.echo() == 0
