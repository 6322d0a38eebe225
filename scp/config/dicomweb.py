"""DICOMweb (PS3.18): where it is answered, to whose pages, and how many requests at a time."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from scp.config.values import AeTitle, Table, nearest, texts

# What one may do by DICOMweb, by the names that the services of a [[peer]] have.
WebService = Literal["find", "get", "store"]
WEB_SERVICES: tuple[WebService, ...] = get_args(WebService)
_PATH = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
# First words of the addresses of the page, of its API, and of what asks for metrics and health.
TAKEN = frozenset(
    "api static login logout metrics live ready savings traffic policy objects peers health".split()
)


def web_services(value: object) -> tuple[str, ...]:
    """Names of services of DICOMweb."""
    names = texts(value)
    for name in names:
        if name not in WEB_SERVICES:
            raise ValueError(f'"{name}" is no service of DICOMweb; {nearest(name, WEB_SERVICES)}')
    return names


WebServices = Annotated[tuple[WebService, ...], BeforeValidator(web_services)]


def base_path(value: str) -> str:
    """A path such as ``/dicom-web``; empty for none."""
    if not value:
        return value
    if not _PATH.fullmatch(value):
        raise ValueError(f'"{value}" is no path; write, say, "/dicom-web", without a "/" at its end')
    first = value.split("/")[1]
    if first in TAKEN:
        raise ValueError(f'"/{first}" is taken by the page; write, say, "/dicom-web"')
    return value


def origins_of_pages(value: object) -> tuple[str, ...]:
    """Origins of web pages (RFC 6454): scheme, host, and a port that is not the scheme's own."""
    found = texts(value)
    for one in found:
        parts = urlsplit(one)
        if parts.scheme not in ("http", "https") or one != f"{parts.scheme}://{parts.netloc}".lower():
            raise ValueError(f'"{one}" is no origin; write, say, "https://viewer.example.org"')
    return found


class DicomWebSettings(Table):
    """What browsers and programs reach by DICOMweb, on the port of [http].

    ``path`` is before all resources; empty: there is no DICOMweb. Pages of other ``origins`` may ask (CORS).
    ``requests`` are answered at a time. Whoever has no peer by a token, but comes from the ``addresses`` of
    one of ``lines``, is sent objects as that peer is.
    """

    path: Annotated[str, AfterValidator(base_path)] = "/dicom-web"
    origins: Annotated[tuple[str, ...], BeforeValidator(origins_of_pages)] = ()
    requests: Annotated[int, Field(strict=True, ge=1, le=100)] = 32
    lines: tuple[AeTitle, ...] = ()
