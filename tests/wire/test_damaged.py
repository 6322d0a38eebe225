"""Objects whose codestream came cut off or damaged: kept, given back as they came, and never otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from damaged import CASES
from generated import encapsulated_element, items_of
from pydicom.pixels.encoders import RLELosslessEncoder  # type: ignore[attr-defined]

from .conftest import NodeProcess, RunningNode, Starter
from .peers import (
    EXPLICIT,
    IMPLICIT,
    JPEGLS,
    RLE,
    STUDY_GET,
    STUDY_MOVE,
    Sent,
    Sink,
    identifier,
    image,
    of_file,
)

DAMAGED = ("jpeg-baseline-cut", "jpeg-lossless-cut", "htj2k-cut", "htj2k-crashes-openjph")
WHOLE = ("jpeg-lossless-whole", "htj2k-whole")
# At once, later, and by all that could take such an object.
_POLICY = [
    {
        "name": "all",
        "stages": [
            {"form": ["jpegls", "jpegxl-recompression", "jpeg2000"], "keep": "smallest", "dictionary": True},
            {"form": "jpegls", "after": "0s"},
        ],
    }
]


def _case(name: str) -> Sent:
    return of_file(CASES / f"{name}.dcm")


@pytest.fixture(scope="module")
def node(start_shared: Starter) -> RunningNode:
    running = start_shared(
        policy=[{"name": "all", "stages": [{"form": "jpegls"}]}], query={"hierarchy": "lenient"}
    )
    running.keep(*map(_case, (*DAMAGED, *WHOLE)))
    return running


def _get(node: RunningNode, sent: Sent, *syntaxes: str) -> tuple[int, str, list[Sent]]:
    wanted = identifier("IMAGE", SOPInstanceUID=sent.instance)
    with node.scu((STUDY_GET, [IMPLICIT]), (sent.sop_class, list(syntaxes)), roles=[sent.sop_class]) as scu:
        done = scu.get(STUDY_GET, wanted)
    return done.final.status, done.final.comment, done.objects


@pytest.mark.parametrize("name", DAMAGED)
def test_it_goes_out_as_it_came_and_not_otherwise(node: RunningNode, name: str) -> None:
    sent = _case(name)
    assert _get(node, sent, sent.syntax) == (0, "", [sent])
    for syntax in (EXPLICIT, IMPLICIT, JPEGLS):
        status, comment, objects = _get(node, sent, syntax)
        assert (status, objects) == (0xA702, [])
        assert comment
    node.answers_echo()


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_whole_goes_out_in_any(node: RunningNode, name: str) -> None:
    sent = _case(name)
    for syntax in (EXPLICIT, IMPLICIT, JPEGLS):
        status, _, objects = _get(node, sent, syntax)
        assert (status, len(objects)) == (0, 1)
    assert node.held(sent).form == "jpegls"


def _movie(frames: int, size: int) -> Sent:
    """Frames in RLE of ``size`` × ``size`` bytes, of which the last is cut off."""
    whole = RLELosslessEncoder.encode(
        np.random.default_rng(1).integers(0, 256, (size, size), "u1"),
        rows=size,
        columns=size,
        samples_per_pixel=1,
        bits_allocated=8,
        bits_stored=8,
        photometric_interpretation="MONOCHROME2",
        pixel_representation=0,
        number_of_frames=1,
    )
    codestreams = [whole] * (frames - 1) + [whole[: len(whole) // 4 * 2]]
    header = image(
        study="1.2.3.7",
        InstanceNumber=0,
        Rows=size,
        Columns=size,
        NumberOfFrames=frames,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelData=None,
    )
    return replace(header, syntax=RLE, data=header.data + encapsulated_element(items_of(codestreams)[0]))


@pytest.mark.parametrize("way", ["C-GET", "C-MOVE"])
def test_a_damaged_frame_of_a_large_object_harms_no_other(start: Starter, way: str) -> None:
    """48 MB of pixels are not decoded at once; the objects behind it come over the same association."""
    node, bad = start(), _movie(frames=48, size=1024)
    sound = [image(study="1.2.3.7", seed=n) for n in range(6)]
    node.keep(bad, *sound)
    wanted = identifier("STUDY", StudyInstanceUID="1.2.3.7")
    if way == "C-GET":
        with node.scu((STUDY_GET, [IMPLICIT]), (bad.sop_class, [EXPLICIT]), roles=[bad.sop_class]) as scu:
            done = scu.get(STUDY_GET, wanted)
            got = done.objects
    else:
        with (
            Sink(accepts=lambda _, syntax: syntax == EXPLICIT) as sink,
            node.scu((STUDY_MOVE, [IMPLICIT])) as scu,
        ):
            node.peer("SINK", sink.port)
            done = scu.move(STUDY_MOVE, wanted, "SINK")
            got = list(sink.objects.values())
    assert (done.final.status, done.final.counts) == (0xB000, (None, 6, 1, 0))
    assert sorted(one.instance for one in got) == sorted(one.instance for one in sound)


@pytest.fixture
def held(process: Callable[..., NodeProcess]) -> NodeProcess:
    found = process(policy=_POLICY)
    found.here("import", *(CASES / f"{name}.dcm" for name in (*DAMAGED, *WHOLE)))
    return found


def test_nothing_replaces_it_and_all_say_why(held: NodeProcess) -> None:
    before = {name: _form(held, name) for name in DAMAGED}
    assert json.loads(held.here("recompress", "--now", "--json"))["encoded"] == 0
    for name in DAMAGED:
        found = json.loads(held.here("explain", _case(name).instance, "--no-costs", "--json"))
        assert "cut off or damaged" in found["undecodable"]
        assert found["ways_out"] == [_case(name).syntax]
        asked = [one for one in found["attempts"] if one["form"] in ("jpegls", "jpeg2000")]
        assert all(one["outcome"] == "refused" for one in asked)
        assert _form(held, name) == before[name]
        assert before[name] in ("received", "zstd")
        shown = " ".join(held.here("explain", _case(name).instance, "--no-costs").split())
        assert "not decoded" in shown
    for name in WHOLE:
        assert (
            json.loads(held.here("explain", _case(name).instance, "--no-costs", "--json"))["undecodable"]
            == ""
        )


def test_verify_deep_says_what_it_is(held: NodeProcess) -> None:
    """The archive has not damaged it: the exit status is 0, but it is told apart from what is sound."""
    told = json.loads(held.here("verify", "--deep", "--json"))
    assert (told["sound"], told["damaged"]) == (len(DAMAGED) + len(WHOLE), 0)
    named = {one["sop_instance_uid"]: one["reason"] for one in told["undecodable"]}
    assert set(named) == {_case(name).instance for name in DAMAGED}
    assert all("cut off or damaged" in reason for reason in named.values())
    shown = held.here("verify", "--deep")
    assert "6 sound (4 kept as received, as not decodable), 0 damaged" in shown
    assert shown.count("not decoded: ") == len(DAMAGED)
    assert json.loads(held.here("verify", "--json"))["undecodable"] == []


def _form(node: NodeProcess, name: str) -> str:
    found = json.loads(node.here("explain", _case(name).instance, "--no-costs", "--json"))
    return str(found["provenance"]["form"])
