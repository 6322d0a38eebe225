"""A request of more parts than are read, all of them empty: it is answered, and says what is wrong."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable

import pytest

from scp.config.http import digest_of, new_token

from .conftest import NodeProcess
from .peers import free_port, until

pytestmark = [pytest.mark.dicomweb, pytest.mark.slow]

COUNT = 30_000
PART = b"--b\r\nContent-Type: application/dicom\r\n\r\n\r\n"


def test_very_many_empty_parts_are_answered(process: Callable[..., NodeProcess]) -> None:
    port, token = free_port(), new_token()
    tokens = [{"name": "writer", "digest": digest_of(token), "may": ["find", "store"]}]
    node = process(http={"port": port, "page": "on", "token": tokens}, access={"allow": "any"})
    node.start()
    headers = {
        "Content-Type": 'multipart/related; type="application/dicom"; boundary=b',
        "Authorization": f"Bearer {token}",
    }

    def lists() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/dicom-web/studies", headers={"Authorization": f"Bearer {token}"})
            return connection.getresponse().status in (200, 204)
        except OSError:
            return False

    until(lists, "the node answers")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request("POST", "/dicom-web/studies", PART * COUNT + b"--b--\r\n", headers)
    answer = connection.getresponse()
    told = json.loads(answer.read())
    assert answer.status == 413
    assert "more than 1000 of its parts are no DICOM files" in str(answer.getheader("Warning"))
    failed = told["0008119A"]["Value"]
    assert len(failed) == 1001 + 1, "each part that was read, and the end that was not"
    assert lists()
