"""Codecs whose work is done in a codec process: the only way to a native codec for code that serves.

A frame that ends its process, or passes its limit, fails for itself: CodecProcessFailed says why. One whose
process was killed from outside, or died of something else before it, is tried once more in a new one.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache, lru_cache, partial
from types import ModuleType
from typing import TypeVar

import numpy as np

from scp.encoding.cage.messages import CodecRequest, Garbage, NoMemory, NoRoom
from scp.encoding.cage.pool import Use, pool
from scp.encoding.cage.process import ProcessDied, ProcessGone
from scp.encoding.codecs import native
from scp.encoding.codecs.codec import Codec
from scp.encoding.codecs.compared import ByteCodec, Compared
from scp.encoding.codecs.lossy_codec import LossyCodec
from scp.encoding.pixels import Frame, PixelFormat
from scp.errors import CannotEncode, CodecProcessFailed, OutOfResources
from scp.resources.bounds import Bounds, bounds
from scp.spool import Buffer

# Without shared memory and handles of processes, codecs run in the process that needs them.
AVAILABLE = sys.platform == "linux"

_MOST_GONE = 2  # processes that had ended, one after another, before they were given a piece of work
_MORE_ROOM = 1 << 20  # bytes of a result, beside what is expected of it
_FOR_SECONDS = 64 << 20  # limits.codec_seconds is for so many bytes of decoded pixels
_ENCODER_SECONDS = 10  # times that: an effort that an admin chose may take long
# What a frame may take: of all codecs and efforts JPEG XL's take the most (docs/decisions/0110).
_BASE_MEMORY, _MEMORY_TIMES = 256 << 20, 32
_LONGEST_PHOTOMETRIC = 64  # of a defined term; what is longer is none
_SMALL = PixelFormat(8, 8, 1, 8, 8, 7, False, "MONOCHROME2", 0, 1)
_NO_IMAGE = PixelFormat(1, 1, 1, 8, 8, 7, False, "", 0, 1)

T = TypeVar("T")
_spent = threading.local()
_setting_up = threading.Lock()


def thread_time() -> float:
    """As :func:`time.thread_time`, with what codec processes did for this thread."""
    return time.thread_time() + float(getattr(_spent, "seconds", 0.0))


def prepare() -> None:
    """Start what codec processes come from, in the priority of this thread; it is not waited for."""
    if AVAILABLE:
        with suppress(OutOfResources):  # who needs one asks again
            pool().nursery()


def library_of(row: str) -> str:
    """Name and version of a codec's library. Raises OutOfResources where no codec process can be started."""
    return (pool().libraries() if AVAILABLE else _work().libraries())[row]


def _work() -> ModuleType:
    """What a codec process does, where there is none; nothing else imports it."""
    from scp.encoding.cage import work  # noqa: PLC0415

    return work


@dataclass(frozen=True, slots=True)
class _Job:
    """A kind of work, in the name of the codec that does it."""

    row: str
    verb: str
    use: Use
    owner: object = None

    @property
    def name(self) -> str:
        return f"{self.row}.{self.verb}"

    def encode(self, frame: Frame, form: PixelFormat, setting: float = 0) -> bytes:
        """A frame of ``form`` as a codestream. Raises CannotEncode for another frame."""
        if frame.dtype != form.dtype or frame.shape != form.shape:
            raise CannotEncode(f"{frame.dtype} {frame.shape}, where {form.dtype} {form.shape} is described")
        room = 2 * frame.nbytes + _MORE_ROOM
        work = _Work(self, np.ascontiguousarray(frame), self._request(form, setting, room, _ENCODER_SECONDS))
        return work.result(bytes)

    def decode(self, codestream: Buffer, form: PixelFormat) -> Frame:
        """A frame of ``form``."""
        size = form.array_size
        samples = _Work(self, codestream, self._request(form, 0, size)).result(np.array)
        if samples.nbytes != size:
            raise CodecProcessFailed(f"{self.row} gave {samples.nbytes} bytes for a frame of {size}")
        return samples.view(form.dtype).reshape(form.shape)

    def convert(self, data: Buffer, form: PixelFormat = _NO_IMAGE) -> bytes:
        """Bytes from bytes."""
        room = 2 * len(data) + _MORE_ROOM
        return _Work(self, data, self._request(form, 0, room)).result(bytes)

    def _request(self, form: PixelFormat, setting: float, room: int, patience: float = 1) -> CodecRequest:
        return _request(self.name, form, setting, room, patience, bounds())


