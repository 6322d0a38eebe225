"""The file that would be stored for an object if a candidate coded its frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from scp.advise.candidates import Candidate, ImageCandidate
from scp.advise.sampling import SampledObject
from scp.encoding.dataset import PixelElement, SplitDataset, join
from scp.encoding.elements import PIXEL_DATA
from scp.encoding.fragments import encapsulate
from scp.encoding.pixels import PixelFormat
from scp.encoding.streams import gathered
from scp.errors import CannotEncode
from scp.model import Restoration
from scp.objects import part10
from scp.objects.part10 import Part10
from scp.syntaxes import HTJ2K, lookup


def file_of(sample: SampledObject, candidate: Candidate) -> Part10:
    """The file before any zstd frame. Raises CannotEncode."""
    if not isinstance(candidate, ImageCandidate):
        return part10.unpack(sample.file)
    form = form_for(sample, candidate)
    return file_with(sample, candidate, [candidate.encode(frame, form) for frame in sample.frames])


def form_for(sample: SampledObject, candidate: ImageCandidate) -> PixelFormat:
    """The pixel format that a candidate codes. Raises CannotEncode, with the reason, where it does not."""
    if sample.form is None or not sample.frames:
        raise CannotEncode(sample.reason)
    if reason := candidate.refuses(sample.form):
        raise CannotEncode(reason)
    return sample.form


def file_with(sample: SampledObject, candidate: ImageCandidate, streams: Sequence[bytes]) -> Part10:
    """The file with these codestreams.

    Codestreams for which there is no transfer syntax are put into the same file, as if there were one.
    """
    header, trailer, planar = (
        sample.parts.header,
        sample.parts.trailer,
        sample.form.planar if sample.form else 0,
    )
    pixel = PixelElement(PIXEL_DATA, "OB", encapsulate(streams, len(streams)), encapsulated=True)
    syntax = candidate.transfer_syntax or HTJ2K
    dataset = gathered(join(SplitDataset(header, pixel, trailer), lookup(syntax)))
    restoration = Restoration(len(header), 0, b"", sample.vr, planar, b"")
    known = replace(sample.known, form=candidate.form, codec=candidate.library, restoration=restoration)
    return Part10(*sample.uids, syntax, dataset, known)
