"""The page in a real browser: it works, is accessible, and asks nobody but its node (make browser).

Screenshots of every view, wide and narrow, light and dark, lie in the ignored folder .screenshots.
"""

from __future__ import annotations

import shutil
import urllib.request
import zipfile
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
_DRAW = """() => {
  const canvas = document.createElement("canvas"), one = document.images[0];
  canvas.width = one.naturalWidth; canvas.height = one.naturalHeight;
  canvas.getContext("2d").drawImage(one, 0, 0);
  return canvas.toDataURL();
}"""
MULTIFRAME = "1.2.840.10008.5.1.4.1.1.7.3"  # Multi-frame Grayscale Word Secondary Capture
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
    node = process(
        node={"workers": 2},
        http=http,
        access={"allow": "any"},
        peer=[{"aet": "NOBODY", "host": "127.0.0.1", "port": free_port()}],
        policy=[{"name": "all", "stages": [{"form": "zstd"}]}],
    )
    node.start()
    found = Shown(node, port, browser)
    until(found.live, "the node is ready", 90)
    return found


def violations(page: Page, *rules: str) -> list[str]:
    """What axe-core finds wrong for people who cannot see the page, or use no mouse; of some rules only."""
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415 - only where these tests run

    only = {"runOnly": {"type": "rule", "values": list(rules)}} if rules else {}
    found = Axe().run(page, options={"resultTypes": ["violations"], **only}).response["violations"]
    return [f"{one['id']}: {one['help']}" for one in found]


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


def test_a_policy_is_edited_tried_and_saved(shown: Shown) -> None:
    page = shown.open("/policy")
    editor = page.get_by_label("The configuration file")
    before = editor.input_value()
    editor.fill(before.replace('"zstd"', '"zst"'))
    page.get_by_role("button", name="Try").click()
    page.get_by_role("link", name="Line").click()
    assert violations(page) == []
    assert '"zst"' in page.evaluate(
        "(() => { const one = document.getElementById('text');"
        " return one.value.slice(one.selectionStart, one.selectionEnd); })()"
    )
    editor.fill(before.replace('"zstd"', '"htj2k"'))
    page.get_by_role("button", name="Try").click()
    page.wait_for_selector("#differences")
    assert violations(page) == []
    page.get_by_role("button", name="Save").click()
    page.wait_for_selector("text=all of its processes have taken it up")
    assert violations(page) == []
    assert '"htj2k"' in shown.node.config.read_text(encoding="utf-8")
    assert '"htj2k"' in editor.input_value()


def test_codecs_are_compared_with_progress_and_the_comparison_is_ended(shown: Shown) -> None:
    page = shown.open("/policy")
    page.get_by_role("button", name="Compare codecs").click()
    page.wait_for_selector("progress")
    page.get_by_role("button", name="End the comparison").click()
    page.wait_for_selector("text=The comparison was ended")


def test_a_comparison_of_codecs_is_shown_and_what_it_proposes_is_tried(shown: Shown) -> None:
    with Scu(shown.node.address, [(MR_IMAGE, [EXPLICIT])], calling="MR1") as scu:
        for number in range(3):
            assert scu.store(image(instance=f"1.2.3.4.1{number}", seed=number)).status == 0
    page = shown.open("/policy")
    page.get_by_label("Seconds, about").fill("10")
    page.get_by_role("button", name="Compare codecs").click()
    page.wait_for_selector("#codecs", timeout=3 * SECONDS)
    chart = "document.querySelector('img.advice')"
    page.wait_for_function(f"{chart}.complete && {chart}.naturalWidth > 0")
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "policy-advice.png", full_page=True)
    assert violations(page) == []
    page.get_by_role("button", name="Try this policy").click()
    page.wait_for_selector("#differences")
    assert "[[policy]]" in page.get_by_label("The configuration file").input_value()
    assert page.get_by_role("button", name="Save").is_visible()
    assert shown.complaints == []