@lru_cache(128)
def _request(
    job: str, form: PixelFormat, setting: float, room: int, patience: float, most: Bounds
) -> CodecRequest:
    size = max(form.array_size, room)
    if len(form.photometric) > _LONGEST_PHOTOMETRIC:
        form = replace(form, photometric=form.photometric[:_LONGEST_PHOTOMETRIC])
    memory = min(_BASE_MEMORY + _MEMORY_TIMES * size, most.codec_bytes)
    seconds = most.codec_seconds * patience * max(size / _FOR_SECONDS, 1)
    return CodecRequest(job, form, setting, room, memory, seconds, most)


class _Work:
    """One frame's way through a codec process, or two where the first was killed."""

    def __init__(self, job: _Job, data: Buffer | Frame, request: CodecRequest) -> None:
        self._job, self._data, self._request = job, data, request
        self._size = data.nbytes if isinstance(data, np.ndarray) else len(data)
        self._failures: dict[type[Exception], int] = {}

    def result(self, copied: Callable[[Frame], T]) -> T:
        """What comes of it, ``copied`` out of the shared memory."""
        if not AVAILABLE:
            return copied(np.frombuffer(self._done_here(), "u1"))
        fresh = False
        while True:
            try:
                return self._once(copied, fresh)
            except (ProcessGone, NoRoom, NoMemory, _Died) as error:
                fresh = self._needs_a_fresh_process(error) or fresh
            except (Garbage, CodecProcessFailed) as error:
                raise self._failed(f"{error}") from error

    def _needs_a_fresh_process(self, error: ProcessGone | NoRoom | NoMemory | _Died) -> bool:
        """Whether the next try is to be in a process that has done nothing before.

        Of each kind of failure there may be one, or two; then it raises what it comes to.
        """
        times = self._failures[type(error)] = self._failures.get(type(error), 0) + 1
        if isinstance(error, ProcessGone):
            if times > _MOST_GONE:
                raise OutOfResources("codec processes end before they are given work") from error
            return True
        if isinstance(error, NoRoom):
            if times > 1:  # it was told how much it had asked for
                raise self._failed(f"made {error.size} bytes") from error
            self._make_room(error)
            return False
        if isinstance(error, NoMemory):
            if times > 1 or not error.served_others:
                raise self._failed(f"asked for more than {self._request.memory / 1e6:.0f} MB") from error
            return True  # what its process had of frames before does not count against this one
        if times > 1 or not error.innocent:
            raise self._failed(_how_it_ended(error.code, self._request)) from error
        return True

    def _done_here(self) -> bytes:
        request = self._request
        made = _work().done(request.job, self._data, request.form, request.setting)
        return made if isinstance(made, bytes) else made.tobytes()

    def _once(self, copied: Callable[[Frame], T], fresh: bool) -> T:
        job, request = self._job, self._request
        with pool().process(job.use, request.shared(self._size), job.owner, fresh) as process:
            try:
                answer = process.work(request, self._data)
            except ProcessDied as died:
                raise _Died(died.code, killed=died.innocent, first=process.served == 1) from died
            _spent.seconds = float(getattr(_spent, "seconds", 0.0)) + answer.seconds
            if answer.error is None:
                return copied(process.result(answer.size))
            if isinstance(answer.error, NoMemory):
                answer.error.served_others = process.served > 1
            if job.use is Use.FOREIGN or isinstance(answer.error, NoMemory):
                raise answer.error  # here, so that the process is not used again
        raise answer.error

    def _make_room(self, error: NoRoom) -> None:
        """Have the result of the next try fit. Raises CodecProcessFailed where it may not."""
        if not self._request.room < error.size <= bounds().codec_bytes:
            raise self._failed(f"made {error.size} bytes") from error
        self._request = replace(self._request, room=error.size)

    def _failed(self, what: str) -> CodecProcessFailed:
        return CodecProcessFailed(f"{pool().libraries().get(self._job.row, self._job.row)} {what}")


class _Died(Exception):
    """``innocent``: what it worked on may have had no part in it, as it was killed, or damaged before."""

    def __init__(self, code: int | None, killed: bool, first: bool) -> None:
        super().__init__(code)
        self.code = code
        self.innocent = code != -signal.SIGPROF and (killed or not first)


