"""A stored dataset to any transfer syntax, and which of them to try."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from scp.encoding.cage.caged import Trust
from scp.encoding.codecs.table import CODECS, encoder_of
from scp.encoding.dataset import SplitDataset, join, split
from scp.encoding.decoding import decoding
from scp.encoding.encapsulating import encapsulated
from scp.encoding.evenness import even_stream, evened
from scp.encoding.recompression import RECOMPRESSIBLE, recompressed, restored
from scp.encoding.streams import Chunks, gathered
from scp.errors import CannotDecode, CannotEncode, UnreadableDataset
from scp.model import Restoration, SyntaxPreference
from scp.spool import Buffer, has_room, slices
from scp.syntaxes import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, JPEGXL_RECOMPRESSION, Content, lookup

# Native ways out, cheapest first: a header to convert at most, then the deflating.
_NATIVE_ORDER = (EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED)
# The fastest encoder first. Sorted once: an object that goes out as it is stored costs 0.15 ms in all.
_ENCODERS = sorted(
    (codec.writes for codec in CODECS if codec.encode),
    key=lambda syntax: lookup(syntax).encodes,
    reverse=True,
)

# Negative samples are stored with JPEG XL's effort 7: a peer would wait nine times as long for that.
_EFFORTS_FOR_PEERS = {"jpegxl": 3}


def ways_out(stored: str, received: str, accepted: Iterable[str], preference: SyntaxPreference) -> list[str]:
    """The accepted transfer syntaxes that may carry an object, best first.

    The stored one costs nothing, then come what the peer prefers (before it, if it says so), the received
    one where it is native or a recompressed JPEG, other native ones, encoders by their cost. Whether an
    object fits one of them shows only when it is tried.

    What is lossy goes out as it is, or as the JPEG that it was, before any wish: decoded and encoded without
    loss it would be several times larger.
    """
    natives = [received] if received in _NATIVE_ORDER else []
    first = [*preference.preferred, stored] if preference.before_stored else [stored, *preference.preferred]
    if lookup(stored).content is Content.EITHER:
        first = [*_of_lossy(stored, received, preference), *preference.preferred]
    allowed = set(accepted)
    order = dict.fromkeys(chain(first, natives, _NATIVE_ORDER, _ENCODERS))
    return [syntax for syntax in order if syntax in allowed]


def _comes_late(plain: SplitDataset) -> bool:
    """Whether frames are yet to be decoded, and there is room for all of them in a file.

    What fails in the middle of a C-STORE request ends its association, and with it the objects behind it
    (docs/decisions/0125).
    """
    chunks = plain.pixel.value if plain.pixel is not None else None
    return isinstance(chunks, Chunks) and chunks.late and has_room(chunks.size)


def _of_lossy(stored: str, received: str, preference: SyntaxPreference) -> list[str]:
    """What carries the very codestream of a lossy object; the smaller first where the line is thin."""
    if stored in RECOMPRESSIBLE:
        both = [stored, JPEGXL_RECOMPRESSION]
        return both[::-1] if preference.before_stored else both
    restorable = stored == JPEGXL_RECOMPRESSION and received in RECOMPRESSIBLE
    return [stored, received] if restorable else [stored]


def transcoding(  # noqa: PLR0913, PLR0917 - what is known of a stored dataset, and what is wanted
    dataset: Buffer,
    stored: str,
    target: str,
    restoration: Restoration | None,
    even: bool = False,
    trust: Trust = Trust.ANYBODYS,
    proven: bool = False,
) -> Iterator[Buffer]:
    """A stored dataset stream in another transfer syntax, without loss, piece by piece.

    In the received transfer syntax it is the received stream to the byte, if that one is native or a JPEG
    that was recompressed; but with ``even``, odd lengths are padded. ``trust`` is that of
    :func:`~scp.encoding.decoding.decoding`; ``proven`` is as in :func:`~scp.encoding.dataset.split`, and what
    has a ``restoration`` is. Raises CannotDecode or CannotEncode, with the reason, when there is no way. It
    does so when it is called: codestreams that were not proven here are all decoded then, into a file if they
    are large. Only where the disk has no room for that file, going through the pieces may raise it. Room is
    looked at and not reserved: where others fill the disk meanwhile, OutOfResources is raised.
    """
    source, wanted = lookup(stored), lookup(target)
    if target == stored:
        return even_stream(dataset, source) if even else slices(dataset)
    if Content.REFERENCED in (source.content, wanted.content):
        raise CannotDecode(f"{source.keyword} has no pixel data that {wanted.keyword} could carry")

    def joined(parts: SplitDataset) -> Iterator[Buffer]:
        return join(evened(parts) if even else parts, wanted)

    try:
        parts = split(dataset, source, proven=proven or restoration is not None)
        if restoration is not None and restoration.jpeg is not None:
            parts, source = restored(parts, restoration, trust), lookup(restoration.jpeg.transfer_syntax)
            restoration = None
        if target == source.uid:
            return joined(parts)
        if target == JPEGXL_RECOMPRESSION:
            return joined(recompressed(parts, source.uid)[0])
        plain = decoding(parts, source, restoration, trust=trust)
        if not wanted.encapsulated:
            found = joined(plain)
            return slices(gathered(found)) if restoration is None and _comes_late(plain) else found
        codec = encoder_of(target)
        if codec is None:
            raise CannotEncode(f"{wanted.keyword} is not encoded here")
        return joined(encapsulated(plain, codec, _EFFORTS_FOR_PEERS.get(codec.name, 0))[0])
    except (UnreadableDataset, ValueError) as error:
        raise CannotDecode(str(error)) from error
