"""An archive whose store encrypts: what lies on the disk, a key that is missing, and keys that change."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from objects import Shape, phantom
from typer.testing import CliRunner

from scp.archive.archive import Archive
from scp.background.progress import Silent
from scp.cli.main import app
from scp.config.keys import new_secret
from scp.config.link import link
from scp.config.settings import Settings
from scp.config.sources import OTHER_STORES
from scp.errors import ConfigurationError, KeyMissing, ObjectUnreadable
from scp.lifecycle.fsck import fsck
from scp.lifecycle.recovery import recover
from scp.lifecycle.reindex import reindex
from scp.lifecycle.rotation import rotate
from scp.lifecycle.scrub import Scrubber
from scp.lifecycle.transfer import import_files
from scp.lifecycle.verify import verify
from scp.node.build import open_archive
from scp.node.encryption import check_held, key_states, keyed_stores, missing_keys
from scp.syntaxes import EXPLICIT

SENT = [phantom(Shape(rows=40, columns=48, seed=seed)) for seed in range(1, 4)]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


class Site:
    """One archive's folders, opened with one set of keys after another."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.objects = root / "objects"
        self._opened: Archive | None = None
        for name in ("2025", "2026"):
            path = root / f"{name}.key"
            path.write_text(new_secret())
            path.chmod(0o600)

    def settings(self, *ids: str, cold: tuple[str, ...] | None = None, form: str = "received") -> Settings:
        def keys(ids: tuple[str, ...]) -> list[str]:
            return [f"{name}={self.root}/{name}.key" for name in ids]

        tables: dict[str, Any] = {
            "storage": {"url": str(self.objects), "reserve": 0, "encryption_keys": keys(ids)},
            "index": {"url": f"sqlite:///{self.root}/index.db"},
            "policy": [{"name": "all", "stages": [{"form": form}]}],
        }
        if cold is not None:
            tables[OTHER_STORES] = [
                {"name": "cold", "url": f"{self.root}/cold", "reserve": 0, "encryption_keys": keys(cold)}
            ]
        return link(Settings.model_validate(tables, by_alias=True, by_name=False))[0]

    def open(self, *ids: str, **more: Any) -> Archive:
        self.close()
        self._opened = open_archive(self.settings(*ids, **more), repairs=True)
        return self._opened

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def files(self) -> dict[str, bytes]:
        found = sorted(self.objects.rglob("*.dcm*"))
        return {path.relative_to(self.objects).as_posix(): path.read_bytes() for path in found}


def fetched(archive: Archive) -> list[bytes]:
    """The datasets of all objects, in the order of their UIDs."""
    rows = sorted(archive.all(), key=lambda one: one.sop_instance_uid)
    return [b"".join(archive.fetch(one, [EXPLICIT]).chunks) for one in rows]


def test_nothing_of_an_object_lies_open_in_its_store(site: Site) -> None:
    archive = site.open("2026")
    for one in SENT:
        archive.ingest(one)
    assert fetched(archive) == [one.dataset for one in SENT]
    assert [found.fault for found in verify(archive, archive.all(), deep=True)] == [""] * 3
    assert list(fsck(archive, Silent(), repair=True)) == []
    (imported,) = import_files(archive, [next(site.objects.rglob("*.dcm"))], "A")
    assert (imported.outcome, imported.reason[:20]) == ("skipped", "it is an encrypted f")
    pieces = [bytes(one.dataset)[at : at + 32] for one in SENT for at in (0, 64, len(one.dataset) - 200)]
    everything = [path.read_bytes() for path in site.objects.rglob("*") if path.is_file()]
    assert not [data for data in everything if any(piece in data for piece in pieces)]
    assert len(site.files()) == 3


def test_the_index_is_made_from_encrypted_files(site: Site) -> None:
    archive = site.open("2026")
    for one in SENT:
        archive.ingest(one)
    before = sorted(row.key for row in archive.all())
    for row in archive.all():
        archive.forget(row.sop_instance_uid, row.key)
    assert reindex(archive, Silent()).recorded == 3
    assert sorted(row.key for row in archive.all()) == before


