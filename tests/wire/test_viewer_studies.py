"""OHIF opens whatever a hospital's archive has: a study shows a first image, and none breaks the others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from objects import bundled_file, corpus
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut

from scripts import npm, ohif

from .peers import Sent, image, of_file, until
from .viewed import COLUMNS, ROWS, Shown, tiles
from .viewer_page import SECONDS, Viewer, WebNode, chromium, skip_without, viewer_beside

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.dicomweb, pytest.mark.slow]

# The correlation of what is seen with what pydicom reads: codecs with loss, and pixels left out.
LEAST = 0.9
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
COMPUTED_RADIOGRAPHY = "1.2.840.10008.5.1.4.1.1.1"
_IMAGE = re.compile(r"/instances/([^/]+)/frames/(\d+)")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Viewer]:
    """The viewer beside a node as it is shipped, which has nothing yet."""
    skip_without(npm.OHIF)
    bound, origin = ohif.listening()
    node = WebNode(tmp_path_factory.mktemp("node"), origin)
    node.start()
    try:
        node.answers()
        with viewer_beside(node, bound, origin, browser) as opened:
            yield opened
    finally:
        node.kill()


@pytest.fixture(autouse=True)
def no_complaints(viewer: Viewer) -> Iterator[None]:
    viewer.complaints.clear()
    yield
    assert viewer.complaints == []


def opens(viewer: Viewer, objects: Sequence[Sent], like: Dataset | None = None) -> None:
    """Store a study, and see an image of it; ``like`` another one, which pydicom can read."""
    viewer.node.keep(objects)
    viewer.open(str(objects[0].dataset.StudyInstanceUID))
    by_uid = {one.instance: one for one in objects}
    found: list[float] = []

    def is_shown() -> bool:
        seen = viewer.looked()
        named = _IMAGE.search(seen.image) if seen is not None else None
        if seen is None or named is None or named[1] not in by_uid:
            return False
        found.append(likeness(seen, like or by_uid[named[1]].dataset, int(named[2])))
        return found[-1] > LEAST

    try:
        until(is_shown, "the first image is shown", SECONDS)
    except AssertionError as error:
        raise AssertionError(f"{error}; likeness {found[-1:]}; {viewer.complaints}") from error


def likeness(seen: Shown, dataset: Dataset, number: int) -> float:
    values = dataset.pixel_array
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        values = values[number - 1]
    kind = dataset.PhotometricInterpretation
    if kind == "PALETTE COLOR":
        values = apply_color_lut(values, dataset)
    elif dataset.SamplesPerPixel == 1:
        values = apply_voi_lut(apply_modality_lut(values, dataset), dataset)
        values = (-values.astype(float) if kind == "MONOCHROME1" else values)[..., None].repeat(3, axis=2)
    return seen.likeness(values.astype(float)) if seen.size == values.shape[:2] else -1.0


# -- objects that anybody has ------------------------------------------------------------------------------


def monochrome1() -> list[Sent]:
    """A radiograph of which the lowest value is white."""
    more: dict[str, Any] = {"Modality": "CR", "Rows": ROWS, "Columns": COLUMNS}
    more |= {"PhotometricInterpretation": "MONOCHROME1", "WindowCenter": 2000, "WindowWidth": 4000}
    pixels = tiles(40, 0, 4000).astype("<u2").tobytes()
    return [image(sop_class=COMPUTED_RADIOGRAPHY, study="1.2.3.21", PixelData=pixels, **more)]


def enhanced() -> list[Sent]:
    """An enhanced MR image: what a frame is like stands in functional groups."""
    frames = np.stack([tiles(50 + number, 0, 4000) for number in range(3)]).astype("<u2")
    shared, each = Dataset(), []
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]
    shared.PixelMeasuresSequence = [_item(PixelSpacing=[0.5, 0.5], SliceThickness=3)]
    for number in range(3):
        one = Dataset()
        one.FrameContentSequence = [_item(StackID="1", InStackPositionNumber=number + 1)]
        one.PlanePositionSequence = [_item(ImagePositionPatient=[0, 0, 3 * number])]
        one.FrameVOILUTSequence = [_item(WindowCenter=2000, WindowWidth=4000)]
        scaled = {"RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "US"}
        one.PixelValueTransformationSequence = [_item(**scaled)]
        each.append(one)
    more: dict[str, Any] = {"Rows": ROWS, "Columns": COLUMNS, "FrameOfReferenceUID": "1.2.3.98"}
    more |= {"NumberOfFrames": 3, "PixelData": frames.tobytes(), "PerFrameFunctionalGroupsSequence": each}
    more |= {"SharedFunctionalGroupsSequence": [shared]}
    return [image(sop_class=ENHANCED_MR, study="1.2.3.22", **more)]


def _item(**attributes: Any) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def pdf() -> list[Sent]:
    """A document."""
    pixels = "Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation SamplesPerPixel PixelData"
    none = dict.fromkeys([*pixels.split(), "PhotometricInterpretation"])
    document = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
    more: dict[str, Any] = {"Modality": "DOC", "MIMETypeOfEncapsulatedDocument": "application/pdf"}
    more |= {"EncapsulatedDocument": document + b"\n" * (len(document) % 2), "DocumentTitle": "A letter"}
    return [image(sop_class=ENCAPSULATED_PDF, study="1.2.3.23", **none, **more)]


MADE = {"monochrome1": monochrome1, "enhanced": enhanced}
# Palette colour, YBR with JPEG and 30 frames, an overlay, signed samples, JPEG 2000.
BUNDLED = ("examples_palette", "examples_ybr_color", "examples_overlay", "CT_small", "examples_jpeg2k")


@pytest.mark.parametrize("kind", MADE)
def test_made_studies_open(viewer: Viewer, kind: str) -> None:
    opens(viewer, MADE[kind]())


@pytest.mark.parametrize("name", BUNDLED)
def test_studies_of_other_devices_open(viewer: Viewer, name: str) -> None:
    opens(viewer, [of_file(bundled_file(f"{name}.dcm"))])


def test_what_is_no_image_harms_nothing(viewer: Viewer) -> None:
    """Documents, a waveform, a segmentation: in the list, and opened before an image.

    Not test-SR.dcm: a content item without a name, which PS3.3 C.17.3 allows, ends OHIF 3.13.2.
    """
    names = ("reportsi", "waveform_ecg", "liver_1frame")
    others = [of_file(bundled_file(f"{name}.dcm")) for name in names]
    for one in [*pdf(), *others]:
        viewer.node.keep([one])
        viewer.open(str(one.dataset.StudyInstanceUID))
        viewer.page.get_by_text(str(one.dataset.Modality), exact=True).first.wait_for()
    opens(viewer, [image(study="1.2.3.24", instance="1.2.3.24.1.1")])
    viewer.go("/")
    viewer.page.wait_for_selector("text=Study List")
    viewer.page.get_by_text("DOC", exact=False).first.wait_for()


# -- the corpus --------------------------------------------------------------------------------------------

# Of each modality and kind of pixels there: signed and unsigned, several series, lossy and lossless.
FOLDERS = ("ct-ge", "ct-philips", "mr-siemens", "mr-small")
FILES = ("CT1_JPLL", "CT2_RLE", "MG1_J2KI", "MR1_JLSN", "MR4_J2KR", "NM1_UNC", "RG3_JPLL")
FILES += ("US1_RLE", "VL1_J2KI", "VL6_UNC", "XA1_JPLL")


@pytest.mark.corpus
@pytest.mark.parametrize("folder", FOLDERS)
def test_studies_of_the_corpus_open(viewer: Viewer, folder: str) -> None:
    opens(viewer, [of_file(path) for path in corpus(folder)[-6:]])


@pytest.mark.corpus
@pytest.mark.parametrize("name", FILES)
def test_kinds_of_images_of_the_corpus_open(viewer: Viewer, name: str) -> None:
    paths = {path.stem: path for path in corpus("wg04")}
    plain = paths.get(f"{name.partition('_')[0]}_UNC", paths[name])  # the same image
    opens(viewer, [of_file(paths[name])], of_file(plain).dataset)


@pytest.mark.corpus
def test_reports_of_the_corpus_open(viewer: Viewer) -> None:
    reports = [of_file(path) for path in corpus("sr")]
    viewer.node.keep(reports)
    viewer.open(str(reports[0].dataset.StudyInstanceUID))
    viewer.page.get_by_text("SR", exact=True).first.wait_for()
