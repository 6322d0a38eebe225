"""Encryption at rest: the envelope, what tampering with it does, and what is said when a key is missing."""

from __future__ import annotations

import mmap
import subprocess
import sys
from pathlib import Path

import pytest

from scp.config import keys
from scp.config.keys import EncryptionKey, check_keys, new_secret, read_keys
from scp.errors import (
    ConfigurationError,
    KeyMissing,
    ObjectDamaged,
    ObjectMissing,
    ObjectUnreadable,
    ZscpError,
)
from scp.objects import sealed
from scp.objects.encrypted import Cipher, EncryptedStore
from scp.objects.landed import LandedStore
from scp.objects.landing import LandingLog
from scp.objects.local import LocalStore
from scp.objects.sealed import CHUNK, HEADER, TAG
from scp.spool import IN_MEMORY, Buffer

pytestmark = pytest.mark.quick

OLD, NEW = EncryptionKey("2025", b"o" * 32), EncryptionKey("2026", b"n" * 32)
NAME, OTHER = "3f/a2/1.2.3/1.2.3.4_ab.htj2k.dcm", "3f/a2/1.2.3/1.2.3.5_cd.htj2k.dcm"
UNSEAL = Path(__file__).parents[2] / "docs/examples/unseal.py"
SIZES = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK)


def store(root: Path, *keys: EncryptionKey) -> EncryptedStore:
    return EncryptedStore(LocalStore(root), Cipher(keys))


def sealed_by(key: EncryptionKey, data: bytes, name: str = NAME) -> bytes:
    return b"".join(Cipher([key]).sealed(name, [data]))


