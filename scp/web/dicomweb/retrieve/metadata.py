"""Metadata (PS3.18 10.4.1.1.2): all attributes but the bulk values, from a cache of what headers became."""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator

import zstandard
from starlette.responses import Response

from scp.archive.archive import Archive
from scp.errors import ZscpError
from scp.model import Instance
from scp.web.dicomweb.asked import Asked
from scp.web.dicomweb.faults import Refused
from scp.web.dicomweb.multipart import joined
from scp.web.dicomweb.pieces import Pieces
from scp.web.dicomweb.retrieve.addresses import of_instance
from scp.web.dicomweb.retrieve.conditions import headers_of, tag_of, unchanged
from scp.web.dicomweb.retrieve.dataset_json import ROOT, PixelEntry, json_of
from scp.web.dicomweb.retrieve.instances import ranges_of
from scp.web.dicomweb.retrieve.named import Named
from scp.web.dicomweb.retrieve.shortfall import Shortfall, same
from scp.web.dicomweb.retrieve.told import Looks

JSON = "application/dicom+json"
_TYPES = (JSON, "application/json")
# What a cache holds: that of some ten thousand CT images. What is larger than a share of it is not kept.
_MOST_HELD, _LARGEST = 64 << 20, 4 << 20
_OVERHEAD = 300  # bytes of an entry, beside what it holds
# Of 3 MB of a CT series gzip level 1 makes a tenth in 20 ms, zstd level 1 less in 5.
_GZIP_LEVEL, _GZIP, _ZSTD_LEVEL = 1, 31, 1
_looks = Looks()


class HeaderCache:
    """DICOM JSON of stored files, those that were last asked for. For several threads."""

    def __init__(self, most: int = _MOST_HELD) -> None:
        self._most, self._size = most, 0
        self._held: OrderedDict[str, bytes] = OrderedDict()
        self._changes = threading.Lock()

    def get(self, archive: Archive, instance: Instance) -> bytes:
        """Of an instance, with ROOT in its addresses. Raises as :class:`scp.archive.headers.HeaderReader`."""
        (name,) = same([instance])
        with self._changes:
            if (found := self._held.get(name)) is not None:
                self._held.move_to_end(name)
                return found
        read = archive.header(instance)
        pixel = PixelEntry(read.pixel_tag, read.pixel_vr) if read.pixel_tag else None
        made = json_of(read.header, pixel, read.trailer)
        if len(made) <= _LARGEST:
            self._keep(name, made)
        return made

    def _keep(self, name: str, made: bytes) -> None:
        with self._changes:
            self._size += len(made) + _OVERHEAD - self._cost(self._held.pop(name, None))
            self._held[name] = made
            while self._size > self._most:
                self._size -= self._cost(self._held.popitem(last=False)[1])

    @staticmethod
    def _cost(held: bytes | None) -> int:
        return 0 if held is None else len(held) + _OVERHEAD


_cache = HeaderCache()


async def serve(asked: Asked) -> Response:
    """Answer a request for the metadata of a study, a series or an instance."""
    content_type = _content_type(asked)
    found = await asked.apart(lambda: _Metadata(asked))
    coding, coded = _coding(asked.request.headers.get("accept-encoding", ""))
    tag = tag_of((found.digest, str(len(found.short)), asked.base, content_type, coding), weak=True)
    asked.event.add(instances=found.count, **({"left_out": len(found.short)} if len(found.short) else {}))
    if (answer := unchanged(asked.request.headers, tag)) is not None:
        return answer
    headers = (
        headers_of(tag) | {"Vary": "Accept, Accept-Encoding"} | found.short.headers(asked.base, found.count)
    )
    if coding:
        headers["Content-Encoding"] = coding
    return Pieces(asked, coded(found.pieces()), content_type, headers, 206 if len(found.short) else 200)


def _content_type(asked: Asked) -> str:
    """Raises Refused (406)."""
    for one in ranges_of(asked):
        for each in _TYPES:
            if not one.multipart and one.covers(each):
                return each
    raise Refused(406, f"Metadata is {JSON}.")


class _Metadata:
    """The metadata of one request. Of more than a page of instances only the first is made before it goes."""

    def __init__(self, asked: Asked) -> None:
        self._asked, self._archive = asked, asked.desk.archive()
        named = Named(asked)
        self.count, self.short = named.count, Shortfall()
        self._pages = named.pages()
        self._first = next(self._pages)
        self._made = self._of_first()
        # Of all files, so that a client learns of any that was replaced.
        self.digest = tag_of(one for page in named.pages() for one in same(page))
        _looks.note(asked, self._first[0])

    def _of_first(self) -> list[bytes]:
        made: list[bytes] = []
        for one in self._first:
            self._asked.check()
            try:
                made.append(self._of(one))
            except ZscpError as error:
                self.short.add(one, error)
        if not made:
            raise self.short.error
        return made

    def _of(self, instance: Instance) -> bytes:
        return _cache.get(self._archive, instance).replace(
            ROOT, of_instance(self._asked.base, instance).encode()
        )

    def pieces(self) -> Generator[bytes, None, None]:
        """The array of them. One that fails and was not known to ends it without its end."""
        yield b"[" + b",".join(self._made)
        for page in self._pages:
            yield from joined(b"," + self._of(one) for one in page)
        yield b"]"


Coded = Callable[[Iterator[bytes]], Generator[bytes, None, None]]


def _coding(accepted: str) -> tuple[str, Coded]:
    """The content coding that a client takes, and what codes: zstd before gzip, for it takes a quarter."""
    taken = {}
    for one in accepted.lower().split(",")[:32]:
        name, _, quality = one.partition(";")
        taken[name.strip()] = quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    if taken.get("zstd"):
        return "zstd", _zstd
    return ("gzip", _gzip) if taken.get("gzip") else ("", _plain)


def _plain(pieces: Iterator[bytes]) -> Generator[bytes, None, None]:
    yield from pieces


def _gzip(pieces: Iterator[bytes]) -> Generator[bytes, None, None]:
    coder = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP)
    for piece in pieces:
        yield coder.compress(piece)
    yield coder.flush()


def _zstd(pieces: Iterator[bytes]) -> Generator[bytes, None, None]:
    coder = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
    for piece in pieces:
        yield coder.compress(piece)
    yield coder.flush()
