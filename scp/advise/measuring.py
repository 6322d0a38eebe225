"""How small and how fast each codec is on an admin's own objects.

All candidates see the same objects: an object that a codec does not take counts with the size of its zstd
form, as zscp would store it. A first version of the table that chose zscp's defaults gave a slow codec fewer
frames, and was wrong by 6 points.

Speeds are those of one core, by the thread's own CPU time: other load on the machine changes them little.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np

from scp.advise.candidates import ByteCandidate, Candidate, ImageCandidate
from scp.advise.dictionaries import NO_DICTIONARIES, TrainedDictionaries
from scp.advise.sampling import SampledObject
from scp.advise.stored_as import file_with, form_for
from scp.archive.framing import Framing, framed, in_frame
from scp.encoding.cage.caged import thread_time
from scp.encoding.pixels import Frame
from scp.errors import CannotEncode
from scp.objects import part10
from scp.objects.dictionaries import Dictionary
from scp.spool import Buffer

# Quick work is repeated, and the best time counts: the first run is slower, as memory is cold.
_ENOUGH_SECONDS, _MOST_TIMES = 0.03, 5
_NO_DICTIONARY = "headers are too few, or too small a part, to train a dictionary for"

T = TypeVar("T")
Outcome = Literal["lossless", "lossy", "wrong", "refused"]


@dataclass(frozen=True, slots=True)
class Measured:
    """One object in one candidate. Sizes in bytes, times in seconds of one core.

    ``raw`` is the uncompressed dataset, ``line`` what a peer is sent, ``disk`` the file that is kept.
    ``outcome`` is ``lossless``, ``lossy``, ``refused`` (sizes are the fallback's, times are 0) or ``wrong``
    (something else came back), with the reason. ``max_error``, ``sum_error`` and ``square_error`` (sums
    over ``samples``) are in the samples' own unit, ``span`` is from the smallest to the largest sample.
    """

    raw: int
    line: int
    disk: int
    outcome: Outcome
    reason: str = ""
    encode: float = 0.0
    decode: float = 0.0
    max_error: int = 0
    sum_error: int = 0
    square_error: float = 0.0
    samples: int = 0
    span: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """A candidate over all objects of a group: ``line`` and ``disk`` in % of raw, speeds in MB/s of raw.

    ``taken`` of ``objects`` were coded by it, the others by zstd in its stead. ``verdict`` is ``lossless``,
    ``lossy``, ``wrong``, or ``refused`` where it took none: then there are no figures. Errors are in sample
    values, ``psnr`` is in dB. ``study_seconds`` is how long a study takes on the line that was asked for.
    """

    candidate: Candidate
    objects: int
    taken: int
    verdict: Outcome
    reason: str
    line: float = 0.0
    disk: float = 0.0
    encode: float = 0.0
    decode: float = 0.0
    study_seconds: float = 0.0
    max_error: int = 0
    mean_error: float = 0.0
    psnr: float = 0.0


def measure(
    sample: SampledObject, compared: Sequence[Candidate], dictionaries: TrainedDictionaries = NO_DICTIONARIES
) -> Iterator[Measured]:
    """One object in each candidate, in their order; ``dictionaries`` are for those that want one."""
    as_zstd = in_frame(sample.file, Framing("zstd")).data
    fallback = Measured(sample.raw, sample.raw, len(as_zstd), "refused")
    for candidate in compared:
        try:
            yield _one(sample, candidate, dictionaries)
        except CannotEncode as error:
            yield replace(fallback, reason=str(error))
        except Exception as error:  # noqa: BLE001 - each library has its own kinds; one must not end the rest
            yield replace(fallback, reason=f"{type(error).__name__}: {error}")


def _one(sample: SampledObject, candidate: Candidate, dictionaries: TrainedDictionaries) -> Measured:
    dictionary = dictionaries.of(sample, candidate) if candidate.dictionary else None
    if candidate.dictionary and dictionary is None:
        raise CannotEncode(_NO_DICTIONARY)
    if isinstance(candidate, ImageCandidate):
        return _image(sample, candidate, dictionary)
    if not isinstance(candidate, ByteCandidate):
        raise CannotEncode("codes neither frames nor bytes")
    if dictionary is not None:
        asked = Framing("zstd", 0, candidate.level, lambda: dictionary)
        candidate = replace(
            candidate,
            encode=lambda file: in_frame(file, asked).data,
            decode=lambda frame: part10.unwrap(frame, lambda _: dictionary),
        )
    return _bytes(sample, candidate)


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    """What ``work`` returns, and its CPU seconds, a codec process's included: the least of several runs."""
    best, spent, times = math.inf, 0.0, 0
    while True:
        begun = thread_time()
        result = work()
        took = thread_time() - begun
        best, spent, times = min(best, took), spent + took, times + 1
        if spent >= _ENOUGH_SECONDS or times >= _MOST_TIMES:
            return result, best


def _bytes(sample: SampledObject, candidate: ByteCandidate) -> Measured:
    source = bytes(sample.dataset if candidate.dataset_only else sample.file)
    coded, encode = _timed(lambda: candidate.encode(source))
    back, decode = _timed(lambda: candidate.decode(coded))
    head = len(sample.file) - len(source)
    line = len(coded) if candidate.on_line else sample.raw
    verdict: Outcome = "lossless" if back == source else "wrong"
    reason = "" if verdict == "lossless" else "other bytes came back"
    return Measured(sample.raw, line, head + len(coded), verdict, reason, encode, decode)


def _image(sample: SampledObject, candidate: ImageCandidate, dictionary: Dictionary | None) -> Measured:
    form = form_for(sample, candidate)
    streams, encode = _timed(lambda: [candidate.encode(frame, form) for frame in sample.frames])
    frames, decode = _timed(lambda: [candidate.decode(stream, form) for stream in streams])
    file = file_with(sample, candidate, streams)
    plain = part10.pack(file)
    disk, wrap, unwrap = _framed(plain, Framing("auto", sum(map(len, streams)), None, lambda: dictionary))
    line = len(file.dataset)
    found = Measured(sample.raw, line, disk, "lossless", "", encode + wrap, decode + unwrap)
    if candidate.lossy:
        return _with_error(found, sample.frames, frames)
    if all(map(_same, sample.frames, frames)):
        return found
    return replace(found, outcome="wrong", reason="other samples came back")


def _same(one: Frame, other: Frame) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other)


