"""OHIF in a real browser beside a node, as tests see it."""

from __future__ import annotations

import re
import secrets
import shutil
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scp.config.http import digest_of
from scripts import npm, ohif

from .conftest import NodeProcess
from .peers import Scu, Sent, free_port, until
from .viewed import Shown, look, truth

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Response

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
SECONDS = 120.0  # of a busy machine
# Grey levels of 256, the mean of all pixels. The canvas rounds: 0.15 to 0.26 were seen.
MOST = 0.5
# What the viewer gives up itself, as it goes to another page; an answer that breaks off has another name.
_GIVEN_UP = "net::ERR_ABORTED"
_GO = """(to) => {
  history.pushState({}, "", to);
  dispatchEvent(new PopStateEvent("popstate", { state: {} }));
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser meanwhile; skips the test where there is none."""
    if not CHROMIUM:
        pytest.skip("Chromium is not installed")
    playwright_api = pytest.importorskip("playwright.sync_api")
    with playwright_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=ohif.SOFTWARE_DRAWS)
        yield opened
        opened.close()


class WebNode(NodeProcess):
    """A node whose DICOMweb a page of ``origin`` may use; ``may`` is what its token lets it do."""

    def __init__(
        self, folder: Path, origin: str, may: Iterable[str] = ("find", "get"), **tables: Any
    ) -> None:
        port, self.token = free_port(), secrets.token_urlsafe()
        self.base = f"http://127.0.0.1:{port}"
        self.dicomweb = f"{self.base}/dicom-web"
        tokens = [{"name": "viewer", "digest": digest_of(self.token), "may": list(may)}]
        super().__init__(
            folder,
            http={"port": port, "page": "on"},
            dicomweb={"origins": [origin]},
            access={"allow": "any"},
            **tables,
            **{"http.token": tokens},
        )

    def answers(self) -> None:
        """Wait until it does by HTTP."""
        until(self._is_ready, "the node answers by HTTP", SECONDS)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.base}/ready", timeout=20) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def keep(self, objects: Iterable[Sent], calling: str = "TESTER") -> None:
        """Send objects that have to be taken."""
        sent = list(objects)
        wanted = dict.fromkeys((one.sop_class, one.syntax) for one in sent)
        with Scu(self.address, [(uid, [syntax]) for uid, syntax in wanted], calling=calling) as scu:
            assert {scu.store(one).status for one in sent} == {0}

    def asked(self, path: str, accept: str) -> bytes:
        """What DICOMweb answers to the token."""
        headers = {"Authorization": f"Bearer {self.token}", "Accept": accept}
        request = urllib.request.Request(f"{self.dicomweb}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())

    def kept_in(self, sent: Sent) -> str:
        """The transfer syntax in which the frames of an object are stored."""
        series = str(sent.dataset.SeriesInstanceUID)
        path = f"/studies/{sent.dataset.StudyInstanceUID}/series/{series}/instances/{sent.instance}/frames/1"
        body = self.asked(path, 'multipart/related; type="application/octet-stream"; transfer-syntax=*')
        found = re.search(rb"transfer-syntax=([0-9.]+)\r\n", body)
        assert found is not None, body[:200]
        return found[1].decode()


class Viewer:
    """The viewer in a browser, beside a node."""

    def __init__(self, node: WebNode, origin: str, browser: Browser) -> None:
        self.node, self.origin, self.root = node, origin, node.dicomweb
        self.complaints: list[str] = []
        self.answers: list[Response] = []
        self.page: Page = browser.new_page(viewport={"width": 1280, "height": 900})
        self.page.set_default_timeout(SECONDS * 1000)
        self.page.on("console", lambda said: self._complain(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self._complain(str(error)))
        self.page.on("requestfailed", self._failed)
        self.page.on("response", lambda answer: self.answers.append(answer))  # noqa: PLW0108 - it looks at one
        self.page.goto(origin)
        self.page.wait_for_selector("text=Study List")

    def _failed(self, request: Any) -> None:
        if request.failure != _GIVEN_UP:
            self._complain(f"{request.url}: {request.failure}")

    def _complain(self, text: str) -> None:
        self.complaints.append(text)

    def go(self, to: str) -> None:
        """Go to an address within the page: to load the application again takes half a minute."""
        self.answers.clear()
        self.page.evaluate(_GO, to)

    def open(self, study: str) -> None:
        """Open a study."""
        self.go(f"/viewer?StudyInstanceUIDs={study}")

    def shown(self, sent: Sent, frame: int = 0) -> Shown:
        """Wait until the viewer shows a frame, by its pixels; what it shows."""
        expected, found = truth(sent.dataset, frame), [255.0]

        def is_shown() -> Shown | None:
            seen = self.looked()
            if seen is None or f"/instances/{sent.instance}/frames/{frame + 1}" not in seen.image:
                return None
            found.append(seen.difference(expected))
            return seen if found[-1] < MOST else None

        try:
            seen: Shown = until(is_shown, f"the viewer shows {sent.instance}", SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}; it differed by {found[-1]:.2f}; {self.complaints}") from error
        return seen

    def looked(self) -> Shown | None:
        """What the viewer shows now."""
        self.page.wait_for_timeout(100)  # events of the page are told meanwhile
        return look(self.page)


@contextmanager
def viewer_beside(node: WebNode, bound: Any, origin: str, browser: Browser) -> Iterator[Viewer]:
    """The viewer beside a node that answers; skips the test where it was not fetched."""
    application = ohif.Application(npm.OHIF.fetched(), ohif.configured(node.dicomweb, node.token))
    with ohif.served(application, bound):
        yield Viewer(node, origin, browser)


def skip_without(package: npm.NpmPackage) -> None:
    """No test waits for a download."""
    if not package.is_fetched():
        pytest.skip(f"{package.name} is not there: `make browser` fetches it with npm")
