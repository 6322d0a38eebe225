"""A codestream that is cut off or damaged never counts as decoded; one that is whole always does."""

from __future__ import annotations

import re
import subprocess
import zlib
from itertools import product
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import structlog
from damaged import CASES, STREAMS, Stream, damages, format_of, picture, saved
from decoders import jpeg2000, tool
from generated import Compressed, items_of
from objects import Shape, all_files, described, kept, received, written
from pydicom import dcmread
from pydicom.encaps import generate_frames
from test_codecs import part10_file

from scp.config.rules import Stage
from scp.encoding.cage import caged
from scp.encoding.codecs.jpeg_structure import structure_of
from scp.encoding.codecs.lossless.jpeg import JPEG_CODEC
from scp.encoding.codecs.lossless.jpeg2000 import HTJ2K_CODEC, JPEG2000_CODEC
from scp.encoding.codecs.lossless.jpegls import JPEGLS_CODEC
from scp.encoding.codecs.openjpeg import decode_without_complaint
from scp.encoding.codecs.table import CODECS, decoder_of
from scp.encoding.dataset import split
from scp.encoding.decoding import native
from scp.encoding.forms import why_undecodable
from scp.encoding.fragments import frames_within
from scp.encoding.headers import Header
from scp.encoding.transcode import transcoding
from scp.errors import CannotEncode, CodecError, DamagedCodestream, UnreadableDataset
from scp.syntaxes import (
    EXPLICIT,
    JPEG2000,
    JPEG_BASELINE,
    JPEG_LOSSLESS,
    JPEGLS,
    JPEGXL_RECOMPRESSION,
    lookup,
)

pytestmark = [pytest.mark.slow, pytest.mark.peer]

_SLOW = 4 << 20  # bytes of a frame: all of the corpus were decoded once
DAMAGED = ("jpeg-baseline-cut", "jpeg-lossless-cut", "htj2k-cut", "htj2k-crashes-openjph")
BY_CASE = pytest.mark.parametrize("name", DAMAGED)
BY_STREAM = pytest.mark.parametrize("name", STREAMS)
# Within the data of one code-block another one may stand that is as good: no decoder can tell it from what
# was meant. Arithmetic coders and Huffman codes mostly can.
MAY_BE_ANOTHER = {
    "zeros within": ("htj2k",),
    "noise within": ("htj2k", "j2k", "jpeg-own-tables", "jpeg-progressive"),
    "noise, and an end": ("j2k", "jpeg-progressive"),
}


# -- every codec ---------------------------------------------------------------------------------------


def test_every_codec_is_damaged_here() -> None:
    """A codec that is added has its streams added."""
    assert {syntax for codec in CODECS for syntax in codec.reads} == {
        make().syntax for make in STREAMS.values()
    }


@BY_STREAM
def test_what_is_whole_is_decoded(name: str) -> None:
    stream = STREAMS[name]()
    expected = stream.codec.decode(stream.data, stream.form)
    assert np.array_equal(stream.decoded(), expected)
    assert np.array_equal(stream.decoded(stream.data + bytes(len(stream.data) % 2)), expected)