def _with_error(found: Measured, frames: Iterable[Frame], decoded: Iterable[Frame]) -> Measured:
    most, total, square, samples, low, high = 0, 0, 0.0, 0, math.inf, -math.inf
    for one, other in zip(frames, decoded, strict=True):
        difference = np.abs(one.astype("i8") - other.astype("i8"))
        most, total = max(most, int(difference.max())), total + int(difference.sum())
        square += float(np.square(difference.astype("f8")).sum())
        samples += difference.size
        low, high = min(low, int(one.min())), max(high, int(one.max()))
    return replace(
        found,
        outcome="lossy",
        max_error=most,
        sum_error=total,
        square_error=square,
        samples=samples,
        span=int(high - low),
    )


def _framed(plain: Buffer, asked: Framing) -> tuple[int, float, float]:
    """Bytes on the disk, and the seconds to make and to read a zstd frame, where one is tried."""
    frame, encode = _timed(lambda: framed(plain, asked))
    if frame is None:
        return len(plain), encode, 0.0
    dictionary = asked.dictionary()
    lookup = None if dictionary is None else lambda _: dictionary
    _, decode = _timed(lambda: part10.unwrap(frame.data, lookup))
    return len(frame.data), encode, decode


def row(candidate: Candidate, found: Sequence[Measured], study: int, link: float) -> Row:
    """A candidate's figures over some objects; ``study`` in bytes uncompressed, ``link`` in Mbit/s."""
    taken = [one for one in found if one.outcome != "refused"]
    reason = next((one.reason for one in found if one.outcome == "wrong"), "")
    reason = reason or next((one.reason for one in found if one.reason), "")
    if not taken:
        return Row(candidate, len(found), 0, "refused", reason)
    raw = sum(one.raw for one in found)
    coded = sum(one.raw for one in taken) / 1e6
    line = sum(one.line for one in found) / raw
    return Row(
        candidate,
        len(found),
        len(taken),
        "wrong" if any(one.outcome == "wrong" for one in found) else taken[0].outcome,
        reason,
        line=100 * line,
        disk=100 * sum(one.disk for one in found) / raw,
        encode=_speed(coded, sum(one.encode for one in taken)),
        decode=_speed(coded, sum(one.decode for one in taken)),
        study_seconds=8 * study * line / (link * 1e6),
        max_error=max(one.max_error for one in taken),
        mean_error=sum(one.sum_error for one in taken) / max(sum(one.samples for one in taken), 1),
        psnr=_psnr(taken),
    )


def _speed(megabytes: float, seconds: float) -> float:
    return megabytes / max(seconds, 1e-9)


def _psnr(taken: Sequence[Measured]) -> float:
    """Peak signal to noise ratio in dB, each object by its own span; 0 where nothing differs."""
    samples = sum(one.samples for one in taken)
    relative = sum(one.square_error / max(one.span, 1) ** 2 for one in taken)
    return 10 * math.log10(samples / relative) if samples and relative else 0.0
