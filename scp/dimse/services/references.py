"""The references of a storage commitment request as bytes: 100 000 take half a second, with pydicom 12 s.

Only plain requests are read here: a Transaction UID, and items of a class and an instance. Anything else is
left to :mod:`scp.dimse.identifier`, which understands more, and says what is wrong.
"""

from __future__ import annotations

from scp.encoding.elements import ITEM, ITEM_END, UNDEFINED, ElementReader, Encoding, walk
from scp.errors import UnreadableDataset
from scp.spool import Buffer

_TRANSACTION, _REFERENCES = 0x00081195, 0x00081199
_CLASS, _INSTANCE = 0x00081150, 0x00081155
_UID_VRS = (b"UI", b"")  # empty where it is implied


def plain_request(data: Buffer, encoding: Encoding) -> tuple[str, list[tuple[str, str]]] | None:
    """The Transaction UID and the (class, instance) of each reference; None if the request is not plain."""
    try:
        elements = {one.tag: one for one in walk(data, encoding)}
        if elements.keys() != {_TRANSACTION, _REFERENCES} or elements[_TRANSACTION].vr not in _UID_VRS:
            return None
        transaction, sequence = elements[_TRANSACTION], elements[_REFERENCES]
        if sequence.vr not in (b"SQ", b""):
            return None
        uid = _uid(data[transaction.value : transaction.end])
        references = _references(ElementReader(data, encoding), sequence.value, sequence.end)
    except (UnreadableDataset, UnicodeDecodeError):
        return None
    return None if uid is None or references is None else (uid, references)


def _references(reader: ElementReader, at: int, end: int) -> list[tuple[str, str]] | None:
    data, header, found = reader.data, reader.header, []
    while at < end:
        tag, _, at, length = header(at, end)
        if tag != ITEM:
            return None
        stop = end if length == UNDEFINED else at + length
        uids: dict[int, str | None] = {}
        while at < stop:
            tag, vr, value, size = header(at, stop)
            at = value + size
            if tag == ITEM_END and length == UNDEFINED and size == 0:
                break
            if tag not in (_CLASS, _INSTANCE) or vr not in _UID_VRS or tag in uids or size == UNDEFINED:
                return None
            uids[tag] = _uid(data[value:at])
        sop_class, instance = uids.get(_CLASS), uids.get(_INSTANCE)
        if sop_class is None or instance is None:
            return None
        found.append((sop_class, instance))
    return found


def _uid(value: Buffer) -> str | None:
    """The text of one UID; None for several. Raises UnicodeDecodeError."""
    text = bytes(value).decode("ascii").strip(" \0")
    return None if not text or "\\" in text else text
