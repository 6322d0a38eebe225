"""Objects that peers have taken are counted, by peer and modality, for the history in the index."""

from __future__ import annotations

from collections.abc import Iterable

from scp.archive.archive import Archive
from scp.dimse.scu.carrier import Taken
from scp.errors import OutOfResources
from scp.metrics import counting
from scp.model import Instance


def sent_counter(service: str, aet: str, archive: Archive, instances: Iterable[Instance]) -> Taken:
    """What counts each of the instances, once it was sent to a peer.

    Nothing is sent less for the sake of a figure: if the index does not say of which modality the objects
    are, they are counted without one.
    """
    try:
        modalities = archive.modalities(instances)
    except OutOfResources:
        modalities = {}

    def taken(instance: Instance, wire_size: int) -> None:
        modality = modalities.get(instance.series_instance_uid, "")
        sizes = (wire_size, instance.received_size, instance.stored_size)
        counting.object_sent(service, aet, modality, sizes)

    return taken
