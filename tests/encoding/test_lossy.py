"""Lossy copies: what is made of which object, what the header says, and what is refused."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from objects import (
    NATIVE,
    Shape,
    all_files,
    as_received,
    bundled_file,
    deflate,
    element,
    item,
    phantom,
    received,
    samples_of,
    sequence,
    written,
)
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items

from scp.config.rules import Stage
from scp.encoding.codecs import lossy_table
from scp.encoding.codecs.lossy_codec import error_of, quality_of
from scp.encoding.codecs.lossy_table import LOSSY_CODECS, lossy_encoder_of
from scp.encoding.codecs.table import CODECS
from scp.encoding.derived import Derivation, Source, derived_header, derived_trailer, rewritten, uid_of_copy
from scp.encoding.lossy import Copy, Stored, Way, copied, ways
from scp.encoding.transcode import transcoding, ways_out
from scp.errors import CannotEncode, CodecError
from scp.loss import LossyRule
from scp.model import Received, SyntaxPreference
from scp.objects import part10
from scp.syntaxes import (
    DEFLATED,
    EXPLICIT,
    HTJ2K,
    HTJ2K_EITHER,
    IMPLICIT,
    JPEG2000_EITHER,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEGLS,
    JPEGLS_NEAR,
    JPEGXL,
    JPEGXL_EITHER,
    LOSSY,
    lookup,
)

pytestmark = pytest.mark.usefixtures("codecs_here")

FINE = LossyRule(quality=95.0)
SOURCE = Source("1.2.840.10008.5.1.4.1.1.7", "1.2.3", "00")
DONE = Derivation("2.25.1", "ISO_15444_1", 12.345, "Lossy compression")


def _stored(object_: Received) -> Stored:
    source = Source(object_.sop_class_uid, object_.sop_instance_uid, object_.sha256)
    return Stored(object_.dataset, object_.transfer_syntax, None, source)


def _rule_for(syntax: str) -> LossyRule:
    return LossyRule(max_error=4) if syntax == JPEGLS_NEAR else LossyRule(quality=80)


def _copy(object_: Received, syntax: str, rule: LossyRule = FINE) -> Copy:
    return copied(_stored(object_), syntax, rule, ())


def _read(copy: Copy, syntax: str) -> Dataset:
    dataset = pydicom.dcmread(BytesIO(_as_file(copy, syntax)))
    assert dataset.SOPInstanceUID == copy.sop_instance_uid
    return dataset


def _as_file(copy: Copy, syntax: str, sop_class: str = SOURCE.sop_class_uid) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, copy.sop_instance_uid
    meta.TransferSyntaxUID, meta.ImplementationClassUID = syntax, "1.2.3.4"
    head = BytesIO()
    pydicom.filewriter.write_file_meta_info(head, meta, enforce_standard=True)
    return b"\0" * 128 + b"DICM" + head.getvalue() + b"".join(copy.chunks)


def _decoded(dataset: Dataset) -> np.ndarray:
    syntax = dataset.file_meta.TransferSyntaxUID
    codec = lossy_encoder_of(syntax)
    assert codec is not None
    frames = pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=_count(dataset))
    from scp.encoding.headers import Header  # noqa: PLC0415

    form = Header(written(_without_pixels(dataset), explicit=True, little=True)).format
    return np.squeeze(np.stack([codec.decode(frame, form) for frame in frames]))


def _count(dataset: Dataset) -> int:
    return int(dataset.get("NumberOfFrames", 1) or 1)


def _without_pixels(dataset: Dataset) -> Dataset:
    return Dataset({tag: value for tag, value in dataset.items() if tag != 0x7FE00010})


def _grey(**more: object) -> Shape:
    return replace(Shape(rows=40, columns=56, noise=0.02), **more)  # type: ignore[arg-type]


# ---- The table ----


def test_the_order_is_one() -> None:
    assert tuple(codec.writes for codec in LOSSY_CODECS) == LOSSY
    assert not set(LOSSY) & {codec.writes for codec in CODECS}


def test_quality_and_error_are_one_scale() -> None:
    for quality in (1, 10, 49, 50, 75, 90, 99):
        assert quality_of(error_of(quality)) == pytest.approx(quality)
    assert error_of(50) == 10
    assert error_of(100) == error_of(99.5) > 0


# ---- Which ways ----


def test_without_a_rule_the_ways_are_the_lossless_ones() -> None:
    for preferred in ((), (JPEGLS,), LOSSY):
        for before in (False, True):
            preference = SyntaxPreference(preferred, before)
            accepted = [*LOSSY, *NATIVE, HTJ2K, JPEGLS]
            found = ways(HTJ2K, EXPLICIT, accepted, preference)
            assert not any(way.lossy for way in found)
            assert [way.transfer_syntax for way in found] == ways_out(HTJ2K, EXPLICIT, accepted, preference)


def test_with_a_rule() -> None:
    rule = LossyRule(quality=90)
    accepted = [*LOSSY, EXPLICIT, HTJ2K, JPEGXL]
    named = ways(HTJ2K, EXPLICIT, accepted, SyntaxPreference((JPEGXL, JPEG2000_EITHER, EXPLICIT), lossy=rule))
    assert named == [Way(JPEGXL), Way(JPEG2000_EITHER, True), Way(HTJ2K), Way(EXPLICIT)]
    unnamed = ways(HTJ2K, EXPLICIT, accepted, SyntaxPreference(lossy=rule))
    assert unnamed[:3] == [Way(HTJ2K), Way(EXPLICIT), Way(JPEGXL)]
    assert unnamed[3:] == [Way(syntax, True) for syntax in LOSSY]
    lossy = ways(JPEG_BASELINE, JPEG_BASELINE, accepted, SyntaxPreference((JPEG2000_EITHER,), lossy=rule))
    assert lossy[:2] == [Way(JPEG_BASELINE), Way(JPEG2000_EITHER, True)]
    assert ways(HTJ2K, EXPLICIT, [], SyntaxPreference(lossy=rule)) == []


# ---- The pixels ----


@pytest.mark.parametrize("syntax", LOSSY)
@pytest.mark.parametrize(
    "shape",
    [
        _grey(bits_allocated=8, bits_stored=8),
        _grey(bits_allocated=8, bits_stored=6, photometric="MONOCHROME1"),
        _grey(bits_allocated=16, bits_stored=12),
        _grey(bits_allocated=16, bits_stored=10, frames=3),
        _grey(bits_allocated=16, bits_stored=16),
        _grey(bits_allocated=16, bits_stored=12, signed=True),
        _grey(bits_allocated=16, bits_stored=16, signed=True, frames=2),
        _grey(bits_allocated=8, bits_stored=8, samples=3, photometric="RGB"),
        _grey(bits_allocated=8, bits_stored=8, samples=3, photometric="RGB", planar=1, frames=2),
        _grey(bits_allocated=8, bits_stored=8, samples=3, photometric="YBR_FULL"),
        Shape(rows=1, columns=1, bits_allocated=8, bits_stored=8),
        Shape(rows=3, columns=7, bits_allocated=16, bits_stored=12),
    ],
    ids=str,
)
def test_a_copy_or_a_reason(shape: Shape, syntax: str) -> None:
    """What a codec takes comes back nearly; of what it does not take nothing is made."""
    rule = LossyRule(max_error=3) if syntax == JPEGLS_NEAR else FINE
    try:
        dataset = _read(_copy(phantom(shape), syntax, rule), syntax)
    except CannotEncode as caught:
        refused = {
            JPEG_BASELINE: shape.bits_allocated == 16,
            JPEG_EXTENDED: shape.bits_allocated == 8 or shape.bits_stored == 16 or shape.signed,
            JPEGXL_EITHER: shape.signed or shape.photometric == "YBR_FULL",
        }
        assert refused.get(syntax), str(caught)  # noqa: PT017 - or it takes it
        return
    assert dataset.PixelRepresentation == int(shape.signed)
    assert dataset.HighBit == dataset.BitsStored - 1
    assert dataset.BitsStored >= shape.bits_stored
    if shape.samples == 3:
        assert dataset.PlanarConfiguration == 0
    if shape.photometric == "YBR_FULL" and syntax == JPEG_BASELINE:  # a decoder makes RGB of it
        assert dataset.PhotometricInterpretation == "YBR_FULL_422"
        return
    values = samples_of(shape)
    values = values.view(values.dtype.str.replace("u", "i")) if shape.signed else values
    errors = np.abs(_decoded(dataset).astype(int) - np.squeeze(values).astype(int))
    assert errors.max() <= (3 if syntax == JPEGLS_NEAR else 60)


@pytest.mark.parametrize("came_in", NATIVE)
def test_whatever_it_came_in_the_copy_is_the_same(came_in: str) -> None:
    """UIDs apart: what was received is part of them."""
    shape = _grey(bits_allocated=16, bits_stored=12, group_lengths=True)
    plain, other = (_copy(phantom(shape, syntax), JPEG2000_EITHER) for syntax in (EXPLICIT, came_in))
    one, two = (_read(copy, JPEG2000_EITHER) for copy in (plain, other))
    del one.SOPInstanceUID, two.SOPInstanceUID
    assert one == two
    assert (plain.sop_instance_uid == other.sop_instance_uid) == (came_in == EXPLICIT)


@pytest.mark.parametrize("form", ["htj2k", "jpegls", "rle", "zstd", "deflate"])
def test_whatever_it_is_kept_as_the_copy_is_the_same(form: str) -> None:
    from objects import kept  # noqa: PLC0415

    object_ = phantom(
        _grey(bits_allocated=8, bits_stored=8, samples=3, photometric="RGB", planar=1), IMPLICIT
    )
    stored = part10.unpack(kept(object_, Stage.model_validate({"form": form})).data)
    again = replace(
        _stored(object_),
        dataset=stored.dataset,
        transfer_syntax=stored.transfer_syntax,
        restoration=stored.provenance.restoration if stored.provenance else None,
    )
    here, there = _copy(object_, JPEG_BASELINE), copied(again, JPEG_BASELINE, FINE, ())
    assert here.sop_instance_uid == there.sop_instance_uid
    assert b"".join(here.chunks) == b"".join(there.chunks)


@pytest.mark.parametrize("max_error", [1, 2, 9, 300])
@pytest.mark.parametrize("syntax", [JPEGLS_NEAR, JPEG2000_EITHER, HTJ2K_EITHER, JPEG_EXTENDED])
def test_the_bound_holds_or_nothing_is_made(syntax: str, max_error: int) -> None:
    shape = _grey(bits_allocated=16, bits_stored=12, frames=2, noise=0.3)
    try:
        dataset = _read(_copy(phantom(shape), syntax, LossyRule(max_error=max_error)), syntax)
    except CannotEncode as error:
        assert f"keeps every sample within {max_error}" in str(error)  # noqa: PT017 - or it holds
        assert syntax != JPEGLS_NEAR
        assert max_error < 9
        return
    errors = np.abs(_decoded(dataset).astype(int) - np.squeeze(samples_of(shape)).astype(int))
    assert 0 < errors.max() <= max_error


def test_a_codec_that_errs_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is checked on what is decoded, not believed; without a bound, that it is an image at all."""
    good = lossy_encoder_of(JPEGLS_NEAR)
    assert good is not None

    def use(**changed: object) -> None:
        monkeypatch.setattr(lossy_table, "LOSSY_CODECS", (replace(good, **changed),))  # type: ignore[arg-type]

    object_ = phantom(_grey(bits_allocated=16, bits_stored=12))
    use(encode=lambda frame, form, _: good.encode(frame, form, 5))
    with pytest.raises(CannotEncode, match="within 4"):
        _copy(object_, JPEGLS_NEAR, LossyRule(max_error=4))
    assert _copy(object_, JPEGLS_NEAR, LossyRule(max_error=5))
    use(bounded=False, encode=lambda *_: b"rubbish")
    with pytest.raises(CodecError):
        _copy(object_, JPEGLS_NEAR, FINE)