@pytest.mark.parametrize("size", SIZES)
def test_what_is_sealed_is_opened_and_its_size_is_known(size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    made = sealed_by(NEW, data)
    assert (len(made), sealed.plain_size(NAME, len(made))) == (sealed.sealed_size(size), size)
    assert size < 16 or data not in made
    assert Cipher([OLD, NEW]).opened(NAME, made, size) == data
    assert sealed_by(NEW, data) != made  # another salt, so another AES key


def test_parts_of_any_length_make_one_file() -> None:
    parts = [b"head", memoryview(b"x" * 100_000), b"", bytearray(b"tail")]
    made = b"".join(Cipher([NEW]).sealed(NAME, parts))
    assert Cipher([NEW]).opened(NAME, made) == b"".join(parts)


def test_every_byte_counts() -> None:
    made = bytearray(sealed_by(NEW, b"what was received"))
    for at in range(len(made)):
        made[at] ^= 1
        with pytest.raises(ZscpError):  # of another magic, it is a file of another size than the index has
            Cipher([NEW]).opened(NAME, made, 17)
        made[at] ^= 1
    assert Cipher([NEW]).opened(NAME, made, 17) == b"what was received"


def test_chunks_cannot_be_cut_off_exchanged_or_left_out() -> None:
    step = CHUNK + TAG
    made = sealed_by(NEW, b"".join(bytes([n]) * CHUNK for n in range(3)))
    head, chunks = made[:HEADER], [made[at : at + step] for at in range(HEADER, len(made), step)]
    for wrong in (chunks[:2], chunks[1:], [chunks[1], chunks[0], chunks[2]], [*chunks, chunks[2]], []):
        with pytest.raises(ObjectDamaged):
            Cipher([NEW]).opened(NAME, head + b"".join(wrong))
    for size in (8, HEADER - 1, HEADER, HEADER + TAG - 1, HEADER + step, HEADER + step + 5, len(made) - 1):
        with pytest.raises(ObjectDamaged):
            Cipher([NEW]).opened(NAME, made[:size])


def test_a_chunk_can_be_read_without_the_others() -> None:
    """A range of a file costs its own chunks only, should a store ever give ranges."""
    made = sealed_by(NEW, b"a" * CHUNK + b"b" * CHUNK + b"c")
    header = sealed.header_of(NAME, made)
    aes = sealed._aes(NAME, header.raw, NEW)
    at = HEADER + CHUNK + TAG
    assert aes.decrypt((1).to_bytes(11, "big") + b"\0", made[at : at + CHUNK + TAG], None) == b"b" * CHUNK


def test_a_file_in_the_place_of_another_is_not_taken_for_it(tmp_path: Path) -> None:
    one = store(tmp_path, NEW)
    one.put(NAME, b"of one patient")
    one.put(OTHER, b"of another one")
    (tmp_path / NAME).replace(tmp_path / OTHER)
    with pytest.raises(ObjectDamaged, match="the file of another object"):
        one.get(OTHER, 14)


def test_files_of_both_kinds_are_read_and_without_keys_nothing_changes(tmp_path: Path) -> None:
    plain, keyed = store(tmp_path), store(tmp_path, NEW)
    plain.put(NAME, b"plain ", b"file")
    assert (tmp_path / NAME).read_bytes() == b"plain file"
    keyed.put_many([(OTHER, b"secret file")])
    assert b"secret" not in (tmp_path / OTHER).read_bytes()
    assert [keyed.get(NAME, 10), keyed.get(OTHER, 11)] == [b"plain file", b"secret file"]
    assert [keyed.size(NAME), keyed.size(OTHER)] == [10, 11]
    for name, size in ((NAME, 11), (OTHER, 10), (OTHER, 0)):
        for one in (plain, keyed):
            with pytest.raises(ObjectDamaged, match=f"and not {size}"):
                one.get(name, size)
    with pytest.raises(ObjectMissing):
        keyed.get(NAME + ".none", 5)


def test_a_plain_file_of_the_size_of_an_encrypted_one_is_damaged(tmp_path: Path) -> None:
    keyed = store(tmp_path, NEW)
    store(tmp_path).put(NAME, bytes(sealed.sealed_size(5)))
    with pytest.raises(ObjectDamaged):
        keyed.get(NAME, 5)


def test_a_missing_key_is_named_and_no_damage(tmp_path: Path) -> None:
    store(tmp_path, OLD).put(NAME, b"old")
    store(tmp_path, NEW).put(OTHER, b"new")
    for one in (store(tmp_path), store(tmp_path, NEW)):
        for size in (3, None):
            with pytest.raises(KeyMissing, match='with the key "2025", which is missing') as found:
                one.get(NAME, size)
            assert isinstance(found.value, ObjectUnreadable)
    assert store(tmp_path, NEW).get(OTHER) == b"new"
    assert store(tmp_path, NEW, OLD).get(NAME) == b"old"
    wrong = EncryptionKey(OLD.id, b"w" * 32)
    with pytest.raises(KeyMissing, match='another key "2025" than the one'):
        store(tmp_path, wrong).get(NAME, 3)


def test_a_later_version_is_no_damage() -> None:
    made = bytearray(sealed_by(NEW, b"x"))
    made[8] = 2
    with pytest.raises(ObjectUnreadable, match="version 2"):
        Cipher([NEW]).opened(NAME, made)


def test_a_large_file_is_read_from_its_map(tmp_path: Path) -> None:
    keyed, data = store(tmp_path, NEW), bytes(range(256)) * (IN_MEMORY // 256 + 1)
    keyed.put(NAME, data)
    inner = keyed.inner.get(NAME)
    assert isinstance(inner, memoryview)
    assert isinstance(inner.obj, mmap.mmap)
    assert keyed.get(NAME, len(data)) == data
    with (tmp_path / OTHER).open("wb") as file:  # the object of another name, large
        file.write(inner)
    with pytest.raises(ObjectDamaged):
        keyed.get(OTHER, len(data))


def test_records_of_the_landing_log_are_encrypted(tmp_path: Path) -> None:
    log = LandingLog(tmp_path, segment=1 << 20)
    landed = LandedStore(LocalStore(tmp_path), log, Cipher([NEW]))
    with landed.landing(b"head", b"DOE^JANE") as landing:
        landing.sync()
        landing.keep()
    assert landing.size == 12
    assert landed.get(landing.key, 12) == b"headDOE^JANE"
    assert (landed.size(landing.key), landed.counts(landing.key)) == (12, True)
    (path,) = tmp_path.rglob("*.log")
    assert b"DOE" not in path.read_bytes()
    without = LandedStore(LocalStore(tmp_path), log)
    with pytest.raises(KeyMissing, match='"2026"'):
        without.get(landing.key, 12)
    assert list(without.keys()) == [landing.key]
    landed.close()


def test_a_script_without_code_of_zscp_opens_it(tmp_path: Path) -> None:
    secret = tmp_path / "2026.key"
    secret.write_text(new_secret())
    secret.chmod(0o600)
    data: Buffer = bytes(range(256)) * 300
    keyed = store(tmp_path / "objects", *read_keys([f"2026={secret}"]))
    keyed.put(NAME, data)
    command = [sys.executable, "-I", UNSEAL, secret, tmp_path / "objects", tmp_path / "objects" / NAME]
    assert subprocess.run(command, capture_output=True, check=True).stdout == data


# Keys


def test_keys_come_from_files_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "2026.key"
    path.write_text(new_secret())
    path.chmod(0o600)
    monkeypatch.setenv("ZSCP_OLD_KEY", "ab" * 32)
    entries = (f"2026={path}", "2025=env:ZSCP_OLD_KEY")
    assert check_keys(entries) == entries
    new, old = read_keys(entries)
    assert (new.id, old) == ("2026", EncryptionKey("2025", b"\xab" * 32))
    assert path.read_text().strip() not in repr(new)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("2026", "each is <id>=<path of a file>"),
        ("an id=/x", "each is <id>=<path of a file>"),
        ("2026={0}/none", "cannot be read: No such file"),
        ("2026={0}/open", "chmod 600"),
        ("2026={0}/short", "is not 64 hexadecimal digits"),
        ("2026=env:ZSCP_NOT_THERE", "no ZSCP_NOT_THERE in the environment"),
        ("2026=" + "5ec2e7" * 10 + "5ec2", '"2026" is followed by a key'),
        ("2026=env:" + "5ec2e7" * 10 + "5ec2", '"2026" is followed by a key'),
    ],
)
def test_a_key_that_cannot_be_used_is_told_of(entry: str, told: str, tmp_path: Path) -> None:
    for name, text, mode in (("open", new_secret(), 0o640), ("short", "secret", 0o600)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)
    with pytest.raises(ValueError, match=told) as found:
        check_keys((entry.format(tmp_path),))
    assert "secret" not in str(found.value)
    assert "5ec2" not in str(found.value)  # an error is logged


def test_a_node_holds_the_keys_that_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that are started later have them, whatever has become of the files."""
    monkeypatch.setattr(keys, "_held", {})
    path = tmp_path / "2026.key"
    path.write_text(new_secret())
    path.chmod(0o600)
    entries = [f"2026={path}"]
    with pytest.raises(ConfigurationError, match="cannot be read"):
        keys.hold([f"2026={path}.none"])
    keys.hold(entries)
    held = keys.keys_of(entries)
    path.unlink()
    assert keys.keys_of(entries) == held


def test_an_id_is_there_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZSCP_KEY", "ab" * 32)
    with pytest.raises(ValueError, match='"a" is there twice'):
        check_keys(("a=env:ZSCP_KEY", "a=env:ZSCP_KEY"))
