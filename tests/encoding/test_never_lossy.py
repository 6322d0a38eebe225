"""What is never kept with loss, what loss is measured to be, and what its header says."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import decoders
import numpy as np
import pydicom
import pytest
from lossy_stages import MG, as_sent, picture
from objects import as_received, bundled_file, received
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from wire.peers import Sent, as_file, read, written

from scp.encoding.derived import Source
from scp.encoding.facts import survey
from scp.encoding.loss_at_rest import LossyCopy, lossy_copy
from scp.encoding.lossy import Stored
from scp.errors import CannotEncode, CodecError
from scp.loss import LossyRule
from scp.model import Provenance, Received
from scp.syntaxes import EXPLICIT, HTJ2K_EITHER, JPEG2000_EITHER, LOSSY_FORMS

pytestmark = [pytest.mark.quick, pytest.mark.usefixtures("codecs_here")]

NEAR = LossyRule(max_error=3)
CT, PET, SEG, PMAP = (f"1.2.840.10008.5.1.4.1.1.{each}" for each in ("2", "128", "66.4", "30"))


def _copy(
    object_: Received, form: str = "jpegls", rule: LossyRule = NEAR, *, same_uid: bool = False
) -> LossyCopy:
    source = Source(object_.sop_class_uid, object_.sop_instance_uid, object_.sha256)
    stored = Stored(object_.dataset, object_.transfer_syntax, None, source)
    known = Provenance(
        object_.transfer_syntax, object_.sha256, len(object_.dataset), object_.received_at, "A", "B", "r", ""
    )
    return lossy_copy(stored, known, form, rule, same_uid=same_uid)


def _sent(copy: LossyCopy, sop_class: str = MG) -> Sent:
    return Sent(sop_class, copy.sop_instance_uid, copy.transfer_syntax, bytes(copy.dataset))


def _changed(change: Callable[[Dataset], None], sop_class: str = MG) -> Received:
    """A picture whose dataset was changed."""
    sent = picture()
    dataset = read(sent.data, sent.syntax)
    change(dataset)
    for each in dataset:
        if each.VR == "US or SS":
            each.VR = "US"
    dataset.SOPClassUID = sop_class
    return as_received(written(dataset, EXPLICIT), EXPLICIT, sop_class, sent.instance)


def _with(**attributes: Any) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)

    return change


def _item(**attributes: Any) -> Sequence:
    item = Dataset()
    _with(**attributes)(item)
    return Sequence([item])


def _nested_mapping(dataset: Dataset) -> None:
    mapping = _item(LUTLabel="T1", RealWorldValueSlope=1.0)
    dataset.SharedFunctionalGroupsSequence = _item(RealWorldValueMappingSequence=mapping)


def _overlay(kind: str) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        dataset.add_new(0x60000040, "CS", kind)
        dataset.add_new(0x60000010, "US", 96)

    return change


def _palette(dataset: Dataset) -> None:
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    dataset.RedPaletteColorLookupTableDescriptor = [4096, 0, 16]


def _floats(dataset: Dataset) -> None:
    dataset.FloatPixelData = np.zeros((96, 96), "<f4").tobytes()
    del dataset.PixelData


def _one_bit(dataset: Dataset) -> None:
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 1, 0
    dataset.PixelData = bytes(96 * 96 // 8)


def _no_pixels(dataset: Dataset) -> None:
    del dataset.PixelData


NEVER = {
    "a segmentation": (_with(), SEG, "holds no picture"),
    "a parametric map": (_with(), PMAP, "holds no picture"),
    "counts of PET": (_with(), PET, "holds no picture"),
    "a dose": (_with(), "1.2.840.10008.5.1.4.1.1.481.2", "holds no picture"),
    "a label map": (_with(), "1.2.840.10008.5.1.4.1.1.66.7", "holds no picture"),
    "results of CAD": (_with(), "1.2.840.10008.5.1.4.1.1.88.50", "holds no picture"),
    "a presentation state": (_with(), "1.2.840.10008.5.1.4.1.1.11.1", "holds no picture"),
    "an unknown class": (_with(), "1.3.6.1.4.1.9999.1", "holds no picture"),
    "no pixel data": (_no_pixels, MG, "no pixel data"),
    "floating point": (_floats, MG, "floating point pixel data"),
    "one bit": (_one_bit, MG, "Bits Allocated is 1"),
    "a palette": (_palette, MG, "palette"),
    "a supplemental palette": (
        _with(RedPaletteColorLookupTableDescriptor=[256, 0, 16]),
        MG,
        "palette",
    ),
    "a real world mapping": (
        _with(RealWorldValueMappingSequence=_item(LUTLabel="T1")),
        MG,
        "Real World Value Mapping",
    ),
    "a mapping in a functional group": (_nested_mapping, MG, "Real World Value Mapping"),
    "results in it": (_with(ContentSequence=_item(ValueType="NUM")), MG, "Content Sequence"),
    "a histogram": (_with(HistogramSequence=_item(HistogramNumberOfBins=2)), MG, "Histogram"),
    "CAD marks": (_with(ImageType=["DERIVED", "SECONDARY", "CAD"]), MG, "results of CAD"),
    "a measured region": (_overlay("R"), MG, "Overlay Type R"),
    "a curve": (lambda dataset: dataset.add_new(0x50000010, "US", 4), MG, "curve"),
    "a signature": (_with(MACParametersSequence=_item(MACIDNumber=1)), MG, "digitally signed"),
    "a signature behind": (
        _with(DigitalSignaturesSequence=_item(MACIDNumber=1)),
        MG,
        "digitally signed",
    ),
    "loss before": (_with(LossyImageCompression="01"), MG, "lost something already"),
    "padding that touches": (_with(PixelPaddingValue=700), MG, "from padding"),
    "a range that touches": (
        _with(PixelPaddingValue=4095, PixelPaddingRangeLimit=1333),
        MG,
        "from padding",
    ),
}


@pytest.mark.parametrize("name", NEVER)
def test_what_never_loses_anything(name: str) -> None:
    change, sop_class, reason = NEVER[name]
    for form in LOSSY_FORMS:
        rule = NEAR if form == "jpegls" else LossyRule(quality=90)
        with pytest.raises(CodecError, match=reason):
            _copy(_changed(change, sop_class), form, rule)


def test_the_others_do() -> None:
    """So that each of the above is refused for its own reason."""
    assert _copy(_changed(_with())).loss.max_error
    assert _copy(_changed(_overlay("G"))).loss.max_error
    assert _copy(_changed(_with(PixelPaddingValue=4095))).loss.max_error


def test_a_padding_value_is_as_far_as_the_largest_error() -> None:
    """A darkest sample of 100 beside padding of 90: within an error of 10 neither is told from the other."""

    def padded(dataset: Dataset) -> None:
        samples = np.frombuffer(dataset.PixelData, "<u2").reshape(96, 96).copy() % 900 + 100
        samples[0, 0] = 100
        samples[:20] = 90
        dataset.PixelData, dataset.PixelPaddingValue = samples.tobytes(), 90

    with pytest.raises(CannotEncode, match="10 from padding, within the error of 10"):
        _copy(_changed(padded), rule=LossyRule(max_error=10))
    assert _copy(_changed(padded), rule=LossyRule(max_error=3)).loss.max_error <= 3


@pytest.mark.parametrize("name", ["SC_rgb_jpeg_dcmtk.dcm", "JPEG2000.dcm", "JPEG-lossy.dcm"])
def test_what_came_in_a_syntax_that_may_be_lossy_stays(name: str) -> None:
    object_ = received(bundled_file(name))
    with pytest.raises(CannotEncode, match="lost something already"):
        _copy(object_, "jpeg2000", LossyRule(quality=90))


# ---- Measured ----

RULES = {
    "jpegls": [LossyRule(max_error=2), LossyRule(ratio=6), LossyRule(ratio=4, max_error=40)],
    "jpeg2000": [LossyRule(max_error=5), LossyRule(quality=90), LossyRule(ratio=8)],
    "htj2k": [LossyRule(max_error=5), LossyRule(quality=85), LossyRule(ratio=8)],
    "jpegxl": [LossyRule(max_error=40), LossyRule(quality=90), LossyRule(ratio=8)],
}


@pytest.mark.parametrize(("form", "rule"), [(form, rule) for form, each in RULES.items() for rule in each])
def test_another_decoder_measures_the_errors_that_were_written_down(form: str, rule: LossyRule) -> None:
    """JPEG-LS by DCMTK, JPEG 2000 and HTJ2K by OpenJPEG in pylibjpeg, JPEG XL by djxl."""
    sent = picture()
    copy = _copy(as_sent(sent), form, rule)
    before = np.frombuffer(read(sent.data, sent.syntax).PixelData, "<u2").astype(float).reshape(96, 96)
    errors = np.abs(decoders.pixels(_sent(copy)).astype(float) - before)
    loss = copy.loss
    # JPEG XL decodes to floating point: another decoder may round otherwise.
    off, share = (1, 0.01) if form == "jpegxl" else (0, 1e-9)
    assert errors.max() == pytest.approx(loss.max_error, abs=off)
    assert errors.mean() == pytest.approx(loss.mean_error, rel=share)
    assert 20 * np.log10(4095 / np.sqrt((errors**2).mean())) == pytest.approx(loss.psnr, abs=0.01 + off)
    if rule.max_error is not None:
        assert loss.max_error <= rule.max_error
    if rule.ratio is not None:
        assert loss.ratio >= rule.ratio


def test_a_ratio_beyond_reach_is_a_reason() -> None:
    with pytest.raises(CannotEncode, match="nothing reaches ratio 500"):
        _copy(as_sent(picture()), "jpegls", LossyRule(ratio=500))
    with pytest.raises(CannotEncode, match="keeps every sample within 1"):
        _copy(as_sent(picture()), "jpegls", LossyRule(ratio=9, max_error=1))


def test_a_ratio_is_reached_by_the_finest_copy() -> None:
    coarse, fine = (_copy(as_sent(picture()), "jpegls", LossyRule(ratio=ratio)).loss for ratio in (6, 3))
    assert fine.max_error < coarse.max_error
    finer = _copy(as_sent(picture()), "jpegls", LossyRule(max_error=coarse.max_error - 1)).loss
    assert finer.ratio < 6


# ---- Told ----


@pytest.mark.parametrize("same_uid", [False, True])
@pytest.mark.parametrize("form", LOSSY_FORMS)
def test_the_copy_says_what_it_is(form: str, same_uid: bool) -> None:
    sent = picture(InstanceCreationDate="20200101", DerivationDescription="Cropped")
    copy = _copy(as_sent(sent), form, LossyRule(max_error=40), same_uid=same_uid)
    dataset = read(bytes(copy.dataset), copy.transfer_syntax)
    assert dataset.ImageType == ["DERIVED", "PRIMARY"]
    assert dataset.LossyImageCompression == "01"
    assert float(dataset.LossyImageCompressionRatio) == pytest.approx(copy.loss.ratio, abs=0.01)
    assert dataset.LossyImageCompressionMethod.startswith("ISO_")
    assert dataset.DerivationDescription.startswith("Cropped; Lossy compression")
    assert dataset.DerivationCodeSequence[-1].CodeValue == "113040"
    assert (dataset.SOPInstanceUID == sent.instance) == same_uid
    assert ("SourceImageSequence" in dataset) != same_uid
    if not same_uid:
        assert dataset.SourceImageSequence[-1].ReferencedSOPInstanceUID == sent.instance
    assert survey(as_received(bytes(copy.dataset), copy.transfer_syntax)).readable


def test_the_same_copy_has_the_same_uid_and_bytes() -> None:
    """What a process that died had begun is made again, and stored once."""
    one, other = (_copy(as_sent(picture()), "jpeg2000", LossyRule(ratio=8)) for _ in range(2))
    assert (one.sop_instance_uid, bytes(one.dataset)) == (other.sop_instance_uid, bytes(other.dataset))
    assert _copy(as_sent(picture()), "jpeg2000", LossyRule(ratio=9)).sop_instance_uid != one.sop_instance_uid


@pytest.mark.parametrize("same_uid", [False, True])
@pytest.mark.parametrize("form", ["jpegls", "jpeg2000", "htj2k"])  # it takes XYB, of JPEG XL, for an error
def test_dciodvfy_finds_nothing_new_in_what_is_kept(tmp_path: Path, form: str, same_uid: bool) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian dicom3tools) is not installed")
    plain = pydicom.dcmread(bundled_file("CT_small.dcm"))
    del plain.PixelPaddingValue
    object_ = as_received(written(plain, EXPLICIT), EXPLICIT, CT, plain.SOPInstanceUID)
    copy = _copy(object_, form, LossyRule(max_error=20), same_uid=same_uid)
    before = Sent(CT, object_.sop_instance_uid, EXPLICIT, bytes(object_.dataset))
    # The dicom3tools of 2022 know no HTJ2K; what is looked at is the header.
    label = JPEG2000_EITHER if copy.transfer_syntax == HTJ2K_EITHER else copy.transfer_syntax
    after = Sent(CT, copy.sop_instance_uid, label, bytes(copy.dataset))
    assert _faults(after, tmp_path) - _faults(before, tmp_path) == set()


def _faults(sent: Sent, folder: Path) -> set[str]:
    path = as_file(sent, folder / f"{sent.instance}.dcm")
    done = subprocess.run(["dciodvfy", path], capture_output=True, check=False, timeout=60)
    text = (done.stderr + done.stdout).decode("latin-1")
    assert "CTImage" in text, text
    return {line for line in text.splitlines() if line.startswith("Error")}
