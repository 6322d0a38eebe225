"""C-MOVE and C-GET as a peer sees them: counts, statuses, negotiation, and the form that is sent."""

from __future__ import annotations

import threading
from collections import Counter

import numpy as np
import pytest
from objects import bundled_file
from pydicom.encaps import encapsulate
from pydicom.uid import generate_uid

from .conftest import WAYS, RunningNode, Starter
from .peers import (
    CT_IMAGE,
    EXPLICIT,
    HTJ2K,
    IMPLICIT,
    JPEG_BASELINE,
    JPEGLS,
    JPEGXL,
    JPEGXL_RECOMPRESSION,
    MPEG4,
    MR_IMAGE,
    PATIENT_GET,
    PRIVATE_CLASS,
    SECONDARY_CAPTURE,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    VERIFICATION,
    Retrieved,
    Sent,
    Sink,
    free_port,
    identifier,
    image,
    of_file,
    pixels,
    written,
)

STUDY = identifier("STUDY", StudyInstanceUID="1.2.3")


def _series(count: int, sop_class: str = MR_IMAGE, **more: object) -> list[Sent]:
    return [
        image(sop_class=sop_class, instance=f"1.2.3.1.{n}", InstanceNumber=n, seed=n, **more)  # type: ignore[arg-type]
        for n in range(1, count + 1)
    ]


def _move(node: RunningNode, destination: str = "SINK", query: object = STUDY) -> Retrieved:
    with node.scu((STUDY_MOVE, [EXPLICIT]), (VERIFICATION, [IMPLICIT])) as scu:
        done = scu.move(STUDY_MOVE, query, destination)  # type: ignore[arg-type]
        assert scu.echo() == 0
    return done


def _get(
    node: RunningNode, *storage: tuple[str, list[str]], roles: list[str] | None = None, **more: object
) -> Retrieved:
    classes = [uid for uid, _ in storage] if roles is None else roles
    with node.scu((STUDY_GET, [EXPLICIT]), (VERIFICATION, [IMPLICIT]), *storage, roles=classes) as scu:
        done = scu.get(STUDY_GET, STUDY, **more)  # type: ignore[arg-type]
        assert scu.echo() == 0
    return done


def _failed(done: Retrieved) -> list[str]:
    listed = done.final.identifier.FailedSOPInstanceUIDList if done.final.identifier else []
    return [listed] if isinstance(listed, str) else list(listed)


@WAYS
def test_counts_of_a_move(either: RunningNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scp.dimse.services.suboperations._BETWEEN_SECONDS", 0.0)
    sent = _series(4)
    either.keep(*sent)
    with Sink() as sink:
        either.peer("SINK", sink.port)
        done = _move(either)
    assert [one.counts for one in done.answers] == [(3, 1, 0, 0), (2, 2, 0, 0), (1, 3, 0, 0), (None, 4, 0, 0)]
    assert [one.status for one in done.answers] == [0xFF00] * 3 + [0]
    assert done.final.identifier is None
    assert [arrived.sent.instance for arrived in sink.arrived] == [one.instance for one in sent]
    assert {arrived.originator for arrived in sink.arrived} == {("TESTER", 1)}


@WAYS
def test_counts_of_a_get(either: RunningNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scp.dimse.services.suboperations._BETWEEN_SECONDS", 0.0)
    sent = _series(3)
    either.keep(*sent)
    done = _get(either, (MR_IMAGE, [EXPLICIT]))
    assert [one.counts for one in done.answers] == [(2, 1, 0, 0), (1, 2, 0, 0), (None, 3, 0, 0)]
    assert done.final.status == 0
    assert [one.data for one in done.objects] == [one.data for one in sent]


@WAYS
def test_nothing_matches(either: RunningNode) -> None:
    either.keep(*_series(1))
    with either.scu((STUDY_GET, [EXPLICIT])) as scu:
        done = scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID="9.9"))
    assert (done.final.status, done.final.counts) == (0, (None, 0, 0, 0))


