"""STOW-RS by a real node that is killed at any moment: what was answered is there, and nothing is half."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from stow import CONTENT_TYPE, body, stored

from scp.config.http import digest_of, new_token

from .conftest import NodeProcess
from .peers import EXPLICIT, MR_IMAGE, PATIENT_GET, Scu, Sent, as_file, free_port, identifier, image, until

pytestmark = [pytest.mark.dicomweb, pytest.mark.slow]

_IN_ONE = 4  # objects of a request


class _Storer(threading.Thread):
    """Stores objects until the node is gone; ``told`` are the objects of which it was told."""

    def __init__(self, port: int, token: str, objects: list[Sent], folder: Path) -> None:
        super().__init__()
        self.port, self.objects = port, objects
        self.headers = {"Content-Type": CONTENT_TYPE, "Authorization": f"Bearer {token}"}
        self.files = {one.instance: as_file(one, folder / one.instance).read_bytes() for one in objects}
        self.told: list[str] = []

    def run(self) -> None:
        with suppress(OSError, http.client.HTTPException):
            for at in range(0, len(self.objects), _IN_ONE):
                self.store([one.instance for one in self.objects[at : at + _IN_ONE]])

    def store(self, instances: list[str]) -> int:
        """One request; its status."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(
            "POST", "/dicom-web/studies", body(self.files[uid] for uid in instances), self.headers
        )
        answer = connection.getresponse()
        told: dict[str, Any] = json.loads(answer.read()) if answer.status in (200, 202) else {}
        self.told += stored(told)
        return answer.status


def test_what_was_answered_survives_a_power_cut(process: Callable[..., NodeProcess], tmp_path: Path) -> None:
    port, token = free_port(), new_token()
    tokens = [{"name": "writer", "digest": digest_of(token), "may": ["find", "store"]}]
    node = process(http={"port": port, "page": "on", "token": tokens}, access={"allow": "any"})
    objects = [image(instance=f"1.2.3.4.{n}", seed=n) for n in range(400)]
    for round_ in range(3):
        node.start()
        mine = objects[round_ * 100 :]
        storer = _Storer(port, token, mine, tmp_path)
        _can_store(storer)
        storer.start()
        _has_stored(storer, 10 * (round_ + 1))
        if round_ == 1:  # of all processes, that alone
            os.kill(_web_of(node), signal.SIGKILL)
            storer.join(120)
            _can_store(storer)
            _is_whole(node, objects, storer.told)
        node.lose_power()
        storer.join(120)
        node.start()
        _is_whole(node, objects, storer.told)
        node.kill(signal.SIGTERM)
    node.run("verify")
    node.run("fsck")


def _can_store(storer: _Storer) -> None:
    """Wait until the node answers."""

    def can() -> bool:
        with suppress(OSError, http.client.HTTPException):
            return storer.store([storer.objects[0].instance]) == 200
        return False

    until(can, "objects can be stored by DICOMweb", 60)


def _has_stored(storer: _Storer, count: int) -> None:
    until(lambda: len(storer.told) >= count or not storer.is_alive(), "some are stored", 120)


def _web_of(node: NodeProcess) -> int:
    """The process that answers HTTP: it is the last that is forked."""
    assert node.process is not None
    children = Path(f"/proc/{node.process.pid}/task/{node.process.pid}/children").read_text(encoding="ascii")
    return max(map(int, children.split()))


def _is_whole(node: NodeProcess, objects: list[Sent], told: list[str]) -> None:
    """All that was told of is there, and what is there is whole."""
    sent = {one.instance: one for one in objects}
    contexts = [(PATIENT_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT])]
    with Scu(node.address, contexts, roles=[MR_IMAGE]) as scu:
        got = scu.get(PATIENT_GET, identifier("PATIENT", PatientID="WIRE1"))
    found = {one.instance: one.data for one in got.objects}
    assert set(told) <= set(found)
    assert all(data == sent[uid].data for uid, data in found.items())