def _how_it_ended(code: int | None, request: CodecRequest) -> str:
    if code == -signal.SIGPROF:
        return f"took over {request.seconds:.0f} s of processor time"
    if code is None or code >= 0:
        return f"ended with status {code}"
    return f"died ({signal.Signals(-code).name})"


class Trust(Enum):
    """How far a codestream is trusted.

    ANYBODYS may come from anybody. MADE_HERE was just encoded, or lies in a file with the digest that it was
    stored with. PROVEN was decoded and compared before it was stored, too, and is needed at once: it is
    decoded in this process, as docs/decisions/0111 says.
    """

    ANYBODYS = "anybody's"
    MADE_HERE = "made here"
    PROVEN = "made here, proven, and whole"


def caged(codec: Codec) -> Codec:
    """The same codec, with its work done in a codec process."""
    return replace(
        codec,
        library=partial(library_of, codec.name),
        encode=codec.encode and _Job(codec.name, "encode", Use.ENCODING).encode,
        decode=_Job(codec.name, "decode", Use.OWN).decode,
        strictly=_Job(codec.name, "strictly", Use.FOREIGN).decode,
    )


def caged_lossy(codec: LossyCodec) -> LossyCodec:
    """The same, of a lossy codec."""
    row = f"lossy {codec.name}"
    return replace(
        codec,
        library=partial(library_of, row),
        encode=_Job(row, "encode", Use.ENCODING).encode,
        decode=_Job(row, "decode", Use.OWN).decode,
    )


def caged_compared(codec: Compared) -> Compared:
    """The same, of a codec that is only compared with."""
    row = f"compared {codec.name}"
    return replace(
        codec,
        encode=_Job(row, "encode", Use.ENCODING).encode,
        decode=_Job(row, "decode", Use.OWN).decode,
    )


def caged_bytes(codec: ByteCodec) -> ByteCodec:
    """The same, of a codec of bytes."""
    return replace(
        codec,
        encode=_Job(codec.name, "encode", Use.ENCODING).convert,
        decode=_Job(codec.name, "decode", Use.OWN).convert,
    )


def of_one_object(codec: Codec, trust: Trust, owner: object) -> Codec:
    """A codec for the codestreams of one object, which ``owner`` stands for, by how far these are trusted.

    What decodes those of others has decoded no other object's, and decodes none later.
    """
    if trust is Trust.PROVEN:
        return _in_this_process(codec)
    if trust is Trust.MADE_HERE or not isinstance(getattr(codec.decode, "__self__", None), _Job):
        return codec
    return replace(
        codec,
        decode=_Job(codec.name, "decode", Use.FOREIGN, owner).decode,
        strictly=_Job(codec.name, "strictly", Use.FOREIGN, owner).decode,
    )


def _in_this_process(codec: Codec) -> Codec:
    """The same codec as it is, first used by one thread alone: OpenJPH sets up its tables without a lock."""
    if not isinstance(getattr(codec.decode, "__self__", None), _Job):
        return codec
    with _setting_up:
        return _set_up(codec.name)


@cache
def _set_up(name: str) -> Codec:
    codec = next(row for row in native.CODECS if row.name == name)
    encode = codec.encode or next(
        (row.encode for row in native.CODECS if row.encode and row.library is codec.library), None
    )
    if encode is not None:
        codec.decode(encode(np.zeros(_SMALL.shape, _SMALL.dtype), _SMALL, 0), _SMALL)
    return codec


def recompress_jpeg(codestream: bytes, form: PixelFormat, owner: object) -> bytes:
    """A JPEG codestream of an object, which ``owner`` stands for, as JPEG XL, if it is whole.

    Raises DamagedCodestream, CannotDecode, CannotEncode, and what the library raises.
    """
    return _Job("jpeg", "recompress", Use.FOREIGN, owner).convert(codestream, form)


def restore_jpeg(codestream: bytes, owner: object = None) -> bytes:
    """The JPEG codestream that :func:`recompress_jpeg` took; with an ``owner`` it may be anybody's.

    Raises CannotDecode.
    """
    use = Use.OWN if owner is None else Use.FOREIGN
    return _Job("jpeg", "restore", use, owner).convert(codestream)
