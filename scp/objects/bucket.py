"""A bucket of an object store: requests with bounds, and errors as zscp's own.

obstore sends the requests, signs them, and repeats what failed with a growing pause. What differs between
servers is in :mod:`scp.objects.bucket_kinds`. The runtime of obstore hangs in a child that is forked after
the first request. So a bucket is opened by the first request, and a process that was forked later gets an
error, instead of waiting for ever. To load obstore starts no runtime yet, so a node does that before it
forks.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any, Literal, TypeVar

from scp.config.stores import BucketPlace
from scp.errors import (
    ConfigurationError,
    ObjectChanged,
    ObjectDamaged,
    ObjectMissing,
    ObjectUnavailable,
    OutOfResources,
    ZscpError,
)
from scp.metrics import counting
from scp.objects.bucket_kinds import BucketKind, kind_of
from scp.spool import Buffer, Spool, slices

AT_ONCE = 16  # requests of a process to one bucket
PART = 8 << 20  # bytes of each request for a large object
LARGE = 16 << 20  # an object of more bytes is sent, and fetched, in parts
_PARTS_AT_ONCE = 4
_PAGE = 1000  # keys in an answer to a listing
_LONGEST_NOTE = 1 << 20
_CONNECT_SECONDS, _FIRST_PAUSE, _LONGEST_PAUSE = 3.0, 0.1, 2.0
_LONGEST_REASON = 200
_CODE = re.compile(r"<Code>(\w+)</Code>")  # what the server calls its error, in XML
# What is said of a range of an empty object: by servers, and by obstore of the answer of Azure's emulator.
_NO_SUCH_RANGE = ("416 Range Not Satisfiable", '"bytes 0--1/0"')
_NONE = ".zscp/none"  # a key that is never put

T = TypeVar("T")
_opened_in: set[int] = set()


@dataclass(frozen=True, slots=True)
class Found:
    """What a listing, or a look, tells of an object: its key, size in bytes, version, and when it was put."""

    key: str
    size: int
    etag: str
    modified: datetime


class Bucket:
    """The objects below a prefix of a bucket; threads may share it.

    A request fails after ``seconds`` in all, with what was repeated of it.
    """

    def __init__(self, place: BucketPlace, seconds: float = 30.0) -> None:
        self.name = place.name
        self.kind: BucketKind = kind_of(place)
        self._place = place
        self._seconds = seconds
        self._turns = threading.BoundedSemaphore(AT_ONCE)
        self._lock = threading.Lock()
        self._asked: _Opened | None = None

    def put(
        self,
        key: str,
        data: Buffer | Sequence[Buffer],
        *,
        size: int | None = None,
        only: Literal["new"] | str = "",
    ) -> str:
        """Put an object, all of it or nothing, and return its ETag.

        ``only`` "new" is the condition that there is none yet; any other text is the ETag that it must have.
        What has more than ``LARGE`` bytes is sent in parts, without a condition. Raises ObjectChanged,
        OutOfResources.
        """
        parts = [data] if isinstance(data, (bytes, bytearray, memoryview)) else list(data)
        size = sum(map(len, parts)) if size is None else size
        mode: Any = "create" if only == "new" else {"e_tag": only} if only else "overwrite"
        with self._request("put", key, OutOfResources) as asked:
            if size > LARGE:
                # Copies: what is mapped need not stay in memory.
                pieces = (bytes(piece) for part in parts for piece in slices(part))
                found = asked.library.put(
                    asked.store,
                    key,
                    pieces,
                    use_multipart=True,
                    chunk_size=PART,
                    max_concurrency=_PARTS_AT_ONCE,
                )
            else:
                whole = parts[0] if len(parts) == 1 else b"".join(parts)
                found = asked.library.put(asked.store, key, bytes(whole), mode=mode, use_multipart=False)
        return found["e_tag"] or ""

    def get(self, key: str, take: Callable[[Found, Iterator[Buffer]], T]) -> T:
        """What ``take`` makes of an object: of its size and version, and of its bytes in pieces.

        Raises ObjectMissing, ObjectUnavailable.
        """
        with self._request("get", key, ObjectUnavailable) as asked:
            found = asked.library.get(asked.store, key)
            return take(
                _found(key, found.meta), (memoryview(piece) for piece in found.stream(min_chunk_size=PART))
            )

    def part(self, found: Found, start: int, end: int) -> bytes:
        """Some bytes of an object. Raises ObjectDamaged if it was replaced meanwhile, and as :meth:`get`."""
        with self._request("get", found.key, ObjectUnavailable) as asked:
            options: Any = {"range": (start, end), "if_match": found.etag}
            return bytes(asked.library.get(asked.store, found.key, options=options).bytes())

    def first_part(self, key: str, end: int) -> tuple[Found, bytes]:
        """The first ``end`` bytes of an object, or all of a shorter one, and its size and version.

        Raises as :meth:`get`.
        """
        with self._request("get", key, ObjectUnavailable) as asked:
            options: Any = {"range": (0, end)}
            try:
                found = asked.library.get(asked.store, key, options=options)
                return _found(key, found.meta), bytes(found.bytes())
            except asked.library.exceptions.BaseError as error:
                if not any(told in str(error) for told in _NO_SUCH_RANGE):
                    raise
        return self.look(key), b""  # it is empty: a server has no range of it

    def look(self, key: str) -> Found:
        """What there is under a key. Raises ObjectMissing, ObjectUnavailable."""
        with self._request("look", key, ObjectUnavailable) as asked:
            return _found(key, asked.library.head(asked.store, key))

    def note(self, key: str) -> tuple[str, str]:
        """The text of a small object, and its ETag. Raises ObjectDamaged, and as :meth:`get`."""

        def take(found: Found, pieces: Iterator[Buffer]) -> tuple[bytes, str]:
            if found.size > _LONGEST_NOTE:
                raise ObjectDamaged(f"{key} is larger than {_LONGEST_NOTE} bytes")
            return b"".join(pieces), found.etag

        data, etag = self.get(key, take)
        try:
            return data.decode(), etag
        except UnicodeDecodeError:
            raise ObjectDamaged(f"{key} is no text") from None

    def copy(self, key: str, to: str) -> None:
        """Copy an object; the copy is whole. Raises ObjectMissing, OutOfResources."""
        if not self.kind.copies:
            self._carry(key, to)
            return
        with self._request("copy", key, OutOfResources) as asked:
            asked.library.copy(asked.store, key, to)

    def _carry(self, key: str, to: str) -> None:
        """Copy an object by reading and putting it."""
        data = Spool()
        try:
            found = self.look(key)
            for start in range(0, found.size, PART):
                data.write(self.part(found, start, min(start + PART, found.size)))
        except (ObjectUnavailable, ObjectDamaged) as error:
            raise OutOfResources(str(error)) from error
        self.put(to, data.view())

    def delete(self, key: str) -> None:
        """Remove an object; a missing one is no error. Raises OutOfResources."""
        with suppress(ObjectMissing), self._request("delete", key, OutOfResources) as asked:
            asked.library.delete(asked.store, key)

    def list(self, folder: str = "", after: str = "") -> Iterator[Found]:
        """All objects below a folder, which is empty for all of them, whose keys sort after ``after``.

        Raises OutOfResources where the listing cannot be had to its end: what was not listed may be there.
        """
        with self._request("list", folder or self.name, OutOfResources) as asked:
            offset = after if after and self.kind.lists_after else None
            pages = asked.library.list(asked.store, folder or None, offset=offset, chunk_size=_PAGE)
        while True:
            with self._request("list", folder or self.name, OutOfResources):
                page = next(pages, None)
            if page is None:
                return
            yield from (_found(one["path"], one) for one in page if one["path"] > after)

    @contextmanager
    def _request(
        self, verb: str, key: str, otherwise: type[ObjectUnavailable] | type[OutOfResources]
    ) -> Iterator[_Opened]:
        """Around a request: takes a turn, and translates errors; ``otherwise`` is for what may pass."""
        asked = self._opened()
        if not self._turns.acquire(timeout=self._seconds):
            raise otherwise(f"{key}: {self.name} has {AT_ONCE} requests under way; ask again later")
        try:
            with self._told(asked, verb, key, otherwise):
                yield asked
        finally:
            self._turns.release()

    @contextmanager
    def _told(
        self, asked: _Opened, verb: str, key: str, otherwise: type[ObjectUnavailable] | type[OutOfResources]
    ) -> Iterator[None]:
        """Errors of a request as zscp's own."""
        try:
            yield
        except (asked.library.exceptions.BaseError, OSError) as error:
            raise self._as_own(error, asked, verb, key, otherwise) from error

    def _as_own(
        self,
        error: Exception,
        asked: _Opened,
        verb: str,
        key: str,
        otherwise: type[ObjectUnavailable] | type[OutOfResources],
    ) -> ZscpError:
        errors, text = asked.library.exceptions, str(error)
        if any(told in text for told in self.kind.absent):
            return otherwise(
                f"{key}: there is no bucket for {self.name}; make it, or correct {self.kind.where}"
            )
        if isinstance(error, FileNotFoundError):
            if verb == "look":  # its answer has no text that would tell whether the bucket is there
                with suppress(ObjectMissing), self._told(asked, "get", key, otherwise):
                    asked.library.get(asked.store, _NONE)
            return ObjectMissing(f"{key} is not in the object store")
        if verb == "put" and isinstance(error, (errors.AlreadyExistsError, errors.PreconditionError)):
            return ObjectChanged(f"{key} was put or changed by another process meanwhile; try again")
        if verb == "get" and isinstance(error, errors.PreconditionError):
            return ObjectDamaged(f"{key} was replaced while it was read; read it again")
        counting.count("zscp_store_errors_total", "get" if otherwise is ObjectUnavailable else "put")
        return otherwise(
            f"{key}: {self.name} does not {verb} it now: {_reason(text)}{self.kind.advice(text)}"
        )

    def _opened(self) -> _Opened:
        with self._lock:
            if self._asked is None:
                self._asked = _open(self._place, self._seconds)
        return self._asked


