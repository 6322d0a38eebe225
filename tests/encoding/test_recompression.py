"""JPEG XL recompression: what came as lossy JPEG is kept smaller, and is given out to the byte as it came."""

from __future__ import annotations

import runpy
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import imagecodecs
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from objects import (
    Shape,
    as_received,
    bundled,
    corpus,
    described,
    element,
    item,
    kept,
    parts_of,
    phantom,
    received,
    restored,
    samples_of,
    transcoded,
    written,
)

from scp.archive.records import received_from
from scp.config.rules import Stage
from scp.encoding import forms, recompression
from scp.encoding.dataset import split
from scp.encoding.elements import UNDEFINED
from scp.encoding.fragments import frames_within
from scp.encoding.transcode import ways_out
from scp.errors import CannotEncode, DamagedCodestream, NotReproduced
from scp.model import Received, SyntaxPreference
from scp.objects import part10
from scp.syntaxes import (
    EXPLICIT,
    HTJ2K,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS_SV1,
    JPEGXL_RECOMPRESSION,
    lookup,
)

pytestmark = pytest.mark.usefixtures("codecs_here")

GREY = Shape(rows=160, columns=176, bits_allocated=8, bits_stored=8)
COLOUR = replace(GREY, samples=3, photometric="YBR_FULL_422")
JPEGLS_NEAR = "1.2.840.10008.1.2.4.81"
STAGE = Stage(forms=("jpegxl-recompression",))
RESTORE = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "examples" / "restore.py"))["restored"]


def jpegs(shape: Shape, **options: object) -> list[bytes]:
    """A JPEG codestream of each frame."""
    frames = samples_of(shape)
    subsampled = {"subsampling": "422"} if shape.samples == 3 else {}
    return [
        bytes(imagecodecs.jpeg8_encode(frame.squeeze(), level=90, **(subsampled | options)))
        for frame in frames
    ]


def object_of(
    shape: Shape,
    fragments: list[list[bytes]],
    table: bytes | None = None,
    syntax: str = JPEG_BASELINE,
    before: bytes = b"",
    behind: bytes = b"",
) -> Received:
    """An object of frames in fragments; without a ``table`` the offset table is filled."""
    offsets, at = [], 0
    for frame in fragments:
        offsets.append(at)
        at += sum(len(fragment) + 8 for fragment in frame)
    filled = struct.pack(f"<{len(offsets)}L", *offsets)
    items = b"".join(item(fragment, True) for frame in fragments for fragment in frame)
    value = item(filled if table is None else table, True) + items
    stream = written(described(shape, "1.2.3.4"), True, True) + before
    stream += element(0x7FE00010, "OB", value, UNDEFINED) + element(0xFFFEE0DD, "", b"") + behind
    return as_received(stream, syntax)


def padded(codestream: bytes) -> bytes:
    return codestream + b"\0" * (len(codestream) % 2)


def pieces(codestream: bytes, size: int) -> list[bytes]:
    return [codestream[at : at + size] for at in range(0, len(codestream), size)]


def check(object_: Received) -> part10.Part10:
    """Kept recompressed, smaller, and the same again for each who has to make it of the file."""
    found = kept(object_, STAGE)
    assert [(attempt.form, attempt.outcome, attempt.reason) for attempt in found.provenance.attempts] == [
        ("jpegxl-recompression", "kept", "")
    ]
    assert len(found.data) < len(object_.dataset)
    file = part10.unpack(found.data)
    assert file.transfer_syntax == JPEGXL_RECOMPRESSION
    assert restored(file) == object_.dataset
    assert received_from(file, "").dataset == object_.dataset
    assert RESTORE(bytes(found.data))[0] == object_.dataset
    return file


FRAMES = jpegs(replace(COLOUR, frames=3))


