"""The configuration file, saved from afar: as a whole, or not at all, with the reason."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from scp.config import saving
from scp.config.load import load
from scp.config.saving import FORMER_FILES, ConfigurationFile, digest_of

pytestmark = pytest.mark.quick

BEFORE = "[node]\naet = 'ONE'\nport = 104\n"
AFTER = "[node]\naet = 'TWO'\nport = 104\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "zscp.toml"
    path.write_text(BEFORE, encoding="utf-8")
    path.chmod(0o640)
    return path


def left(path: Path) -> list[str]:
    return sorted(one.read_text(encoding="utf-8") for one in path.parent.iterdir() if one != path)


def test_an_edited_text_takes_the_place_and_the_former_file_is_kept(path: Path) -> None:
    file = ConfigurationFile(path, {})
    read = file.read()
    assert (read.text, read.digest, read.fixed) == (BEFORE, digest_of(BEFORE), "")
    saved = file.save(AFTER, read.digest)
    assert (saved.outcome, saved.reason, saved.digest) == ("saved", "", digest_of(AFTER))
    assert path.read_text(encoding="utf-8") == AFTER
    assert path.stat().st_mode & 0o777 == 0o640
    assert Path(saved.former).read_text(encoding="utf-8") == BEFORE
    assert left(path) == [BEFORE]
    assert load(path, {}).node.aet == "TWO"


def test_of_a_link_the_file_behind_it_is_replaced(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    assert ConfigurationFile(link, {}).save(AFTER, digest_of(BEFORE)).outcome == "saved"
    assert link.is_symlink()
    assert path.read_text(encoding="utf-8") == AFTER


def test_a_file_that_changed_meanwhile_stays(path: Path) -> None:
    file = ConfigurationFile(path, {})
    digest = file.read().digest
    path.write_text(BEFORE + "# by hand\n", encoding="utf-8")
    saved = file.save(AFTER, digest)
    assert saved.outcome == "changed meanwhile"
    assert saved.digest == digest_of(BEFORE + "# by hand\n")
    assert path.read_text(encoding="utf-8") == BEFORE + "# by hand\n"
    assert left(path) == []


def test_one_that_changes_at_the_last_moment_stays_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def written(real: Path, text: str) -> Path:
        other = real.with_name("editor")
        other.write_text("# by an editor\n", encoding="utf-8")
        other.replace(real)
        return was(real, text)

    was = saving._written
    monkeypatch.setattr(saving, "_written", written)
    saved = ConfigurationFile(path, {}).save(AFTER, digest_of(BEFORE))
    assert saved.outcome == "changed meanwhile"
    assert path.read_text(encoding="utf-8") == "# by an editor\n"
    assert left(path) == []


def test_what_no_node_could_run_with_is_not_saved(path: Path) -> None:
    saved = ConfigurationFile(path, {}).save("[node]\naet = 'TWO'\nprt = 1\n", digest_of(BEFORE))
    assert saved.outcome == "invalid"
    assert [(one.line, one.key) for one in saved.faults] == [(3, "node.prt")]
    assert path.read_text(encoding="utf-8") == BEFORE


def test_a_key_that_a_variable_sets_cannot_be_changed_in_the_file(path: Path) -> None:
    file = ConfigurationFile(path, {"ZSCP_NODE__AET": "OTHER"})
    saved = file.save(AFTER, digest_of(BEFORE))
    assert saved.outcome == "not possible"
    assert "node.aet comes from the variable ZSCP_NODE__AET" in saved.reason
    assert path.read_text(encoding="utf-8") == BEFORE
    assert file.save(BEFORE.replace("104", "105"), digest_of(BEFORE)).outcome == "saved"


def test_the_same_text_is_not_written_again(path: Path) -> None:
    inode = path.stat().st_ino
    assert ConfigurationFile(path, {}).save(BEFORE, digest_of(BEFORE)).outcome == "unchanged"
    assert path.stat().st_ino == inode


def test_without_a_file_it_is_said_how_to_have_one() -> None:
    file = ConfigurationFile(None, {})
    assert "--config" in file.read().fixed
    assert file.save(AFTER, file.read().digest).outcome == "not possible"


def test_a_file_that_cannot_be_written_is_said_to_be(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda where, _: where != path)
    assert "read-only" in ConfigurationFile(path, {}).read().fixed
    monkeypatch.setattr(os, "access", lambda where, _: where != path.parent)
    assert "folder" in ConfigurationFile(path, {}).save(AFTER, digest_of(BEFORE)).reason


def test_a_disk_that_fails_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    saved = ConfigurationFile(path, {}).save(AFTER, digest_of(BEFORE))
    assert saved.outcome == "not possible"
    assert "No space left" in saved.reason
    assert path.read_text(encoding="utf-8") == BEFORE
    assert left(path) == []


def test_so_many_former_files_are_kept(path: Path) -> None:
    file = ConfigurationFile(path, {})
    texts = [BEFORE + f"# {number:02}\n" for number in range(FORMER_FILES + 3)]
    for text in texts:
        assert file.save(text, file.read().digest).outcome == "saved"
    assert left(path) == texts[2:-1]


def test_a_file_that_is_no_toml_any_more_can_be_mended(path: Path) -> None:
    path.write_text("this is = = broken\n", encoding="utf-8")
    file = ConfigurationFile(path, {"ZSCP_NODE__AET": "OTHER"})
    assert file.save(AFTER, digest_of("this is = = broken\n")).outcome == "saved"
    assert path.read_text(encoding="utf-8") == AFTER


def test_a_file_that_cannot_be_replaced_leaves_no_copies(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(*_: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(Path, "replace", replace)
    saved = ConfigurationFile(path, {}).save(AFTER, digest_of(BEFORE))
    assert saved.outcome == "not possible"
    assert "mounted by itself" in saved.reason
    assert path.read_text(encoding="utf-8") == BEFORE
    assert left(path) == []
