"""What lies on the disk, and may have been replaced there: stored files, dictionaries, the log, notes."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import zstandard

from scp.archive import foreign
from scp.archive.records import (
    check_uids,
    facts_of_stored,
    imported_from,
    instance_of,
    received_from,
    restored_from,
)
from scp.encoding.forms import prove
from scp.errors import DictionaryMissing, NotReproduced, ObjectDamaged, ObjectMissing, UidMismatch
from scp.model import Provenance
from scp.objects import part10
from scp.objects import provenance as private
from scp.objects.decoded import DecodedCache
from scp.objects.dictionaries import Dictionary, dictionary_of
from scp.objects.holds import Holds
from scp.objects.landing import LandingLog
from scp.objects.mark import ArchiveMark
from scp.objects.names import LANDING
from scp.objects.part10 import Part10
from scp.objects.segments import keys_in
from scp.objects.trash import Trash
from scp.spool import sha256
from scp.syntaxes import EXPLICIT

_PLAIN, _WRAPPED, _WITH_DICTIONARY = range(3)
# A dataset that a lying private information is put in front of.
_DATASET = bytes.fromhex(
    "08001600 55490600 312e322e3300 08001800 55490600 312e322e3300 10001000 504e0400 41424344"
)


@cache
def small_dictionary() -> Dictionary:
    """Trained on a few short texts, the same each time."""
    samples = [f"object {each} of {each % 7} with {each * each} bytes".encode() * 4 for each in range(400)]
    return dictionary_of(zstandard.train_dictionary(1024, samples).as_bytes())


def _lookup(number: int) -> Dictionary:
    if number == small_dictionary().id:
        return small_dictionary()
    raise DictionaryMissing(f"there is no dictionary {number}")


def stored(data: bytes) -> None:
    """A stored file as it lies there or, as the first byte says, what a sound zstd frame holds."""
    kind, file = (data[0] if data else 0) % 3, data[1:]
    if kind == _WRAPPED:
        file = bytes(part10.wrap(file, 3))
    elif kind == _WITH_DICTIONARY:
        file = bytes(part10.wrap(file, 3, dictionary=small_dictionary()))
    with suppress(ObjectDamaged):
        _use(part10.unpack(file, _lookup))


def provenance(data: bytes) -> None:
    """Private information that says anything, in a sound file."""
    with suppress(ObjectDamaged):
        known = private.decoded(data)
        if private.decoded(private.encoded(known)) != known:
            raise AssertionError("written and read again, it is something else")
        syntax = "1.2.840.10008.1.2.4.201" if known.restoration else "1.2.840.10008.1.2.1"
        _use(Part10("1.2.3", "1.2.3", syntax, _DATASET, known))


def _use(file: Part10) -> None:
    """All that is made of a file that was read."""
    imported_from(file, "FUZZ")
    if file.provenance is None:
        return
    facts = facts_of_stored(file)
    instance = instance_of("3f/a2/1.2/1.2.3_0.zstd.dcm", 1, "0", file, facts)
    with suppress(UidMismatch):
        check_uids(instance, facts)
    received_from(file, "FUZZ")
    with suppress(ObjectDamaged):
        restored_from(file)
    with suppress(NotReproduced):
        prove(file.dataset, file.transfer_syntax, file.provenance)


def foreign_file(data: bytes) -> None:
    """A file that is imported."""
    with suppress(ObjectDamaged):
        imported_from(foreign.read(data, _lookup)[0], "FUZZ")


def dictionary(data: bytes) -> None:
    """A dictionary's file, and a frame that names it."""
    with suppress(ObjectDamaged):
        found = dictionary_of(data)
        frame = bytes(part10.wrap(_DATASET * 4, 3, dictionary=found))
        if bytes(part10.unwrap(frame, lambda _: found)) != _DATASET * 4:
            raise AssertionError("what it wraps is not given back")


def landing(data: bytes) -> None:
    """A segment of the landing log."""
    with tempfile.TemporaryDirectory() as root:
        segment = Path(root) / LANDING / "1-a" / "000001.log"
        segment.parent.mkdir(parents=True)
        segment.write_bytes(data)
        log = LandingLog(Path(root))
        for key in list(keys_in(segment)):
            with suppress(ObjectMissing, ObjectDamaged):
                _use(part10.unpack(log.get(key), _lookup))


def notes(data: bytes) -> None:
    """The JSON of trash, holds and marks, and a cached decoded object."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        for name in (".trash/a.gone", ".holds/a.json", ".zscp/archive", ".decoded/a"):
            (folder / name).parent.mkdir()
            (folder / name).write_bytes(data)
        with suppress(ObjectDamaged):
            Trash({"": folder}).entries()
        with suppress(ObjectDamaged):
            Holds(folder).all()
        ArchiveMark(folder).read()
        DecodedCache(folder / ".decoded", 1 << 20).get("a")


def sound_provenance() -> bytes:
    """What a stored file remembers, with all there can be, for a seed."""
    digest, when = sha256(_DATASET), datetime(2026, 1, 1, tzinfo=UTC)
    known = Provenance(EXPLICIT, digest, len(_DATASET), when, "CT", "ZSCP", "rule", "zstd")
    fields = json.loads(private.encoded(known))
    fields["restore"] = {"vr": "OW", "prefix": 4, "suffix": 3, "middle": "00ff", "planar": 1, "tail": "00"}
    fields["restore"]["jpeg"] = {"table": "0000", "sizes": [[1, 2], [3]]}
    fields["tried"] = [{"form": "htj2k", "outcome": "kept", "size": 3, "seconds": 0.1}]
    return json.dumps(fields).encode()
