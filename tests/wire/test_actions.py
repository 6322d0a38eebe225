"""What people do with objects from another process beside a running node, as the one that answers HTTP."""

from __future__ import annotations

import signal
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import imagecodecs
import pytest
from pydicom import dcmread

from scp.archive.archive import Archive
from scp.config.load import load
from scp.config.settings import Settings
from scp.errors import DestinationUnknown, ObjectMissing, SeveralPatients
from scp.lifecycle.selection import OfPatient
from scp.node.build import open_archive
from scp.node.objects import NodeObjects

from .conftest import NodeProcess
from .peers import EXPLICIT, MR_IMAGE, Scu, Sent, files_in, image, storescp, until

SENT = [image(seed=n, series=f"1.2.3.{n % 2}") for n in range(4)]


class Beside:
    """An archive that a node has open, opened here as the process does that answers HTTP."""

    def __init__(self, node: NodeProcess) -> None:
        self.node = node
        self.settings: Settings = load(node.config, {})
        self.archive: Archive = open_archive(self.settings, repairs=True)
        self.objects = NodeObjects(lambda: self.archive, lambda: self.settings)

    def wake(self) -> None:
        """Have the node look at its queues at once, as the bell does that it shares with its HTTP process."""
        self.node.process.send_signal(signal.SIGHUP)

    def store(self, *sent: Sent) -> None:
        with Scu(self.node.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
            assert [scu.store(one).status for one in sent] == [0] * len(sent)


@pytest.fixture
def beside(process: Callable[..., NodeProcess], tmp_path: Path) -> Iterator[Beside]:
    policy = [{"name": "all", "stages": [{"form": "htj2k"}, {"form": "jpegxl", "after": "1d"}]}]
    with storescp(tmp_path / "in", "+xe") as port:
        peer = [{"aet": "DEST", "host": "127.0.0.1", "port": port}]
        node = process(policy=policy, peer=peer)
        node.start()
        one = Beside(node)
        one.store(*SENT)
        yield one
        one.archive.close()


def test_each_action_is_done_beside_a_running_node(beside: Beside, tmp_path: Path) -> None:
    objects, first = beside.objects, SENT[0]
    (study,) = objects.search("STUDY", {"StudyInstanceUID": "1.2.3"}).hits
    assert (study.instances, study.held) == (4, "no")
    assert objects.header(first.instance, "ann").rows
    assert imagecodecs.png_decode(objects.picture(first.instance, "ann").png).ndim == 2
    assert objects.explain(first.instance).stored is not None

    all_of_it = objects.selected("1.2.3")
    with zipfile.ZipFile(BytesIO(b"".join(objects.export(all_of_it, "ann")))) as exported:
        assert exported.testzip() is None
        read = [dcmread(BytesIO(exported.read(name))) for name in exported.namelist()]
    assert {one.SOPInstanceUID for one in read} == {one.instance for one in SENT}
    assert [one.fault for one in objects.verify(all_of_it, deep=True)] == [""] * 4

    done = objects.recompress(all_of_it, "ann", now=True)
    assert done.encoded + done.no_gain + done.cannot == 4
    assert done.left == 0

    asked = objects.send(objects.selected(first.instance), "DEST")
    assert (asked.queued, asked.being_sent) == (1, 0)
    beside.wake()
    until(lambda: not beside.archive.send_queue.outstanding(), "it is sent")
    assert files_in(tmp_path / "in")[first.instance].data == first.data

    objects.hold("1.2.3.0", "SERIES", "a court asks", "ann")
    assert objects.search("STUDY", {"StudyInstanceUID": "1.2.3"}).hits[0].held == "part"
    (removal,) = objects.delete([objects.selected("1.2.3")], "a test", "ann")
    assert (len(removal.deleted), len(removal.held)) == (2, 2)
    beside.store(SENT[0])  # the node answers meanwhile, and knows that it has this one
    trash = objects.trash()
    assert trash.count == len(trash.entries) == 2
    assert len(list(objects.restore(objects.in_trash("1.2.3", "ann"), "ann"))) == 2
    assert objects.trash().count == 0
    assert len(objects.selected("1.2.3")) == 4
    assert [hold.uid for hold in objects.release("1.2.3.0", "ann")] == ["1.2.3.0"]
    assert objects.holds() == []
    assert beside.node.run("verify", "--deep").returncode == 0
    assert beside.node.run("fsck").returncode == 0


def test_what_is_asked_for_again_is_sent_again(beside: Beside, tmp_path: Path) -> None:
    """Though a rule has sent it before, or the peer was away and it was given up."""
    objects, first = beside.objects, SENT[0]
    wanted = objects.selected(first.instance)
    for _ in range(2):
        objects.send(wanted, "DEST")
        beside.wake()
        until(lambda: not beside.archive.send_queue.outstanding(), "it is sent")
        assert list(files_in(tmp_path / "in")) == [first.instance]
        for path in (tmp_path / "in").iterdir():
            path.unlink()


def test_what_cannot_be_done_says_why(beside: Beside) -> None:
    objects = beside.objects
    with pytest.raises(ObjectMissing, match=r"has the UID or ID 9\.9"):
        objects.selected("9.9")
    with pytest.raises(ObjectMissing, match=r"SOP Instance UID /etc/hostname"):
        objects.explain("/etc/hostname")
    with pytest.raises(ObjectMissing, match="no such hold"):
        objects.release("9.9", "ann")
    with pytest.raises(ObjectMissing, match="not in the trash"):
        objects.in_trash("9.9", "ann")
    with pytest.raises(DestinationUnknown, match="no \\[\\[peer\\]\\] has the AE title NOBODY"):
        objects.send(objects.selected("1.2.3"), "NOBODY")
    beside.store(image(seed=9, PatientID="ANOTHER"))
    with pytest.raises(SeveralPatients, match="several patients"):
        objects.selected("1.2.3")
    assert len(objects.selected("1.2.3", patient=OfPatient("ANOTHER"))) == 1