@WAYS
def test_warnings_are_counted_apart(either: RunningNode) -> None:
    sent = _series(3)
    either.keep(*sent)
    done = _get(
        either, (MR_IMAGE, [EXPLICIT]), status=lambda one: 0xB000 if one.instance == sent[1].instance else 0
    )
    assert (done.final.status, done.final.counts) == (0xB000, (None, 2, 0, 1))
    assert _failed(done) == []


@pytest.mark.parametrize("way", ["move", "get"])
def test_some_fail(node: RunningNode, way: str) -> None:
    """The peer takes one SOP class only, refuses an object of it, and another one is damaged."""
    mr, ct = _series(3), image(sop_class=CT_IMAGE, series="1.2.3.2")
    node.keep(*mr, ct)
    damaged = node.path(mr[1])
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)

    def status(one: Sent) -> int:
        return 0xA700 if one.instance == mr[2].instance else 0

    if way == "move":
        with Sink(accepts=lambda uid, _: uid == MR_IMAGE, status=status) as sink:
            node.peer("SINK", sink.port)
            done = _move(node)
        arrived = [one.sent for one in sink.arrived]
    else:
        done = _get(node, (MR_IMAGE, [EXPLICIT]), status=status)
        arrived = done.objects
    assert (done.final.status, done.final.counts) == (0xB000, (None, 1, 3, 0))
    assert sorted(_failed(done)) == sorted([mr[1].instance, mr[2].instance, ct.instance])
    assert [one.instance for one in arrived] == [mr[0].instance, mr[2].instance]


@pytest.mark.parametrize("accepted", [EXPLICIT, IMPLICIT])
def test_a_changed_pixel_is_never_served(start: Starter, accepted: str) -> None:
    """In a plain file no checksum of zstd's and no decoder would notice."""
    node = start(policy=[{"name": "plain", "stages": [{"form": "received", "wrap": "none"}]}])
    sound, damaged = _series(2)
    node.keep(sound, damaged)
    path = node.path(damaged)
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    done = _get(node, (MR_IMAGE, [accepted]))
    assert done.final.status == 0xB000
    assert [one.instance for one in done.objects] == [sound.instance]


def test_all_fail(node: RunningNode) -> None:
    sent = _series(2)
    node.keep(*sent)
    with Sink(status=lambda _: 0xC000) as sink:
        node.peer("SINK", sink.port)
        done = _move(node)
    assert (done.final.status, done.final.counts) == (0xA702, (None, 0, 2, 0))
    assert _failed(done) == [one.instance for one in sent]


def test_destination_is_down(node: RunningNode) -> None:
    sent = _series(2)
    node.keep(*sent)
    node.peer("SINK", free_port())
    done = _move(node)
    assert (done.final.status, done.final.counts) == (0xA702, (None, 0, 2, 0))
    assert _failed(done) == [one.instance for one in sent]
    assert "SINK" in done.final.comment


def test_destination_refuses(node: RunningNode) -> None:
    node.keep(*_series(1))
    with Sink(accepts=lambda *_: False) as sink:
        node.peer("SINK", sink.port)
        done = _move(node)
    assert done.final.status == 0xA702


def test_destination_is_unknown(node: RunningNode) -> None:
    node.keep(*_series(1))
    done = _move(node, "NOWHERE")
    assert done.final.status == 0xA801
    assert "NOWHERE" in done.final.comment


def test_destination_goes_away(node: RunningNode) -> None:
    """At one object, each time: that one has failed, and the rest arrives."""
    sent = _series(4)
    node.keep(*sent)
    with Sink() as sink:

        def leave(one: Sent) -> int:
            if one.instance == sent[1].instance:
                threading.current_thread().abort()  # type: ignore[attr-defined]  # pynetdicom's association
            return 0

        sink.status = leave
        node.peer("SINK", sink.port)
        done = _move(node)
    assert (done.final.status, done.final.counts) == (0xB000, (None, 3, 1, 0))
    assert _failed(done) == [sent[1].instance]


