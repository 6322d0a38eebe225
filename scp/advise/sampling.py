"""Which objects of a folder are measured: a bounded choice that is the same each time, and spread out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median_high
from typing import Literal, TypeVar

from scp.archive import foreign
from scp.archive.records import imported_from
from scp.background.parallel import each
from scp.encoding.dataset import PixelElement, SplitDataset, join, split
from scp.encoding.decoding import native
from scp.encoding.elements import PIXEL_DATA
from scp.encoding.facts import survey
from scp.encoding.headers import Header
from scp.encoding.pixels import Frame, PixelFormat, frame_of, pixel_format, tail_of, unused_bits_are_empty
from scp.encoding.streams import gathered
from scp.errors import (
    CannotEncode,
    DictionaryMissing,
    ObjectDamaged,
    PixelsBeyondBounds,
    UnreadableDataset,
    message_of,
)
from scp.model import Provenance, Received
from scp.objects import files, part10
from scp.objects.dictionaries_beside import dictionaries_beside
from scp.objects.part10 import Part10
from scp.spool import Buffer, copied, sha256, xxh3
from scp.syntaxes import EXPLICIT, Content, lookup

_DICOMDIR = "1.2.840.10008.1.3.10"
# Frames of one object are measured up to so many bytes, but at least one frame.
_MOST_OF_ONE = 8_000_000
_MOST_OTHERS = 200
# The same each time, so that sizes are the same too.
_WHEN = datetime(2000, 1, 1, tzinfo=UTC)
_RULE = "everything else"
_STAGE = "4f3a9c0d17be"  # as long as a stage's fingerprint

T = TypeVar("T")
Look = Literal["sound", "lossy", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Seen:
    """One file that was looked at.

    ``size`` is what the object takes uncompressed, in bytes; ``measured`` as much of it as would be measured.
    ``outcome`` is ``sound``, ``lossy`` (its codestream is kept, so there is nothing to choose), ``skipped``
    (no DICOM object) or ``failed``, with the reason.
    """

    path: Path
    outcome: Look
    reason: str = ""
    modality: str = ""
    study: str = ""
    series: str = ""
    size: int = 0
    measured: int = 0


@dataclass(frozen=True, slots=True)
class SampledGroup:
    """What is compared in one table: the files chosen of ``objects``, which have ``size`` bytes in all.

    ``others`` are files to train a dictionary on, none of them chosen. ``study`` is the uncompressed size of
    the median of ``studies``, in bytes.
    """

    name: str
    chosen: tuple[Seen, ...]
    others: tuple[Seen, ...]
    objects: int
    size: int
    studies: int
    study: int


@dataclass(frozen=True, slots=True)
class SampledObject:
    """One object as all candidates see it, uncompressed: explicit VR little endian.

    ``file`` is its Part 10 file, ``dataset`` what stands behind the meta information. ``frames`` is empty,
    with the reason, where image codecs have nothing to code; of long multi-frames it holds some, evenly
    spaced.
    """

    seen: Seen
    file: Buffer
    dataset: Buffer
    parts: SplitDataset
    known: Provenance
    uids: tuple[str, str]
    frames: tuple[Frame, ...] = ()
    form: PixelFormat | None = None
    reason: str = ""

    @property
    def raw(self) -> int:
        """Bytes of the uncompressed dataset: percentages and speeds refer to these."""
        return len(self.dataset)

    @property
    def vr(self) -> str:
        """VR of the pixel data, empty without any."""
        return self.parts.pixel.vr if self.parts.pixel else ""

    @property
    def header_bytes(self) -> int:
        """Bytes of the dataset that are no pixel data."""
        return self.raw - (len(self.parts.pixel.value) if self.parts.pixel else 0)

    @property
    def cut(self) -> bool:
        """Whether frames were left out."""
        return self.form is not None and len(self.frames) < self.form.frames


def look(paths: Iterable[Path]) -> Iterator[Seen]:
    """What each file is; only headers are read where files are large."""
    return each(_seen, paths)


def _seen(path: Path) -> Seen:
    try:
        return _looked_at(path)
    except Exception as error:  # noqa: BLE001 - a bug, or no memory: the other files are looked at all the same
        return Seen(path, "failed", message_of(error))


def _looked_at(path: Path) -> Seen:
    try:
        file, _ = foreign.read(files.read(path, leased=False), dictionaries_beside(path))
    except DictionaryMissing as error:
        return Seen(path, "failed", str(error))
    except ObjectDamaged as error:
        return Seen(path, "skipped", str(error))
    except OSError as error:
        return Seen(path, "failed", error.strerror or str(error))
    if file.sop_class_uid == _DICOMDIR:
        return Seen(path, "skipped", "a DICOMDIR")
    uids = (file.sop_class_uid, file.sop_instance_uid)
    # The digest is not needed here, and to compute it would read all of the file.
    facts = survey(Received(*uids, file.transfer_syntax, file.dataset, "", "", _WHEN, sha256="-"))
    if not facts.readable:
        return Seen(path, "failed", facts.fault)
    get = facts.attributes.get
    content = lookup(file.transfer_syntax).content
    sizes = _sizes(facts.attributes, len(file.dataset), content)
    outcome: Look = "sound" if content in (Content.NATIVE, Content.LOSSLESS) else "lossy"
    study, series = get("StudyInstanceUID", ""), get("SeriesInstanceUID", "")
    return Seen(path, outcome, "", get("Modality", "") or "none", study, series, *sizes)


def _sizes(attributes: Mapping[str, str], stream: int, content: Content) -> tuple[int, int]:
    """Bytes uncompressed, and how many of them are measured."""
    try:
        form = pixel_format(attributes)
    except CannotEncode:  # no image
        return stream, stream
    pixels = form.frames * form.frame_size
    header = max(stream - pixels, 0) if content is Content.NATIVE else 0
    return header + pixels, header + _frames_taken(form) * form.frame_size


def _frames_taken(form: PixelFormat) -> int:
    return max(1, min(form.frames, _MOST_OF_ONE // form.frame_size))


def grouped(
    seen: Iterable[Seen], roots: Sequence[Path], by: str, sample: int, most: int
) -> list[SampledGroup]:
    """Sound files by ``by`` (``modality`` or ``folder``), with those of each group that are measured.

    At most ``sample`` objects a group, and about ``most`` bytes, but one object in any case.
    """
    groups: dict[str, list[Seen]] = defaultdict(list)
    for one in seen:
        if one.outcome == "sound":
            groups[one.modality if by == "modality" else _folder(one.path, roots)].append(one)
    return [_group(name, groups[name], sample, most) for name in sorted(groups)]


def _group(name: str, members: list[Seen], sample: int, most: int) -> SampledGroup:
    total = sum(one.measured for one in members)
    fitting = max(1, most * len(members) // max(total, 1))
    studies: dict[str, int] = defaultdict(int)
    for one in members:
        studies[one.study] += one.size
    chosen = spread(members, min(sample, fitting))
    left = [one for one in members if one not in set(chosen)]
    return SampledGroup(
        name,
        tuple(chosen),
        tuple(spread(left, min(fitting, _MOST_OTHERS))),
        len(members),
        sum(one.size for one in members),
        len(studies),
        median_high(studies.values()),
    )


def _folder(path: Path, roots: Sequence[Path]) -> str:
    """A file's folder below the path that was given, or that path's own name."""
    for root in roots:
        if root.is_dir() and path.is_relative_to(root):
            below = path.parent.relative_to(root)
            return str(below) if below.parts else root.resolve().name
    return path.parent.resolve().name


def spread(members: Iterable[Seen], count: int) -> list[Seen]:
    """``count`` of the members: as evenly over the series as possible, and evenly spaced within each."""
    series: dict[str, list[Seen]] = defaultdict(list)
    for one in sorted(members, key=lambda one: one.path):
        series[one.series].append(one)
    shares = dict.fromkeys(series, 0)
    left = min(count, sum(map(len, series.values())))
    while left:
        open_ = [uid for uid, of in series.items() if shares[uid] < len(of)]
        for uid in _evenly(open_, left):
            shares[uid] += 1
            left -= 1
    return [one for uid, of in series.items() for one in _evenly(of, shares[uid])]


def _evenly(items: Sequence[T], count: int) -> list[T]:
    """At most ``count`` of the items, evenly spaced."""
    count = min(count, len(items))
    return [items[(2 * each + 1) * len(items) // (2 * count)] for each in range(count)]


def load(seen: Seen) -> SampledObject:
    """The object in a file, uncompressed.

    Raises ZscpError or OSError where it cannot be read.
    """
    received, _ = imported_from(foreign.read(copied(seen.path), dictionaries_beside(seen.path))[0], "")
    syntax = lookup(received.transfer_syntax)
    try:
        plain = native(split(received.dataset, syntax), syntax)
    except ValueError as error:
        raise UnreadableDataset(str(error)) from error
    return _sample(seen, plain, (received.sop_class_uid, received.sop_instance_uid))


def _sample(seen: Seen, plain: SplitDataset, uids: tuple[str, str]) -> SampledObject:
    frames: tuple[Frame, ...] = ()
    form, reason = None, ""
    try:
        form, frames, plain = _frames(plain)
    except (CannotEncode, PixelsBeyondBounds) as error:
        reason = str(error)
    dataset = gathered(join(plain, lookup(EXPLICIT)))
    known = Provenance(
        EXPLICIT,
        sha256(dataset),
        len(dataset),
        _WHEN,
        "",
        "",
        rule=_RULE,
        form="zstd",
        stage=_STAGE,
        xxh3=xxh3(dataset),  # as long as that of any form
    )
    file = part10.pack(Part10(*uids, EXPLICIT, dataset, known))
    return SampledObject(seen, file, dataset, plain, known, uids, frames, form, reason)


def _frames(plain: SplitDataset) -> tuple[PixelFormat, tuple[Frame, ...], SplitDataset]:
    """The frames that are measured, and the dataset with these alone. Raises CannotEncode."""
    if plain.pixel is None:
        raise CannotEncode("no pixel data")
    form = Header(plain.header).format
    value = plain.pixel.held()
    tail = tail_of(value, plain.pixel.tag, form)
    taken = _evenly(range(form.frames), _frames_taken(form))
    frames = tuple(frame_of(value, each, form) for each in taken)
    if not all(unused_bits_are_empty(frame, form) for frame in frames):
        raise CannotEncode("bits above Bits Stored are in use")
    size = form.frame_size
    kept = b"".join((*(value[at * size : (at + 1) * size] for at in taken), tail))
    pixel = PixelElement(PIXEL_DATA, plain.pixel.vr, kept, encapsulated=False)
    return form, frames, SplitDataset(plain.header, pixel, plain.trailer)
