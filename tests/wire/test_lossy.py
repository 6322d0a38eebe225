"""Lossy copies as a peer sees them: only by its rule, under a UID of their own, within the bound."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from objects import bundled_file
from pydicom.encaps import generate_frames

from scp.syntaxes import (
    HTJ2K_EITHER,
    JPEG2000_EITHER,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEGLS_NEAR,
    JPEGXL_EITHER,
    LOSSY,
)

from .conftest import RunningNode
from .peers import (
    CT_IMAGE,
    EXPLICIT,
    HTJ2K,
    IMPLICIT,
    JPEGLS,
    JPEGXL,
    MR_IMAGE,
    SECONDARY_CAPTURE,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    Retrieved,
    Sent,
    Sink,
    as_file,
    dcmtk,
    files_in,
    free_port,
    identifier,
    image,
    of_file,
    pixels,
    storescp,
)

pytestmark = pytest.mark.peer

STUDY = identifier("STUDY", StudyInstanceUID="1.2.3")
METHODS = {
    JPEG_BASELINE: "ISO_10918_1",
    JPEG_EXTENDED: "ISO_10918_1",
    JPEGLS_NEAR: "ISO_14495_1",
    JPEG2000_EITHER: "ISO_15444_1",
    HTJ2K_EITHER: "ISO_15444_15",
    JPEGXL_EITHER: "ISO_18181_1",
}
SIDE = 96


def _values(top: int) -> np.ndarray:
    """A picture with soft and sharp edges and some noise, from 0 up to ``top``."""
    across = np.linspace(0, 9, SIDE)
    waves = (np.sin(across)[:, None] * np.cos(across * 0.8)[None] + 1) / 2
    waves[30:50, 20:70] = 0.9
    noise = np.random.default_rng(5).random((SIDE, SIDE)) * 0.03
    return ((waves * 0.97 + noise) * top).astype("<u2")


def _grey(bits: int = 12, **more: object) -> Sent:
    values = _values((1 << bits) - 1)
    allocated = 8 if bits <= 8 else 16
    return image(
        rows=SIDE,
        instance="1.2.3.1.1",
        BitsAllocated=allocated,
        BitsStored=bits,
        HighBit=bits - 1,
        ImageType=["ORIGINAL", "PRIMARY", "M"],
        PixelData=values.astype("u1" if allocated == 8 else "<u2").tobytes(),
        **more,
    )


def _colour() -> Sent:
    grey = _values(255).astype("u1")
    values = np.stack([grey, grey[::-1], 255 - grey // 2], -1)
    return image(
        sop_class=SECONDARY_CAPTURE,
        rows=SIDE,
        instance="1.2.3.1.2",
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelData=values.tobytes(),
    )


def _of(syntax: str) -> Sent:
    """An object that a lossy syntax can take."""
    return _grey(8) if syntax == JPEG_BASELINE else _grey()


def _sent_by(
    node: RunningNode, way: str, accepted: tuple[str, ...], sop_class: str = MR_IMAGE, **peer: object
) -> tuple[Retrieved, list[Sent]]:
    """The study retrieved by a peer that accepts some transfer syntaxes, each in a context of its own."""
    if way == "get":
        node.peer("TESTER", free_port(), **peer)
        storage = [(sop_class, [syntax]) for syntax in accepted]
        with node.scu((STUDY_GET, [EXPLICIT]), *storage, roles=[sop_class]) as scu:
            done = scu.get(STUDY_GET, STUDY)
        return done, done.objects
    with Sink(accepts=lambda _, syntax: syntax in accepted) as sink:
        node.peer("SINK", sink.port, **peer)
        with node.scu((STUDY_MOVE, [EXPLICIT])) as scu:
            done = scu.move(STUDY_MOVE, STUDY, "SINK")
        return done, [arrived.sent for arrived in sink.arrived]


def _names(*syntaxes: str) -> list[str]:
    return list(syntaxes)


def _rule(syntax: str) -> dict[str, object]:
    return {"lossy": True, **({"max_error": 4} if syntax == JPEGLS_NEAR else {"quality": 90})}


def _decoded(sent: Sent, folder: Path) -> np.ndarray:
    """The samples, by a decoder that shares no code with the encoder, where there is one."""
    if sent.syntax == JPEG2000_EITHER:
        pytest.importorskip("openjpeg", reason="pylibjpeg-openjpeg is not installed")
        return pydicom.pixels.pixel_array(sent.dataset, raw=True, decoding_plugin="pylibjpeg")  # type: ignore[attr-defined]
    (stream,) = generate_frames(sent.dataset.PixelData, number_of_frames=1)
    if sent.syntax == HTJ2K_EITHER:
        openjpeg = pytest.importorskip("openjpeg", reason="pylibjpeg-openjpeg is not installed")
        return openjpeg.decode(stream)
    if sent.syntax == JPEGXL_EITHER:
        if shutil.which("djxl") is None:
            pytest.skip("djxl (Debian libjxl-tools) is not installed")
        coded, plain = folder / "one.jxl", folder / ("one.ppm" if _is_colour(sent) else "one.pgm")
        coded.write_bytes(stream)
        subprocess.run(["djxl", coded, plain], check=True, capture_output=True, timeout=60)
        return _of_pnm(plain.read_bytes(), (1 << sent.dataset.BitsStored) - 1)
    return pixels(sent)


def _is_colour(sent: Sent) -> bool:
    return sent.dataset.SamplesPerPixel == 3


def _of_pnm(data: bytes, peak: int) -> np.ndarray:
    """A portable grey or colour map; djxl 0.7 names 4095 as the peak of 12 bits that it stretched to 16."""
    kind, size, named, samples = data.split(b"\n", 3)
    columns, rows = map(int, size.split())
    shape = (rows, columns) if kind == b"P5" else (rows, columns, 3)
    found = np.frombuffer(samples, "u1" if int(named) < 256 else ">u2").reshape(shape)
    return np.rint(found * (peak / 65535)).astype("u2") if found.max() > peak else found


@pytest.mark.parametrize("way", ["move", "get"])
@pytest.mark.parametrize("prefer", [True, False])
def test_without_a_rule_nothing_is_lossy(node: RunningNode, way: str, prefer: bool) -> None:
    """Neither a thin line nor a preference is a rule: who takes lossy syntaxes only gets a clear failure."""
    sent = _grey()
    node.keep(sent)
    preference = {"link_mbps": 2, "prefer": _names(*LOSSY)} if prefer else {}
    done, arrived = _sent_by(node, way, LOSSY, **preference)
    assert arrived == []
    assert (done.final.status, done.final.counts) == (0xA702, (None, 0, 1, 0))
    assert done.final.identifier is not None
    assert done.final.identifier.FailedSOPInstanceUIDList == sent.instance
    _, arrived = _sent_by(node, way, (*LOSSY, EXPLICIT), **preference)
    assert [(one.syntax, one.data) for one in arrived] == [(EXPLICIT, sent.data)]


@pytest.mark.parametrize("way", ["move", "get"])
@pytest.mark.parametrize("syntax", LOSSY)
def test_a_copy_says_what_it_is(node: RunningNode, way: str, syntax: str, tmp_path: Path) -> None:
    sent = _of(syntax)
    node.keep(sent)
    done, (copy,) = _sent_by(node, way, (syntax,), **_rule(syntax))
    assert (done.final.status, done.final.counts) == (0, (None, 1, 0, 0))
    assert copy.syntax == syntax
    found, original = copy.dataset, sent.dataset
    assert found.SOPInstanceUID == copy.instance != sent.instance
    assert copy.instance.startswith("2.25.")
    assert found.SOPClassUID == copy.sop_class == sent.sop_class
    assert found.LossyImageCompression == "01"
    assert found.LossyImageCompressionMethod == METHODS[syntax]
    (stream,) = generate_frames(found.PixelData, number_of_frames=1)
    ratio = len(original.PixelData) / len(stream)
    assert float(found.LossyImageCompressionRatio) == pytest.approx(ratio, rel=0.02)
    assert found.ImageType == ["DERIVED", "PRIMARY", "M"]
    (source,) = found.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == sent.instance
    assert source.ReferencedSOPClassUID == sent.sop_class
    assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121320"
    assert [code.CodeValue for code in found.DerivationCodeSequence] == ["113040"]
    assert found.DerivationDescription.startswith("Lossy compression, ")
    changed = {
        *("SOPInstanceUID", "ImageType", "PixelData", "LossyImageCompression", "SourceImageSequence"),
        *("LossyImageCompressionRatio", "LossyImageCompressionMethod", "DerivationDescription"),
        *("DerivationCodeSequence", "BitsStored", "HighBit", "PhotometricInterpretation"),
    }
    assert {e.keyword: e.value for e in found if e.keyword not in changed} == {
        e.keyword: e.value for e in original if e.keyword not in changed
    }
    expected = pixels(sent).astype(int)
    errors = np.abs(_decoded(copy, tmp_path).astype(int) - expected)
    assert 0 < errors.max() <= (4 if syntax == JPEGLS_NEAR else 40)
    assert errors.mean() < 6


@pytest.mark.parametrize("syntax", LOSSY)
def test_colour(node: RunningNode, syntax: str, tmp_path: Path) -> None:
    """PS3.5 8.2: what each says of its own colour space."""
    sent = _colour()
    node.keep(sent)
    accepted = (syntax, EXPLICIT)
    _, (copy,) = _sent_by(node, "get", accepted, SECONDARY_CAPTURE, prefer=_names(syntax), **_rule(syntax))
    if syntax == JPEG_EXTENDED:  # of 12 bits and grey: the object itself goes out
        assert (copy.syntax, copy.instance) == (EXPLICIT, sent.instance)
        return
    assert copy.syntax == syntax
    assert (
        copy.dataset.PhotometricInterpretation
        == {
            JPEG_BASELINE: "YBR_FULL_422",
            JPEGLS_NEAR: "RGB",
            JPEG2000_EITHER: "YBR_ICT",
            HTJ2K_EITHER: "YBR_ICT",
            JPEGXL_EITHER: "XYB",
        }[syntax]
    )
    assert copy.dataset.PlanarConfiguration == 0
    errors = np.abs(_decoded(copy, tmp_path).astype(int) - pixels(sent).astype(int))
    assert errors.mean() < 8


@pytest.mark.parametrize("way", ["move", "get"])
def test_the_same_copy_each_time(node: RunningNode, way: str) -> None:
    sent = _grey()
    node.keep(sent)
    copies = [_sent_by(node, way, (JPEG2000_EITHER,), lossy=True, quality=90)[1][0] for _ in range(2)]
    assert copies[0] == copies[1]
    _, (other,) = _sent_by(node, way, (JPEG2000_EITHER,), lossy=True, quality=50)
    assert other.instance != copies[0].instance
    _, (itself,) = _sent_by(node, way, (EXPLICIT,))
    assert (itself.instance, itself.data) == (sent.instance, sent.data)
    with node.scu((STUDY_FIND, [EXPLICIT])) as scu:
        keys = identifier("IMAGE", StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.1", SOPInstanceUID="")
        found = [answer.identifier for answer in scu.find(STUDY_FIND, keys)[:-1]]
    assert [one.SOPInstanceUID for one in found if one is not None] == [sent.instance]


@pytest.mark.parametrize("way", ["move", "get"])
@pytest.mark.parametrize(
    ("prefer", "takes", "expected"),
    [
        ([JPEG2000_EITHER], (JPEG2000_EITHER, HTJ2K, EXPLICIT), JPEG2000_EITHER),
        ([HTJ2K_EITHER, JPEG_EXTENDED], (JPEG_EXTENDED, EXPLICIT), JPEG_EXTENDED),
        ([JPEGLS, JPEG2000_EITHER], (JPEG2000_EITHER, JPEGLS, HTJ2K), JPEGLS),
        ([JPEG2000_EITHER, JPEGXL], (JPEGXL, EXPLICIT), JPEGXL),
        ([], (*LOSSY, EXPLICIT), EXPLICIT),
        ([], LOSSY, JPEG2000_EITHER),
        ([JPEGXL], (JPEG_EXTENDED, JPEGXL_EITHER), JPEG_EXTENDED),
    ],
    ids=[
        "named",
        "next",
        "lossless named before",
        "not taken",
        "unnamed",
        "last resort",
        "unnamed, preference",
    ],
)
def test_which_way_wins(
    node: RunningNode, way: str, prefer: list[str], takes: tuple[str, ...], expected: str
) -> None:
    sent = _grey()
    node.keep(sent)
    thin = {"link_mbps": 2} if prefer == [JPEGXL] else {}
    done, arrived = _sent_by(node, way, takes, lossy=True, quality=90, prefer=prefer, **thin)
    assert done.final.status == 0
    (one,) = arrived
    assert one.syntax == expected
    assert (one.instance == sent.instance) == (one.syntax not in LOSSY)


def test_what_is_lossy_already_goes_out_as_it_is(node: RunningNode) -> None:
    """No second loss where the first one is accepted; elsewhere the history grows by a step."""
    came = of_file(bundled_file("SC_rgb_jpeg_dcmtk.dcm"))
    assert came.syntax == JPEG_BASELINE
    node.keep(came)
    study = identifier("STUDY", StudyInstanceUID=came.dataset.StudyInstanceUID)
    for accepted in (LOSSY, (JPEG2000_EITHER,)):
        with Sink(accepts=lambda _, syntax, only=accepted: syntax in only) as sink:  # type: ignore[misc]
            node.peer("SINK", sink.port, lossy=True, quality=30, prefer=_names(JPEG2000_EITHER))
            with node.scu((STUDY_MOVE, [EXPLICIT])) as scu:
                assert scu.move(STUDY_MOVE, study, "SINK").final.status == 0
        (one,) = sink.objects.values()
        if accepted == LOSSY:
            assert one == came
            continue
        assert one.syntax == JPEG2000_EITHER
        assert one.dataset.LossyImageCompressionMethod == ["ISO_10918_1", "ISO_15444_1"]
        before, after = one.dataset.LossyImageCompressionRatio
        assert before == came.dataset.LossyImageCompressionRatio
        assert after > 1
        source = one.dataset.SourceImageSequence[-1]
        assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121330"


def test_a_copy_that_is_not_smaller_is_not_sent(node: RunningNode) -> None:
    """So few pixels that what the header has to say more outweighs them."""
    sent = image(rows=8)
    node.keep(sent)
    _, (one,) = _sent_by(
        node, "get", (JPEG2000_EITHER, EXPLICIT), prefer=_names(JPEG2000_EITHER), lossy=True, quality=50
    )
    assert (one.syntax, one.data) == (EXPLICIT, sent.data)


def test_what_is_no_picture_goes_out_as_without_a_rule(node: RunningNode) -> None:
    """No pixel data; a dose; a bound that does not hold. Where only lossy syntaxes are taken, each fails."""
    dose = "1.2.840.10008.5.1.4.1.1.481.2"
    objects = [
        image(sop_class=MR_IMAGE, instance="1.2.3.1.1", PixelData=None),
        image(sop_class=dose, instance="1.2.3.1.2", rows=SIDE),
        image(sop_class=CT_IMAGE, instance="1.2.3.1.3", rows=SIDE, PixelPaddingValue=300),
    ]
    node.keep(*objects)
    for accepted in (LOSSY, (*LOSSY, IMPLICIT, EXPLICIT)):
        with Sink(accepts=lambda _, syntax, only=accepted: syntax in only) as sink:  # type: ignore[misc]
            node.peer("SINK", sink.port, lossy=True, quality=50, prefer=_names(*LOSSY))
            with node.scu((STUDY_MOVE, [EXPLICIT])) as scu:
                done = scu.move(STUDY_MOVE, STUDY, "SINK")
        if accepted == LOSSY:
            assert (done.final.status, done.final.counts) == (0xA702, (None, 0, 3, 0))
            assert done.final.identifier is not None
            listed = done.final.identifier.FailedSOPInstanceUIDList
            assert list(listed) == [one.instance for one in objects]
        else:
            assert [one.sent for one in sink.arrived] == objects


@pytest.mark.parametrize("max_error", [1, 5])
@pytest.mark.parametrize("syntax", [JPEGLS_NEAR, JPEG2000_EITHER, HTJ2K_EITHER, JPEG_EXTENDED, JPEGXL_EITHER])
def test_a_bound_holds(node: RunningNode, syntax: str, max_error: int, tmp_path: Path) -> None:
    """By another decoder, too; where no quality keeps it, the object itself is sent."""
    sent = _grey()
    node.keep(sent)
    accepted = (syntax, EXPLICIT)
    _, (one,) = _sent_by(node, "get", accepted, prefer=_names(syntax), lossy=True, max_error=max_error)
    if one.syntax == EXPLICIT:
        assert syntax != JPEGLS_NEAR
        assert (max_error, one.data) == (1, sent.data)
        return
    assert f"maximum error {max_error}," in one.dataset.DerivationDescription
    errors = np.abs(_decoded(one, tmp_path).astype(int) - pixels(sent).astype(int))
    assert 0 < errors.max() <= max_error


def test_failures_name_the_original(node: RunningNode) -> None:
    sent = _grey()
    node.keep(sent)
    with Sink(accepts=lambda _, syntax: syntax in LOSSY, status=lambda _: 0xA700) as sink:
        node.peer("SINK", sink.port, lossy=True, quality=90)
        with node.scu((STUDY_MOVE, [EXPLICIT])) as scu:
            done = scu.move(STUDY_MOVE, STUDY, "SINK")
    assert sink.arrived[0].sent.instance != sent.instance
    assert done.final.identifier is not None
    assert done.final.identifier.FailedSOPInstanceUIDList == sent.instance


def test_a_rule_is_of_one_peer(node: RunningNode) -> None:
    """The rule is the destination's, not the requester's; another peer is not concerned."""
    sent = _grey()
    node.keep(sent)
    with Sink(accepts=lambda _, syntax: syntax in LOSSY) as sink:
        peers = [
            {"aet": "TESTER", "host": "127.0.0.1", "port": 104, "lossy": True, "quality": 90},
            {"aet": "SINK", "host": "127.0.0.1", "port": sink.port},
        ]
        node.reload(peer=peers)
        with node.scu((STUDY_MOVE, [EXPLICIT])) as scu:
            assert scu.move(STUDY_MOVE, STUDY, "SINK").final.status == 0xA702
    assert sink.arrived == []
    assert {syntax for _, (syntax,) in sink.proposals[0]}.isdisjoint(LOSSY)


def test_dcmtk_takes_copies(node: RunningNode, tmp_path: Path) -> None:
    """storescp stores them, dcmdjpeg and dcmdjpls read them; sent back, they are kept beside the object."""
    sent = _grey()
    node.keep(sent)
    copies = []
    for syntax, tool in ((JPEG_EXTENDED, "dcmdjpeg"), (JPEGLS_NEAR, "dcmdjpls")):
        folder = tmp_path / tool
        with storescp(folder, "+xa") as port:
            node.peer("DEST", port, lossy=True, max_error=5, prefer=_names(syntax))
            with node.scu((STUDY_MOVE, [EXPLICIT])) as scu:
                assert scu.move(STUDY_MOVE, STUDY, "DEST").final.status == 0
        (copy,) = files_in(folder).values()
        assert copy.syntax == syntax
        plain = tmp_path / f"{tool}.dcm"
        dcmtk(tool, as_file(copy, tmp_path / "copy.dcm"), plain)
        errors = np.abs(pydicom.dcmread(plain).pixel_array.astype(int) - pixels(sent).astype(int))
        assert 0 < errors.max() <= 5
        copies.append(copy)
    node.keep(*copies)
    assert [node.held(one).transfer_syntax for one in copies] == [JPEG_EXTENDED, JPEGLS_NEAR]
    assert len({one.instance for one in (sent, *copies)}) == 3