@pytest.mark.parametrize(
    "query",
    [
        identifier("STUDY"),
        identifier("STUDY", StudyInstanceUID=""),
        identifier("STUDY", StudyInstanceUID="*"),
        identifier("PATIENT", PatientID="WIRE1"),
    ],
    ids=["no key", "empty", "pattern", "level of the other root"],
)
def test_what_names_nothing_is_refused(node: RunningNode, query: object) -> None:
    node.keep(*_series(1))
    with Sink() as sink:
        node.peer("SINK", sink.port)
        done = _move(node, query=query)
    assert done.final.status == 0xA900
    assert sink.arrived == []


def test_levels(node: RunningNode) -> None:
    """Each level, lists, and both roots; relational where that was negotiated."""
    first = [image(instance=f"1.2.3.1.{n}", seed=n) for n in (1, 2)]
    second = image(instance="1.2.3.2.1", series="1.2.3.2")
    node.keep(*first, second)
    every = {first[0].instance, first[1].instance, second.instance}
    cases = [
        (PATIENT_GET, identifier("PATIENT", PatientID="WIRE1"), every),
        (PATIENT_GET, identifier("STUDY", PatientID="WIRE1", StudyInstanceUID="1.2.3"), every),
        (
            STUDY_GET,
            identifier("SERIES", StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.2"),
            {second.instance},
        ),
        (
            STUDY_GET,
            identifier(
                "IMAGE",
                StudyInstanceUID="1.2.3",
                SeriesInstanceUID="1.2.3.1",
                SOPInstanceUID=[first[0].instance, first[1].instance],
            ),
            {first[0].instance, first[1].instance},
        ),
        (
            STUDY_GET,
            identifier(
                "IMAGE",
                StudyInstanceUID="1.2.3",
                SeriesInstanceUID="1.2.3.2",
                SOPInstanceUID=first[0].instance,
            ),
            set(),
        ),
    ]
    with node.scu(
        (PATIENT_GET, [EXPLICIT]), (STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT]), roles=[MR_IMAGE]
    ) as scu:
        for root, query, expected in cases:
            done = scu.get(root, query)
            assert done.final.status == 0, query
            assert {one.instance for one in done.objects} == expected
    relational = {"roles": [MR_IMAGE], "extended": {STUDY_GET: b"\1"}}
    with node.scu((STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT]), **relational) as scu:
        done = scu.get(STUDY_GET, identifier("IMAGE", SOPInstanceUID=second.instance))
    assert [one.instance for one in done.objects] == [second.instance]


def test_one_transfer_syntax_a_context(node: RunningNode) -> None:
    """So that what is accepted is all that the peer takes; the stored and the received one are among them."""
    mr, ct = image(), image(sop_class=CT_IMAGE, syntax=IMPLICIT)
    node.keep(mr, ct)
    with Sink() as sink:
        node.peer("SINK", sink.port, prefer=["JPEGLSLossless"])
        _move(node)
    (proposed,) = sink.proposals
    assert all(len(syntaxes) == 1 for _, syntaxes in proposed)
    assert len({(uid, syntaxes[0]) for uid, syntaxes in proposed}) == len(proposed)
    for one in (mr, ct):
        held = node.held(one)
        of_class = [syntaxes[0] for uid, syntaxes in proposed if uid == one.sop_class]
        assert of_class[0] == held.transfer_syntax == HTJ2K
        assert of_class.index(one.syntax) < len(of_class)
        assert JPEGLS in of_class
    assert {one.syntax for one in sink.objects.values()} == {HTJ2K}


def test_get_without_the_scp_role(node: RunningNode) -> None:
    """A class without role selection fails by itself (PS3.4 C.5.3); the other one is sent."""
    mr, ct = image(), image(sop_class=CT_IMAGE)
    node.keep(mr, ct)
    done = _get(node, (MR_IMAGE, [EXPLICIT]), (CT_IMAGE, [EXPLICIT]), roles=[MR_IMAGE])
    assert [one.instance for one in done.objects] == [mr.instance]
    assert (done.final.status, done.final.counts) == (0xB000, (None, 1, 1, 0))
    assert _failed(done) == [ct.instance]
    assert done.final.comment


