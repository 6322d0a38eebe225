"""Orthanc as a peer: it asks for storage commitment, releases, and takes the report on another association.

It is built on DCMTK's network library, none of whose own tools asks for storage commitment.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

from .conftest import RunningNode, Starter
from .peers import CT_IMAGE, MR_IMAGE, as_file, free_port, image, until

# Debian puts it where ordinary users do not look.
_ORTHANC = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(_ORTHANC is None, reason="Orthanc is not installed"),
]

Rest = Callable[..., Any]


@pytest.fixture
def node(start: Starter) -> RunningNode:
    return start(storage={"backlog": 10**9})


@pytest.fixture
def rest(node: RunningNode, tmp_path: Path) -> Iterator[Rest]:
    """Orthanc's own interface: GET of a path, or POST of bytes or of what becomes JSON."""
    dicom, http = free_port(), free_port()
    choices = {
        "StorageDirectory": str(tmp_path),
        "IndexDirectory": str(tmp_path),
        "DicomAet": "ORTHANC",
        "DicomPort": dicom,
        "HttpPort": http,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomModalities": {
            "zscp": {
                "AET": "ZSCP",
                "Host": node.address[0],
                "Port": node.address[1],
                "AllowStorageCommitment": True,
            }
        },
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(choices), encoding="utf-8")
    node.peer("ORTHANC", dicom)

    def ask(path: str, data: Any = None) -> Any:
        body = data if data is None or isinstance(data, bytes) else json.dumps(data).encode()
        with urllib.request.urlopen(
            urllib.request.Request(f"http://127.0.0.1:{http}{path}", body), timeout=60
        ) as answer:
            return json.load(answer)

    def answers() -> bool:
        try:
            return bool(ask("/system"))
        except URLError:
            return False

    with (tmp_path / "orthanc.log").open("w") as log:
        process = subprocess.Popen([str(_ORTHANC), str(tmp_path / "orthanc.json")], stdout=log, stderr=log)
        try:
            until(answers, "Orthanc answers", 60)
            yield ask
        finally:
            process.kill()
            process.wait(10)


def result(rest: Rest, transaction: str) -> dict[str, Any]:
    def told() -> Any:
        found = rest(f"/storage-commitment/{transaction}")
        return found if found["Status"] != "Pending" else None

    found: dict[str, Any] = until(told, "the report comes", 60)
    return found


def test_what_it_stored_is_committed(rest: Rest, tmp_path: Path) -> None:
    objects = [image(seed=n) for n in range(5)]
    held = [rest("/instances", as_file(sent, tmp_path / "one.dcm").read_bytes())["ID"] for sent in objects]
    done = rest("/modalities/zscp/store", {"Resources": held, "StorageCommitment": True})
    found = result(rest, done["StorageCommitmentTransactionUID"])
    assert found["Status"] == "Success"
    assert {one["SOPInstanceUID"] for one in found["Success"]} == {sent.instance for sent in objects}


def test_what_cannot_be_committed_has_its_reason(node: RunningNode, rest: Rest) -> None:
    first, second = image(seed=1), image(seed=2)
    node.keep(first, second)
    wanted = [[MR_IMAGE, first.instance], [CT_IMAGE, second.instance], [MR_IMAGE, "1.2.3.404"]]
    done = rest("/modalities/zscp/storage-commitment", {"DicomInstances": wanted})
    found = result(rest, done["ID"])
    assert found["Status"] == "Failure"
    assert [one["SOPInstanceUID"] for one in found["Success"]] == [first.instance]
    reasons = {one["SOPInstanceUID"]: one["FailureReason"] for one in found["Failures"]}
    assert reasons == {second.instance: 0x0119, "1.2.3.404": 0x0112}
