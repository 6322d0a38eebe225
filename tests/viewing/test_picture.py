"""Pictures of stored images: right shades for every kind of pixels, and a reason where there is none."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from objects import Shape, bundled, phantom, received, written
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.sequence import Sequence

from scp.archive.archive import Archive
from scp.config.rules import PolicyRule
from scp.encoding.dataset import split
from scp.encoding.facts import survey
from scp.encoding.one_frame import decoded_frame
from scp.errors import CannotDecode, DatasetError, NoPicture, ObjectDamaged, ZscpError
from scp.index.sql import SqlIndex
from scp.model import Received
from scp.objects.local import LocalStore
from scp.syntaxes import EXPLICIT, lookup
from scp.viewing.display import VoiWindow, display_of
from scp.viewing.picture import picture
from scp.viewing.rendering import Shown, shown

_FULL = 10**6  # more pixels than any of these has


def seen(sent: Received, number: int = 0, most: int = _FULL, window: VoiWindow | None = None) -> Shown:
    """A frame as it would be shown if this was stored as received."""
    syntax = lookup(sent.transfer_syntax)
    frame = decoded_frame(split(sent.dataset, syntax), syntax, number)
    return shown(frame, display_of(frame.header, number), most, window)


def with_elements(sent: Received, change: Callable[[Dataset], None]) -> Received:
    """The same object in explicit VR little endian, with other elements."""
    found = read_dataset(BytesIO(bytes(sent.dataset)), is_implicit_VR=False, is_little_endian=True)
    change(found)
    return replace(sent, dataset=written(found, explicit=True, little=True), sha256="")


def ramp(values: list[int], **shape: object) -> Received:
    """One row of these samples."""
    described = Shape(rows=1, columns=len(values), **shape)  # type: ignore[arg-type]
    kind = "<i2" if described.signed else "<u2"

    def change(found: Dataset) -> None:
        found.PixelData = np.array(values, kind).tobytes()

    return with_elements(phantom(described), change)


def archive(tmp_path: Path, form: str) -> Archive:
    rule = PolicyRule.model_validate({"name": "rule", "stages": [{"form": form, "wrap": "none"}]})
    return Archive(LocalStore(tmp_path / "objects"), SqlIndex.open(f"sqlite:///{tmp_path}/index.db"), [rule])


def pixels(png: bytes) -> np.ndarray:
    """What a PNG shows."""
    return np.asarray(imagecodecs.png_decode(png))


@pytest.mark.parametrize("form", ["htj2k", "jpegls", "jpegxl", "jpeg2000", "rle", "zstd"])
def test_a_picture_is_the_same_from_every_form(tmp_path: Path, form: str) -> None:
    sent = phantom(Shape(rows=40, columns=30, frames=3))
    held = archive(tmp_path, form)
    found = picture(held, held.ingest(sent).instance, frame=2)
    held.close()
    assert (found.frames, found.rows, found.columns, found.chosen) == (3, 40, 30, "percentiles")
    assert (pixels(found.png) == seen(sent, 1).shades).all()


def test_a_window_darkens_what_is_below_it_and_lightens_what_is_above() -> None:
    def change(found: Dataset) -> None:
        found.WindowCenter, found.WindowWidth = ["50", "7"], ["100", "9"]
        found.RescaleSlope, found.RescaleIntercept = "2", "-100"

    sent = with_elements(ramp([0, 50, 75, 100, 4000]), change)
    found = seen(sent)
    assert found.chosen == "object"
    assert found.window == VoiWindow(50, 100)
    # PS3.3 C.11.2.1.2.1: ((x - 49.5) / 99 + 0.5) * 255
    assert found.shades.tolist() == [[0, 0, 129, 255, 255]]
    assert seen(sent, window=VoiWindow(0, 200)).shades.tolist() == [[0, 128, 192, 255, 255]]


def test_monochrome1_is_inverted() -> None:
    def change(found: Dataset) -> None:
        found.PhotometricInterpretation = "MONOCHROME1"
        found.WindowCenter, found.WindowWidth = "50", "100"

    assert seen(with_elements(ramp([0, 4000]), change)).shades.tolist() == [[255, 0]]


def test_the_window_of_a_frame_goes_before_that_of_all() -> None:
    def group(center: str) -> Dataset:
        item, inner = Dataset(), Dataset()
        inner.WindowCenter, inner.WindowWidth = center, "100"
        item.FrameVOILUTSequence = Sequence([inner])
        return item

    def change(found: Dataset) -> None:
        found.WindowCenter, found.WindowWidth = "1", "100"
        found.PerFrameFunctionalGroupsSequence = Sequence([group("10"), group("20"), Dataset()])
        found.SharedFunctionalGroupsSequence = Sequence([group("30")])

    sent = with_elements(phantom(Shape(frames=3)), change)
    assert [seen(sent, each).window for each in range(3)] == [VoiWindow(float(c), 100) for c in (10, 20, 30)]


def test_a_voi_lut_is_applied() -> None:
    def change(found: Dataset) -> None:
        item = Dataset()
        item.add_new(0x00283002, "US", [3, 10, 8])
        item.add_new(0x00283006, "US", [0, 200, 100])
        found.VOILUTSequence = Sequence([item])

    found = seen(with_elements(ramp([0, 10, 11, 12, 99]), change))
    assert found.chosen == "table"
    assert found.shades.tolist() == [[0, 0, 200, 100, 100]]


def test_bits_above_the_sample_do_not_count() -> None:
    """Sign bits that are not extended, and rubbish: -1 in 12 bits is 0FFFH, or FFFFH."""
    sent = ramp([0x0FFF, -1, 0x0800, 100], signed=True)
    shades = seen(sent, window=VoiWindow(0, 4096)).shades[0].tolist()
    assert shades[0] == shades[1] < shades[3]
    assert shades[2] == 0


def test_a_picture_is_scaled_to_the_mean_of_what_it_stands_for() -> None:
    shape = Shape(rows=31, columns=70, bits_allocated=8, bits_stored=8)
    full, small = seen(phantom(shape)), seen(phantom(shape), most=35)
    assert small.shades.shape == (15, 35)
    assert abs(int(small.shades[0, 0]) - full.shades[:2, :2].mean()) <= 0.5


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (Shape(samples=3, bits_allocated=8, bits_stored=8, photometric="HSV"), "'HSV' are not shown"),
        (Shape(samples=3, bits_allocated=32, bits_stored=32, photometric="RGB"), "32-bit colour"),
        (Shape(bits_allocated=8, bits_stored=8, photometric="PALETTE COLOR"), "palette cannot be used"),
    ],
)
def test_what_has_no_shades_says_why(shape: Shape, reason: str) -> None:
    with pytest.raises(NoPicture, match=reason):
        seen(phantom(shape))


def test_what_has_no_pixels_says_so(tmp_path: Path) -> None:
    held = archive(tmp_path, "zstd")
    without = with_elements(phantom(Shape()), lambda found: found.__delitem__("PixelData"))
    instance = held.ingest(without).instance
    with pytest.raises(NoPicture, match="has no pixel data"):
        picture(held, instance)
    image = held.ingest(replace(phantom(Shape(seed=1)))).instance
    with pytest.raises(NoPicture, match="there is no frame 2: it has 1"):
        picture(held, image, frame=2)
    with pytest.raises(NoPicture, match="width 0"):
        picture(held, image, window=VoiWindow(1, 0))
    held.close()


def test_odd_headers_raise_nothing_but_our_errors() -> None:
    """Each value that says how to show is what nobody expects, in turn."""
    odd = [b"", b"\\", b"1e999 ", b"nan ", b"-1", b"0 ", b"x" * 400, b"\xff\xfe\0\xe0" * 3]
    tags = [0x00281050, 0x00281051, 0x00281052, 0x00281053, 0x00281056, 0x00280120, 0x00280102]
    sequences = [0x00283000, 0x00283010, 0x52009229, 0x52009230]
    stream = bytes(phantom(Shape(rows=4, columns=4)).dataset)
    at = stream.index(b"\xe0\x7f\x10\0")
    for tag in tags + sequences:
        for value in odd:
            padded = value + b"\0" * (len(value) % 2)
            name = tag.to_bytes(4, "little")
            element = name[2:] + name[:2] + (b"DS" + len(padded).to_bytes(2, "little"))
            if tag in sequences:
                element = name[2:] + name[:2] + b"SQ\0\0" + len(padded).to_bytes(4, "little")
            sent = replace(phantom(Shape()), dataset=stream[:at] + element + padded + stream[at:], sha256="")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with suppress(NoPicture, CannotDecode, DatasetError):  # a reason is an answer
                    assert seen(sent).shades.shape == (4, 4)


@pytest.mark.skipif(shutil.which("dcmj2pnm") is None, reason="DCMTK is not installed")
def test_pictures_are_those_of_dcmtk(tmp_path: Path) -> None:
    """Within a grey level, of one object of each kind of pixels that both show."""
    compared, kinds = 0, {_kind(path): path for path in bundled()}
    for path in kinds.values():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compared += _is_as_dcmtk_has_it(path, tmp_path / "theirs.png")
    assert compared >= 20


def _kind(path: Path) -> tuple[str, ...]:
    """What tells apart ways of showing an image, as its header has it."""
    try:
        sent = received(path)
        attributes = survey(sent).attributes
    except (ZscpError, ObjectDamaged):
        return ()
    asked = ("BitsStored", "PixelRepresentation", "PhotometricInterpretation", "PlanarConfiguration")
    return (sent.transfer_syntax, *(attributes.get(each, "") for each in (*asked, "RescaleSlope")))


def _is_as_dcmtk_has_it(path: Path, out: Path) -> bool:
    try:
        sent = received(path)
        ours = seen(sent)
    except (ZscpError, ObjectDamaged):
        return False
    big = sent.transfer_syntax not in {EXPLICIT} and not lookup(sent.transfer_syntax).little_endian
    form = _form(sent)
    if form == (1, 1) or (big and form[0] == 32):
        return False  # DCMTK shows a single bit as half grey, and swaps big endian words of 32 bits as of 16
    options = {"object": ["+Wi", "1"], "table": ["+Wl", "1"]}.get(ours.chosen, ["-W"])
    if ours.chosen == "percentiles" and ours.window is not None:
        given = VoiWindow(round(ours.window.center, 1), max(round(ours.window.width, 1), 2))
        ours = seen(sent, window=given)
        options = ["+Ww", repr(given.center), repr(given.width)]
    out.unlink(missing_ok=True)
    command = ["dcmj2pnm", "-O", "+on", *options, str(path), str(out)]
    subprocess.run(command, capture_output=True, check=False, timeout=60)
    if not out.exists() or not out.stat().st_size:
        return False  # it has no decoder for that
    theirs = pixels(out.read_bytes()).astype("i2")
    assert theirs.shape == ours.shades.shape, path
    assert np.abs(theirs - ours.shades).max() <= 1, path
    return True


def _form(sent: Received) -> tuple[int, int]:
    syntax = lookup(sent.transfer_syntax)
    form = decoded_frame(split(sent.dataset, syntax), syntax, 0).form
    return form.bits_allocated, form.samples
