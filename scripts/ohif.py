"""OHIF's built application, a viewer to try DICOMweb with: fetched, configured, and served from loopback.

Nothing of it is in the package (docs/decisions/0208).
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from scp.web.access.machine import is_of_this_account

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, VERSION = "@ohif/app", "3.13.2"
# What the registry says of this version: other bytes are not unpacked.
INTEGRITY = "sha512-WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="
CACHE = ROOT / ".venv" / "ohif"
# What a browser is started with in which no graphics card draws.
SOFTWARE_DRAWS = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
_FETCH_SECONDS = 600.0
_BUILT, _CONFIGURATION, _START = "package/dist/", "app-config.js", "index.html"
# What the viewer decodes by itself, in one Accept: as stored where that is among them. It reads no JPEG XL.
_DECODES = (
    "image/jphc",
    "application/octet-stream",
    "image/jp2",
    "image/jls",
    "image/jpeg",
    "image/dicom-rle",
)
ACCEPT = ", ".join(f'multipart/related; type="{one}"' for one in _DECODES)
# The viewer reads a token from its address on some of its pages only: an extension gives it to all of them.
_SCRIPT = """\
window.config = {
  ...%s,
  extensions: [{
    id: "zscp.token",
    preRegistration: ({ servicesManager }) =>
      servicesManager.services.userAuthenticationService.setServiceImplementation({
        getAuthorizationHeader: () => ({ Authorization: "Bearer " + %s }),
      }),
  }],
};
"""


class NotThere(Exception):
    """The viewer cannot be had; the text says why."""


def is_fetched() -> bool:
    """Whether the application is there already."""
    return (CACHE / VERSION / _START).exists()


def application() -> Path:
    """The folder of the application, which is fetched once, from npm's registry. Raises NotThere."""
    folder = CACHE / VERSION
    if is_fetched():
        return folder
    npm = shutil.which("npm")
    if npm is None:
        raise NotThere("npm is not installed, and fetches the viewer")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        _unpack(_fetched(npm, Path(name)), made := Path(name) / "made")
        made.rename(folder)
    return folder


def _fetched(npm: str, folder: Path) -> Path:
    """The package as npm packs it; none of its scripts runs, and nothing that it depends on is fetched."""
    command = [npm, "pack", "--ignore-scripts", "--silent", f"{PACKAGE}@{VERSION}"]
    try:
        subprocess.run(  # noqa: S603 - of ours
            command, cwd=folder, check=True, timeout=_FETCH_SECONDS, stdout=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise NotThere(f"npm could not fetch {PACKAGE} {VERSION}: {error}") from error
    found = next(folder.glob("*.tgz"))
    digest = base64.b64encode(hashlib.sha512(found.read_bytes()).digest()).decode()
    if f"sha512-{digest}" != INTEGRITY:
        raise NotThere(f"npm fetched another {PACKAGE} {VERSION} than the one that was looked at: {digest}")
    return found


def _unpack(package: Path, folder: Path) -> None:
    """What is built of the application; its maps to the source are 38 MB that only its authors need."""
    with tarfile.open(package) as archive:
        for member in archive.getmembers():
            if member.isfile() and member.name.startswith(_BUILT) and not member.name.endswith(".map"):
                member.name = member.name.removeprefix(_BUILT)
                archive.extract(member, folder, filter="data")


def configured(root: str, token: str, accept: str = ACCEPT) -> str:
    """The viewer's configuration for the DICOMweb at ``root``, as the script that it is."""
    source = {
        "friendlyName": "zscp",
        "qidoRoot": root,
        "wadoRoot": root,
        "qidoSupportsIncludeField": True,
        "supportsFuzzyMatching": False,
        "supportsWildcard": True,
        "imageRendering": "wadors",
        "thumbnailRendering": "thumbnail",
        "thumbnailRequestStrategy": "fetch",
        "enableStudyLazyLoad": True,
        "acceptHeader": [accept],
        "singlepart": "bulkdata,video",
        "bulkDataURI": {"enabled": True},
    }
    named = "@ohif/extension-default.dataSourcesModule.dicomweb"
    configuration = {
        "routerBasename": None,
        "modes": [],
        "customizationService": {"global": {"ohif.tours": {"$set": []}}},
        "showStudyList": True,
        "showWarningMessageForCrossOrigin": False,
        "investigationalUseDialog": {"option": "never"},
        "defaultDataSourceName": "zscp",
        "dataSources": [{"namespace": named, "sourceName": "zscp", "configuration": source}],
    }
    return _SCRIPT % (json.dumps(configuration, indent=2), json.dumps(token))


class Application:
    """The files of the application, and its configuration; any other path is one that its script knows.

    Only the account that runs it gets anything: the configuration has the token.
    """

    def __init__(self, folder: Path, configuration: str) -> None:
        self._files = {f"/{path.relative_to(folder)}": path for path in folder.rglob("*") if path.is_file()}
        self._start, self._configuration = folder / _START, configuration

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "http":
            await self._answer(scope)(scope, receive, send)

    def _answer(self, scope: Scope) -> Response:
        if not is_of_this_account(tuple(scope["client"]), tuple(scope["server"])):
            return PlainTextResponse("This viewer is another account's.", 403)
        if scope["path"] == f"/{_CONFIGURATION}":
            return Response(self._configuration, media_type="text/javascript")
        return FileResponse(self._files.get(scope["path"], self._start))


@contextmanager
def served(app: ASGIApp, port: int) -> Iterator[None]:
    """Serve an application on a port of loopback meanwhile."""
    choices: dict[str, Any] = {"host": "127.0.0.1", "port": port, "log_level": "warning", "lifespan": "off"}
    server = uvicorn.Server(uvicorn.Config(app, **choices))
    thread = threading.Thread(target=server.run, name="viewer")
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def main() -> int:
    """Fetch the application where it is not there; the exit status."""
    try:
        sys.stdout.write(f"{PACKAGE} {VERSION} is in {application()}\n")
    except NotThere as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