def test_objects_of_a_missing_key_are_neither_damaged_nor_lost(site: Site) -> None:
    site.open("2025").ingest(SENT[0])
    archive = site.open("2026")
    archive.ingest(SENT[1])
    before = site.files()
    old, new = sorted(archive.all(), key=lambda one: one.sop_instance_uid)
    with pytest.raises(KeyMissing, match='"2025", which is missing'):
        archive.fetch(old, [EXPLICIT])
    assert b"".join(archive.fetch(new, [EXPLICIT]).chunks) == SENT[1].dataset
    verdicts = {found.instance.sop_instance_uid: found for found in verify(archive, archive.all())}
    assert verdicts[old.sop_instance_uid].away
    assert '"2025"' in verdicts[old.sop_instance_uid].fault
    assert not verdicts[new.sop_instance_uid].fault
    scrubber = Scrubber(archive, lambda: site.settings("2026"), "test")
    assert scrubber.round(2**40).damaged == 0
    assert list(fsck(archive, Silent(), repair=True, forget=True)) == []
    assert site.files() == before
    assert not (site.objects / ".damaged").exists()
    (told,) = missing_keys(site.settings("2026"))
    assert 'encrypted with the key "2025", which is missing' in told
    assert fetched(site.open("2026", "2025")) == [one.dataset for one in SENT[:2]]
    assert not list(missing_keys(site.settings("2026", "2025")))


def test_a_file_of_a_missing_key_that_no_row_names_stays(site: Site) -> None:
    archive = site.open("2025")
    archive.ingest(SENT[0])
    (row,) = archive.all()
    archive.forget(row.sop_instance_uid, row.key)
    archive = site.open("2026")
    before = site.files()
    (found,) = fsck(archive, Silent(), repair=True)
    assert found.kind == "unreadable file"
    assert '"2025", which is missing' in found.told
    assert "remove" not in found.told
    archive = site.open("2026", form="zstd")
    archive.ingest(SENT[0])  # sent again: both are there, and what the first one holds is not known
    (found,) = fsck(archive, Silent(), repair=True)
    assert (found.kind, found.repaired) == ("left over", "")
    assert '"2025", which is missing' in found.told
    assert site.files().items() > before.items()


def test_what_was_not_recorded_waits_in_the_journal_for_its_key(site: Site) -> None:
    archive = site.open("2025")
    archive.ingest(SENT[0])
    (row,) = archive.all()
    archive.store.journal_removal(row.key)  # an entry, as of a process that died before the row was durable
    archive.forget(row.sop_instance_uid, row.key)
    for ids, recorded in ((("2026",), 0), (("2026",), 0), (("2026", "2025"), 1)):
        archive = site.open(*ids)
        assert recover(archive).recorded == recorded
    assert fetched(archive) == [SENT[0].dataset]


