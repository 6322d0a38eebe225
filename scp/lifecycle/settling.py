"""Pending objects are encoded at once, for those who cannot wait until the node's encoder has done it."""

from __future__ import annotations

from scp.archive.archive import Archive
from scp.background.alone import alone
from scp.model import Instance


def settle(archive: Archive, instance: Instance) -> Instance | None:
    """Encode an object, if it is pending; returns its row then, None if it is not held.

    Another node uploads it first, where it is in that one's landing log. The node's encoder may do the same
    now: the form that comes first is taken. An error, even a lack of room, keeps no other object back: this
    one stays pending.
    """
    current = archive.current(instance.identity)
    if current is None or not current.pending:
        return current
    with alone("cannot be encoded", through=(), sop_instance=instance.sop_instance_uid):
        current = archive.elsewhere.brought(current)
        if current.pending:
            archive.replace([archive.encode(current)])
    return archive.current(instance.identity)
