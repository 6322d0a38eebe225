"""Datasets as peers send them: looked at, taken apart and put together, kept and given back."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from datetime import UTC, datetime

from scp.archive.encode import keep
from scp.config.rules import PolicyRule, Stage
from scp.encoding.dataset import encoding_of, inflate, join, split
from scp.encoding.evenness import even_stream
from scp.encoding.facts import survey
from scp.encoding.fragments import evened_items, frames_within, offset_table
from scp.encoding.one_frame import decoded_frame
from scp.encoding.streams import gathered
from scp.encoding.transcode import transcoding
from scp.errors import CannotDecode, CodecError, NoPicture, UnreadableDataset
from scp.model import Received
from scp.objects import part10
from scp.syntaxes import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, JPEG_BASELINE, RLE, lookup
from scp.viewing.display import display_of
from scp.viewing.header import rows
from scp.viewing.rendering import shown

# Every way in which the elements of a stream are written, with native pixels and with fragments.
SYNTAXES = (EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED, RLE, JPEG_BASELINE)
_FORMS = ("htj2k", "jpegxl-recompression", "deflate", "native", "zstd")
_WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def written(syntax: str, stream: bytes) -> bytes:
    """An input of :func:`dataset`, :func:`kept`, :func:`looked_at` and :func:`evenness`."""
    return bytes((SYNTAXES.index(syntax),)) + stream


def _read(data: bytes) -> Received:
    syntax = SYNTAXES[(data[0] if data else 0) % len(SYNTAXES)]
    return Received("1.2.840.10008.5.1.4.1.1.7", "1.2.3", syntax, data[1:], "CT", "ZSCP", _WHEN)


def dataset(data: bytes) -> None:
    """A survey tells of any stream; splitting and joining it gives the same, or raises UnreadableDataset.

    The same as what was joined once: what came may be written in another way than zscp has, such as with
    reserved bytes that are not zero. That nothing of it is lost is :func:`kept`'s matter.
    """
    received = _read(data)
    facts = survey(received)
    for keyword in list(facts.attributes):
        facts.attributes.get(keyword)
    syntax = lookup(received.transfer_syntax)
    with suppress(UnreadableDataset, ValueError):
        once = bytes(gathered(join(split(received.dataset, syntax), syntax)))
        twice = bytes(gathered(join(split(once, syntax), syntax)))
        same = inflate(once) == inflate(twice) if syntax.deflated else once == twice
        if not same:
            raise AssertionError("split and joined again, it is something else")


def kept(data: bytes) -> None:
    """Whatever comes is kept, and gives back what was received, to the byte (invariants 2 and 3)."""
    received = _read(data)
    rule = PolicyRule(name="fuzz", stages=(Stage(forms=_FORMS),))
    form = keep(received, survey(received), rule)
    file = part10.unpack(form.data)
    known = file.provenance
    if known is None:
        raise AssertionError("nothing is remembered")
    if known.native_sha256:
        return  # proven by its pixels
    pieces = transcoding(file.dataset, file.transfer_syntax, received.transfer_syntax, known.restoration)
    if bytes(gathered(pieces)) != received.dataset:
        raise AssertionError(f"{known.form} does not give back what was received")


def looked_at(data: bytes) -> None:
    """Rows of a header, and a picture, of any stream; or a reason why there is none."""
    received = _read(data)
    syntax = lookup(received.transfer_syntax)
    with suppress(UnreadableDataset):
        stream = inflate(received.dataset) if syntax.deflated else received.dataset
        deque(rows(stream, encoding_of(syntax), 16), maxlen=0)
    with suppress(UnreadableDataset, CodecError, NoPicture):
        frame = decoded_frame(split(received.dataset, syntax), syntax, 0)
        shown(frame, display_of(frame.header, 0), 64)


def evenness(data: bytes) -> None:
    """What goes out has an even length; what can be followed is even all through, and not changed again."""
    received = _read(data)
    syntax = lookup(received.transfer_syntax)
    found = bytes(gathered(even_stream(received.dataset, syntax)))
    if len(found) % 2:
        raise AssertionError("an odd length goes out")
    with suppress(UnreadableDataset, ValueError):  # what cannot be followed may be so once it is padded
        split(received.dataset, syntax)
        again = bytes(gathered(even_stream(found, syntax)))
        if again != found and not syntax.deflated:
            raise AssertionError("what is even already is changed")


def fragments(data: bytes) -> None:
    """Items, offset tables and frames: CannotDecode, or every fragment is of exactly one frame."""
    count, items = (data[0] if data else 0) + 1, data[1:]
    with suppress(CannotDecode):
        offset_table(items)
    with suppress(CannotDecode):
        evened, _ = evened_items(items)
        if len(evened) % 2:
            raise AssertionError("padded items have an odd length")
    with suppress(CannotDecode):
        frames = frames_within(items, count)
        if len(frames) != count:
            raise AssertionError(f"{len(frames)} frames of {count}")
    with suppress(CodecError):
        frames_within(items, 1)