def test_a_peer_is_asked_at_a_click(shown: Shown) -> None:
    page = shown.open("/peers")
    page.get_by_role("button", name="Send a C-ECHO to NOBODY").click()
    page.wait_for_selector("[role=alert]")
    assert "NOBODY" in page.locator("[role=alert]").inner_text()
    with Scu(shown.node.address, [(MR_IMAGE, [EXPLICIT])], calling="CT78") as scu:
        assert scu.store(image(instance="1.2.3.4.9", seed=9)).status == 0
        page.wait_for_selector("[sse-swap=peers] >> text=CT78")  # it is shown by itself


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


def test_an_object_is_found_looked_at_held_deleted_and_restored(shown: Shown) -> None:
    sent = image(instance="1.2.3.4.9", seed=9, PatientName="Miller^Anna")
    with Scu(shown.node.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
        assert scu.store(sent).status == 0
    page = shown.open("/objects")
    page.get_by_label("Patient's name").fill("Mill*")
    page.get_by_role("button", name="Search").click()
    page.wait_for_selector("text=1 match;")
    page.get_by_role("row").filter(has_text="Miller^Anna").get_by_role("link").click()
    page.get_by_role("row").filter(has_text="MR").get_by_role("link").first.click()
    page.get_by_role("row").filter(has_text="1.2.3.4.9").get_by_role("link").first.click()
    page.wait_for_selector("figure.picture img")
    seen = "() => { const one = document.images[0]; return one.complete && one.naturalWidth; }"
    page.wait_for_function(seen)
    assert page.evaluate(seen) == 32
    page.get_by_label("Window center").fill("40")
    page.get_by_label("width", exact=True).fill("400")
    page.get_by_role("button", name="Show").click()
    page.wait_for_selector("figure.picture img[src*='center=40']")
    page.get_by_role("link", name="Explain why it is kept so").click()
    page.wait_for_selector("#explain >> text=rule that kept it")
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "object-wide-light.png", full_page=True)
    is_accessible(page)

    page.get_by_label("Put this image under a legal hold; reason").fill("a court asks")
    page.get_by_role("button", name="Hold").click()
    page.wait_for_selector("text=is under a hold")
    page.get_by_role("link", name="Holds").click()
    page.wait_for_selector("text=a court asks")
    is_accessible(page)
    page.get_by_role("button", name="Release 1.2.3.4.9").click()
    page.wait_for_selector("text=1 hold on 1.2.3.4.9 removed")

    page.get_by_role("link", name="Back").click()
    page.get_by_role("link", name="Delete …").click()
    page.get_by_label("Reason").fill("a test")
    is_accessible(page)
    page.get_by_role("button", name="Move 1 object to the trash").click()
    page.wait_for_selector("text=1 object moved to the trash.")
    is_accessible(page)
    page.get_by_role("link", name="Trash").click()
    page.get_by_role("button", name="Restore 1.2.3.4.9").click()
    page.wait_for_selector("text=1 object restored.")
    page.get_by_role("link", name="Search").click()
    page.wait_for_selector("text=Miller^Anna")
    assert sorted(set(shown.complaints)) == []