@pytest.mark.parametrize(
    "object_",
    [
        object_of(GREY, [[padded(jpegs(GREY)[0])]]),
        object_of(COLOUR, [[padded(jpegs(COLOUR)[0])]], table=b""),
        object_of(replace(COLOUR, frames=3), [[padded(jpeg)] for jpeg in FRAMES]),
        object_of(replace(COLOUR, frames=3), [[padded(jpeg)] for jpeg in FRAMES], table=b""),
        object_of(replace(COLOUR, frames=3), [[padded(jpeg)] for jpeg in FRAMES], table=bytes(range(12))),
        object_of(replace(COLOUR, frames=3), [pieces(padded(jpeg), 512) for jpeg in FRAMES]),
        object_of(replace(COLOUR, frames=3), [pieces(padded(jpeg), 512) for jpeg in FRAMES], table=b""),
        object_of(COLOUR, [pieces(jpegs(COLOUR)[0], 333)]),  # of odd lengths
        object_of(COLOUR, [[jpegs(COLOUR)[0] + b"\0" * 6]]),  # more padding than there should be
        object_of(COLOUR, [[jpegs(COLOUR)[0], b"\xff\xff"]]),
        object_of(COLOUR, [[jpegs(COLOUR)[0], b""]]),
        object_of(
            COLOUR,
            [[padded(jpegs(COLOUR)[0])]],
            table=b"",
            before=element(0x7FE00000, "UL", bytes(4))
            + element(0x7FE00001, "OV", bytes(8))
            + element(0x7FE00002, "OV", bytes(8)),
            behind=element(0xFFFCFFFC, "OB", bytes(30)),
        ),
        object_of(GREY, [[padded(jpegs(GREY)[0])]], syntax=JPEG_EXTENDED),
    ],
    ids="grey|empty table|frames|frames, empty table|wrong table|fragments|fragments, empty table"
    "|odd fragments|padding|padding apart|empty fragment|extended table and trailer|extended".split("|"),
)
def test_it_is_restored_to_the_byte(object_: Received) -> None:
    check(object_)


@examples(40, derandomize=True)
@given(
    cuts=st.lists(st.integers(1, 1500), max_size=6),
    table=st.one_of(st.none(), st.binary(max_size=20)),
    padding=st.binary(max_size=5),
)
def test_however_it_is_cut(cuts: list[int], table: bytes | None, padding: bytes) -> None:
    jpeg = FRAMES[0] + padding
    bounds = [0, *sorted(cut for cut in cuts if cut < len(jpeg)), len(jpeg)]
    fragments = [jpeg[start:end] for start, end in pairwise(bounds)]
    object_ = object_of(COLOUR, [fragments], table)
    found = kept(object_, STAGE)
    file = part10.unpack(found.data)
    assert restored(file) == object_.dataset
    assert file.transfer_syntax == JPEGXL_RECOMPRESSION or "wrong" in found.provenance.attempts[0].outcome


@pytest.mark.parametrize(
    "options", [{}, {"subsampling": "444"}, {"subsampling": "420"}, {"optimize": True}], ids=str
)
def test_the_kinds_of_jpeg(options: dict) -> None:
    check(object_of(COLOUR, [[padded(jpegs(COLOUR, **options)[0])]]))


@pytest.mark.parametrize("option", ["+eb", "+ee", "+ep"])
def test_baseline_extended_and_progressive_of_dcmtk(option: str, tmp_path: Path) -> None:
    """Progressive codestreams have no transfer syntax any more, but come under the extended one's name."""
    native, jpeg = tmp_path / "native", tmp_path / "jpeg"
    plain = phantom(replace(GREY, frames=2))
    native.write_bytes(
        part10.pack(part10.Part10(plain.sop_class_uid, "1.2.3", EXPLICIT, plain.dataset, None))
    )
    subprocess.run(["dcmcjpeg", option, str(native), str(jpeg)], check=True, capture_output=True)
    dataset = part10.unpack(jpeg.read_bytes()).dataset
    sof = {"+eb": 0xC0, "+ee": 0xC1, "+ep": 0xC2}[option]
    assert bytes([0xFF, sof, 0, 11, 8]) in bytes(dataset)
    check(as_received(bytes(dataset), JPEG_BASELINE if option == "+eb" else JPEG_EXTENDED))


def test_real_jpegs_are_restored_and_smaller() -> None:
    files = [path for path in bundled() if received(path).transfer_syntax == JPEG_BASELINE]
    taken = 0
    for path in files:
        object_ = received(path)
        found = kept(object_, STAGE)
        assert restored(part10.unpack(found.data)) == object_.dataset, path.name
        taken += found.encoded.form == "jpegxl-recompression"
    assert taken >= 12  # of the others, one is no sound dataset, and one is RGB by its header alone


