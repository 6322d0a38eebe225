"""A picture of the viewer for docs/dicomweb.md, and what it asked for: ``python -m scripts.viewer_picture``.

It opens the study with most CT images, three times. It prints what was asked for, when the answers were
there, and the viewer's own times until the first image: from the opening of the study, and from its metadata.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydicom import dcmread

from scripts import npm, ohif
from scripts.screenshots import CHROMIUM, IMAGES, Failed, files_of, small
from scripts.viewer import beside_a_node

_SIZE = {"width": 1280, "height": 800}
_SECONDS, _ROUNDS = 120, 3
_KIND = re.compile(r"/([a-z]+)(?:/[\d,]+)?(?:\?.*)?$")
_TIMES = re.compile(r"(studyToFirstImage|displaySetsToFirstImage): ([\d.]+) ms")


def study_of(chosen: Path | None) -> str:
    """The study that has most CT images. Raises Failed."""
    groups = files_of(chosen)
    if "CT" not in groups:
        raise Failed("there is no CT image")
    found = Counter(
        str(dcmread(path, specific_tags=["StudyInstanceUID"]).StudyInstanceUID) for path in groups["CT"].files
    )
    return found.most_common(1)[0][0]


def opened(browser: Any, address: str) -> bytes:
    """Open a study as a browser that has nothing of it; what it asked for is printed. The picture."""
    page = browser.new_page(viewport=_SIZE)
    requests: list[Any] = []
    times: dict[str, str] = {}
    page.on("requestfinished", lambda one: requests.append(one) if "/dicom-web/" in one.url else None)
    page.on("console", lambda said: times.update(_TIMES.findall(said.text)))
    page.goto(address, timeout=_SECONDS * 1000)
    page.wait_for_selector(".cornerstone-canvas", timeout=_SECONDS * 1000)
    page.wait_for_load_state("networkidle", timeout=_SECONDS * 1000)
    page.wait_for_timeout(10_000)  # what came is decoded and drawn, and the rest fetched
    _tell(requests, times)
    picture = bytes(page.screenshot())
    page.context.close()
    return picture


def _tell(requests: Sequence[Any], times: dict[str, str]) -> None:
    """Print what was asked for, and how long it took. Raises Failed."""
    if not requests:
        raise Failed("the viewer asked for nothing")
    sizes: dict[str, list[int]] = defaultdict(list)
    ends: dict[str, list[float]] = defaultdict(list)
    begun = min(one.timing["startTime"] for one in requests)
    for one in requests:
        found = _KIND.search(one.url)
        kind = found[1] if found else one.url
        sizes[kind].append(one.sizes()["responseBodySize"])
        ends[kind].append(one.timing["startTime"] + one.timing["responseEnd"] - begun)
    for kind, each in sizes.items():
        there = f"the first after {min(ends[kind]):.0f} ms, the last after {max(ends[kind]):.0f} ms"
        sys.stdout.write(f"{len(each)} × {kind}, {sum(each)} bytes, {there}\n")
    sys.stdout.write(f"{times}, in ms\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Take the picture; the exit status."""
    from playwright.sync_api import Error, sync_playwright  # noqa: PLC0415 - make screenshots installs it

    chosen = Path(arguments[0]) if arguments else None
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    try:
        if chromium is None:
            raise Failed("Chromium is not installed: scripts/install-browser.sh installs it")
        study = study_of(chosen)
        with (
            tempfile.TemporaryDirectory(prefix="zscp-") as name,
            beside_a_node(Path(name), chosen) as origin,
            sync_playwright() as playwright,
        ):
            browser = playwright.chromium.launch(executable_path=chromium, args=ohif.SOFTWARE_DRAWS)
            for _ in range(_ROUNDS):
                picture = opened(browser, f"{origin}/viewer?StudyInstanceUIDs={study}")
            browser.close()
        (IMAGES / "viewer.png").write_bytes(small(picture))
        sys.stdout.write(f"viewer.png: {(IMAGES / 'viewer.png').stat().st_size} bytes\n")
    except (Failed, npm.NotThere, RuntimeError, Error) as error:  # of pynetdicom and Playwright, too
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
