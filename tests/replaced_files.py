"""Stored files that somebody replaced: what each does to whoever reads it, in a process of little memory.

python replaced_files.py FOLDER prints a JSON line for each, and last by how many MB the process grew at most.
It is a program of its own, as its limit of memory and its peak are those of a process, and as no FIFO may
hang a test.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import zstandard
from objects import Shape, phantom

from scp.advise.sampling import look
from scp.archive.archive import Archive
from scp.background.progress import Silent
from scp.config.rules import PolicyRule
from scp.config.settings import Settings
from scp.errors import ZscpError
from scp.index.sql import SqlIndex
from scp.lifecycle.fsck import fsck
from scp.lifecycle.reindex import reindex
from scp.lifecycle.scrub import Scrubber
from scp.lifecycle.transfer import import_files
from scp.lifecycle.verify import verify
from scp.model import Instance, Restoration
from scp.objects import file_meta, part10
from scp.objects.local import LocalStore
from scp.resources import bounds
from scp.spool import keep_in
from scp.syntaxes import EXPLICIT

MEMORY = 400 << 20  # of address space, beside what the program itself takes
UNPACKED = 64 << 20  # limits.inflated_bytes, small enough for a test
_HUGE = 40 << 30
_PRIVATE = 256 << 20
_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x50\x2a\x4d\x18" + struct.pack("<L", 4) + b"skip"

Replace = Callable[[Path], None]  # what lies at a path is sound before, and something else after


def block(content: bytes, repeated: int = 0, last: bool = False) -> bytes:
    """A block of a zstd frame as it is, or one byte ``repeated`` (RFC 8878 3.1.1.2)."""
    kind, size = (1, repeated) if repeated else (0, len(content))
    return (size << 3 | kind << 1 | last).to_bytes(3, "little") + content


def frame(begin: bytes, size: int, declared: int | None = None, window: int = 0x38) -> bytes:
    """A zstd frame that holds ``begin`` and then NULs, ``size`` in all; 20 KB for each GB."""
    head = bytes((0, window)) if declared is None else bytes((0xC0, window)) + struct.pack("<Q", declared)
    blocks = [block(begin)] if begin else []
    blocks += [block(b"\0", 128 << 10)] * ((size - len(begin)) // (128 << 10))
    return _MAGIC + head + b"".join(blocks) + block(b"", last=True)


def _plain(path: Path) -> bytes:
    return bytes(part10.unwrap(path.read_bytes()))


def _with(path: Path, **changes: object) -> bytes:
    """The file with other provenance."""
    file = part10.unpack(_plain(path))
    assert file.provenance is not None
    return bytes(part10.pack(replace(file, provenance=replace(file.provenance, **changes))))


def _with_private(path: Path, private: bytes) -> bytes:
    """The file with other bytes in (0002,0102)."""
    plain = _plain(path)
    meta = file_meta.read(plain, 132)
    elements = [
        (number, b"OB" if number in (1, 0x102) else b"UI", value) for number, value in meta.values.items()
    ]
    elements = [(n, vr, private if n == 0x102 else value) for n, vr, value in sorted(elements) if n]
    return plain[:132] + file_meta.written(elements) + plain[meta.end :]


def _json(path: Path, text: str) -> bytes:
    """As :func:`_with_private`: the sound JSON with something more in it."""
    meta = file_meta.read(_plain(path), 132)
    sound = meta.values[0x102].rstrip(b" \0").decode()
    return _with_private(path, (sound[:-1] + text + "}").encode())


def _sparse_private(path: Path) -> None:
    """Private information that takes no room on the disk."""
    plain = _plain(path)
    element = struct.pack("<HH2sHL", 2, 0x102, b"OB", 0, _PRIVATE)
    group = struct.pack("<HH2sHL", 2, 0, b"UL", 4, 12 + _PRIVATE)
    path.write_bytes(plain[:132] + group + element)
    os.truncate(path, 132 + 12 + 12 + _PRIVATE)


def _instead(make: Callable[[Path], object]) -> Replace:
    def put(path: Path) -> None:
        path.unlink()
        make(path)

    return put


def _bytes(make: Callable[[Path], bytes]) -> Replace:
    def put(path: Path) -> None:
        data = make(path)
        path.unlink()
        path.write_bytes(data)

    return put


def _dictionary(change: Callable[[Path], object]) -> Replace:
    """What is done to the dictionary of the store, which the object needs, and to its copy."""

    def put(path: Path) -> None:
        files = sorted(path.parents[3].glob("dictionaries/*/*.zdict*"))
        assert [file.suffix for file in files] == [".zdict", ".copy"]
        for file in files:
            change(file)

    return put


def _other_dictionary(path: Path) -> bytes:
    data = path.read_bytes()
    return data[:5] + b"\1\2\3\4" + data[9:]


def _middle(count: int) -> Callable[[Path], bytes]:
    elements = struct.pack("<HH2sH", 2, 0x13, b"SH", 0) * count
    group = struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(elements))
    return lambda path: _plain(path)[:132] + group + elements


RESTORATION = Restoration(1 << 62, 1 << 62, b"", "OW", 1 << 62, b"", None)

REPLACED: dict[str, Replace] = {
    "a bomb": _bytes(lambda _: frame(b"", _HUGE)),
    "a bomb that begins as a file does": _bytes(lambda path: frame(_plain(path), _HUGE)),
    "a bomb that says so": _bytes(lambda path: frame(_plain(path), _HUGE, declared=_HUGE)),
    "a bomb that lies": _bytes(lambda path: frame(_plain(path), _HUGE, declared=1000)),
    "a window of 3 TB": _bytes(lambda path: frame(_plain(path), 1 << 20, window=0xFF)),
    "a window of 128 MB": _bytes(lambda path: frame(_plain(path), 1 << 20, window=0x88)),
    "two frames": _bytes(lambda path: path.read_bytes() * 2),
    "a frame to skip first": _bytes(lambda path: _SKIPPABLE + path.read_bytes()),
    "a frame to skip last": _bytes(lambda path: path.read_bytes() + _SKIPPABLE),
    "cut off": _bytes(lambda path: path.read_bytes()[:-200]),
    "its checksum wrong": _bytes(lambda path: path.read_bytes()[:-1] + b"\0"),
    "another dictionary's ID": _bytes(_other_dictionary),
    "its dictionary gone": _dictionary(lambda path: path.unlink()),
    "its dictionary another": _dictionary(lambda path: path.write_bytes(b"\x37\xa4\x30\xec" + bytes(9000))),
    "its dictionary of 1 TB": _dictionary(lambda path: os.truncate(path, 1 << 40)),
    "its dictionary a FIFO": _dictionary(_instead(os.mkfifo)),
    "private information of 256 MB": _sparse_private,
    "deep JSON": _bytes(lambda path: _with_private(path, b"[" * 1_000_000)),
    "JSON of many lists": _bytes(lambda path: _json(path, ',"more":[' + "[]," * 600_000 + "[]]")),
    "a size that no index holds": _bytes(lambda path: _json(path, ',"size":' + "9" * 30)),
    "half a character": _bytes(lambda path: _json(path, ',"rule":"\\ud800"')),
    "the first moment": _bytes(lambda path: _json(path, ',"at":"0001-01-01T00:00:00+23:00"')),
    "no JSON": _bytes(lambda path: _with_private(path, b"\xff\xfe")),
    "a group length of 4 GB": _bytes(lambda path: _plain(path)[:140] + b"\xff" * 4 + _plain(path)[144:]),
    "a million elements": _bytes(_middle(1_000_000)),
    "restoration of exabytes": _bytes(lambda path: _with(path, restoration=RESTORATION)),
    "no file at all": _bytes(lambda _: b""),
    "text": _bytes(lambda _: b"see the other folder\n" * 100),
    "zeros of 1 TB": _instead(lambda path: (path.touch(), os.truncate(path, 1 << 40))),
    "a FIFO": _instead(os.mkfifo),
    "a folder": _instead(lambda path: path.mkdir()),
    "a folder that is full": _instead(lambda path: (path.mkdir(), (path / "a").write_bytes(b"a"))),
    "a link to itself": _instead(lambda path: path.symlink_to(path.name)),
    "a link to nothing": _instead(lambda path: path.symlink_to("nothing")),
    "a link to a device": _instead(lambda path: path.symlink_to("/dev/zero")),
    "a link to a FIFO": _instead(lambda path: (os.mkfifo(path.parent / "fifo"), path.symlink_to("fifo"))),
}  # fmt: skip
# What reads every byte of a file for its digest takes as long as that is: 1 TB of nothing is only looked up.
NOT_READ_WHOLE = ("zeros of 1 TB",)


def archive_in(folder: Path, dictionary: bool = False) -> Archive:
    """Four objects, wrapped, which may need a dictionary."""
    rule = PolicyRule.model_validate({"name": "rule", "stages": [{"form": "zstd", "dictionary": dictionary}]})
    archive = Archive(LocalStore(folder / "objects"), SqlIndex.open(f"sqlite:///{folder}/index.db"), [rule])
    sent = [phantom(Shape(rows=40, columns=48, seed=seed)) for seed in range(1, 5)]
    samples = [bytes(each.dataset) for each in sent] * 10
    archive.dictionaries.add(sent[0].sop_class_uid, zstandard.train_dictionary(4096, samples).as_bytes())
    for each in sent:
        archive.ingest(each)
    return archive


def read_all(folder: Path, name: str) -> dict[str, object]:
    """What everything that reads makes of it; each that raises more than ZscpError ends the program."""
    archive = archive_in(folder, "dictionary" in name)
    first, *others = sorted(archive.index.all(), key=lambda one: one.sop_instance_uid)
    path = folder / "objects" / first.key
    REPLACED[name](path)
    if name.startswith("its dictionary"):  # of all of them, and read already
        archive.close()
        archive = Archive(LocalStore(folder / "objects"), archive_index(folder), [])
    found: dict[str, object] = {"name": name, "fetched": [_fetched(archive, one) for one in (first, *others)]}
    verdicts = list(verify(archive, archive.index.all(), deep=True))
    found["verified"] = {one.instance.sop_instance_uid: one.fault for one in verdicts if one.fault}
    found["fsck"] = [one.kind for one in fsck(archive, Silent())]
    scrubber = Scrubber(archive, lambda: Settings.model_validate({"scrub": {"interval": "1s"}}), "test")
    found["scrubbed"] = scrubber.round(time.time() + 10).damaged
    if name not in NOT_READ_WHOLE:
        outcome = reindex(archive, Silent())
        found["reindexed"], found["damaged"] = outcome.recorded, [key for key, _ in outcome.damaged]
        if not path.is_fifo() and not path.is_symlink():  # whoever names a pipe may mean it
            found["imported"] = [one.outcome for one in import_files(archive, [path], "AET")]
        found["seen"] = [one.outcome for one in look([path])]
    found["first"] = first.sop_instance_uid
    archive.close()
    return found


def archive_index(folder: Path) -> SqlIndex:
    """The index of the archive, opened once more."""
    return SqlIndex.open(f"sqlite:///{folder}/index.db")


def _fetched(archive: Archive, instance: Instance) -> str:
    try:
        return "" if b"".join(archive.fetch(instance, [EXPLICIT]).chunks) else "nothing"
    except ZscpError as error:
        return type(error).__name__


def peak() -> int:
    """Of resident memory, MB (Linux: VmHWM)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def main(folder: str, *names: str) -> None:
    """See the module."""
    keep_in(Path(folder))
    bounds.use(replace(bounds.DEFAULTS, inflated_bytes=UNPACKED))
    warm = Path(folder) / "warm"
    archive_in(warm).close()
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    before = peak()
    for name in names or REPLACED:
        here = Path(folder) / "here"
        started = time.process_time()
        found = read_all(here, name)
        found["seconds"] = time.process_time() - started
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
        shutil.rmtree(here)
    sys.stdout.write(json.dumps({"grown": peak() - before}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
