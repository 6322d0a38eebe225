"""Bulk data (PS3.18 10.4.1.1.5): values that metadata names by their addresses, as little endian bytes."""

from __future__ import annotations

from starlette.responses import Response

from scp.archive.archive import Archive
from scp.encoding.dataset import encoding_of, split
from scp.encoding.element_paths import value_at
from scp.encoding.elements import CANONICAL
from scp.encoding.fragments import frames_within
from scp.encoding.streams import gathered
from scp.errors import CannotDecode, NoLosslessWay, UnreadableDataset
from scp.model import Instance
from scp.spool import Buffer
from scp.syntaxes import EXPLICIT, Content, lookup
from scp.web.dicomweb.accept import accepted_by
from scp.web.dicomweb.addresses import of_instance
from scp.web.dicomweb.asked import Asked
from scp.web.dicomweb.bulk_types import OCTETS, VIDEO
from scp.web.dicomweb.faults import Refused
from scp.web.dicomweb.multipart import Multipart, joined
from scp.web.dicomweb.pieces import Pieces
from scp.web.dicomweb.retrieve.conditions import headers_of, same, tag_of, unchanged
from scp.web.dicomweb.retrieve.frames import sent
from scp.web.dicomweb.retrieve.named import Named
from scp.web.dicomweb.retrieve.told import looks

_PIXELS = ("7FE00008", "7FE00009", "7FE00010")


async def serve(asked: Asked) -> Response:
    """Answer a request for one value; a range of it, where one is asked for."""
    path = asked.named["path"].upper()
    instance = await asked.apart(lambda: Named(asked).first)
    media_type, multipart = _media_type(asked, instance, path)
    tag = tag_of((*same([instance]), path, media_type, str(multipart)))
    if (answer := unchanged(asked.request.headers, tag)) is not None:
        return answer
    value = await asked.apart(lambda: _value(asked.desk.archive(), instance, path))
    if value is None:
        raise Refused(404, "The instance has no value of that path.")
    looks.note(asked, instance)
    if path in _PIXELS:
        await asked.apart(lambda: asked.desk.archive().record_access([instance]))
    headers = headers_of(tag)
    if not multipart:
        return sent(asked, value, tag, media_type, headers)
    body = Multipart(media_type)
    location = f"{of_instance(asked.base, instance)}/bulkdata/{path}"
    head = {"Content-Type": media_type, "Content-Location": location, "Content-Length": str(len(value))}
    parts = joined(iter((body.head(head), value, body.end())))
    return Pieces(asked, parts, body.content_type, headers)


def _media_type(asked: Asked, instance: Instance, path: str) -> tuple[str, bool]:
    """What it goes out as, and whether as a part. Raises Refused (406)."""
    syntax = instance.transfer_syntax
    offered = [OCTETS]
    if path in _PIXELS and lookup(syntax).content is Content.VIDEO:
        offered = [name for name, syntaxes in VIDEO.items() if syntax in syntaxes] + offered
    for one in accepted_by(asked.request):
        for each in offered:
            if one.covers(each) and one.transfer_syntax in ("", "*", EXPLICIT, syntax):
                return each, one.multipart or one.media_type == "*/*"
    raise Refused(406, f"This value goes out as {' or '.join(offered)}.")


def _value(archive: Archive, instance: Instance, path: str) -> Buffer | None:
    """Raises NoLosslessWay, and what reading the object raises."""
    try:
        if path not in _PIXELS:
            return _of_header(archive, instance, path)
        syntax = lookup(instance.transfer_syntax)
        if syntax.content is Content.VIDEO:
            return _video(archive, instance)
        outgoing = archive.fetch(instance, [EXPLICIT])
        return value_at(gathered(outgoing.chunks), encoding_of(lookup(EXPLICIT)), path)
    except (UnreadableDataset, CannotDecode) as error:
        told = f"{instance.sop_instance_uid}: its dataset cannot be followed: {error}"
        raise NoLosslessWay(told) from error


def _video(archive: Archive, instance: Instance) -> Buffer:
    """The stream over all frames, without what is around its fragments."""
    outgoing = archive.fetch(instance, [instance.transfer_syntax])
    pixel = split(gathered(outgoing.chunks), lookup(outgoing.transfer_syntax)).pixel
    if pixel is None:
        raise NoLosslessWay(f"{instance.sop_instance_uid}: it has no pixel data")
    return gathered(iter(frames_within(pixel.held(), 1)[0]))


def _of_header(archive: Archive, instance: Instance, path: str) -> Buffer | None:
    read = archive.header(instance)
    found = value_at(read.header, CANONICAL, path)
    return value_at(read.trailer, CANONICAL, path) if found is None else found
