"""The header of a lossy copy: a derived image, which names its source and how it was made.

PS3.3 C.7.6.1.1.5: a compressed version of another image has Lossy Image Compression "01", DERIVED as the
first value of Image Type, and a SOP Instance UID of its own where the other one was a DICOM image. PS3.3
C.12.4.1 has it name that one; a copy that keeps the UID (docs/decisions/0212) names none. Nothing here knows
of codestreams or of time: the same copy has the same header.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from scp.encoding.elements import CANONICAL, ITEM, element_header, walk
from scp.loss import LossyRule
from scp.spool import Buffer

Change = tuple[bytes, bytes]  # VR and value

_IMAGE_TYPE, _CREATION, _SOP_INSTANCE = 0x00080008, (0x00080012, 0x00080013, 0x00080014), 0x00080018
_FRAME_TYPE = re.compile(rb"\x08\x00\x07\x90CS..ORIGINAL(?=[\\ ])[^\x00-\x1f]*", re.DOTALL)
_FUNCTIONAL_GROUPS = (0x52009229, 0x52009230)
_DESCRIPTION, _SOURCE_IMAGES, _DERIVATION = 0x00082111, 0x00082112, 0x00089215
_LOSSY, _RATIO, _METHOD = 0x00282110, 0x00282112, 0x00282114
_SMALLEST, _LARGEST = 0x00280106, 0x00280107
_READ = {_IMAGE_TYPE, _DESCRIPTION, _SOURCE_IMAGES, _DERIVATION, _LOSSY, _RATIO, _METHOD, *_FUNCTIONAL_GROUPS}
_MAC_PARAMETERS, _SIGNATURES = 0x4FFE0001, 0xFFFAFFFA
_LONGEST_DESCRIPTION = 1024  # characters: ST
# The root of the UIDs of all copies; it must not change, lest the same copy gets another one.
_NAMESPACE = uuid.UUID("6b1f3c1e-2d0a-5c54-9b0e-0d6f4e5a7c21")


@dataclass(frozen=True, slots=True)
class Source:
    """The object that is copied; ``sha256`` is that of what was received."""

    sop_class_uid: str
    sop_instance_uid: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Derivation:
    """What was done: ``method`` is a term of PS3.3 C.7.6.1.1.5.1, ``ratio`` native bytes to coded ones."""

    sop_instance_uid: str
    method: str
    ratio: float
    description: str


def uid_of_copy(source: Source, codec: str, transfer_syntax: str, rule: LossyRule) -> str:
    """The SOP Instance UID of a copy: the same for the same content, codec and rule (PS3.5 B.2)."""
    asked = f"quality {rule.quality} within {rule.max_error}"
    asked += "" if rule.ratio is None else f" ratio {rule.ratio}"
    made_of = "\n".join((source.sop_instance_uid, source.sha256, codec, transfer_syntax, asked))
    return f"2.25.{uuid.uuid5(_NAMESPACE, made_of).int}"


def derived_header(
    header: bytes, source: Source, done: Derivation, pixels: Mapping[int, Change | None]
) -> bytes:
    """A canonical header as that of a copy; ``pixels`` are changes of its Image Pixel module.

    Raises UnreadableDataset.
    """
    held = {element.tag: element for element in walk(header, CANONICAL) if element.tag in _READ}

    def value(tag: int) -> bytes:
        element = held.get(tag)
        return header[element.value : element.end] if element else b""

    def sequence(tag: int, item: bytes) -> Change:
        items = value(tag) if tag in held and held[tag].vr == b"SQ" else b""
        return b"SQ", items + item

    lossy = value(_LOSSY).strip(b" \0") == b"01"
    changes: dict[int, Change | None] = dict.fromkeys((*_CREATION, _SMALLEST, _LARGEST, _MAC_PARAMETERS))
    changes |= {
        _IMAGE_TYPE: (b"CS", _padded(_derived_type(value(_IMAGE_TYPE)))),
        _SOP_INSTANCE: (b"UI", _uid(done.sop_instance_uid)),
        _DESCRIPTION: (b"ST", _padded(_described(value(_DESCRIPTION), done.description))),
        _DERIVATION: sequence(_DERIVATION, _item(_code("113040", "Lossy Compression"))),
        _LOSSY: (b"CS", b"01"),
        **_history(value(_RATIO), value(_METHOD), done),
    }
    if done.sop_instance_uid != source.sop_instance_uid:  # an image is no source of itself
        changes[_SOURCE_IMAGES] = sequence(_SOURCE_IMAGES, _source_item(source, lossy))
    for tag in _FUNCTIONAL_GROUPS:
        if tag in held:
            changes[tag] = b"SQ", _FRAME_TYPE.sub(_derived_frame, value(tag))
    return rewritten(header, changes | dict(pixels))


def derived_trailer(trailer: Buffer) -> bytes:
    """What follows the pixel data, without signatures: they were made over another image."""
    return rewritten(bytes(trailer), {_SIGNATURES: None})


def rewritten(data: bytes, changes: Mapping[int, Change | None]) -> bytes:
    """Canonical elements with some replaced, added in their place or, for None, removed.

    Group lengths of the groups that change go: they are retired, and would be wrong. Raises
    UnreadableDataset.
    """
    changes = {tag & 0xFFFF0000: None for tag in changes} | dict(changes)
    left = sorted(tag for tag, change in changes.items() if change is not None)
    out = bytearray()  # there may be millions of elements

    def add_before(tag: int) -> None:
        while left and left[0] < tag:
            vr, value = changes[left[0]] or (b"", b"")
            out.extend(element_header(left.pop(0), vr, len(value), CANONICAL) + value)

    for element in walk(data, CANONICAL):
        add_before(element.tag)
        if element.tag not in changes:
            out.extend(data[element.start : element.next])
    add_before(1 << 32)
    return bytes(out)


def _derived_type(value: bytes) -> bytes:
    """Image Type with DERIVED first (PS3.3 C.7.6.1.1.2); the others are about what it shows, and stay."""
    _, *others = value.rstrip(b" \0").split(b"\\")
    return b"\\".join((b"DERIVED", *(others or [b"PRIMARY"])))


def _derived_frame(found: re.Match[bytes]) -> bytes:
    """Frame Type likewise, at its length: items around it count that."""
    head, types = found[0][:8], found[0][8:]
    size = int.from_bytes(head[6:8], "little")
    if size > len(types):  # no Frame Type after all
        return found[0]
    return head + types[:size].replace(b"ORIGINAL", b"DERIVED", 1).ljust(size) + types[size:]


def _described(before: bytes, description: str) -> bytes:
    earlier = before.rstrip(b" \0")
    text = earlier + b"; " + description.encode() if earlier else description.encode()
    return text if len(text) <= _LONGEST_DESCRIPTION else description.encode()[:_LONGEST_DESCRIPTION]


def _history(ratios: bytes, methods: bytes, done: Derivation) -> dict[int, Change | None]:
    """Ratio and method behind those of earlier steps, each at the same place (PS3.3 C.7.6.1.1.5.2)."""
    earlier = [
        value.rstrip(b" \0").split(b"\\") if value.strip(b" \0") else [] for value in (ratios, methods)
    ]
    steps = max(map(len, earlier))
    latest = (f"{done.ratio:.2f}".encode(), done.method.encode())
    ratio, method = (
        b"\\".join((*values, *[b""] * (steps - len(values)), new))
        for values, new in zip(earlier, latest, strict=True)
    )
    return {_RATIO: (b"DS", _padded(ratio)), _METHOD: (b"CS", _padded(method))}


def _source_item(source: Source, lossy: bool) -> bytes:
    """CID 7202: what an image was made of that had lost something before is another kind of source."""
    purpose = (
        _code("121330", "Lossy compressed predecessor")
        if lossy
        else _code("121320", "Uncompressed predecessor")
    )
    return _item(
        _element(0x00081150, b"UI", _uid(source.sop_class_uid)),
        _element(0x00081155, b"UI", _uid(source.sop_instance_uid)),
        _element(0x0040A170, b"SQ", _item(purpose)),
    )


def _code(value: str, meaning: str) -> bytes:
    """A code of DCM (PS3.16 D)."""
    return b"".join(
        (
            _element(0x00080100, b"SH", _padded(value.encode())),
            _element(0x00080102, b"SH", _padded(b"DCM")),
            _element(0x00080104, b"LO", _padded(meaning.encode())),
        )
    )


def _item(*elements: bytes) -> bytes:
    content = b"".join(elements)
    return element_header(ITEM, b"", len(content), CANONICAL) + content


def _element(tag: int, vr: bytes, value: bytes) -> bytes:
    return element_header(tag, vr, len(value), CANONICAL) + value


def _padded(value: bytes) -> bytes:
    return value + b" " * (len(value) % 2)


def _uid(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)