def test_more_contexts_than_an_association_has(node: RunningNode) -> None:
    """48 SOP classes, private ones too, at three contexts each: more than 128."""
    classes = [MR_IMAGE, CT_IMAGE, *(f"{PRIVATE_CLASS}.{n}" for n in range(46))]
    sent = [image(sop_class=uid, instance=generate_uid(), InstanceNumber=n) for n, uid in enumerate(classes)]
    node.keep(*sent)
    with Sink() as sink:
        node.peer("SINK", sink.port)
        done = _move(node)
    assert (done.final.status, done.final.counts) == (0, (None, len(sent), 0, 0))
    assert len(sink.proposals) == 2
    assert all(len(proposed) <= 128 for proposed in sink.proposals)
    assert set(sink.objects) == {one.instance for one in sent}
    assert Counter(one.association for one in sink.arrived)[1] > 0


def test_lossy_jpeg_goes_out_decoded(node: RunningNode) -> None:
    """To a peer without JPEG; to one with JPEG it goes as it came."""
    lossy = of_file(bundled_file("SC_rgb_jpeg_dcmtk.dcm"))
    assert lossy.syntax == JPEG_BASELINE
    node.keep(lossy)
    study = identifier("STUDY", StudyInstanceUID=lossy.dataset.StudyInstanceUID)
    for accepted in (EXPLICIT, JPEG_BASELINE):
        with Sink(accepts=lambda _, syntax, only=accepted: syntax == only) as sink:  # type: ignore[misc]
            node.peer("SINK", sink.port)
            assert _move(node, query=study).final.status == 0
        (one,) = sink.objects.values()
        assert one.syntax == accepted
        if accepted == JPEG_BASELINE:
            assert one.data == lossy.data
        else:
            assert one.dataset.PhotometricInterpretation == "RGB"
            reference = pixels(lossy).astype(int)
            assert np.abs(pixels(one).astype(int) - reference).max() <= 2  # JPEG decoders round as they like
    with Sink(accepts=lambda _, syntax: syntax == JPEGLS) as sink:
        node.peer("SINK", sink.port, prefer=["JPEGLSLossless"])
        assert _move(node, query=study).final.status == 0


def test_recompressed_jpeg_goes_out_as_it_came(start: Starter) -> None:
    """To a peer with JPEG to the byte; to one that takes JPEG XL as stored; to any other decoded as JPEG."""
    node = start(policy=[{"name": "jpeg", "stages": [{"form": "jpegxl-recompression"}]}])
    lossy = of_file(bundled_file("SC_rgb_jpeg_dcmtk.dcm"))
    node.keep(lossy)
    assert node.held(lossy).form == "jpegxl-recompression"
    study = identifier("STUDY", StudyInstanceUID=lossy.dataset.StudyInstanceUID)
    arrived = {}
    for accepted in (EXPLICIT, JPEG_BASELINE, JPEGXL_RECOMPRESSION):
        with Sink(accepts=lambda _, syntax, only=accepted: syntax == only) as sink:  # type: ignore[misc]
            node.peer("SINK", sink.port)
            assert _move(node, query=study).final.status == 0
        (arrived[accepted],) = sink.objects.values()
        assert arrived[accepted].syntax == accepted
    assert arrived[JPEG_BASELINE].data == lossy.data
    assert len(arrived[JPEGXL_RECOMPRESSION].data) < len(lossy.data)
    assert arrived[EXPLICIT].dataset.PhotometricInterpretation == "RGB"
    difference = pixels(arrived[EXPLICIT]).astype(int) - pixels(lossy).astype(int)
    assert np.abs(difference).max() <= 2  # JPEG decoders round as they like