@pytest.mark.corpus
def test_jpegs_of_12_bits_are_left_alone() -> None:
    """All of WG04's JPEG images are: JPEG XL has no way to restore these."""
    for path in (path for path in corpus("wg04") if path.stem.endswith("JPLY")):
        object_ = received(path)
        found = kept(object_, STAGE)
        assert found.provenance.attempts[0].outcome == "refused"
        assert "JPEG of 12 bits" in found.provenance.attempts[0].reason
        assert part10.unpack(found.data).dataset == object_.dataset


def test_the_pixels_are_those_of_the_jpeg() -> None:
    """Not those of libjxl's decoder, which rounds otherwise: a peer gets the same whatever the form."""
    object_ = object_of(replace(COLOUR, frames=3), [pieces(padded(jpeg), 700) for jpeg in FRAMES])
    file = check(object_)
    as_jpeg = transcoded(object_.dataset, JPEG_BASELINE, EXPLICIT, None)
    assert transcoded(file.dataset, JPEGXL_RECOMPRESSION, EXPLICIT, file.provenance.restoration) == as_jpeg
    assert transcoded(file.dataset, JPEGXL_RECOMPRESSION, EXPLICIT, None) == as_jpeg
    encoded = transcoded(file.dataset, JPEGXL_RECOMPRESSION, HTJ2K, file.provenance.restoration)
    assert encoded == transcoded(object_.dataset, JPEG_BASELINE, HTJ2K, None)
    decoded = imagecodecs.jpeg8_decode(FRAMES[0], outcolorspace="RGB")
    assert decoded.tobytes() in as_jpeg


def test_jpeg_xl_without_what_restores_it_is_decoded_as_jpeg_xl() -> None:
    """Others may send it so: PS3.5 does not say that the JPEG must come back."""
    codestream = bytes(imagecodecs.jpegxl_encode(samples_of(GREY)[0].squeeze(), lossless=True))
    object_ = object_of(GREY, [[padded(codestream)]], syntax=JPEGXL_RECOMPRESSION)
    assert samples_of(GREY).tobytes() in transcoded(object_.dataset, JPEGXL_RECOMPRESSION, EXPLICIT, None)


def test_ways_out() -> None:
    accepted = [EXPLICIT, JPEG_BASELINE, HTJ2K]
    first = ways_out(JPEGXL_RECOMPRESSION, JPEG_BASELINE, accepted, SyntaxPreference())
    assert first == [JPEG_BASELINE, EXPLICIT, HTJ2K]
    assert ways_out(JPEG_BASELINE, JPEG_BASELINE, [JPEGXL_RECOMPRESSION], SyntaxPreference()) == [
        JPEGXL_RECOMPRESSION
    ]
    assert ways_out(HTJ2K, JPEG_BASELINE, accepted, SyntaxPreference()) == [HTJ2K, EXPLICIT]
    wished = SyntaxPreference((HTJ2K,))
    assert ways_out(JPEGXL_RECOMPRESSION, JPEG_BASELINE, accepted, wished) == [JPEG_BASELINE, HTJ2K, EXPLICIT]
    thin = SyntaxPreference((HTJ2K, EXPLICIT), before_stored=True)
    every = [*accepted, JPEGXL_RECOMPRESSION]
    assert ways_out(JPEG_BASELINE, JPEG_BASELINE, every, thin)[:2] == [JPEGXL_RECOMPRESSION, JPEG_BASELINE]
    assert ways_out(JPEG_BASELINE, JPEG_BASELINE, every, wished)[:2] == [JPEG_BASELINE, JPEGXL_RECOMPRESSION]
    assert ways_out(JPEGLS_NEAR, JPEGLS_NEAR, [HTJ2K, JPEGLS_NEAR], thin) == [JPEGLS_NEAR, HTJ2K]
    assert JPEGXL_RECOMPRESSION not in ways_out(HTJ2K, EXPLICIT, [JPEGXL_RECOMPRESSION], SyntaxPreference())


def test_a_peer_that_takes_recompressed_ones_gets_it_from_the_jpeg() -> None:
    object_ = object_of(COLOUR, [[padded(jpegs(COLOUR)[0])]])
    sent = transcoded(object_.dataset, JPEG_BASELINE, JPEGXL_RECOMPRESSION, None)
    assert sent == check(object_).dataset


