"""Nodes that hear of each other: ids, copies of a folder, association limits, locks, configurations."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
from several_nodes import an_object, know_each_other, nodes, settings_in, silent
from structlog.testing import capture_logs
from typer.testing import CliRunner

from scp.archive.pairing import State
from scp.archive.safekeeping import TRASH
from scp.background.progress import Silent
from scp.cli.main import app
from scp.config.fingerprint import _shared, fingerprint
from scp.dimse.seats import Holder, SeatLimits
from scp.errors import ConfigurationError, ObjectElsewhere, ObjectMissing, OutOfResources
from scp.index.index import REBUILD
from scp.index.nodes import EXPIRES_SECONDS
from scp.lifecycle import forgetting
from scp.lifecycle.deletion import Deletion
from scp.lifecycle.rebuild import make_fit
from scp.lifecycle.retention import Retention
from scp.node import heartbeat
from scp.node.heartbeat import Heartbeat, check_alone
from scp.node.itself import Itself, itself
from scp.node.seats import SharedSeats
from scp.objects.holds import Hold

pytestmark = pytest.mark.usefixtures("codecs_here")


def test_an_id_is_made_once_and_kept(tmp_path: Path) -> None:
    first = itself(tmp_path)
    assert len(first.id) == 12
    assert itself(tmp_path) == first
    assert itself(tmp_path / "other").id != first.id
    (tmp_path / ".zscp" / "node").write_text("something else")
    with pytest.raises(ConfigurationError, match="remove it"):
        itself(tmp_path)


def test_a_folder_that_cannot_be_written_costs_the_id_and_not_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".zscp").write_text("no folder")
    assert itself(tmp_path).id == ""


def test_a_copied_folder_is_noticed_and_a_restart_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with nodes(tmp_path, "a") as (a,):
        shutil.copytree(tmp_path / "a", tmp_path / "copy")
        check = a.archive, a.settings
        monkeypatch.setattr(heartbeat, "own_folder", lambda _: tmp_path / "a")
        check_alone(*check, "another start")  # of the same folder: the one before was killed
        monkeypatch.setattr(heartbeat, "own_folder", lambda _: tmp_path / "copy")
        silent(a, EXPIRES_SECONDS / 2)  # then it is heard of again
        over = threading.Event()

        def lives() -> None:
            while not over.wait(0.2):
                a.beat()

        thread = threading.Thread(target=lives)
        thread.start()
        try:
            with pytest.raises(ConfigurationError, match=f"{a.id}.*its folder was copied"):
                check_alone(*check, "another start")
        finally:
            over.set()
            thread.join()
        a.heart.close()
        check_alone(*check, "another start")  # the other one has stopped


def test_a_copy_that_runs_is_warned_of(tmp_path: Path) -> None:
    with nodes(tmp_path, "a") as (a,):
        copy = Heartbeat(a.archive, lambda: a.settings, "start of the copy")
        copy._itself = Itself(a.id, "copy", "another place")
        copy.turn()
        with capture_logs() as logged:
            a.beat()
        assert "its folder was copied" in logged[0]["reason"]


def test_different_configurations_are_warned_of_once(tmp_path: Path) -> None:
    with nodes(tmp_path, "a", "b") as (a, b):
        b.settings = settings_in(tmp_path, storage={"duplicates": "keep"})
        b.beat()
        with capture_logs() as logged:
            a.beat()
            a.beat()
        assert [one["event"] for one in logged] == ["nodes differ"]
        assert b.id in logged[0]["reason"]


def test_a_fingerprint_is_of_what_nodes_share(tmp_path: Path) -> None:
    plain = settings_in(tmp_path)
    same = (
        settings_in(tmp_path / "elsewhere"),
        settings_in(tmp_path, node={"host": "10.0.0.7", "port": 104, "workers": 3}),
        settings_in(tmp_path, log={"level": "debug"}, http={"port": 11180}),
    )
    others = (
        settings_in(tmp_path, node={"aet": "OTHER"}),
        settings_in(tmp_path, storage={"trash": "1d"}),
        settings_in(tmp_path, peer=[{"aet": "A", "host": "h", "port": 104}]),
    )
    assert {fingerprint(one) for one in same} == {fingerprint(plain)}
    assert len({fingerprint(plain), *map(fingerprint, others)}) == 1 + len(others)


def test_a_fingerprint_has_no_password_in_it() -> None:
    one, two = ({"url": f"postgresql+psycopg://zscp:{word}@db/zscp", "password": word} for word in ("x", "y"))
    assert _shared(one) == _shared(two) == {"url": "postgresql+psycopg://@db/zscp"}


PEER, OTHER = Holder("ONE", "10.0.0.1"), Holder("TWO", "10.0.0.2")


def test_limits_count_what_other_nodes_have() -> None:
    here, there = SharedSeats(SeatLimits(4, 2, 3)), SharedSeats(SeatLimits(4, 2, 3))
    assert not there.take(PEER)
    assert there.held()["all"] == 1
    here.use_others([there.held()])
    assert not here.take(PEER)
    assert here.take(PEER) == "associations_by_aet"
    assert not here.take(Holder("THREE", PEER.address))
    assert here.take(Holder("FOUR", PEER.address)) == "associations_by_address"
    assert not here.take(OTHER)
    assert here.take(Holder("FIVE", "10.0.0.5")) == "associations"
    assert here.held()["all"] == 3, "a seat that was refused is free again"
    here.use_others([])
    assert not here.take(Holder("FIVE", "10.0.0.5"))


def test_a_node_without_an_index_counts_its_own_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seats = SharedSeats(SeatLimits(1, 1, 1))
    with nodes(tmp_path, "a", "b") as (a, b):
        there = SharedSeats(SeatLimits(1, 1, 1))
        assert not there.take(PEER)
        b.heart._seats, a.heart._seats = there, seats
        know_each_other([a, b])
        assert seats.take(OTHER) == "associations"

        def away(_: object) -> None:
            raise OutOfResources("away")

        monkeypatch.setattr(a.archive.elsewhere.cluster.nodes, "beat", away)
        with pytest.raises(OutOfResources):
            a.beat()
        assert not seats.take(OTHER)


def test_a_heartbeat_is_no_reason_to_advance_the_index(tmp_path: Path) -> None:
    with nodes(tmp_path, "a") as (a,):
        pairing = a.archive.pairing
        assert pairing is not None
        pairing.begin()
        pairing.advance()
        before = a.archive.index.meta.all()
        a.beat()
        pairing.advance_if_changed()
        assert a.archive.index.meta.all() == before
        a.keep(an_object())
        a.beat()
        pairing.advance_if_changed()
        assert a.archive.index.meta.all() != before


@pytest.mark.parametrize("meanwhile", ["nodes", "meta"])
def test_what_another_process_writes_meanwhile_is_a_reason_to_advance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    """While a heartbeat is written, or the sequence number: it had been taken for that."""
    with nodes(tmp_path, "a", "b") as (a, b):
        pairing, index = a.archive.pairing, a.archive.index
        assert pairing is not None
        pairing.begin()
        pairing.advance()
        part, verb = (index.nodes, "beat") if meanwhile == "nodes" else (index.meta, "put")
        write = getattr(part, verb)

        def written(what: object) -> object:
            done = write(what)
            b.keep(an_object())
            return done

        monkeypatch.setattr(part, verb, written)
        if meanwhile == "nodes":
            a.beat()
        else:
            pairing.advance()
        monkeypatch.undo()
        before = index.meta.all()
        pairing.advance_if_changed()
        assert index.meta.all() != before
        before = index.meta.all()
        pairing.advance_if_changed()
        assert index.meta.all() == before


def test_no_index_is_rebuilt_that_another_living_node_uses(tmp_path: Path) -> None:
    with nodes(tmp_path, "a", "b") as (a, b):
        make_fit(a.archive, Silent())
        a.archive.index.meta.put({REBUILD: "a test"})
        with pytest.raises(ConfigurationError, match=b.id):
            make_fit(a.archive, Silent())
        b.heart.close()
        a.beat()
        a.beat()
        assert make_fit(a.archive, Silent()).state is State.ASKED


def test_a_hold_on_one_node_stops_a_deletion_on_another(tmp_path: Path) -> None:
    """The hold is written under the lock of the trash, and a deletion reads all holds under it."""
    with nodes(tmp_path, "a", "b") as (a, b):
        sent = an_object()
        b.keep(sent)
        there, here = (Deletion(one.archive, one.settings.folders) for one in (b, a))
        removed = []
        held = list(a.archive.all())
        deletes = threading.Thread(target=lambda: removed.append(there.delete(held, "test")))
        with here.trash.lock():
            deletes.start()
            deletes.join(0.2)
            assert removed == []
            here.add_hold(Hold("IMAGE", sent.sop_instance_uid, "court", 0.0))
        deletes.join()
        assert removed[0].held == (sent.sop_instance_uid,)
        assert b.content(sent) == sent.dataset


def test_the_lock_of_the_trash_is_that_of_all_nodes(tmp_path: Path) -> None:
    with (
        nodes(tmp_path, "a", "b") as (a, b),
        Deletion(a.archive, a.settings.folders).trash.lock(),
        b.archive.exclusive(TRASH, wait=False) as alone,
    ):
        assert not alone


def test_one_node_at_a_time_does_the_retention(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with nodes(tmp_path, "a", "b") as (a, b):
        rounds = []
        monkeypatch.setattr(Retention, "round", lambda self, now: rounds.append(now))
        task = Retention(b.archive, lambda: b.settings)
        with a.archive.exclusive("retention"):
            task.turn()
            assert rounds == []
        task.turn()
        assert len(rounds) == 1


def test_a_node_is_forgotten_only_where_nothing_is_lost_with_it(tmp_path: Path) -> None:
    with nodes(tmp_path, "a", "b") as (a, b):
        b.keep(an_object())
        with pytest.raises(ObjectMissing):
            forgetting.forget(a.archive, "nobody")
        with pytest.raises(ObjectElsewhere, match="stop it first"):
            forgetting.forget(a.archive, b.id)
        b.heart.close()
        with pytest.raises(ObjectElsewhere, match="1 objects that are nowhere else"):
            forgetting.forget(a.archive, b.id)
        while b.encoder.round():
            pass
        assert forgetting.forget(a.archive, b.id)[1] == []
        assert [one.report.id for one in a.archive.elsewhere.cluster.nodes.all()] == [a.id]


def test_what_only_a_lost_disk_had_is_given_up_by_name(tmp_path: Path) -> None:
    with nodes(tmp_path, "a", "b") as (a, b):
        sent = an_object()
        b.keep(sent)
        b.heart.close()
        assert forgetting.forget(a.archive, b.id, lost=True)[1] == [sent.sop_instance_uid]
        assert list(a.archive.all()) == []


def test_the_commands_show_and_forget_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "zscp.toml"
    tables = settings_in(tmp_path)
    config.write_text(
        f'[storage]\nurl = "{tables.storage.url}"\nreserve = 0\n[index]\nurl = "{tables.index.url}"\n'
    )
    with nodes(tmp_path, "a", "b") as (a, b):
        told = CliRunner().invoke(app, ["nodes", "-c", str(config)])
        assert told.exit_code == 0, told.output
        assert a.id in told.stdout
        assert b.id in told.stdout
        b.heart.close()
        assert CliRunner().invoke(app, ["nodes", "forget", a.id, "-c", str(config)]).exit_code != 0
        done = CliRunner().invoke(app, ["nodes", "forget", b.id, "-c", str(config)])
        assert done.exit_code == 0, done.output
        told = CliRunner().invoke(app, ["nodes", "--json", "-c", str(config)])
        assert b.id not in told.stdout
        assert '"state": "lives"' in told.stdout
