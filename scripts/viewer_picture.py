"""A picture of the viewer for docs/dicomweb.md, and what it asked for: ``python -m scripts.viewer_picture``.

It opens the study with most CT images, three times, and prints the requests for it and the times until the
first image and all images are there, as the viewer itself takes them.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydicom import dcmread

from scripts import ohif
from scripts.screenshots import CHROMIUM, IMAGES, Failed, files_of, small
from scripts.viewer import beside_a_node

_SIZE = {"width": 1280, "height": 800}
_SECONDS, _ROUNDS = 120, 3
_KIND = re.compile(r"/([a-z]+)(?:/[\d,]+)?(?:\?.*)?$")
_TIMES = re.compile(r"(studyToFirstImage|displaySetsToAllImages): ([\d.]+) ms")


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
    kinds: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    times: dict[str, str] = {}

    def asked(request: Any) -> None:
        if "/dicom-web/" in request.url and (kind := _KIND.search(request.url)):
            kinds[kind[1]] += 1
            sizes[kind[1]] += request.sizes()["responseBodySize"]

    page.on("requestfinished", asked)
    page.on("console", lambda said: times.update(_TIMES.findall(said.text)))
    page.goto(address, timeout=_SECONDS * 1000)
    page.wait_for_selector(".cornerstone-canvas", timeout=_SECONDS * 1000)
    page.wait_for_load_state("networkidle", timeout=_SECONDS * 1000)
    page.wait_for_timeout(5000)  # what came is decoded and drawn
    for kind, count in kinds.items():
        sys.stdout.write(f"{count} × {kind}, {sizes[kind]} bytes\n")
    sys.stdout.write(f"{times} ms\n")
    picture = bytes(page.screenshot())
    page.context.close()
    return picture


def main(arguments: Sequence[str]) -> int:
    """Take the picture; the exit status."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - make browser installs it

    chosen = Path(arguments[0]) if arguments else None
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    try:
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
    except (Failed, ohif.NotThere) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
