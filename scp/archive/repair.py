"""A damaged or missing object is repaired from another copy, where there is one.

Other copies are left-over stored forms of the same content, in any store, and files that an admin names. Each
copy is proven before it replaces the damaged file, which is set aside, not deleted.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from scp.archive.admission import Admission
from scp.archive.archive import Archive
from scp.archive.records import own_key, provenance_of
from scp.encoding.forms import prove
from scp.errors import CodecError, ObjectDamaged, ObjectMissing, ObjectUnavailable
from scp.model import Instance, Received


def repair_from_siblings(archive: Archive, instance: Instance) -> str:
    """Repair an object from another stored form of the same content; returns the key of that, or nothing.

    Raises OutOfResources.
    """
    place = instance.key if archive.files.keeps(instance.key) else own_key(instance)
    for key in list(archive.files.siblings(place, instance.sop_instance_uid)):
        if key == instance.key:
            continue
        found = _proven(archive, instance, key)
        if found is not None and archive.replacer.point_to(instance, found):
            return key
    return ""


def _proven(archive: Archive, instance: Instance, key: str) -> Instance | None:
    """The row of the file under a key, if the file reproduces what was received as ``instance``."""
    with suppress(ObjectDamaged, ObjectMissing, ObjectUnavailable, CodecError):
        found, _ = archive.reader.read_back(key)
        with archive.trials.of(found, "decode"):
            _, file = archive.reader.read(found)
            prove(file.dataset, file.transfer_syntax, provenance_of(file))
        same = (found.sop_instance_uid, found.received_sha256, found.received_transfer_syntax)
        if same == (instance.sop_instance_uid, instance.received_sha256, instance.received_transfer_syntax):
            return found
    return None


def repair_from(archive: Archive, received: Received) -> bool:
    """Repair the object that a file is a copy of; False if that is not needed, or the content differs.

    Raises OutOfResources.
    """
    copied = (received.sha256, received.transfer_syntax)
    named = archive.named(received.sop_instance_uid)
    held = next((one for one in named if (one.received_sha256, one.received_transfer_syntax) == copied), None)
    if held is None:
        return False
    try:
        archive.verify(held)
    except ObjectUnavailable:
        return False
    except (ObjectDamaged, ObjectMissing):
        if archive.files.keeps(held.key):
            archive.files.set_aside(held.key)
        again = replace(received, calling_aet=held.calling_aet, received_at=held.received_at)
        archive.ingest(again, Admission())  # it was accepted before
        return True
    return False