def library_for(place: BucketPlace) -> Any:
    """obstore, which is imported only for a bucket: it is an optional package. Raises ConfigurationError."""
    try:
        return import_module("obstore")
    except ImportError as error:
        raise ConfigurationError(
            f"{place.name} needs the package obstore, which is not installed;"
            f" install the extra {kind_of(place).extra} (docs/configuration.md)"
        ) from error


@dataclass(frozen=True, slots=True)
class _Opened:
    """obstore, and its store."""

    library: Any
    store: Any


def _open(place: BucketPlace, seconds: float) -> _Opened:
    library = library_for(place)
    _opened_in.add(os.getpid())
    if len(_opened_in) > 1:
        raise RuntimeError("a bucket was opened before this process was forked; its requests would never end")
    kind = kind_of(place)
    bounds = {
        "client_options": {
            "allow_http": place.endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=min(_CONNECT_SECONDS, seconds / 2)),
            "timeout": timedelta(seconds=seconds / 2),
        },
        "retry_config": {
            "max_retries": 100,  # the time bounds them
            "retry_timeout": timedelta(seconds=seconds / 2),
            "backoff": {
                "init_backoff": timedelta(seconds=_FIRST_PAUSE),
                "max_backoff": timedelta(seconds=_LONGEST_PAUSE),
                "base": 2,
            },
        },
    }
    made = getattr(library.store, kind.service)
    try:
        store = made(place.bucket, prefix=place.prefix or None, **bounds, **kind.options(place))
    except library.exceptions.BaseError:  # its text may quote a part of a key
        raise ConfigurationError(
            f"{place.name}: obstore does not take {kind.who} as the configuration or the environment has"
            " them; correct them"
        ) from None
    return _Opened(library, store)


def _found(key: str, meta: Any) -> Found:
    return Found(key, meta["size"], meta["e_tag"] or "", meta["last_modified"])


def _reason(text: str) -> str:
    """The first line of an error, without what the server quotes; addresses without what was asked of them.

    That may hold a signature (of a SAS token, which Azure's environment may set).
    """
    first = text.partition("\n")[0].partition("<?xml")[0].strip(" :-")
    code = _CODE.search(text)
    return re.sub(r"\?\S*", "", first)[:_LONGEST_REASON] + (f" ({code[1]})" if code else "")
