"""Retrieve Capabilities (PS3.18 8.9): what is answered at which resource, as a WADL document."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from starlette.responses import Response

from scp.web.dicomweb.accept import accepted_by
from scp.web.dicomweb.asked import Asked, Route, Serve
from scp.web.dicomweb.faults import Refused

WADL, JSON = "application/vnd.sun.wadl+xml", "application/json"
_NAMESPACE = "http://wadl.dev.java.net/2009/02"


def capabilities(routes: Iterable[Route]) -> Route:
    """What answers OPTIONS for any resource: all of these, as the service is small."""
    described = tuple(routes)

    async def serve(asked: Asked) -> Response:
        application = wadl(asked.base, described)
        for one in accepted_by(asked.request):
            if one.covers(WADL):
                return Response(
                    tostring(application, encoding="utf-8", xml_declaration=True), media_type=WADL
                )
            if one.covers(JSON):
                body = json.dumps({"application": _as_json(application)}, ensure_ascii=False)
                return Response(body, media_type=JSON)
        raise Refused(406, f"Capabilities are told as {WADL} or {JSON}.")

    made: Serve = serve
    return Route("OPTIONS", "", None, "dicomweb", made)


def wadl(base: str, routes: Iterable[Route]) -> Element:
    """The document (PS3.18 H): resources lie within each other as the segments of their paths do."""
    application = Element("application", {"xmlns": _NAMESPACE})
    root = SubElement(application, "resources", {"base": base})
    placed: dict[tuple[str, ...], Element] = {(): root}
    for route in routes:
        segments = tuple(route.path.strip("/").split("/"))
        for count in range(1, len(segments) + 1):
            if segments[:count] not in placed:
                parent = placed[segments[: count - 1]]
                placed[segments[:count]] = SubElement(parent, "resource", {"path": segments[count - 1]})
        _add_method(placed[segments], route)
    return application


def _add_method(resource: Element, route: Route) -> None:
    method = SubElement(resource, "method", {"name": route.method, "id": route.name})
    request = SubElement(method, "request")
    for name in route.parameters:
        SubElement(request, "param", {"name": name, "style": "query"})
    response = SubElement(method, "response", {"status": " ".join(map(str, route.statuses))})
    for media_type in route.answers:
        SubElement(response, "representation", {"mediaType": media_type})


def _as_json(element: Element) -> Mapping[str, Any]:
    """Attributes by "@" and their name, elements within by theirs, as lists."""
    found: dict[str, Any] = {f"@{name}": value for name, value in element.attrib.items()}
    for inner in element:
        found.setdefault(inner.tag, []).append(_as_json(inner))
    return found
