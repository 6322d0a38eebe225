"""OHIF, a viewer to try DICOMweb with, as it is built: configured, and served from loopback.

scripts/npm.py fetches it.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from scp.web.access.headers import is_from_elsewhere, is_known_host
from scp.web.access.machine import is_of_this_account

# What a browser is started with in which no graphics card draws.
SOFTWARE_DRAWS = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
_STOP_SECONDS = 2
_CONFIGURATION, _START = "app-config.js", "index.html"
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

    Only the account that runs it gets anything; the configuration, which has the token, only its own page.
    """

    def __init__(self, folder: Path, configuration: str) -> None:
        self._files = {f"/{path.relative_to(folder)}": path for path in folder.rglob("*") if path.is_file()}
        self._start, self._configuration = folder / _START, configuration

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "http":
            await self._answer(Request(scope))(scope, receive, send)

    def _answer(self, request: Request) -> Response:
        client, server = request.scope["client"], request.scope["server"]
        if not is_of_this_account(tuple(client), tuple(server)):
            return PlainTextResponse("This viewer is another account's.", 403)
        headers, path = request.headers, request.scope["path"]
        if not is_known_host(headers.get("host", ""), ()):
            return PlainTextResponse("This viewer is at its address, and under no other name.", 421)
        if path != f"/{_CONFIGURATION}":
            return FileResponse(self._files.get(path, self._start))
        if is_from_elsewhere(headers):
            return PlainTextResponse("This configuration is for the viewer's own page.", 403)
        return Response(self._configuration, media_type="text/javascript")


def listening() -> tuple[socket.socket, str]:
    """A socket of loopback that is bound to a free port, and the origin of what is served from it."""
    bound = socket.create_server(("127.0.0.1", 0))
    return bound, f"http://127.0.0.1:{bound.getsockname()[1]}"


@contextmanager
def served(app: ASGIApp, bound: socket.socket) -> Iterator[None]:
    """Serve an application from a bound socket meanwhile, and close that."""
    config = uvicorn.Config(
        app, log_level="warning", lifespan="off", ws="none", timeout_graceful_shutdown=_STOP_SECONDS
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([bound],), name="viewer")
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
