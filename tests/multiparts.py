"""Reads bodies of several parts, by RFC 2046 and not by what wrote them."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    headers: dict[str, str]
    content: bytes


def parts_of(content_type: str, body: bytes) -> list[Part]:
    """The parts of a body that is whole: it ends with its closing delimiter."""
    found = re.fullmatch(r'multipart/related; type="[^"]+"; boundary=([0-9a-f]+)', content_type)
    assert found is not None, content_type
    delimiter = b"\r\n--" + found[1].encode()
    first, *rest = (b"\r\n" + body).split(delimiter)
    assert first == b""
    assert rest[-1] == b"--\r\n"
    return [_part(each) for each in rest[:-1]]


def _part(text: bytes) -> Part:
    assert text.startswith(b"\r\n")
    head, _, content = text[2:].partition(b"\r\n\r\n")
    lines = (line.partition(": ") for line in head.decode("ascii").split("\r\n"))
    return Part({name.lower(): value for name, _, value in lines}, content)