def test_samples_beyond_bits_stored_are_not_coded() -> None:
    with pytest.raises(CannotEncode, match="bits above Bits Stored are in use"):
        _copy(phantom(_grey(bits_allocated=16, bits_stored=12, rubbish=True)), JPEG2000_EITHER)


def test_the_brightest_and_the_darkest_stay_within_bits_stored() -> None:
    """A codec that knows no 12 bits makes 4096 of 4095: then its header says so."""
    values = np.random.default_rng(3).choice([0, 4095], (40, 56)).astype("<u2")
    plain = phantom(Shape(rows=40, columns=56, bits_allocated=16, bits_stored=12))
    object_ = as_received(plain.dataset[: -values.nbytes] + values.tobytes(), EXPLICIT)
    for syntax in (JPEGLS_NEAR, JPEG2000_EITHER, HTJ2K_EITHER, JPEG_EXTENDED, JPEGXL_EITHER):
        dataset = _read(_copy(object_, syntax, LossyRule(max_error=99)), syntax)
        samples = _decoded(dataset).astype(int)
        assert 0 <= samples.min() <= samples.max() < 1 << dataset.BitsStored


# ---- Padding ----


def _padded(padding: int, values: np.ndarray, **attributes: object) -> Received:
    dataset = pydicom.dcmread(bundled_file("CT_small.dcm"))
    dataset.PixelRepresentation = 1
    dataset.PixelPaddingValue = padding
    dataset["PixelPaddingValue"].VR = "SS"
    dataset.BitsStored, dataset.HighBit = 16, 15
    dataset.Rows, dataset.Columns = values.shape
    dataset.PixelData = values.astype("<i2").tobytes()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return as_received(written(dataset, explicit=True, little=True), EXPLICIT)


