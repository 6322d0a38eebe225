"""The page in a real browser: it works, is accessible, and asks nobody but its node (make browser).

Screenshots of every view, wide and narrow, light and dark, lie in the ignored folder .screenshots.
"""

from __future__ import annotations

import shutil
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from desks import PASSWORDS, users

from scp.index.history import KeptRow, TrafficRow
from scp.index.sql import SqlIndex
from scp.web.page.views.table import VIEWS

from .conftest import NodeProcess
from .peers import EXPLICIT, MR_IMAGE, Scu, free_port, image, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

SCREENSHOTS = Path(__file__).parents[2] / ".screenshots"
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "chromium"
)
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
# Pixels of a chart in the colours of the first and the second series (page.css): red, green and blue.
_COUNT_COLOURS = """() => {
  const one = document.querySelector("figure.chart canvas");
  const all = one.getContext("2d").getImageData(0, 0, one.width, one.height).data;
  const counts = [[0x0b, 0x5c, 0x8a], [0xb4, 0x52, 0x0a]].map((colour) => {
    let count = 0;
    for (let at = 0; at < all.length; at += 4) count += colour.every((value, i) => all[at + i] === value);
    return count;
  });
  return counts;
}"""
SECONDS = 60_000  # milliseconds, on a busy machine


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only where these tests run

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


class Shown:
    """A node with a page, and what a browser asked for, and complained of."""

    def __init__(self, node: NodeProcess, port: int, browser: Browser) -> None:
        self.node, self.base, self._browser = node, f"http://127.0.0.1:{port}", browser
        self.asked: list[str] = []
        self.complaints: list[str] = []

    def live(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.base}/ready", timeout=20) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def open(self, path: str = "/", name: str = "anna", **choices: Any) -> Page:
        """A page of a user who has logged in by the form."""
        context = self._browser.new_context(viewport=choices.pop("viewport", WIDE), **choices)
        page = context.new_page()
        page.set_default_timeout(SECONDS)
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(f"{self.base}{path}")
        page.get_by_label("Name").fill(name)
        page.get_by_label("Password").fill(PASSWORDS[name])
        page.get_by_role("button", name="Log in").click()
        page.wait_for_selector("nav")
        return page


@pytest.fixture
def shown(process: Callable[..., NodeProcess], browser: Browser) -> Shown:
    port = free_port()
    http = {"port": port, "page": "on", "user": users(anna="admin", victor="viewer")}
    node = process(node={"workers": 2}, http=http, access={"allow": "any"})
    node.start()
    found = Shown(node, port, browser)
    until(found.live, "the node is ready", 90)
    return found


def test_logging_in_looking_and_leaving(shown: Shown) -> None:
    page = shown.open("/health")
    assert page.url == f"{shown.base}/health"
    page.get_by_role("link", name="Now").click()
    page.wait_for_selector("#live")
    assert page.title().startswith("Now")
    page.get_by_role("button", name="Log out").click()
    page.wait_for_selector("form.login")
    page.goto(f"{shown.base}/health")
    assert "/login" in page.url


def test_now_shows_an_association_without_reloading_unless_paused(shown: Shown) -> None:
    page = shown.open()
    page.evaluate("window.stays = true")
    with Scu(shown.node.address, [(MR_IMAGE, [EXPLICIT])], calling="CT77") as scu:
        assert scu.store(image(instance="1.2.3.4.7", seed=7)).status == 0
        page.wait_for_selector("#live >> text=CT77")
        page.get_by_role("button", name="Pause updates").click()
    page.wait_for_timeout(5000)  # two events, which are not shown
    assert page.locator("#live >> text=CT77").count() == 1
    page.get_by_role("button", name="Pause updates").click()
    page.wait_for_selector("#live >> text=CT77", state="detached")
    assert page.evaluate("window.stays") is True
    assert page.evaluate("uPlot !== undefined")


def test_conflicts_are_looked_for_within_the_page(shown: Shown) -> None:
    page = shown.open("/health")
    page.get_by_role("link", name="Look for conflicts").click()
    page.wait_for_selector("#conflicts >> text=No objects contradict each other")
    assert page.url == f"{shown.base}/health"


def test_another_span_is_chosen_and_its_chart_is_drawn(shown: Shown) -> None:
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    index = SqlIndex.open(f"sqlite:///{shown.node.root}/index.db")
    for back in range(5):
        start, size = hour - timedelta(hours=back + 1), 10**6 * (9 - back)
        row = TrafficRow(start, "c-store", "CT77", "CT", 1, 0, 1, size, size, size)
        index.history.put_traffic("made", back, [row])
        index.history.put_kept(start, [KeptRow(None, "CT", "htj2k", "", "CT77", 1, size, size // 4)])
    index.close()
    page = shown.open()
    for title in ("Savings", "Traffic"):
        page.get_by_role("link", name=title).click()
        page.get_by_role("link", name="hours of").click()
        page.wait_for_selector("figure.chart canvas")
        assert page.url == f"{shown.base}/{title.lower()}?by=hour"
        assert page.get_by_role("link", name="hours of").get_attribute("aria-current") == "true"
        drawn = page.evaluate(_COUNT_COLOURS)
        assert min(drawn) > 50, "a line is missing"
        legend = page.locator("figure.chart .u-legend").inner_text()
        assert "received" in legend
        page.get_by_text("The figures of this chart").click()
        page.wait_for_selector(f"figure.chart td >> text={hour - timedelta(hours=1):%Y-%m-%d %H:00}")
        assert page.locator("table >> text=CT77").count() == 1
    assert {one for one in shown.asked if not one.startswith(shown.base)} == set()
    assert shown.complaints == []


def test_the_page_is_used_by_keyboard(shown: Shown) -> None:
    page = shown.open()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.goto(f"{shown.base}/")
    for _ in range(2):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Now"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_is_accessible_and_asks_no_other_host(shown: Shown, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415 - only where these tests run

    SCREENSHOTS.mkdir(exist_ok=True)
    with Scu(shown.node.address, [(MR_IMAGE, [EXPLICIT])], calling="CT1") as scu:
        assert scu.store(image(instance="1.2.3.4.8", seed=8)).status == 0
        for name, size in (("wide", WIDE), ("narrow", NARROW)):
            page = shown.open(viewport=size, color_scheme=scheme)
            for view in VIEWS:
                page.goto(f"{shown.base}{view.entry.path}")
                page.wait_for_selector("h1")
                title = view.entry.title.lower()
                page.screenshot(path=SCREENSHOTS / f"{title}-{name}-{scheme}.png", full_page=True)
                found = Axe().run(page).response["violations"]
                assert [f"{one['id']}: {one['help']}" for one in found] == []
                assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert {one for one in shown.asked if not one.startswith(shown.base)} == set()
    assert sorted(set(shown.complaints)) == []
