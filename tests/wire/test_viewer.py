"""OHIF in a real browser, on the DICOMweb of a node: it shows the pixels that were sent.

It is left out where the viewer has not been fetched: ``make browser`` does that.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydicom.dataset import Dataset

from scripts import npm, ohif

from .peers import HTJ2K, JPEGXL, Sent
from .viewed import colour, ct, mr, multiframe, truth
from .viewer_page import MOST, Viewer, WebNode, chromium, skip_without, viewer_beside

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.dicomweb]

MAKERS = {"ct": ct, "mr": mr, "multiframe": multiframe, "colour": colour}
# The forms that objects are kept in, their transfer syntaxes, and the media types in which their frames come:
# OHIF decodes no JPEG XL.
FORMS = {"htj2k": (HTJ2K, "image/jphc"), "jpegxl": (JPEGXL, "application/octet-stream")}


def study_of(kind: str, form: str) -> str:
    return f"1.2.3.{list(MAKERS).index(kind) + 1}.{list(FORMS).index(form) + 1}"


def objects_of(kind: str, form: str) -> list[Sent]:
    """The objects of a study."""
    return MAKERS[kind](study_of(kind, form))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Viewer]:
    """The viewer beside a node that has each kind of study in each form."""
    skip_without(npm.OHIF)
    bound, origin = ohif.listening()
    policy = [
        {"name": form, "match": {"calling_aet": form.upper()}, "stages": [{"form": form, "wrap": "none"}]}
        for form in FORMS
    ]
    node = WebNode(tmp_path_factory.mktemp("node"), origin, policy=policy)
    node.start()
    try:
        for form in FORMS:
            node.keep((one for kind in MAKERS for one in objects_of(kind, form)), form.upper())
        node.answers()
        with viewer_beside(node, bound, origin, browser) as opened:
            yield opened
    finally:
        node.kill()


def test_the_study_list_shows_all_studies(viewer: Viewer) -> None:
    viewer.page.wait_for_selector("text=1-8 of 8")
    rows = [row.split() for row in viewer.page.locator("tbody tr").all_inner_texts()]
    listed = sorted((row[5], row[-1]) for row in rows if row[:2] == ["Wire,", "Test"])
    assert listed == [one for one in (("CT", "3"), ("MR", "2"), ("OT", "1"), ("US", "1")) for _ in FORMS]
    assert viewer.complaints == []


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", MAKERS)
def test_a_study_is_shown_as_it_was_sent(viewer: Viewer, kind: str, form: str) -> None:
    sent = objects_of(kind, form)
    viewer.open(study_of(kind, form))
    seen = viewer.shown(sent[0])
    others = [truth(other) for other in _mistaken(sent[0].dataset)]
    others += [truth(other.dataset) for other in sent[1:]]
    others += [truth(sent[0].dataset, frame) for frame in range(1, sent[0].dataset.get("NumberOfFrames", 1))]
    assert min(map(seen.difference, others)) > 3 * MOST, "this comparison would not see a wrong picture"
    of_study = [answer for answer in viewer.answers if f"/studies/{study_of(kind, form)}/" in answer.url]
    frames = [answer.headers["content-type"] for answer in of_study if "/frames/" in answer.url]
    assert {media_type.split('"')[1] for media_type in frames} == {FORMS[form][1]}
    assert {viewer.node.kept_in(one) for one in sent} == {FORMS[form][0]}
    known = (viewer.root, viewer.origin, "blob:", "data:")
    assert [answer.url for answer in viewer.answers if not answer.url.startswith(known)] == []
    assert viewer.complaints == []


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["ct", "multiframe"])
def test_the_next_image_is_shown_at_a_turn_of_the_wheel(viewer: Viewer, kind: str, form: str) -> None:
    sent = objects_of(kind, form)
    viewer.open(study_of(kind, form))
    viewer.shown(sent[0])
    viewer.page.mouse.move(640, 450)
    viewer.page.mouse.wheel(0, 100)
    seen = viewer.shown(*((sent[1], 0) if len(sent) > 1 else (sent[0], 1)))
    assert seen.difference(truth(sent[0].dataset)) > 3 * MOST
    assert viewer.complaints == []


def _mistaken(dataset: Dataset) -> Iterator[Dataset]:
    """The same image read wrongly: bytes swapped, another window, colours in another order."""
    values = np.frombuffer(dataset.PixelData, np.uint8)
    swapped, narrower = deepcopy(dataset), deepcopy(dataset)
    if dataset.SamplesPerPixel > 1:
        swapped.PixelData = values.reshape(-1, 3)[:, ::-1].tobytes()
        yield swapped
        return
    swapped.PixelData = values.reshape(-1, 2)[:, ::-1].tobytes()
    narrower.WindowWidth = float(dataset.WindowWidth) * 0.9
    yield from (swapped, narrower)
