"""The way out: a stored object becomes a dataset stream in a transfer syntax that the peer accepted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from scp.encoding.derived import Source
from scp.encoding.lossy import Stored, Way, copied, ways
from scp.encoding.transcode import transcoding
from scp.errors import CodecError, NoLosslessWay
from scp.model import Instance, LossyRule, Wishes
from scp.objects.part10 import Part10
from scp.spool import Buffer
from scp.stored import provenance_of
from scp.syntaxes import lookup


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A stored object on its way out: a dataset stream in a transfer syntax that the peer accepted.

    ``chunks`` are its bytes, piece by piece, and can be gone through once; a large object is decoded while
    they are. Going through them raises CodecError where that shows only then. ``copy_uid`` is the SOP
    Instance UID of a lossy copy; empty where the object itself goes out.
    """

    instance: Instance
    transfer_syntax: str
    chunks: Iterator[Buffer]
    copy_uid: str = ""


def outgoing(instance: Instance, file: Part10, accepted: Iterable[str], wishes: Wishes) -> Outgoing:
    """An object in the best of the accepted transfer syntaxes (invariant 4).

    A lossy copy is made only where the wishes hold a rule for it. Raises NoLosslessWay.
    """
    received = provenance_of(file).transfer_syntax
    possible = ways(file.transfer_syntax, received, accepted, wishes)
    reasons = []
    for way in possible:
        try:
            if way.lossy and wishes.lossy is not None:
                return _copy(instance, file, way, wishes.lossy, possible)
            return _exact(instance, file, way, wishes.even)
        except CodecError as error:
            reasons.append(f"{lookup(way.transfer_syntax).keyword}: {error}")
    raise NoLosslessWay(
        f"kept as {lookup(file.transfer_syntax).keyword}; "
        + ("; ".join(reasons) or "nothing accepted that it could be sent in")
    )


def _exact(instance: Instance, file: Part10, way: Way, even: bool) -> Outgoing:
    """The object itself. Raises CodecError."""
    known = provenance_of(file)
    even = even and not known.even  # one whose lengths are known to be even is not looked at again
    chunks = transcoding(file.dataset, file.transfer_syntax, way.transfer_syntax, known.restoration, even)
    return Outgoing(instance, way.transfer_syntax, chunks)


def _copy(instance: Instance, file: Part10, way: Way, rule: LossyRule, possible: list[Way]) -> Outgoing:
    """A lossy copy of it, smaller than the object itself would be. Raises CodecError."""
    known = provenance_of(file)
    source = Source(instance.sop_class_uid, instance.sop_instance_uid, known.sha256)
    stored = Stored(file.dataset, file.transfer_syntax, known.restoration, source)
    lossless = [each.transfer_syntax for each in possible if not each.lossy]
    copy = copied(stored, way.transfer_syntax, rule, lossless)
    return Outgoing(instance, way.transfer_syntax, copy.chunks, copy.sop_instance_uid)