def test_video_fails_alone(node: RunningNode) -> None:
    """Nothing here decodes it: a peer without it does not get it, and gets the others."""
    still, video = image(), _video()
    node.keep(still, video)
    with Sink(accepts=lambda _, syntax: syntax in (EXPLICIT, IMPLICIT)) as sink:
        node.peer("SINK", sink.port)
        done = _move(node)
    assert (done.final.status, done.final.counts) == (0xB000, (None, 1, 1, 0))
    assert _failed(done) == [video.instance]
    assert list(sink.objects) == [still.instance]
    with Sink() as sink:
        node.peer("SINK", sink.port)
        assert _move(node).final.status == 0
    assert sink.objects[video.instance].data == video.data


def _video() -> Sent:
    """MPEG-4 as far as a transfer syntax says so: the stream itself is made up."""
    uid = "1.2.840.10008.5.1.4.1.1.77.1.1.1"
    plain = image(sop_class=uid)
    dataset = plain.dataset
    dataset.NumberOfFrames = 30
    del dataset.PixelData
    stream = np.random.default_rng(1).bytes(5000)
    dataset.add_new(0x7FE00010, "OB", encapsulate([stream], has_bot=True))
    dataset["PixelData"].is_undefined_length = True
    return Sent(uid, plain.instance, MPEG4, written(dataset, MPEG4))


@pytest.mark.parametrize("way", ["move", "get"])
@pytest.mark.parametrize(
    ("preference", "takes", "expected"),
    [
        ({"link_mbps": 5, "prefer": ["JPEGXLLossless", "JPEGLSLossless"]}, None, JPEGXL),
        ({"link_mbps": 5, "prefer": ["JPEGXLLossless", "JPEGLSLossless"]}, (JPEGLS, HTJ2K, EXPLICIT), JPEGLS),
        ({"link_mbps": 5}, None, JPEGXL),
        ({"prefer": ["JPEGXLLossless", "JPEGLSLossless"]}, None, HTJ2K),
        ({"prefer": ["JPEGXLLossless", "JPEGLSLossless"]}, (JPEGLS, EXPLICIT), JPEGLS),
        ({}, (JPEGLS, EXPLICIT), EXPLICIT),
    ],
    ids=[
        "thin line",
        "thin, no JPEG XL",
        "thin, no preference",
        "preference",
        "preference, not the stored form",
        "none",
    ],
)
def test_preferences(
    node: RunningNode, way: str, preference: dict[str, object], takes: tuple[str, ...] | None, expected: str
) -> None:
    sent = image(sop_class=SECONDARY_CAPTURE, rows=64)
    node.keep(sent)
    if way == "move":
        with Sink(accepts=lambda _, syntax: takes is None or syntax in takes) as sink:
            node.peer("SINK", sink.port, **preference)
            assert _move(node).final.status == 0
        (one,) = sink.objects.values()
    else:
        node.peer("TESTER", free_port(), **preference)
        storage = [(SECONDARY_CAPTURE, [syntax]) for syntax in takes or (EXPLICIT, HTJ2K, JPEGXL, JPEGLS)]
        done = _get(node, *storage, roles=[SECONDARY_CAPTURE])
        assert done.final.status == 0
        (one,) = done.objects
    assert one.syntax == expected
    np.testing.assert_array_equal(pixels(one), pixels(sent))


def test_big_endian_and_deflated_are_ways_out(node: RunningNode) -> None:
    sent = image()
    node.keep(sent)
    for syntax in ("1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"):
        done = _get(node, (MR_IMAGE, [syntax]))
        assert done.final.status == 0
        assert done.objects[0].syntax == syntax
        np.testing.assert_array_equal(pixels(done.objects[0]), pixels(sent))


def test_several_requests_over_one_association(node: RunningNode) -> None:
    sent = _series(2)
    node.keep(*sent)
    storage = [(MR_IMAGE, [EXPLICIT])]
    with node.scu((STUDY_GET, [EXPLICIT]), (STUDY_FIND, [EXPLICIT]), *storage, roles=[MR_IMAGE]) as scu:
        for _ in range(3):
            assert len(scu.get(STUDY_GET, STUDY).objects) == 2
            assert scu.find(STUDY_FIND, identifier("STUDY", StudyInstanceUID=""))[-1].status == 0
