"""``zscp advise`` on what is stored: some objects at random, as files for as long as they are compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from scp.advise.advise import Advice, Told, Wanted, advise
from scp.archive.archive import Archive
from scp.archive.deliver import Outgoing
from scp.background.alone import alone
from scp.errors import NoLosslessWay
from scp.model import Instance
from scp.objects import part10
from scp.objects.part10 import Part10
from scp.resources.room import of as room_of
from scp.spool import slices


@dataclass(frozen=True, slots=True)
class StoredSample:
    """How much is taken of what is stored: so many ``objects``, and about so many ``bytes`` as received."""

    objects: int = 400
    bytes: int = 500_000_000


def advise_stored(archive: Archive, wanted: Wanted, sample: StoredSample, told: Told) -> Advice:
    """Compare codecs on objects that are picked at random from all that is stored.

    They are written into a temporary folder (TMPDIR), which nobody else can read and which is removed at the
    end: never into one of a store, where a later ``reindex`` would take them for objects. An object that
    cannot be read is left out. Raises OutOfResources.
    """
    with TemporaryDirectory(prefix="zscp-advise-") as place, told("reading", "objects") as progress:
        chosen = list(_first_bytes(archive.stages.picked(sample.objects), sample.bytes))
        progress.total(len(chosen))
        for number, one in enumerate(chosen):
            with alone("cannot be compared", sop_instance=one.sop_instance_uid):
                _write(Path(place) / f"{number:06}.dcm", _received(archive, one))
            progress.advance()
        return advise([Path(place)], wanted, told)


def _first_bytes(instances: list[Instance], most: int) -> Iterator[Instance]:
    size = 0
    for one in instances:
        if size and size + one.received_size > most:
            continue  # a smaller one may still fit
        size += one.received_size
        yield one


def _received(archive: Archive, one: Instance) -> Outgoing:
    try:
        return archive.fetch(one, [one.received_transfer_syntax])
    except NoLosslessWay:
        return archive.fetch(one, [one.transfer_syntax])


def _write(path: Path, outgoing: Outgoing) -> None:
    instance, room = outgoing.instance, room_of(path.parent)
    uids = (instance.sop_class_uid, instance.sop_instance_uid)
    with path.open("wb") as out:
        out.write(part10.head(Part10(*uids, outgoing.transfer_syntax, b"")))
        for part in chain.from_iterable(map(slices, outgoing.chunks)):
            room.check(len(part))
            out.write(part)