def _disc(outside: int) -> np.ndarray:
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    return np.where(x**2 + y**2 < 0.9, (200 * np.sin(5 * x + y)).astype(int), outside)


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_padding_becomes_a_range(photometric: str) -> None:
    object_ = _padded(-2000, _disc(-2000), PhotometricInterpretation=photometric)
    dataset = _read(_copy(object_, JPEG2000_EITHER, LossyRule(quality=70)), JPEG2000_EITHER)
    ends = dataset.PixelPaddingValue, dataset.PixelPaddingRangeLimit
    assert ends == tuple(sorted(ends, reverse=photometric == "MONOCHROME1"))
    low, high = sorted(ends)
    assert low <= -2000 <= high < -1000
    found = _decoded(dataset)
    np.testing.assert_array_equal((found >= low) & (found <= high), _disc(-2000) == -2000)


def test_padding_that_runs_into_the_image_is_no_copy() -> None:
    with pytest.raises(CannotEncode, match="padding values would mix with image values"):
        _copy(_padded(-201, _disc(-201)), JPEG2000_EITHER, LossyRule(quality=30))


def test_padding_that_is_not_there_is_not_named() -> None:
    dataset = _read(_copy(_padded(-2000, _disc(0)), JPEG2000_EITHER), JPEG2000_EITHER)
    assert "PixelPaddingValue" not in dataset


