"""OHIF in a real browser, on the DICOMweb of a node: it shows the pixels that were sent.

It is left out where the viewer has not been fetched: ``make browser`` does that.
"""

from __future__ import annotations

import secrets
import shutil
import urllib.request
from collections.abc import Iterator
from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydicom.dataset import Dataset

from scp.config.http import digest_of
from scripts import ohif

from .conftest import NodeProcess
from .peers import EXPLICIT, Scu, Sent, free_port, until
from .viewed import Shown, colour, ct, look, mr, multiframe, truth

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Response

pytestmark = [pytest.mark.browser, pytest.mark.dicomweb]

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
SECONDS = 120.0  # of a busy machine
# Grey levels of 256, the mean of all pixels. The canvas rounds: 0.15 to 0.26 were seen.
MOST = 0.5
MAKERS = {"ct": ct, "mr": mr, "multiframe": multiframe, "colour": colour}
# The forms that objects are kept in, and the media type in which their frames come: OHIF decodes no JPEG XL.
FORMS = {"htj2k": "image/jphc", "jpegxl": "application/octet-stream"}
_GO = """(to) => {
  history.pushState({}, "", to);
  dispatchEvent(new PopStateEvent("popstate", { state: {} }));
}"""


def study_of(kind: str, form: str) -> str:
    return f"1.2.3.{list(MAKERS).index(kind) + 1}.{list(FORMS).index(form) + 1}"


class Viewer:
    """The viewer in a browser, beside a node that has each kind of study in each form."""

    def __init__(self, origin: str, root: str, browser: Browser) -> None:
        self.origin, self.root = origin, root
        self.complaints: list[str] = []
        self.answers: list[Response] = []
        self.page: Page = browser.new_page(viewport={"width": 1280, "height": 900})
        self.page.set_default_timeout(SECONDS * 1000)
        self.page.on("console", lambda said: self._complain(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self._complain(str(error)))
        self.page.on("requestfailed", lambda request: self._complain(f"{request.url}: {request.failure}"))
        self.page.on("response", lambda answer: self.answers.append(answer))  # noqa: PLW0108 - it looks at one
        self.page.goto(origin)
        self.page.wait_for_selector("text=Study List")

    def _complain(self, text: str) -> None:
        self.complaints.append(text)

    def open(self, study: str) -> None:
        """Go to a study within the page: to load the application again takes half a minute."""
        self.answers.clear()
        self.page.evaluate(_GO, f"/viewer?StudyInstanceUIDs={study}")

    def shown(self, sent: Sent, frame: int = 0) -> Shown:
        """Wait until the viewer shows a frame, by its pixels; what it shows."""
        expected, found = truth(sent.dataset, frame), [255.0]

        def is_shown() -> Shown | None:
            self.page.wait_for_timeout(100)  # events of the page are told meanwhile
            seen = look(self.page)
            if seen is None or f"/instances/{sent.instance}/frames/{frame + 1}" not in seen.image:
                return None
            found.append(seen.difference(expected))
            return seen if found[-1] < MOST else None

        try:
            seen: Shown = until(is_shown, f"the viewer shows {sent.instance}", SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}; it differed by {found[-1]:.2f}; {self.complaints}") from error
        return seen


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip("Chromium is not installed")
    playwright_api = pytest.importorskip("playwright.sync_api")
    with playwright_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=ohif.SOFTWARE_DRAWS)
        yield opened
        opened.close()


def _is_ready(base: str) -> bool:
    try:
        with urllib.request.urlopen(f"{base}/ready", timeout=20) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Viewer]:
    if not ohif.is_fetched():
        pytest.skip("the viewer is not there: `make browser` fetches it with npm")
    port, own, token = free_port(), free_port(), secrets.token_urlsafe()
    origin, base = f"http://127.0.0.1:{own}", f"http://127.0.0.1:{port}"
    node = NodeProcess(
        tmp_path_factory.mktemp("node"),
        http={"port": port, "page": "on"},
        dicomweb={"origins": [origin]},
        access={"allow": "any"},
        policy=[
            {"name": form, "match": {"calling_aet": form.upper()}, "stages": [{"form": form, "wrap": "none"}]}
            for form in FORMS
        ],
        **{"http.token": [{"name": "viewer", "digest": digest_of(token)}]},
    )
    root = f"{base}/dicom-web"
    node.start()
    try:
        for form in FORMS:
            objects = [sent for kind, make in MAKERS.items() for sent in make(study_of(kind, form))]
            contexts = [(one, [EXPLICIT]) for one in {sent.sop_class for sent in objects}]
            with Scu(node.address, contexts, calling=form.upper()) as scu:
                assert {scu.store(sent).status for sent in objects} == {0}
        until(lambda: _is_ready(base), "the node answers by HTTP", SECONDS)
        with ohif.served(ohif.Application(ohif.application(), ohif.configured(root, token)), own):
            yield Viewer(origin, root, browser)
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
    sent = MAKERS[kind](study_of(kind, form))
    viewer.open(study_of(kind, form))
    seen = viewer.shown(sent[0])
    others = [truth(other) for other in _mistaken(sent[0].dataset)]
    others += [truth(other.dataset) for other in sent[1:]]
    assert min(map(seen.difference, others)) > 3 * MOST, "this comparison would not see a wrong picture"
    of_study = [answer for answer in viewer.answers if f"/studies/{study_of(kind, form)}/" in answer.url]
    frames = [answer.headers["content-type"] for answer in of_study if "/frames/" in answer.url]
    assert {media_type.split('"')[1] for media_type in frames} == {FORMS[form]}
    known = (viewer.root, viewer.origin, "blob:", "data:")
    assert [answer.url for answer in viewer.answers if not answer.url.startswith(known)] == []
    assert viewer.complaints == []


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["ct", "multiframe"])
def test_the_next_image_is_shown_at_a_turn_of_the_wheel(viewer: Viewer, kind: str, form: str) -> None:
    sent = MAKERS[kind](study_of(kind, form))
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
