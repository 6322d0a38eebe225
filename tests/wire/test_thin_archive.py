"""What peers see of objects that a stage made lossy, on a running node."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from lossy_stages import MG, NEAR, picture, rules

from scp.dimse.verdict import judge
from scp.index.promises import PROMISED_SINCE
from scp.model import Commitment, Reference
from scp.syntaxes import JPEGLS_NEAR

from .conftest import NodeProcess, RunningNode, Starter
from .peers import EXPLICIT, STUDY_FIND, STUDY_GET, Scu, Sent, identifier, read, until

STUDY = "1.2.826.0.1.7"
SOON = {"after": "1s"}


def _get(address: Any, *syntaxes: str) -> list[Sent]:
    with Scu(address, [(STUDY_GET, [EXPLICIT]), (MG, list(syntaxes))], roles=[MG]) as scu:
        done = scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID=STUDY))
    assert done.final.status == 0
    return done.objects


def _found(address: Any) -> list[str]:
    with Scu(address, [(STUDY_FIND, [EXPLICIT])]) as scu:
        asked = identifier("IMAGE", StudyInstanceUID=STUDY, SeriesInstanceUID="1.2.3.1", SOPInstanceUID="")
        *found, _ = scu.find(STUDY_FIND, asked)
    return [one.identifier.SOPInstanceUID for one in found]


def _committed(node: RunningNode, *uids: str) -> list[str]:
    """What the node would answer to a request for storage commitment."""
    now = datetime.now(UTC)
    asked = Commitment("1.2.3", "MAMMO", tuple(Reference(MG, uid) for uid in uids), now, now)
    verdict = judge(node.archive, asked, True, lambda: False)
    assert verdict is not None
    return [one.sop_instance_uid for one in verdict.committed]


@pytest.mark.parametrize("uid", ["new", "same"])
def test_peers_are_told_the_truth(start: Starter, uid: str) -> None:
    """The committed one stays as it came; of the other, queries, retrieves and commitments know the copy."""
    node = start(policy=rules({**NEAR, "uid": uid, "after": "1h"}))
    one, committed = picture(1), picture(2)
    node.keep(one, committed)
    assert _committed(node, committed.instance) == [committed.instance]
    node.reload(policy=rules({**NEAR, "uid": uid, **SOON}))
    until(lambda: any(held.lossy_of for held in node.archive.all()), "one is made lossy")
    until(lambda: node.held(committed).no_loss, "the other is looked at")
    assert node.held(committed).no_loss == "a storage commitment was answered for it"
    (copy,) = [held.sop_instance_uid for held in node.archive.all() if held.lossy_of]
    assert (copy == one.instance) == (uid == "same")
    assert sorted(_found(node.address)) == sorted([copy, committed.instance])
    got = {sent.instance: sent for sent in _get(node.address, EXPLICIT)}
    assert got[committed.instance].data == committed.data
    assert read(got[copy].data, EXPLICIT).LossyImageCompression == "01"
    assert read(got[copy].data, EXPLICIT).ImageType[0] == "DERIVED"
    stored = _get(node.address, JPEGLS_NEAR, EXPLICIT)
    assert {sent.syntax for sent in stored if sent.instance == copy} <= {JPEGLS_NEAR, EXPLICIT}
    assert one.instance not in _committed(node, one.instance)
    assert _committed(node, copy) == ([copy] if uid == "new" else [])


def test_by_hand(process: Callable[..., NodeProcess]) -> None:
    """As an admin does it: look, carry it out, see why, bring it back."""
    node = process(policy=rules({**NEAR, "after": "30d"}), lifecycle={"workers": 0})
    node.start()
    sent = picture(1)
    with Scu(node.address, [(MG, [EXPLICIT])]) as scu:
        assert scu.store(sent).status == 0
    plan = node.here("plan", "--at", "31d")
    assert "worst error" in plan
    (group,) = json.loads(node.here("plan", "--at", "31d", "--json"))["groups"]
    assert group["measured"]["loss"]["max_error"] == 2
    told = node.here("recompress", "--now")
    assert "1 of them with loss: the originals are in the trash" in told
    (listed,) = json.loads(node.here("trash", "list", "--json"))
    copy = listed["lossy_copy"]
    assert "lossy copy of" in node.here("explain", copy)
    explained = json.loads(node.here("explain", copy, "--json"))
    assert explained["provenance"]["loss"]["sop_instance_uid"] == sent.instance
    assert "0 objects removed" in node.here("trash", "purge")
    node.here("trash", "restore", sent.instance)
    (back,) = _get(node.address, EXPLICIT)
    assert back.data == sent.data
    assert "its original was restored" in node.here("explain", sent.instance)


def test_an_index_of_which_promises_are_unknown(start: Starter) -> None:
    """Nothing becomes lossy that may have been committed."""
    node = start(policy=rules({**NEAR, "after": "1h"}))
    sent = picture(1)
    node.keep(sent)
    node.archive.index.meta.put({PROMISED_SINCE: str(datetime.now(UTC).timestamp() + 60)})
    node.reload(policy=rules({**NEAR, **SOON}))
    until(lambda: node.held(sent).no_loss, "it is looked at")
    assert "uncommitted_before" in node.held(sent).no_loss