# ---- The header ----


def _header(**attributes: object) -> bytes:
    dataset = Dataset()
    dataset.SOPInstanceUID = "1.2.3"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return written(dataset, explicit=True, little=True)


def _derived(header: bytes) -> Dataset:
    stream = derived_header(header, SOURCE, DONE, {})
    dataset = pydicom.dcmread(BytesIO(stream), force=True)
    tags = [entry.tag for entry in dataset]
    assert tags == sorted(tags)
    return dataset


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["ORIGINAL", "PRIMARY", "AXIAL"], ["DERIVED", "PRIMARY", "AXIAL"]),
        (["DERIVED", "SECONDARY"], ["DERIVED", "SECONDARY"]),
        (["MIXED", "PRIMARY", "VOLUME", "NONE"], ["DERIVED", "PRIMARY", "VOLUME", "NONE"]),
        (None, ["DERIVED", "PRIMARY"]),
        ("ORIGINAL", ["DERIVED", "PRIMARY"]),
    ],
)
def test_image_type(before: object, after: list[str]) -> None:
    assert _derived(_header(**({"ImageType": before} if before else {}))).ImageType == after


def test_each_loss_adds_to_the_history() -> None:
    once = _derived(_header(LossyImageCompression="00"))
    assert (once.LossyImageCompression, once.LossyImageCompressionMethod) == ("01", "ISO_15444_1")
    assert str(once.LossyImageCompressionRatio) == "12.35"
    twice = _derived(
        _header(
            LossyImageCompression="01",
            LossyImageCompressionRatio=["5", "2.5"],
            LossyImageCompressionMethod=["ISO_10918_1", "ISO_14495_1"],
            DerivationDescription="Cropped",
        )
    )
    assert list(map(str, twice.LossyImageCompressionRatio)) == ["5", "2.5", "12.35"]
    assert twice.LossyImageCompressionMethod == ["ISO_10918_1", "ISO_14495_1", "ISO_15444_1"]
    assert twice.DerivationDescription == "Cropped; Lossy compression"
    purpose = twice.SourceImageSequence[0].PurposeOfReferenceCodeSequence[0]
    assert (purpose.CodeValue, purpose.CodeMeaning) == ("121330", "Lossy compressed predecessor")


