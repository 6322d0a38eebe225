"""dicomweb-client in JavaScript, which viewers ask with, in a real browser: search, retrieve, store.

It is left out where the client has not been fetched: ``make browser`` does that.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from decoders import jpeg2000
from starlette.responses import HTMLResponse

from scripts import npm, ohif

from .peers import CT_IMAGE, HTJ2K, Sent, as_file, image, of_file
from .viewer_page import WebNode, chromium, skip_without

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.dicomweb]

STUDY, SERIES = "1.2.3.5", "1.2.3.5.1"
FRAMES = np.add.outer(np.arange(3) * 900, np.add.outer(np.arange(48) * 7, np.arange(40) * 3)).astype("<u2")
# What a function of the client returns, with bytes as base64; what it threw, by its status.
_CALL = """async ([token, root, name, options, files]) => {
  const client = new DICOMwebClient.api.DICOMwebClient({
    url: root, headers: {Authorization: `Bearer ${token}`}, verbose: false});
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const text = (value) => btoa(Array.from(new Uint8Array(value), (c) => String.fromCharCode(c)).join(""));
  const plain = (value) => value instanceof ArrayBuffer ? {bytes: text(value)}
    : Array.isArray(value) ? value.map(plain) : value;
  if (files.length) options.datasets = files.map(bytes);
  try {
    return plain(await client[name](options));
  } catch (error) {
    return {failed: error.status ?? String(error)};
  }
}"""


def multiframe() -> Sent:
    """Three frames, which are kept as HTJ2K."""
    more: dict[str, Any] = {"NumberOfFrames": 3, "Rows": 48, "Columns": 40, "PixelData": FRAMES.tobytes()}
    return image(study=STUDY, series=SERIES, instance=f"{SERIES}.1", PatientName="Müller^Anna", **more)


class JavaScriptClient:
    """The client in a page of another origin than the node's."""

    def __init__(self, page: Page, node: WebNode) -> None:
        self._page, self.node = page, node

    def __call__(self, name: str, *files: bytes, **options: Any) -> Any:
        """Call one of its functions; bytes are bytes."""
        encoded = [base64.b64encode(one).decode() for one in files]
        told = self._page.evaluate(_CALL, [self.node.token, self.node.dicomweb, name, options, encoded])
        return _decoded(told)


def _decoded(told: Any) -> Any:
    if isinstance(told, list):
        return [_decoded(one) for one in told]
    if isinstance(told, dict) and told.keys() == {"bytes"}:
        return base64.b64decode(told["bytes"])
    return told


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JavaScriptClient]:
    skip_without(npm.DICOMWEB_CLIENT)
    bound, origin = ohif.listening()
    stages = [{"form": "htj2k", "wrap": "none"}]
    node = WebNode(
        tmp_path_factory.mktemp("node"),
        origin,
        ("find", "get", "store"),
        policy=[{"name": "all", "stages": stages}],
    )
    node.start()
    try:
        node.keep([multiframe()])
        node.answers()
        with ohif.served(HTMLResponse("<title>A client</title>"), bound), chromium() as browser:
            page = browser.new_page()
            page.goto(origin)
            page.add_script_tag(path=npm.DICOMWEB_CLIENT.fetched() / npm.DICOMWEB_CLIENT.start)
            yield JavaScriptClient(page, node)
    finally:
        node.kill()


ONE = {"studyInstanceUID": STUDY, "seriesInstanceUID": SERIES, "sopInstanceUID": f"{SERIES}.1"}


def test_search(client: JavaScriptClient) -> None:
    (study,) = client("searchForStudies", queryParams={"PatientName": "müller*", "limit": 5})
    assert study["0020000D"]["Value"] == [STUDY]
    assert study["00100010"]["Value"] == [{"Alphabetic": "Müller^Anna"}]
    (series,) = client("searchForSeries", studyInstanceUID=STUDY)
    assert series["0020000E"]["Value"] == [SERIES]
    (found,) = client("searchForInstances", studyInstanceUID=STUDY, seriesInstanceUID=SERIES)
    assert found["00080018"]["Value"] == [f"{SERIES}.1"]
    assert client("searchForStudies", queryParams={"PatientName": "nobody"}) == []
    assert client("searchForStudies", queryParams={"nothing": 1}) == {"failed": 400}