def test_what_cannot_be_read_now_waits_in_the_journal(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a process without memory or descriptors: the object was acknowledged, and its row was lost."""
    archive = site.open()
    archive.ingest(SENT[0])
    (row,) = archive.all()
    archive.store.journal_removal(row.key)
    archive.forget(row.sop_instance_uid, row.key)
    archive = site.open()
    with monkeypatch.context() as patched:
        patched.setattr(archive.reader, "take_up", Mock(side_effect=ObjectUnreadable("no descriptors")))
        assert recover(archive).recorded == 0
    assert recover(site.open()).recorded == 1
    assert fetched(site.open()) == [SENT[0].dataset]


def test_another_key_of_a_known_id_stops_the_start(site: Site) -> None:
    site.open("2026")
    (site.root / "2026.key").write_text(new_secret())
    with pytest.raises(ConfigurationError, match=r'"2026" is not the one that .*objects was encrypted with'):
        site.open("2026")


def test_without_keys_not_a_byte_differs(site: Site) -> None:
    archive = site.open()
    archive.ingest(SENT[0])
    (data,) = site.files().values()
    assert data[128:132] == b"DICM"
    assert data.endswith(bytes(SENT[0].dataset))
    assert not (site.objects / ".zscp/keys").exists()


def test_rotation_encrypts_what_is_open_and_what_older_keys_encrypt(site: Site) -> None:
    site.open().ingest(SENT[0])
    site.open("2025").ingest(SENT[1])
    archive = site.open("2026", "2025")
    archive.ingest(SENT[2])
    settings = site.settings("2026", "2025")
    held = {(one.key_id, one.files, one.state) for one in key_states(settings)}
    assert held == {("2026", 1, "newest"), ("2025", 1, "older"), ("", 1, "none")}
    done = rotate(archive, keyed_stores(settings), Silent())
    assert (done.files, done.left) == (2, 0)
    assert rotate(archive, keyed_stores(settings), Silent()).files == 0
    held = {(one.key_id, one.files, one.state) for one in key_states(settings)}
    assert held == {("2026", 3, "newest"), ("2025", 0, "unused")}
    assert list(fsck(archive, Silent())) == []
    archive = site.open("2026")  # the old key may go
    assert fetched(archive) == [one.dataset for one in SENT]
    assert not list(missing_keys(site.settings("2026")))
    assert not [found.fault for found in verify(archive, archive.all(), deep=True) if found.fault]


_NODE = """
import sys
from pathlib import Path
from scp.objects.keys_in_use import KeyNote
KeyNote(Path(sys.argv[1])).hold("2025")
print(flush=True)
input()
"""


def test_a_node_that_was_not_restarted_keeps_its_key_and_stops_a_rotation(site: Site) -> None:
    site.open("2025").ingest(SENT[0])
    site.open("2026", "2025").ingest(SENT[1])
    settings = site.settings("2026", "2025")
    with subprocess.Popen(
        [sys.executable, "-c", _NODE, str(site.objects)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as node:
        assert node.stdin is not None
        assert node.stdout is not None
        node.stdout.readline()
        with pytest.raises(ConfigurationError, match='"2025"; restart it'):
            check_held(settings)
        assert ("2025", "held") in {(one.key_id, one.state) for one in key_states(settings)}
        node.stdin.write(b"\n")
        node.stdin.flush()
        node.wait(30)
    check_held(settings)
    assert ("2025", "older") in {(one.key_id, one.state) for one in key_states(settings)}


@pytest.mark.parametrize("fault", ["a file", "a folder", "the store"])
def test_a_key_does_not_seem_unused_where_not_all_files_could_be_read(
    site: Site, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An admin destroys a key that nothing needs."""
    site.open("2025").ingest(SENT[0])
    site.open("2026", "2025").close()
    settings = site.settings("2026", "2025")
    (file,) = site.objects.rglob("*.dcm")
    if fault == "a file":  # which root cannot read either
        file.unlink()
        file.symlink_to(file)
    elif fault == "a folder":
        scan = os.scandir

        def denied(path: Any) -> Any:
            if str(path) == str(file.parent):
                raise PermissionError(13, "denied")
            return scan(path)

        monkeypatch.setattr(os, "scandir", denied)
    else:
        site.objects.rename(site.root / "elsewhere")
        site.objects.mkdir()  # the mount point
    states = {one.key_id: one.state for one in key_states(settings)}
    assert states == {"2026": "newest", "2025": "unknown"}
    if fault != "the store":
        assert any('"2025"' in told for told in missing_keys(site.settings("2026")))  # it is not forgotten


@pytest.mark.parametrize("has_digest", [True, False])
def test_rotation_leaves_what_it_cannot_read_and_what_arrives_wrong(
    site: Site, monkeypatch: pytest.MonkeyPatch, has_digest: bool
) -> None:
    """Rows of earlier versions have no digest of the stored file."""
    site.open("2025").ingest(SENT[0])
    archive = site.open("2026")
    before = site.files()
    done = rotate(archive, keyed_stores(site.settings("2026")), Silent())
    assert (done.files, done.left) == (0, 1)
    assert site.files() == before
    archive = site.open("2026", "2025")
    (row,) = archive.all()
    if not has_digest:
        archive.index.change_many([(row, replace(row, stored_sha256=""))])
    get = archive.files.get

    def wrong(key: str, size: int | None = None) -> Any:
        return get(key, size) if key == row.key else bytes(size or 0)

    monkeypatch.setattr(archive.files, "get", wrong)
    done = rotate(archive, keyed_stores(site.settings("2026", "2025")), Silent())
    monkeypatch.undo()
    assert (done.files, done.left) == (0, 1)
    assert site.files() == before


@pytest.mark.parametrize("step", ["put_many", "change_many", "delete_many"])
def test_rotation_that_breaks_off_loses_nothing(
    site: Site, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order is that of every replaced form, of which tests/wire/test_stages.py kills each step."""
    site.open("2025").ingest(SENT[0])
    archive = site.open("2026", "2025")
    settings = site.settings("2026", "2025")

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    holder = archive.index if step == "change_many" else archive.store
    monkeypatch.setattr(holder, step, dies)
    with pytest.raises(KeyboardInterrupt):
        rotate(archive, keyed_stores(settings), Silent())
    monkeypatch.undo()
    archive = site.open("2026", "2025")
    assert fetched(archive) == [SENT[0].dataset]
    for _ in fsck(archive, Silent(), repair=True):
        pass
    rotate(archive, keyed_stores(settings), Silent())
    assert fetched(site.open("2026")) == [SENT[0].dataset]


def test_the_cache_of_decoded_objects_is_off_and_its_files_are_removed(site: Site) -> None:
    site.open()
    left = site.objects / ".decoded/one"
    left.parent.mkdir()
    left.write_bytes(b"DOE^JANE")
    site.open("2026")
    assert not left.exists()


def test_each_store_has_its_own_keys(site: Site) -> None:
    site.open(cold=("2026",)).ingest(SENT[0])
    settings = site.settings(cold=("2026",))
    assert settings.encrypts
    assert {(one.store, one.state) for one in key_states(settings)} == {("first", "none"), ("cold", "newest")}


def test_the_command_line(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    run: Callable[..., Any] = CliRunner().invoke
    made = site.root / "made.key"
    assert made.name in run(app, ["key", "new", str(made)]).stdout
    assert made.stat().st_mode & 0o777 == 0o600
    assert made.read_text().strip() not in run(app, ["key", "new", str(site.root / "more.key")]).stdout
    assert isinstance(run(app, ["key", "new", str(made)]).exception, ConfigurationError)
    assert len(run(app, ["key", "new", "--print"]).stdout.strip()) == 64
    config = site.root / "zscp.toml"
    config.write_text(
        f'[storage]\nurl = "{site.objects}"\nreserve = 0\nencryption_keys = ["made={made}"]\n'
        f'[index]\nurl = "sqlite:///{site.root}/index.db"\n'
    )
    site.open().ingest(SENT[0])
    site.close()
    told = json.loads(run(app, ["key", "list", "-c", str(config), "--json"]).stdout)
    assert {(one["key_id"], one["files"]) for one in told} == {("made", 0), ("", 1)}
    assert json.loads(run(app, ["key", "rotate", "-c", str(config), "--json"]).stdout)["files"] == 1
    assert "encrypts new files" in run(app, ["key", "list", "-c", str(config)]).stdout
    shown = run(app, ["check", "-c", str(config)]).stdout.replace("│", " ")
    assert 'encrypted with the key "made"' in " ".join(shown.split())
    assert "audit trail none HTTP none" in " ".join(shown.split())
    config.write_text(config.read_text().replace(f'["made={made}"]', "[]"))
    checked = run(app, ["check", "-c", str(config)])
    assert 'the key "made", which is missing' in checked.stdout
    assert run(app, ["key", "list", "-c", str(config)]).exit_code == 1
