"""Every resource answers as the capabilities say, which are told as OpenAPI to a tool that tries them all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np
import pytest
from dicomweb_desks import ROOT, MadeDicomWeb, bearer, dicomweb_settings, image, token
from hypothesis import HealthCheck, given, settings
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from scp.web.dicomweb.routes import ROUTES

pytestmark = pytest.mark.dicomweb

STUDY, SERIES, INSTANCE = "1.7", "1.7.1", "1.7.1.1"
# What exists, of each named part of a path; the tool also makes others.
HELD = {
    "study": [STUDY],
    "series": [SERIES],
    "instance": [INSTANCE],
    "frames": ["1", "2", "2,1"],
    "path": ["7FE00010"],
}
# Some values that mean something; the tool also makes others.
VALUES = {
    "includefield": ["all", "PatientID,00100010"],
    "limit": ["1", "0"],
    "offset": ["0", "1"],
    "fuzzymatching": ["true", "false"],
    "window": ["40,400,linear", "500,1000"],
    "viewport": ["8,8", "10000,10000"],
    "quality": ["1", "100"],
}
# Statuses that any resource of a method may have (docs/dicomweb.md).
FAULTS = {"GET": (400, 404, 406), "POST": (400, 406, 409, 415)}
# PS3.18 F.2: an attribute by its tag has a VR, and one of three kinds of value, or none.
ATTRIBUTE = {
    "type": "object",
    "required": ["vr"],
    "properties": {
        "vr": {"type": "string", "pattern": "^[A-Z]{2}$"},
        "Value": {"type": "array", "minItems": 1},
        "InlineBinary": {"type": "string"},
        "BulkDataURI": {"type": "string"},
    },
    "additionalProperties": False,
    "maxProperties": 2,
}
DATASET = {
    "type": "object",
    "patternProperties": {"^[0-9A-F]{8}$": ATTRIBUTE},
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def described(made: MadeDicomWeb) -> ASGIApp:
    """DICOMweb with two frames of one image, and beside it what describes it."""
    made.settings = dicomweb_settings(http={"token": [token("writer", may=["find", "get", "store"])]})
    made.keep_as("htj2k")
    pixels = np.arange(2 * 64 * 64, dtype="<u2").tobytes()
    made.store(image(INSTANCE, NumberOfFrames="2", Rows=64, Columns=64, PixelData=pixels))
    told = made.client("writer").options("/studies", headers={"Accept": "application/json"}).json()
    description = JSONResponse(as_openapi(told["application"]))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (description if scope["path"] == "/openapi.json" else made.app)(scope, receive, send)

    return app


def as_openapi(application: Mapping[str, Any]) -> dict[str, Any]:
    """The capabilities, which are WADL, as an OpenAPI description."""
    paths: dict[str, Any] = {}
    for path, method in _methods(application["resources"][0], ROOT):
        paths.setdefault(path, {})[method["@name"].lower()] = _operation(path, method)
    return {"openapi": "3.1.0", "info": {"title": "DICOMweb", "version": "1"}, "paths": paths}


def _methods(resource: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for method in resource.get("method", ()):
        yield path, method
    for inner in resource.get("resource", ()):
        yield from _methods(inner, f"{path}/{inner['@path']}")


def _operation(path: str, method: Mapping[str, Any]) -> dict[str, Any]:
    (request,), (response,) = method["request"], method["response"]
    media_types = [one["@mediaType"] for one in response["representation"]]
    named = [_parameter("path", name, HELD[name]) for name in re.findall(r"{(\w+)}", path)]
    queried = [one["@name"] for one in request.get("param", ()) if one["@name"] != "accept"]
    parameters = [
        *named,
        *(_parameter("query", name, VALUES.get(name, ["true"])) for name in queried),
        {"in": "header", "name": "Accept", "schema": {"enum": [*media_types, "*/*"]}},
    ]
    content = {one.partition(";")[0]: _content(one, method["@name"]) for one in media_types}
    good = {status: {"description": "good", "content": content} for status in response["@status"].split()}
    good |= {"204": {"description": "nothing"}} if "204" in good else {}
    bad = {str(status): {"description": "bad"} for status in FAULTS[method["@name"]]}
    body: dict[str, Any] = {}
    if method["@name"] == "POST":
        body = {
            "requestBody": {
                "content": {"application/dicom": {"schema": {"type": "string", "format": "binary"}}}
            }
        }
    return {"parameters": parameters, "responses": good | bad, **body}


def _parameter(where: str, name: str, values: list[str]) -> dict[str, Any]:
    schema = {"anyOf": [{"enum": values}, {"type": "string", "minLength": 1, "maxLength": 64}]}
    return {"in": where, "name": name, "required": where == "path", "schema": schema}


def _content(media_type: str, method: str) -> dict[str, Any]:
    if "json" not in media_type:
        return {}
    return {"schema": DATASET if method == "POST" else {"type": "array", "items": DATASET}}


@pytest.mark.parametrize("most", [8, pytest.param(60, marks=pytest.mark.long)])
def test_every_resource_answers_as_the_capabilities_say(described: ASGIApp, most: int) -> None:
    """Schemathesis asks for every operation, with what its description allows."""
    import schemathesis  # noqa: PLC0415 - 2 s, which each process would take that collects tests
    from schemathesis.specs.openapi.checks import positive_data_acceptance  # noqa: PLC0415

    headers = {"Host": "127.0.0.1", **bearer("writer")}
    schemathesis.serializer("application/dicom")(lambda _, value: value.data)
    # A search takes any attribute for a parameter; names that are none are in test_dicomweb_hostile.py.
    config = schemathesis.Config.from_dict({"generation": {"allow-extra-parameters": False}})
    schema = schemathesis.openapi.from_asgi("/openapi.json", described, config=config, headers=headers)
    asked, statuses = 0, set()
    for found in schema.get_all_operations():
        operation = cast("Any", found).ok()

        @given(case=operation.as_strategy())
        @settings(
            max_examples=most,
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        def try_it(case: Any) -> None:
            # No description can tell which UIDs are held, or which texts are windows.
            answer = case.call_and_validate(headers=headers, excluded_checks=[positive_data_acceptance])
            statuses.add(answer.status_code)

        try_it()
        asked += 1
    assert asked == len(ROUTES)
    assert {200, 204, 400, 404} <= statuses
