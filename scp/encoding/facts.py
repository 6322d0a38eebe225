"""What a dataset says of itself, as text, for policy and index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import BytesIO

from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue

from scp.encoding.dataset import SplitDataset, inflate
from scp.encoding.elements import CANONICAL, Element, walk
from scp.model import Facts, Received
from scp.syntaxes import lookup

# Bulk values are nobody's search key, and sequences have no text.
_WITHOUT_TEXT = frozenset(("SQ", "OB", "OD", "OF", "OL", "OV", "OW", "UN"))
_PIXEL_GROUP = 0x7FE00000
_CHARACTER_SET = 0x00080005
_LONGEST = 10240  # characters: LT, the longest VR that workstations show


class Attributes(Mapping[str, str]):
    """The top level of a dataset by keyword, read when asked for: a rule needs two of two hundred."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._known: dict[str, str | None] = {}

    def __getitem__(self, keyword: str) -> str:
        if keyword not in self._known:
            self._known[keyword] = self._text(keyword)
        text = self._known[keyword]
        if text is None:
            raise KeyError(keyword)
        return text

    def __iter__(self) -> Iterator[str]:
        return (k for k in map(keyword_for_tag, self._dataset.keys()) if k and k in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, keyword: object) -> bool:
        return isinstance(keyword, str) and self.get(keyword) is not None

    def _text(self, keyword: str) -> str | None:
        tag = tag_for_keyword(keyword)
        if tag is None or tag not in self._dataset:
            return None
        try:
            element = self._dataset[tag]
            if element.VR in _WITHOUT_TEXT:
                return None
            value = element.value
            values = value if isinstance(value, (MultiValue, list, tuple)) else [value]
            return "\\".join("" if one is None else str(one).strip(" \0") for one in values)[:_LONGEST]
        except Exception:  # pydicom raises whatever a malformed value makes it raise  # noqa: BLE001
            return None


def facts_of(received: Received, parts: SplitDataset | None, fault: str = "") -> Facts:
    """What is known of a received object; ``parts`` is None when its encoding could not be followed.

    Of an unreadable dataset, what comes before the fault is read.
    """
    dataset = read_canonical(parts.header) if parts is not None else _read_what_can_be_read(received)
    return Facts(
        attributes=Attributes(dataset),
        transfer_syntax=received.transfer_syntax,
        size=len(received.dataset),
        calling_aet=received.calling_aet,
        called_aet=received.called_aet,
        readable=parts is not None,
        fault=fault,
    )


def read_canonical(header: bytes) -> Dataset:
    """The attributes of a canonical header.

    Where pydicom cannot read it, for a sequence that could be walked over or a Specific Character Set
    that is none, it is read without them: sequences have no text, and the rest is in ASCII mostly.
    """
    try:
        return _read(header)
    except Exception:  # pydicom raises whatever a malformed value makes it raise  # noqa: BLE001
        elements = (element for element in walk(header, CANONICAL) if _is_plain(element))
        return _read(b"".join(header[element.start : element.next] for element in elements))


def _is_plain(element: Element) -> bool:
    return element.tag != _CHARACTER_SET and element.vr != b"SQ" and not element.undefined


def _read(header: bytes) -> Dataset:
    return read_dataset(BytesIO(header), is_implicit_VR=False, is_little_endian=True)


def _read_what_can_be_read(received: Received) -> Dataset:
    syntax = lookup(received.transfer_syntax)
    try:
        stream = inflate(received.dataset) if syntax.deflated else received.dataset
        return read_dataset(
            BytesIO(stream),
            is_implicit_VR=not syntax.explicit_vr,
            is_little_endian=syntax.little_endian,
            stop_when=lambda tag, _vr, _length: tag >= _PIXEL_GROUP,
        )
    except Exception:  # it is unreadable: anything may come of reading it  # noqa: BLE001
        return Dataset()
