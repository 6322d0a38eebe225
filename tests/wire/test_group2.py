"""Datasets that begin with group 0002, sent by C-STORE: they come back as what they are announced as."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Starter
from .peers import (
    EXPLICIT,
    IMPLICIT,
    SECONDARY_CAPTURE,
    STUDY_GET,
    Sent,
    identifier,
    image,
    written,
)

CASES = Path(__file__).parents[1] / "data" / "cases"


def case(name: str) -> Sent:
    """What is behind the first File Meta Information, by its group length."""
    data = (CASES / f"{name}.dcm").read_bytes()
    dataset = data[144 + int.from_bytes(data[140:144], "little") :]
    begin = dataset.index(b"\x08\0\x18\0UI") + 8
    instance = dataset[begin : begin + int.from_bytes(dataset[begin - 2 : begin], "little")]
    return Sent(SECONDARY_CAPTURE, instance.decode().rstrip("\0"), EXPLICIT, dataset)


@pytest.mark.parametrize("form", ["received", "zstd", "htj2k"])
@pytest.mark.parametrize("name", ["group2-first", "two-file-metas"])
def test_it_comes_back_as_what_it_is(start: Starter, name: str, form: str) -> None:
    node = start(policy=[{"name": "all", "stages": [{"form": form}]}])
    sent, plain = case(name), image(instance="1.2.9.1", sop_class=SECONDARY_CAPTURE)
    node.keep(sent, plain)
    study = sent.data.partition(b"\x20\0\x0d\0UI")[2][2:].split(b"\0")[0].partition(b"\x20\0")[0].decode()
    for syntax in (EXPLICIT, IMPLICIT):
        contexts = [(STUDY_GET, [IMPLICIT]), (SECONDARY_CAPTURE, [syntax])]
        with node.scu(*contexts, roles=[SECONDARY_CAPTURE]) as scu:
            done = scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID=study))
        assert done.final.status == 0
        (got,) = done.objects
        assert got.syntax == syntax
        if syntax == EXPLICIT:
            assert got.data == sent.data
        else:  # as pydicom writes it
            assert got.data == written(sent.dataset, syntax)