def in_another(syntax: str) -> Received:
    return as_received(transcoded(phantom(GREY).dataset, EXPLICIT, syntax, None), syntax)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: phantom(GREY), "not as lossy JPEG"),
        (lambda: in_another(HTJ2K), "not as lossy JPEG"),
        (lambda: in_another(JPEG_LOSSLESS_SV1), "not as lossy JPEG"),
        (lambda: as_received(written(described(GREY, "1.2"), True, True), JPEG_BASELINE), "no encapsulated"),
        (lambda: object_of(GREY, []), "no fragment"),
        (lambda: object_of(GREY, [[b"no JPEG at all!!"]]), "no frame header"),
        (lambda: object_of(replace(GREY, rows=9), [[jpegs(GREY)[0]]]), "the header describes"),
        (lambda: object_of(GREY, [[jpegs(GREY)[0][:300]]]), "cut off or damaged"),
        (lambda: object_of(replace(GREY, frames=2), [[b"\xff\xd8"], [b"1"], [b"2"]]), "cannot be divided"),
        (lambda: object_of(GREY, [pieces(jpegs(GREY)[0] + bytes(20_000), 2)]), "too many to remember"),
        (lambda: object_of(GREY, [[jpegs(GREY)[0]]], table=bytes(40_000)), "too many to remember"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_restored_is_refused(make: Callable[[], Received], says: str) -> None:
    object_ = make()
    with pytest.raises((CannotEncode, DamagedCodestream), match=says):
        forms.encoded("jpegxl-recompression", object_, parts_of(object_))
    found = kept(object_, STAGE)
    assert found.provenance.attempts[0].outcome == "refused"
    assert part10.unpack(found.data).dataset == object_.dataset


@pytest.mark.parametrize("lie", ["another", "empty", "garbage"])
def test_a_library_that_lies_is_found_out(monkeypatch, lie: str) -> None:
    """What it made never gets to the disk; the object is kept in the next form."""
    other = imagecodecs.jpegxl_encode_jpeg(FRAMES[1], usecontainer=True)
    made = {"another": bytes(other), "empty": b"", "garbage": b"garbage"}[lie]
    monkeypatch.setattr(recompression, "recompress_jpeg", lambda *_: made)
    object_ = object_of(COLOUR, [[padded(FRAMES[0])]])
    found = kept(object_, Stage(forms=("jpegxl-recompression",)))
    assert found.provenance.attempts[0].outcome == "wrong"
    assert found.encoded.form in ("zstd", "received")
    assert part10.unpack(found.data).dataset == object_.dataset


@examples(150, derandomize=True)
@given(at=st.integers(0, 10**6), value=st.integers(1, 255))
def test_proof_of_a_damaged_one_fails_or_it_does_no_harm(at: int, value: int) -> None:
    object_ = object_of(COLOUR, [pieces(padded(FRAMES[0]), 999)])
    file = part10.unpack(kept(object_, STAGE).data)
    damaged = bytearray(file.dataset)
    damaged[at % len(damaged)] ^= value
    try:
        forms.prove(bytes(damaged), file.transfer_syntax, file.provenance)
    except NotReproduced:
        return
    assert restored(replace(file, dataset=bytes(damaged))) == object_.dataset


def test_the_next_form_is_kept_for_what_is_no_jpeg() -> None:
    found = kept(phantom(replace(GREY, noise=0.01)), Stage(forms=("jpegxl-recompression", "htj2k")))
    assert found.encoded.form == "htj2k"


def test_djxl_restores_the_same_jpeg(tmp_path: Path) -> None:
    """libjxl's own tool, of another version than the library here."""
    if shutil.which("djxl") is None:
        pytest.skip("djxl (libjxl-tools) is not installed")
    file = check(object_of(replace(COLOUR, frames=3), [[padded(jpeg)] for jpeg in FRAMES]))
    value = split(file.dataset, lookup(JPEGXL_RECOMPRESSION)).pixel.value
    for (fragment,), jpeg in zip(frames_within(value, 3), FRAMES, strict=True):
        source, target = tmp_path / "frame.jxl", tmp_path / "frame.jpg"
        source.write_bytes(fragment)
        subprocess.run(["djxl", str(source), str(target)], check=True, capture_output=True)
        assert target.read_bytes() == padded(jpeg)