def test_steps_without_a_method_keep_their_place() -> None:
    dataset = _derived(_header(LossyImageCompression="01", LossyImageCompressionRatio="7"))
    assert dataset.LossyImageCompressionMethod == ["", "ISO_15444_1"]
    assert list(map(str, dataset.LossyImageCompressionRatio)) == ["7", "12.35"]


@pytest.mark.parametrize("defined", [True, False])
def test_sequences_grow_by_an_item(defined: bool) -> None:
    inner = element(0x00081155, "UI", b"1.9\0")
    held = sequence(0x00082112, [item(inner, defined)], defined)
    dataset = _derived(element(0x00080018, "UI", b"1.2.3\0") + held)
    assert [one.ReferencedSOPInstanceUID for one in dataset.SourceImageSequence] == ["1.9", "1.2.3"]
    assert dataset.SourceImageSequence[-1].PurposeOfReferenceCodeSequence[0].CodeValue == "121320"


def test_what_would_be_wrong_goes() -> None:
    dataset = _derived(
        _header(
            InstanceCreationDate="20200101",
            InstanceCreationTime="1200",
            InstanceCreatorUID="1.2",
            SmallestImagePixelValue=3,
            LargestImagePixelValue=5,
            PatientName="A^B",
        )
    )
    assert dataset.PatientName == "A^B"
    gone = {"InstanceCreationDate", "InstanceCreationTime", "InstanceCreatorUID"}
    assert not gone & set(dataset.dir())
    assert "SmallestImagePixelValue" not in dataset
    assert "LargestImagePixelValue" not in dataset


def test_signatures_are_not_those_of_the_copy() -> None:
    trailer = element(0xFFFAFFFA, "SQ", item(element(0x00080016, "UI", b"1\0"), True)) + element(
        0xFFFCFFFC, "OB", b"\0\0"
    )
    assert derived_trailer(trailer) == element(0xFFFCFFFC, "OB", b"\0\0")


def test_a_group_length_of_a_changed_group_goes() -> None:
    lengths = element(0x00080000, "UL", b"\4\0\0\0") + element(0x00080018, "UI", b"1\0")
    kept_one = element(0x00100000, "UL", b"\0\0\0\0")
    assert rewritten(lengths + kept_one, {0x00080018: None}) == kept_one


@pytest.mark.parametrize("rest", ["PRIMARY\\VOLUME\\NONE", "PRIMARY\\VOLUME\\NON"])
def test_frame_types_are_derived_too(rest: str) -> None:
    frame = Dataset()
    frame.FrameType = ["ORIGINAL", *rest.split("\\")]
    groups = Dataset()
    groups.CTImageFrameTypeSequence = Items([frame])
    dataset = _derived(_header(PerFrameFunctionalGroupsSequence=Items([groups, groups])))
    for one in dataset.PerFrameFunctionalGroupsSequence:
        assert one.CTImageFrameTypeSequence[0].FrameType == ["DERIVED", *rest.split("\\")]


def test_a_uid_tells_copies_apart() -> None:
    arguments = (SOURCE, "codec 1", JPEG2000_EITHER, FINE)
    uid = uid_of_copy(*arguments)
    assert uid == uid_of_copy(*arguments) == "2.25.312029222244133754414453991225714867453"
    others = [
        uid_of_copy(replace(SOURCE, sha256="01"), *arguments[1:]),
        uid_of_copy(replace(SOURCE, sop_instance_uid="1.2.4"), *arguments[1:]),
        uid_of_copy(SOURCE, "codec 2", *arguments[2:]),
        uid_of_copy(*arguments[:2], JPEGXL_EITHER, FINE),
        uid_of_copy(*arguments[:3], LossyRule(quality=94.0)),
        uid_of_copy(*arguments[:3], LossyRule(quality=95.0, max_error=3)),
    ]
    assert len({uid, *others}) == 7
    assert all(len(one) <= 64 for one in others)


# ---- Refused ----


