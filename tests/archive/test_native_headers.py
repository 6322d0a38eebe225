"""A header that is told as of decoded pixels, with the UIDs under which its object is found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from objects import Shape, kept, phantom
from test_index_contract import instance

from scp.archive import headers
from scp.config.rules import Stage
from scp.encoding.dataset import split
from scp.encoding.elements import CANONICAL, element_header, walk
from scp.encoding.scan import scan
from scp.model import Instance, Received
from scp.objects.beginning import Beginning
from scp.objects.part10 import unpack
from scp.syntaxes import EXPLICIT, lookup

pytestmark = pytest.mark.quick

UIDS = headers._UIDS
STUDY = 0x0020000D


def uids_in(data: bytes) -> dict[int, bytes]:
    return {one.tag: data[one.value : one.end] for one in walk(data, CANONICAL) if one.tag in UIDS}


def sent() -> tuple[Received, dict[int, bytes]]:
    """An object in explicit VR little endian, and its UIDs."""
    found = phantom(Shape(rows=64, columns=64, noise=0.01), EXPLICIT)
    return found, uids_in(bytes(found.dataset))


def row() -> Instance:
    """The row of an object; its UIDs are none that a dataset here has."""
    named = instance("9.9.1")
    return replace(named, study_instance_uid="9.9.2", series_instance_uid="9.9.3", sop_class_uid="9.9.4")


def told(of: Received, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[int, bytes], int]:
    """The UIDs in the header that goes out of an object kept as HTJ2K, and how often that was scanned."""
    scans = []

    def counted(*given: Any, **more: Any) -> object:
        scans.append(given)
        return scan(*given, **more)

    monkeypatch.setattr(headers, "scan", counted)
    file = unpack(kept(of, Stage(forms=("htj2k",))).data)
    assert file.transfer_syntax != EXPLICIT
    found = headers._header(row(), Beginning(file, len(file.dataset)))
    assert found is not None
    return uids_in(found.header), len(scans)


def test_a_header_whose_uids_stand_where_they_stood_is_not_scanned_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of, uids = sent()
    assert len(uids) == len(UIDS)
    assert told(of, monkeypatch) == (uids, 0)


@pytest.mark.parametrize("left", [b"", None], ids=["empty", "missing"])
def test_a_missing_uid_is_that_of_the_row(left: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    of, uids = sent()
    data = bytes(of.dataset)
    (at,) = (one for one in walk(data, CANONICAL) if one.tag == STUDY)
    instead = b"" if left is None else element_header(STUDY, b"UI", 0, CANONICAL)
    changed = replace(of, dataset=data[: at.start] + instead + data[at.next :], sha256="")
    assert split(changed.dataset, lookup(EXPLICIT)).pixel is not None
    found, _ = told(changed, monkeypatch)
    assert found == uids | {STUDY: b"9.9.2\0"}