def test_metadata_and_the_bulk_data_that_it_names(client: JavaScriptClient) -> None:
    metadata = client("retrieveInstanceMetadata", **ONE)
    if isinstance(metadata, list):
        (metadata,) = metadata
    assert metadata["00280008"]["Value"] == [3]
    assert [metadata] == client("retrieveSeriesMetadata", studyInstanceUID=STUDY, seriesInstanceUID=SERIES)
    assert [metadata] == client("retrieveStudyMetadata", studyInstanceUID=STUDY)
    (pixels,) = client("retrieveBulkData", BulkDataURI=metadata["7FE00010"]["BulkDataURI"])
    assert pixels == FRAMES.tobytes()


def test_frames(client: JavaScriptClient) -> None:
    for number in (1, 3):
        (plain,) = client("retrieveInstanceFrames", **ONE, frameNumbers=[number])
        assert plain == FRAMES[number - 1].tobytes()
    as_stored = [{"mediaType": "application/octet-stream", "transferSyntaxUID": "*"}]
    (coded,) = client("retrieveInstanceFrames", **ONE, frameNumbers=[2], mediaTypes=as_stored)
    assert jpeg2000(coded).tolist() == FRAMES[1].tolist()
    assert client("retrieveInstanceFrames", **ONE, frameNumbers=[4]) == {"failed": 404}


@pytest.mark.parametrize(
    ("media_type", "syntax", "begins"),
    [
        ("image/jp2", "1.2.840.10008.1.2.4.90", b"\xff\x4f"),
        ("image/jls", "1.2.840.10008.1.2.4.80", b"\xff\xd8"),
        ("image/x-jls", "1.2.840.10008.1.2.4.80", b"\xff\xd8"),
        ("image/x-dicom-rle", "1.2.840.10008.1.2.5", b"\2\0\0\0"),
    ],
)
def test_frames_in_other_transfer_syntaxes(
    client: JavaScriptClient, media_type: str, syntax: str, begins: bytes
) -> None:
    wanted = [{"mediaType": media_type, "transferSyntaxUID": syntax}]
    (coded,) = client("retrieveInstanceFrames", **ONE, frameNumbers=[1], mediaTypes=wanted)
    assert coded[: len(begins)] == begins


def test_frames_are_as_stored_where_it_takes_several(client: JavaScriptClient) -> None:
    wanted = [
        {"mediaType": "application/octet-stream", "transferSyntaxUID": "1.2.840.10008.1.2.1"},
        {"mediaType": "image/jhc", "transferSyntaxUID": HTJ2K},
    ]
    (coded,) = client("retrieveInstanceFrames", **ONE, frameNumbers=[1], mediaTypes=wanted)
    assert jpeg2000(coded).tolist() == FRAMES[0].tolist()


def test_pictures(client: JavaScriptClient) -> None:
    png = [{"mediaType": "image/png"}]
    (picture,) = client("retrieveInstanceRendered", **ONE, mediaTypes=png, queryParams={"viewport": "20,24"})
    assert picture[:4] == b"\x89PNG"
    (picture,) = client("retrieveInstanceFramesRendered", **ONE, frameNumbers=[2], mediaTypes=png)
    assert picture[:4] == b"\x89PNG"
    (picture,) = client("retrieveInstanceThumbnail", **ONE)
    assert picture[:2] == b"\xff\xd8"


def test_it_stores_and_retrieves(client: JavaScriptClient, tmp_path: Path) -> None:
    study = "1.2.3.6"
    sent = [image(sop_class=CT_IMAGE, study=study, instance=f"{study}.1.{number}") for number in (1, 2, 3)]
    files = [as_file(one, tmp_path / one.instance).read_bytes() for one in sent]
    client("storeInstances", *files)
    found = client("searchForInstances", studyInstanceUID=study)
    assert sorted(one["00080018"]["Value"][0] for one in found) == [one.instance for one in sent]
    one = {"studyInstanceUID": study, "seriesInstanceUID": f"{study}.1", "sopInstanceUID": sent[1].instance}
    path = tmp_path / "back"
    path.write_bytes(client("retrieveInstance", **one))
    assert of_file(path).dataset.PixelData == sent[1].dataset.PixelData
    assert client("storeInstances", files[0], studyInstanceUID="1.2.9") == {"failed": 409}
