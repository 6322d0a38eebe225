"""Objects fetched ahead: the next are read, checked and decoded in threads while one is being sent.

What is fetched in less time than a thread takes to hand it over is fetched by the thread that sends.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import chain

from scp.archive.deliver import Outgoing
from scp.model import Instance
from scp.objects.names import store_of
from scp.resources.budget import Held, hold
from scp.spool import IN_MEMORY, Buffer

# So many bytes of an object are decoded before it is sent: all of most objects.
_READY = 4 << 20
# What lies in the page cache and goes out as it is stored is fetched in 0.2 ms. To hand it over from a thread
# takes 25 futex() and a sixth of the processor time of sending it. To decode a CT slice takes 3 ms.
_QUICK_SECONDS = 0.001

Fetch = Callable[[Instance], Outgoing]
_Kind = tuple[str, bool, str, bool]


@dataclass(frozen=True, slots=True)
class Reach:
    """How far ahead objects are fetched: at most so many, of so many bytes together.

    Decoding fills the cores while one thread sends; twice as many objects wait for the disk meanwhile.
    """

    objects: int = 2 * (os.cpu_count() or 1)
    size: int = 64 << 20
    look_seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """An object that is ready to be sent, or why it is not; ``copy_uid`` names a lossy copy of it.

    ``seconds`` is how long it took to fetch it.
    """

    instance: Instance
    transfer_syntax: str = ""
    chunks: Iterable[Buffer] = ()
    error: Exception | None = None
    copy_uid: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Pending:
    """An object that is being fetched, and what the memory budget holds for it."""

    instance: Instance
    future: Future[Fetched]
    held: Held | None


class Work:
    """Objects that are still to be sent, shared by the associations that send them."""

    def __init__(self, instances: Iterable[Instance]) -> None:
        self._lock = threading.Lock()
        self._left = deque(instances)

    def take(self) -> Instance | None:
        """The next one."""
        with self._lock:
            return self._left.popleft() if self._left else None

    def put_back(self, instances: list[Instance]) -> None:
        """Return objects that were taken and not sent, for others to take."""
        with self._lock:
            self._left.extendleft(reversed(instances))

    def left(self) -> list[Instance]:
        """The objects that have not been taken yet."""
        with self._lock:
            return list(self._left)


class Ahead:
    """Takes objects from ``work`` and yields them in that order, while the next ones are being fetched.

    After one that was fetched quickly, the next is fetched when it is asked for: ask for it before waiting
    for the answer to the one before. ``share`` associations divide the ``reach``. While it waits for the
    next object, ``meanwhile`` is called each second: a large one may take minutes to decode. A context
    manager: at its end what is being fetched is waited for, and what was not yielded is put back.
    """

    def __init__(
        self,
        work: Work,
        fetch: Fetch,
        share: int = 1,
        meanwhile: Callable[[], object] = lambda: None,
        reach: Reach | None = None,
    ) -> None:
        reach = reach or Reach()
        self._work = work
        self._fetch = fetch
        self._meanwhile = meanwhile
        self._most = max(reach.objects // share, 1)
        self._most_bytes = reach.size // share
        self._look_seconds = reach.look_seconds
        self._pool = ThreadPoolExecutor(self._most, thread_name_prefix="fetch")
        self._pending: deque[_Pending] = deque()
        self._bytes = 0
        self._first = True
        self._quick: _Kind | None = None  # the kind of the last one, if it was fetched quickly

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._work.put_back([one.instance for one in self._pending])
        self._pending.clear()

    def __iter__(self) -> Iterator[Fetched]:
        while (fetched := self._next()) is not None:
            self._first = False
            self._quick = _kind(fetched.instance) if fetched.seconds < _QUICK_SECONDS else None
            if self._quick is None:
                self._top_up()
            yield fetched

    def _next(self) -> Fetched | None:
        if not self._pending:
            instance = self._work.take()
            if instance is None:
                return None
            if self._is_quick(instance):
                return _fetched(self._fetch, instance)
            self._submit(instance)
            self._top_up()
        fetched = self._awaited(self._pending[0].future)
        self._bytes -= _size(self._pending.popleft().instance)
        return fetched

    def _is_quick(self, instance: Instance) -> bool:
        """Whether no thread would be faster: one alone, or one of the kind that just now was quick.

        A larger one may take long; and nobody looks after the requester meanwhile.
        """
        alone = self._first and not self._work.left()
        return (alone or self._quick == _kind(instance)) and _size(instance) <= IN_MEMORY

    def _awaited(self, future: Future[Fetched]) -> Fetched:
        while not wait([future], timeout=self._look_seconds).done:
            self._meanwhile()
        return future.result()

    def _top_up(self) -> None:
        while len(self._pending) < self._most and (not self._pending or self._bytes < self._most_bytes):
            instance = self._work.take()
            if instance is None:
                return
            # Counts what is read; what it is decoded or decompressed to is counted where that is done.
            held = hold(min(instance.stored_size, IN_MEMORY)) if self._pending else None
            if self._pending and held is None:  # no memory for one more ahead of its turn
                self._work.put_back([instance])
                return
            self._submit(instance, held)

    def _submit(self, instance: Instance, held: Held | None = None) -> None:
        self._pending.append(_Pending(instance, self._pool.submit(_fetched, self._fetch, instance), held))
        self._bytes += _size(instance)


def _kind(instance: Instance) -> _Kind:
    """What decides how long it takes to fetch an object: where it lies, and whether it is decoded."""
    store = store_of(instance.key)
    return store, instance.pending, instance.transfer_syntax, instance.dataset_at > 0


def _size(instance: Instance) -> int:
    return max(instance.stored_size, instance.received_size)


def _fetched(fetch: Fetch, instance: Instance) -> Fetched:
    """Fetch an object and its first bytes, so that a failure to decode shows before it is sent."""
    begun = time.monotonic()
    try:
        outgoing = fetch(instance)
        ready: list[Buffer] = []
        size = 0
        for chunk in outgoing.chunks:
            ready.append(chunk)
            size += len(chunk)
            if size >= _READY:
                break
    except Exception as error:  # noqa: BLE001 - one that cannot be read or decoded fails alone
        return Fetched(instance, error=error, seconds=time.monotonic() - begun)
    chunks = chain(ready, outgoing.chunks)
    took = time.monotonic() - begun
    return Fetched(instance, outgoing.transfer_syntax, chunks, copy_uid=outgoing.copy_uid, seconds=took)
