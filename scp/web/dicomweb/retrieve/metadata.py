"""Metadata (PS3.18 10.4.1.1.2): all attributes but the bulk values, from a cache of what headers became."""

from __future__ import annotations

import json
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator

import zstandard
from starlette.responses import Response

from scp.archive.archive import Archive
from scp.errors import ZscpError
from scp.model import Instance
from scp.web.dicomweb.accept import accepted_by
from scp.web.dicomweb.addresses import of_instance
from scp.web.dicomweb.asked import Asked
from scp.web.dicomweb.faults import Refused
from scp.web.dicomweb.multipart import Multipart, joined
from scp.web.dicomweb.pieces import Pieces
from scp.web.dicomweb.retrieve.conditions import headers_of, same, tag_of, unchanged
from scp.web.dicomweb.retrieve.dataset_json import ROOT, PixelEntry, json_of
from scp.web.dicomweb.retrieve.loss import told_in
from scp.web.dicomweb.retrieve.named import Named, named_with_digest
from scp.web.dicomweb.retrieve.shortfall import Shortfall, failed_lately
from scp.web.dicomweb.retrieve.told import looks
from scp.web.dicomweb.xml_model import MEDIA_TYPE as XML
from scp.web.dicomweb.xml_model import native_model

JSON = "application/dicom+json"
_TYPES = (JSON, "application/json", XML)
ANSWERS = (JSON, "application/json", f'multipart/related; type="{XML}"')
_VARY = "Accept, Accept-Encoding"
# What a cache holds: that of some ten thousand CT images. What is larger than a share of it is not kept.
_MOST_HELD, _LARGEST = 64 << 20, 4 << 20
_OVERHEAD = 300  # bytes of an entry, beside what it holds
# Of 3 MB of a CT series gzip level 1 makes a tenth in 20 ms, zstd level 1 less in 5.
_GZIP_LEVEL, _GZIP, _ZSTD_LEVEL = 1, 31, 1


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
    media_type = _media_type(asked)
    coding, coded = _coding(asked.request.headers.get("accept-encoding", ""))
    named, digest = await asked.apart(lambda: named_with_digest(asked))
    lossy = asked.caller.preference.lossy
    tag = tag_of((digest, asked.base, media_type, coding, *([str(lossy)] if lossy else [])), weak=True)
    if (answer := unchanged(asked.request.headers, tag, _VARY)) is not None:
        return answer
    body = Multipart(XML) if media_type == XML else None
    found = await asked.apart(lambda: _Metadata(asked, named, body))
    left = len(found.short)
    asked.event.add(instances=named.count, **({"left_out": left} if left else {}))
    headers = {"Vary": _VARY, **({"Content-Encoding": coding} if coding else {})}
    headers |= found.short.headers(asked.base, named.count) if left else headers_of(tag, _VARY)
    content_type = media_type if body is None else body.content_type
    return Pieces(asked, coded(found.pieces()), content_type, headers, 206 if left else 200)


def _media_type(asked: Asked) -> str:
    """Raises Refused (406)."""
    for one in accepted_by(asked.request):
        for each in _TYPES:
            if one.covers(each) and one.multipart == (each == XML):
                return each
    raise Refused(406, f"Metadata is {' or '.join(ANSWERS)}.")


class _Metadata:
    """The metadata of one request, made while it is sent: without a ``body`` of parts one array of JSON."""

    def __init__(self, asked: Asked, named: Named, body: Multipart | None) -> None:
        """Raises what keeps all of the instances."""
        self._asked, self._named, self._body = asked, named, body
        self._lossy = asked.caller.preference.lossy
        self._archive, self.short = asked.desk.archive(), Shortfall(asked.check)
        self.short.look(named.pages(), self._json)
        first, _ = self.short.first(named.pages(), self._json)
        looks.note(asked, first)

    def _json(self, instance: Instance) -> bytes:
        return _cache.get(self._archive, instance)

    def pieces(self) -> Generator[bytes, None, None]:
        """All of it. Where an instance fails that was not known to, it ends without its end."""
        opening, incomplete = b"[" if self._body is None else b"", None
        for page in self._named.pages():
            for one in page:
                if one.key in self.short.keys:
                    continue
                self._asked.check()  # who has gone is no fault of the instance
                try:
                    found = self._json(one)
                except ZscpError as error:
                    failed_lately.add(one)
                    incomplete = error
                    continue
                yield opening + self._written(one, found)
                opening = b"," if self._body is None else b""
        if incomplete is not None:
            raise incomplete
        yield b"]" if self._body is None else self._body.end()

    def _written(self, instance: Instance, found: bytes) -> bytes:
        address = of_instance(self._asked.base, instance)
        found = found.replace(ROOT, address.encode())
        if self._lossy is not None:
            found = told_in(found, self._lossy)
        if self._body is None:
            return found
        head = {"Content-Type": f"{XML}; charset=utf-8", "Content-Location": f"{address}/metadata"}
        return self._body.head(head) + native_model(json.loads(found))


Coded = Callable[[Iterator[bytes]], Generator[bytes, None, None]]


def _coding(accepted: str) -> tuple[str, Coded]:
    """The content coding that a client takes, and what codes: zstd before gzip, for it takes a quarter."""
    taken = {}
    for one in accepted.lower().split(",")[:32]:
        name, _, quality = one.partition(";")
        taken[name.strip()] = quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    if taken.get("zstd"):
        return "zstd", _zstd
    return ("gzip", _gzip) if taken.get("gzip") else ("", joined)


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