@BY_STREAM
def test_what_is_damaged_is_not(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or it is as another decoder has it, which finds no fault in it either.

    OpenJPH alone ends its process at some of what is done to its streams; the others need none of their own.
    """
    monkeypatch.setattr(caged, "AVAILABLE", "htj2k" in name)
    stream = STREAMS[name]()
    passed = []
    for how, percent, data in damages(stream):
        try:
            frame = stream.decoded(data)
        except Exception:  # noqa: BLE001 - ours or a library's, which decoding() translates
            continue
        passed.append((how, percent))
        assert name.startswith(MAY_BE_ANOTHER.get(how, ())), (how, percent)
        assert np.array_equal(frame, _by_another(stream, data, tmp_path)), (how, percent)
    assert len(passed) <= 32, passed  # of 171; it was 100 and more


def _by_another(stream: Stream, data: bytes, folder: Path) -> np.ndarray:
    """What a decoder that zscp does not use makes of it; it may warn of three bytes too many."""
    if not stream.syntax.startswith("1.2.840.10008.1.2.4.5"):
        return jpeg2000(data)
    form = stream.form
    shape = Shape(rows=form.rows, columns=form.columns, bits_allocated=8, bits_stored=8)
    object_ = Compressed(stream.syntax, shape, items_of([data])[0]).received("damaged")
    source = part10_file(folder / "coded", object_.dataset, stream.syntax)
    done = subprocess.run([tool("dcmdjpeg"), source, folder / "native"], check=True, capture_output=True)
    assert re.fullmatch(
        rb"(W: Corrupt JPEG data: [123] extraneous bytes before marker 0xd9\s*)?", done.stderr
    )
    return np.frombuffer(dcmread(folder / "native").PixelData, "u1").reshape(form.shape)


# -- what came in -------------------------------------------------------------------------------------


@BY_CASE
def test_a_damaged_object_stays_as_it_came(name: str) -> None:
    """Whatever is asked for, alone and one of several; the reason is in its file and in the log."""
    object_ = received(CASES / f"{name}.dcm")
    lossy = name == "jpeg-baseline-cut"
    forms = ("jpegxl-recompression",) if lossy else ("jpegls", "jpeg2000", "native", "deflate")
    for stage in (*(Stage(forms=(form,)) for form in forms), Stage(forms=forms, keep="smallest")):
        with structlog.testing.capture_logs() as log:
            found = kept(object_, stage)
        assert found.encoded.form in ("zstd", "received")
        assert bytes(found.encoded.dataset) == object_.dataset
        reasons = {one.reason for one in found.provenance.attempts if one.form in stage.forms}
        assert all("cut off or damaged" in reason for reason in reasons), reasons
        assert [(one["event"], one["log_level"]) for one in log] == [("codestream damaged", "warning")]
        assert {log[0]["reason"]} == reasons


@BY_CASE
def test_a_damaged_object_goes_out_only_as_it_came(name: str) -> None:
    object_ = received(CASES / f"{name}.dcm")
    assert why_undecodable(object_.dataset, object_.transfer_syntax)
    for target in (EXPLICIT, "1.2.840.10008.1.2.4.80", JPEGXL_RECOMPRESSION):
        with pytest.raises(CodecError):
            b"".join(transcoding(object_.dataset, object_.transfer_syntax, target, None))
    same = b"".join(transcoding(object_.dataset, object_.transfer_syntax, object_.transfer_syntax, None))
    assert same == object_.dataset


@pytest.mark.parametrize("name", ["jpeg-lossless-whole", "htj2k-whole"])
def test_the_same_object_when_it_is_whole(name: str) -> None:
    object_ = received(CASES / f"{name}.dcm")
    assert why_undecodable(object_.dataset, object_.transfer_syntax) == ""
    assert kept(object_, Stage(forms=("jpegls",))).encoded.form == "jpegls"


@pytest.mark.parametrize("end", [b"", b"\xff\xd9"], ids=["by zscp", "by CharLS"])
def test_the_frame_that_is_damaged_is_named(end: bytes) -> None:
    frames = [bytes(imagecodecs.jpegls_encode(picture(12))) for _ in range(3)]
    frames[1] = frames[1][:500] + end
    shape = Shape(rows=88, columns=104, frames=3)
    object_ = Compressed(JPEGLS, shape, items_of(frames)[0]).received("damaged")
    with pytest.raises(DamagedCodestream, match="cut off or damaged: frame 2 of 3: "):
        native(split(object_.dataset, lookup(object_.transfer_syntax)), lookup(object_.transfer_syntax))


def test_frames_that_are_decoded_twice_have_to_be_whole_twice() -> None:
    """The first needs more bits than Bits Stored says, and the second pass is for the larger format."""
    frames = [bytes(JPEG2000_CODEC.encode(frame, format_of(frame, 16), 0)) for frame in (picture(16),) * 2]
    shape, syntax = Shape(rows=88, columns=104, bits_stored=12, frames=2), lookup(JPEG2000)
    whole = Compressed(JPEG2000, shape, items_of(frames)[0]).received("whole")
    plain = native(split(whole.dataset, syntax), syntax)
    assert Header(plain.header).format.bits_stored == 16
    frames[1] = frames[1][:-200] + b"\xff\xd9"
    cut = Compressed(JPEG2000, shape, items_of(frames)[0]).received("cut")
    with pytest.raises(DamagedCodestream, match="frame 2 of 2: "):
        native(split(cut.dataset, syntax), syntax)


# -- valid ones, of others -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", all_files(), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_no_file_of_others_is_called_damaged(path: Path) -> None:
    """False alarms keep objects from who does not take their transfer syntax."""
    object_ = received(path)
    codec = decoder_of(object_.transfer_syntax)
    if codec is None:
        pytest.skip("nothing to decode")
    try:
        parts = split(object_.dataset, lookup(object_.transfer_syntax))
        form = Header(parts.header).format
        frames = frames_within(parts.pixel.held(), form.frames)[:2]
    except (CannotEncode, UnreadableDataset) as error:
        pytest.skip(str(error))
    if form.frame_size > _SLOW:
        pytest.skip("takes seconds to decode")
    for frame in frames:
        data = b"".join(frame)
        try:
            expected = codec.decode(data, form)
        except CodecError as error:
            assert not isinstance(error, DamagedCodestream)  # noqa: PT017 - not as its header says
            return
        assert np.array_equal(codec.strictly(data, form), expected)


PILLOW = list(
    product(
        ("LRCP", "RLCP", "RPCL", "PCRL", "CPRL"),
        (1, 3),
        (None, (64, 48)),
        ((32, 32), None),
        ([40, 20, 0], None),
    )
)


@pytest.mark.parametrize(("order", "samples", "tile", "precinct", "layers"), PILLOW)
def test_packets_are_followed_in_every_order(
    order: str, samples: int, tile: tuple[int, int], precinct: tuple[int, int], layers: list[int]
) -> None:
    frame = picture(8, samples, rows=75, columns=101)
    how: dict[str, object] = {"no_jp2": True, "progression": order, "num_resolutions": 4}
    how |= {"tile_size": tile} if tile else {}
    how |= {"precinct_size": precinct, "codeblock_size": (16, 16)} if precinct else {}
    how |= {"quality_layers": layers, "quality_mode": "rates"} if layers else {}
    data, form = saved(frame, "JPEG2000", **how), format_of(frame, 8)
    assert np.array_equal(JPEG2000_CODEC.strictly(data, form), frame)
    # One packet less, with all lengths put right: only counting packets shows it.
    if tile is None:
        start = data.index(b"\xff\x90\x00\x0a")
        shorter = data[:-3]
        patched = shorter[: start + 6] + (len(shorter) - start).to_bytes(4, "big") + shorter[start + 10 :]
        with pytest.raises(DamagedCodestream):
            JPEG2000_CODEC.strictly(patched + b"\xff\xd9", form)


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("how", [{}, {"optimize": True}, {"progressive": True}], ids=str)
def test_blank_jpegs_are_whole(level: int, how: dict[str, bool]) -> None:
    """Whose tables have so few codes that no other data would change the picture."""
    for shape in ((8, 8), (64, 72), (129, 130), (65, 33, 3)):
        frame = np.full(shape, level, "u1")
        data = saved(frame, "JPEG", quality=90, **how)
        assert JPEG_CODEC.strictly(data, format_of(frame, 8)).shape == shape
        restarted = saved(frame, "JPEG", quality=90, restart_marker_blocks=3, **how)
        assert JPEG_CODEC.strictly(restarted, format_of(frame, 8)).shape == shape


@pytest.mark.parametrize("selection", range(1, 8))
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_dcmtks_lossless_jpegs_are_whole(selection: int, bits: int, tmp_path: Path) -> None:
    """Each predictor of T.81 table H.1, by an encoder of others; counted to the byte."""
    frame = picture(bits)
    shape = Shape(rows=88, columns=104, bits_allocated=frame.itemsize * 8, bits_stored=bits)
    dataset = described(shape, "1.2.3")
    dataset.add_new(0x7FE00010, "OW", frame.tobytes())
    source = part10_file(tmp_path / "native", written(dataset, explicit=True, little=True), EXPLICIT)
    options = ["+el", "+sv", str(selection)]
    subprocess.run([tool("dcmcjpeg"), *options, source, tmp_path / "coded"], check=True, capture_output=True)
    coded = dcmread(tmp_path / "coded")
    assert coded.file_meta.TransferSyntaxUID == JPEG_LOSSLESS
    (data,) = generate_frames(coded.PixelData, number_of_frames=1)
    assert structure_of(data).scans[0].first == selection
    assert np.array_equal(JPEG_CODEC.strictly(data, format_of(frame, bits)), frame)


# -- what only one check sees ---------------------------------------------------------------------------


def test_openjpegs_messages_are_heard() -> None:
    stream = STREAMS["j2k"]()
    assert decode_without_complaint(stream.data).shape == (88, 104)
    with pytest.raises(DamagedCodestream, match="OpenJPEG: warning: Stream does not end with EOC"):
        decode_without_complaint(stream.data[: stream.data.rindex(b"\xff\xd9")] + b"\0\0")
    with pytest.raises(DamagedCodestream, match=r"OpenJPEG: error: .*inconsistent"):
        decode_without_complaint(stream.data[:2000])


def test_charls_sees_no_codestream_without_an_end() -> None:
    """CharLS 2.4.3 looks for the end of this for five seconds."""
    stream = STREAMS["jpegls"]()
    with pytest.raises(DamagedCodestream, match="ends before EOI"):
        JPEGLS_CODEC.strictly(stream.data[:2000], stream.form)


def test_what_crashed_openjph_does_not_reach_it() -> None:
    dataset = dcmread(CASES / "htj2k-crashes-openjph.dcm")
    (data,) = generate_frames(dataset.PixelData, number_of_frames=1)
    with pytest.raises(DamagedCodestream, match="does not have a step for each sub-band"):
        HTJ2K_CODEC.strictly(data, format_of(np.zeros((1, 1), "u1"), 8))


def test_htj2k_of_more_bits_than_openjpeg_counts() -> None:
    """It goes by OpenJPH, behind the same checks of its structure."""
    frame = np.random.default_rng(1).integers(0, 1 << 30, (40, 50), dtype="u4").astype("<u4")
    form = format_of(frame, 30)
    data = HTJ2K_CODEC.encode(frame, form, 0)
    assert np.array_equal(HTJ2K_CODEC.strictly(data, form), frame)
    with pytest.raises(DamagedCodestream):
        HTJ2K_CODEC.strictly(data[: len(data) // 2] + b"\xff\xd9", form)


@pytest.mark.parametrize("rest", [b"\x12\x34\x56\x78" * 3, bytes(12)])
@pytest.mark.parametrize("name", ["jpeg", "jpeg-420", "jpeg-12", "jpeg-lossless-12"])
def test_data_that_is_left_over_is_seen(name: str, rest: bytes) -> None:
    stream = STREAMS[name]()
    end = structure_of(stream.data).scans[-1].intervals[-1][1]
    with pytest.raises(DamagedCodestream, match=r"left over|where the decoded samples have"):
        stream.decoded(stream.data[:end] + rest + stream.data[end:])


def test_restart_markers_are_counted() -> None:
    stream = STREAMS["jpeg-restarts"]()
    assert len(structure_of(stream.data).scans[0].intervals) > 2
    for wrong, says in ((b"\xff\xd5", "not in their order"), (b"\x12\x34", "restart markers in a scan")):
        with pytest.raises(DamagedCodestream, match=says):
            stream.decoded(stream.data.replace(b"\xff\xd1", wrong))


def test_a_progressive_jpeg_without_its_last_scans_is_not_whole() -> None:
    """Each scan of it is: a decoder shows a coarser picture, and says nothing."""
    stream = STREAMS["jpeg-progressive"]()
    end = structure_of(stream.data).scans[2].intervals[-1][1]
    with pytest.raises(DamagedCodestream, match="before the last of its scans"):
        stream.decoded(stream.data[:end] + b"\xff\xd9")


def test_what_follows_a_deflated_frame_is_padding() -> None:
    stream = STREAMS["deflated-frames"]()
    assert zlib.decompress(stream.data, -15) == stream.decoded().tobytes()
    with pytest.raises(CodecError, match="not padding"):
        stream.decoded(stream.data + b"rest")


def test_what_holds_a_jpeg_gives_it_back_or_nothing() -> None:
    """Not another rendering of it, where what restores the JPEG codestream is damaged."""
    stream = STREAMS["jpegxl-recompression"]()
    at = stream.data.index(b"jbrd") + 8
    with pytest.raises(DamagedCodestream):
        stream.decoded(stream.data[:at] + bytes(20) + stream.data[at + 20 :])


def test_syntaxes_that_are_not_read_are_not_called_damaged() -> None:
    object_ = received(CASES / "jpeg-baseline-cut.dcm")
    assert object_.transfer_syntax == JPEG_BASELINE
    assert why_undecodable(object_.dataset, "1.2.840.10008.1.2.4.100") == ""
    assert why_undecodable(b"garbage", JPEG_BASELINE) == ""