def test_an_object_is_verified_exported_and_its_header_read_without_scripts(shown: Shown) -> None:
    with Scu(shown.node.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
        assert scu.store(image(instance="1.2.3.4.10", seed=10)).status == 0
    page = shown.open("/objects/one?uid=1.2.3&level=STUDY", java_script_enabled=False)
    page.get_by_role("button", name="Verify").click()
    until(lambda: _after_a_look(page, "1 object sound, 0 damaged or missing."), "it is verified")
    page.goto(f"{shown.base}/objects/one?uid=1.2.3.4.10&level=IMAGE")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    assert download.value.suggested_filename == "1.2.3.4.10.dcm"
    assert download.value.path().read_bytes()[128:132] == b"DICM"
    page.get_by_role("link", name="Header, element by element").click()
    page.wait_for_selector("text=PatientName")
    viewer = shown.open("/objects/one?uid=1.2.3.4.10&level=IMAGE", "victor")
    viewer.wait_for_selector("text=takes a user with the role admin")
    assert viewer.get_by_role("button", name="Verify").count() == 0


def test_a_study_is_exported_recompressed_and_sent_to_a_peer(shown: Shown) -> None:
    with Scu(shown.node.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
        for number in range(2):
            assert scu.store(image(instance=f"1.2.3.4.2{number}", seed=number)).status == 0
    page = shown.open("/objects/one?uid=1.2.3&level=STUDY")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    with zipfile.ZipFile(download.value.path()) as exported:
        assert sum(name.endswith(".dcm") for name in exported.namelist()) == 2
    page.get_by_label("all stages of the policy now").check()
    page.get_by_role("button", name="Recompress").click()
    page.wait_for_selector("text=/Nothing is due|2 encoded|2 stay as they are/")
    page.goto(f"{shown.base}/objects/one?uid=1.2.3&level=STUDY")
    page.get_by_label("Send all of it to").select_option("NOBODY")
    page.get_by_role("button", name="Send").click()
    page.wait_for_selector("text=2 objects queued for NOBODY")
    page.goto(f"{shown.base}/peers")
    page.wait_for_selector("[aria-labelledby=queue] >> text=NOBODY")


def test_another_frame_of_a_multi_frame_image_is_shown(shown: Shown) -> None:
    two = image(sop_class=MULTIFRAME, instance="1.2.3.4.30", Rows=16, NumberOfFrames=2)
    with Scu(shown.node.address, [(MULTIFRAME, [EXPLICIT])]) as scu:
        assert scu.store(two).status == 0
    page = shown.open("/objects/one?uid=1.2.3.4.30&level=IMAGE")
    first = _pixels(page)
    page.get_by_label("Frame (of 2)").fill("2")
    page.get_by_role("button", name="Show").click()
    page.wait_for_selector("figure.picture img[src*='frame=2']")
    assert _pixels(page) != first


def _pixels(page: Page) -> str:
    """The picture on a page, which is 16 pixels high, as it is drawn."""
    page.wait_for_function("() => document.images[0].complete && document.images[0].naturalHeight === 16")
    return str(page.evaluate(_DRAW))


def _after_a_look(page: Page, text: str) -> bool:
    """Whether a page says something, which is loaded again where it does not."""
    if page.get_by_text(text).count():
        return True
    page.reload()
    return False


def is_accessible(page: Page) -> None:
    """What axe-core finds on a page that is no row of the navigation, and whether it is too wide."""
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415 - only where these tests run

    found = Axe().run(page).response["violations"]
    assert [f"{one['id']}: {one['help']}" for one in found] == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


# In the dark other colours are shown, of the same page.
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_is_accessible_and_asks_no_other_host(shown: Shown, scheme: str) -> None:
    SCREENSHOTS.mkdir(exist_ok=True)
    rules = ("color-contrast",) if scheme == "dark" else ()
    with Scu(shown.node.address, [(MR_IMAGE, [EXPLICIT])], calling="CT1") as scu:
        assert scu.store(image(instance="1.2.3.4.8", seed=8)).status == 0
        for name, size in (("wide", WIDE), ("narrow", NARROW)):
            page = shown.open(viewport=size, color_scheme=scheme)
            for view in VIEWS:
                page.goto(f"{shown.base}{view.entry.path}")
                page.wait_for_selector("h1")
                title = view.entry.title.lower()
                page.screenshot(path=SCREENSHOTS / f"{title}-{name}-{scheme}.png", full_page=True)
                assert violations(page, *rules) == []
                assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert {one for one in shown.asked if not one.startswith(shown.base)} == set()
    assert sorted(set(shown.complaints)) == []