def test_no_larger_than_without_loss() -> None:
    object_ = phantom(Shape(rows=4, columns=4, bits_allocated=8, bits_stored=8))
    with pytest.raises(CannotEncode, match="where ExplicitVRLittleEndian has"):
        copied(_stored(object_), JPEG_BASELINE, FINE, (EXPLICIT,))
    with pytest.raises(CannotEncode, match="where JPEGLSLossless has"):
        copied(_stored(object_), JPEG_BASELINE, FINE, (JPEGLS, EXPLICIT))
    # A syntax that cannot carry it is no measure.
    assert copied(_stored(object_), JPEG_BASELINE, FINE, ("1.2.840.10008.1.2.4.100",))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("image_dfl.dcm", ""),
        ("rtdose.dcm", "a dose is not coded with loss"),
        ("liver_1frame.dcm", "a segmentation is not coded with loss"),
        ("rtplan.dcm", "no pixel data"),
    ],
)
def test_real_ones(name: str, reason: str) -> None:
    object_ = received(bundled_file(name))
    if not reason:
        assert _read(_copy(object_, JPEG_BASELINE), JPEG_BASELINE).LossyImageCompression == "01"
        return
    with pytest.raises(CannotEncode, match=reason):
        _copy(object_, JPEG2000_EITHER)


def test_numbers_of_colours_are_no_samples() -> None:
    with pytest.raises(CannotEncode, match="PALETTE COLOR is not coded with loss"):
        _copy(phantom(_grey(bits_allocated=8, bits_stored=8, photometric="PALETTE COLOR")), JPEG_BASELINE)


def test_video_is_not_coded_anew() -> None:
    plain = phantom(Shape())
    with pytest.raises(CodecError):
        _copy(as_received(plain.dataset, "1.2.840.10008.1.2.4.102"), JPEG2000_EITHER)
    with pytest.raises(CodecError):
        _copy(as_received(plain.dataset[:40], EXPLICIT), JPEG2000_EITHER)
    with pytest.raises(CodecError):
        _copy(as_received(deflate(plain.dataset)[:-9], DEFLATED), JPEG2000_EITHER)


def _small_files() -> list[Path]:
    return [path for path in all_files() if path.stat().st_size < 150_000]


def _all_objects() -> Iterator[Received]:
    """Of bundled files and the corpus, and phantoms: each syntax takes at least one of these."""
    yield from (received(path) for path in _small_files())
    yield phantom(_grey(bits_allocated=8, bits_stored=8))
    yield phantom(_grey(bits_stored=12))


@pytest.mark.corpus
@pytest.mark.parametrize("syntax", LOSSY)
def test_of_all_files_copies_or_reasons(syntax: str) -> None:
    """Never anything but a sound copy or an error that the next way is tried after."""
    rule = _rule_for(syntax)
    copies = 0
    for object_ in _all_objects():
        try:
            copy = _copy(object_, syntax, rule)
        except CodecError:
            continue
        dataset = _read(copy, syntax)
        assert dataset.SourceImageSequence[-1].ReferencedSOPInstanceUID == object_.sop_instance_uid
        assert np.squeeze(_decoded(dataset)).size == _size(dataset), object_.sop_instance_uid
        copies += 1
    assert copies


def _size(dataset: Dataset) -> int:
    return int(dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * _count(dataset))


@pytest.mark.corpus
def test_dciodvfy_finds_nothing_new(tmp_path: Path) -> None:
    """Of David Clunie's validator: no error that the object did not have before."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian dicom3tools) is not installed")
    seen = 0
    for path in _small_files()[::3]:
        object_ = received(path)
        made = tmp_path / "one.dcm"
        before: set[str] | None = None
        for syntax in LOSSY[:5]:  # all but JPEG XL, whose XYB it does not know
            try:
                copy = _copy(object_, syntax, _rule_for(syntax))
            except CodecError:
                continue
            if before is None:
                chunks = transcoding(object_.dataset, object_.transfer_syntax, EXPLICIT, None)
                plain = Copy(object_.sop_instance_uid, chunks)
                made.write_bytes(_as_file(plain, EXPLICIT, object_.sop_class_uid))
                before = _errors(made)
            # The dicom3tools of 2022 know no HTJ2K; what is looked at is the header.
            label = JPEG2000_EITHER if syntax == HTJ2K_EITHER else syntax
            made.write_bytes(_as_file(copy, label, object_.sop_class_uid))
            assert _errors(made) - before == set(), f"{path.name} as {lookup(syntax).keyword}"
            seen += 1
    assert seen >= 20


def _errors(path: Path) -> set[str]:
    done = subprocess.run(["dciodvfy", path], capture_output=True, check=False, timeout=60)
    text = done.stderr.decode("latin-1") + done.stdout.decode("latin-1")
    return {line for line in text.splitlines() if line.startswith("Error")}
