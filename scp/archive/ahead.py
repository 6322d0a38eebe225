"""Frames are got ready before they are asked for, where somebody goes through a series (0225).

A viewer asks for the frames of a series one by one. While it takes one, the rows and files of the next ones
are read and checked, as for a request. What is ready is a guess: it goes out only where no row of the index
has changed since, or the request finds the same row again.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from scp.archive.elsewhere import Elsewhere
from scp.archive.frames import FrameReader
from scp.background.alone import alone
from scp.errors import ZscpError
from scp.index.index import Index
from scp.model import Instance, Query, QueryKey
from scp.objects.names import store_of

# So many are got ready at a time, once fewer than half of them are left: each time takes a thread's turn.
_AT_ONCE = 16
# A step ahead: several connections ask in turn, and not all of their requests come in order.
_STEP = 8
# So many bytes are held at most, of files no larger than this, and each for so many seconds.
_MOST_BYTES, _LARGEST, _SECONDS = 32 << 20, 1 << 20, 10.0
# So many series are watched at a time, none of more instances; so many threads get something ready.
_MOST_COURSES, _MOST_INSTANCES, _MOST_WORKING = 16, 5000, 2


@dataclass(frozen=True, slots=True)
class ReadyFrame:
    """The one frame of an instance as it is stored, checked; ``instance`` is the row that it was read by.

    ``mark`` is of the index before that (:meth:`scp.index.pages.Pages.mark`).
    """

    instance: Instance
    frame: bytes = field(repr=False)
    mark: object | None
    until: float


@dataclass(frozen=True, slots=True)
class Course:
    """One who goes through a series: ``who`` is what tells clients apart."""

    who: tuple[str, str]
    study: str
    series: str


@dataclass(slots=True)
class _Progress:
    """How far somebody has come: ``last`` and ``ready`` are places in ``order``, -1 for none.

    ``places`` is None until the order was looked up: when a second frame is asked for, after ``first``.
    """

    first: str
    used: float
    order: Sequence[str] = ()
    places: Mapping[str, int] | None = None
    last: int = -1
    ready: int = -1
    works: bool = False

    def moved(self, uid: str) -> bool:
        """Note where somebody is; whether that is a step ahead: what others overtook is none."""
        at, before = (self.places or {}).get(uid, -1), self.last
        if before - _STEP <= at <= before:
            return False
        ahead = before >= 0 and before < at <= before + _STEP
        self.last, self.ready = at, max(self.ready, at) if ahead else at
        return ahead

    def wants(self, uid: str) -> bool:
        """As :meth:`moved`; whether more is to be got ready."""
        if self.places is None:
            return not self.works and uid != self.first
        return self.moved(uid) and not self.works and self.ready - self.last < _AT_ONCE // 2


class LookAhead:
    """Gets frames ready. It may be used by several threads; only what :meth:`asked` returns takes time."""

    def __init__(
        self,
        index: Index,
        frames: FrameReader,
        elsewhere: Elsewhere,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._index, self._frames, self._elsewhere, self._clock = index, frames, elsewhere, clock
        self._ready: OrderedDict[str, ReadyFrame] = OrderedDict()  # by SOP Instance UID, the oldest first
        self._courses: OrderedDict[Course, _Progress] = OrderedDict()
        self._size = self._working = 0
        self._changes = threading.Lock()
        self._clearing: threading.Timer | None = None

    def at_once(self, study: str, series: str, uid: str) -> ReadyFrame | None:
        """What is ready of an instance, where it is known without a wait that no row has changed since."""
        found = self._ready.get(uid)
        if found is None or found.mark is None or found.until < self._clock():
            return None
        named = (found.instance.study_instance_uid, found.instance.series_instance_uid)
        return found if named == (study, series) and self._index.pages.is_now(found.mark) else None

    def of(self, instance: Instance) -> bytes | None:
        """The frame that is ready of an instance with this very row."""
        found = self._ready.get(instance.sop_instance_uid)
        return found.frame if found is not None and found.instance == instance else None

    def asked(self, course: Course, uid: str) -> Callable[[], None] | None:
        """Note that somebody is sent a frame; what is to be done now, in a thread, if anything."""
        with self._changes:
            self._drop(uid)
            now, progress = self._clock(), self._courses.get(course)
            if progress is None or now - progress.used > _SECONDS:
                self._courses[course] = _Progress(uid, now)
                while len(self._courses) > _MOST_COURSES:
                    self._courses.popitem(last=False)
                return None
            progress.used = now
            self._courses.move_to_end(course)
            if not progress.wants(uid) or self._working >= _MOST_WORKING:
                return None
            progress.works = True
            self._working += 1
        return lambda: self._work(course, progress, uid)

    def _work(self, course: Course, progress: _Progress, uid: str) -> None:
        try:
            with alone("not looked ahead", quiet=(ZscpError,), through=(), series=course.series):
                if progress.places is not None or self._finds_order(course, progress, uid):
                    self._get_ready(course, progress)
        finally:
            with self._changes:
                progress.works = False
                self._working -= 1

    def _finds_order(self, course: Course, progress: _Progress, uid: str) -> bool:
        """Look up in which order the series is retrieved; whether ``uid`` was a step ahead."""
        progress.places = {}  # also where this fails: it is not tried again
        keys = (("StudyInstanceUID", course.study), ("SeriesInstanceUID", course.series))
        query = Query("STUDY", "SERIES", tuple(QueryKey(name, "UI", value) for name, value in keys))
        order = self._index.pages.order(query, _MOST_INSTANCES)
        with self._changes:
            progress.order, progress.places = order, {one: at for at, one in enumerate(order)}
            progress.last = progress.places.get(progress.first, -1)
            return progress.moved(uid)

    def _get_ready(self, course: Course, progress: _Progress) -> None:
        last, mark = progress.last, self._index.pages.mark()
        for at in range(progress.ready + 1, min(last + 1 + _AT_ONCE, len(progress.order))):
            progress.ready = max(progress.ready, at)
            if at <= progress.last:  # they were faster
                continue
            found = self._index.named(progress.order[at])
            named = [
                one
                for one in found
                if (one.study_instance_uid, one.series_instance_uid) == (course.study, course.series)
            ]
            if named and self._is_soon_read(named[0]):
                self._read(named[0], mark)

    def _is_soon_read(self, instance: Instance) -> bool:
        """Whether an instance's file is small, and in the first store: others may be slow, or cost money."""
        near = not store_of(instance.key) and not self._elsewhere.has(instance)
        return near and instance.stored_size <= _LARGEST and self.of(instance) is None

    def _read(self, instance: Instance, mark: object | None) -> None:
        with suppress(ZscpError):  # who asks for it is told
            opened = self._frames.open(instance, as_stored=True)
            if opened.count == 1:
                frame = bytes(self._frames.frame(opened, 1, opened.access.transfer_syntax))
                self._keep(ReadyFrame(opened.instance, frame, mark, self._clock() + _SECONDS))

    # -- those that are ready ----------------------------------------------------------------------------

    def _keep(self, one: ReadyFrame) -> None:
        with self._changes:
            self._drop(one.instance.sop_instance_uid)
            self._ready[one.instance.sop_instance_uid] = one
            self._size += len(one.frame)
            while self._size > _MOST_BYTES:
                self._drop(next(iter(self._ready)))
            self._clear_later()

    def _drop(self, uid: str) -> None:
        if (gone := self._ready.pop(uid, None)) is not None:
            self._size -= len(gone.frame)

    def _clear_later(self) -> None:
        """Though nobody asks for them: these are images, which are not held for no reason."""
        if self._clearing is None and self._ready:
            self._clearing = threading.Timer(_SECONDS, self._clear)
            self._clearing.daemon = True
            self._clearing.start()

    def _clear(self) -> None:
        with self._changes:
            now, self._clearing = self._clock(), None
            for uid in [uid for uid, one in self._ready.items() if one.until <= now]:
                self._drop(uid)
            self._clear_later()
