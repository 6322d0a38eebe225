"""Every action of the page on a running node, beside its workers: what is asked for there is done."""

from __future__ import annotations

import json
import urllib.request
import zipfile
from base64 import b64encode
from collections.abc import Callable
from http.cookiejar import CookieJar
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode

import imagecodecs
import pytest
from desks import PASSWORDS, users
from pydicom import dcmread

from .conftest import NodeProcess
from .peers import EXPLICIT, MR_IMAGE, Scu, files_in, free_port, has_arrived, image, storescp, until

STUDY, SENT = "1.2.3", [image(seed=n, series=f"1.2.3.{n % 2}") for n in range(4)]


class Program:
    """One that has logged in, and asks the API of a node."""

    def __init__(self, port: int, name: str) -> None:
        self._base = f"http://127.0.0.1:{port}"
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        self._token = ""
        self._token = self.does("session", name=name, password=PASSWORDS[name])["csrf"]

    def asks(self, path: str, **query: Any) -> Any:
        """What GET answers."""
        with self._opener.open(f"{self._base}/api/{path}?{urlencode(query)}", timeout=60) as answer:
            body = answer.read()
            return json.loads(body) if answer.headers["content-type"] == "application/json" else body

    def does(self, path: str, **fields: Any) -> Any:
        """What POST answers; of a job, when it has ended."""
        headers = {"Content-Type": "application/json", "X-CSRF-Token": self._token}
        request = urllib.request.Request(f"{self._base}/api/{path}", json.dumps(fields).encode(), headers)
        with self._opener.open(request, timeout=60) as answer:
            body = answer.read()
            if answer.headers["content-type"] != "application/json":
                return body
        told = json.loads(body)
        return self._ended(told["job"]["id"]) if "job" in told else told

    def _ended(self, job: str) -> Any:
        def ended() -> Any:
            told = self.asks(f"objects/jobs/{job}")
            return told if told["job"]["ended"] else None

        return until(ended, "the job has ended")


@pytest.fixture
def shown(process: Callable[..., NodeProcess], tmp_path: Path) -> Any:
    """A node with a page, a peer that it may send to, and four images."""
    port = free_port()
    policy = [{"name": "all", "stages": [{"form": "htj2k"}, {"form": "jpegxl", "after": "1d"}]}]
    with storescp(tmp_path / "in", "+xe") as peer:
        node = process(
            policy=policy,
            peer=[{"aet": "DEST", "host": "127.0.0.1", "port": peer}],
            http={"port": port, "page": "on", "user": users(anna="admin", victor="viewer")},
            audit={"to": (tmp_path / "audit.xml").as_uri()},
            access={"allow": "any"},
        )
        node.start()
        with Scu(node.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
            assert [scu.store(one).status for one in SENT] == [0] * len(SENT)
        until(lambda: _answers(port), "the page has the index open", 60)
        yield node, port


def _answers(port: int) -> bool:
    try:
        return len(Program(port, "anna").asks("objects")["hits"]) == 1
    except OSError:
        return False


def test_each_action_of_the_page_is_done_on_a_running_node(
    shown: tuple[NodeProcess, int], tmp_path: Path
) -> None:
    node, port = shown
    anna, first, study = Program(port, "anna"), SENT[0], {"uid": STUDY, "level": "STUDY"}
    assert anna.asks("objects/one", **study)["entities"][0]["instances"] == 4
    assert imagecodecs.png_decode(anna.asks("objects/picture", uid=first.instance)).ndim == 2
    assert anna.asks("objects/header", uid=first.instance)["rows"]
    assert anna.asks("objects/explain", uid=first.instance)["rule"]["name"] == "all"

    with zipfile.ZipFile(BytesIO(anna.does("objects/export", **study))) as exported:
        assert exported.testzip() is None
        read = [dcmread(BytesIO(exported.read(name))) for name in exported.namelist()]
    assert {one.SOPInstanceUID for one in read} == {one.instance for one in SENT}

    assert anna.does("objects/verify", **study, deep=True)["result"]["sound"] == 4
    done = anna.does("objects/recompress", **study, now=True)["result"]
    assert done["encoded"] + done["no_gain"] + done["cannot"] == 4

    assert anna.does("objects/send", uid=first.instance, aet="DEST")["queued"] == 1
    # Well before the minute after which the forwarder looks by itself: its bell was rung.
    until(lambda: has_arrived(first, tmp_path / "in"), "it is sent", 30)
    assert files_in(tmp_path / "in")[first.instance].data == first.data

    anna.does("objects/hold", uid="1.2.3.0", level="SERIES", reason="a court asks")
    removal = anna.does("objects/delete", **study, reason="a test")["result"]
    assert (len(removal["deleted"]), len(removal["held"])) == (2, 2)
    assert anna.asks("objects/trash")["count"] == 2
    assert len(anna.does("objects/restore", uid=STUDY)["result"]["restored"]) == 2
    assert len(anna.does("objects/release", uid="1.2.3.0", level="SERIES")) == 1
    assert anna.asks("objects")["hits"][0]["held"] == "no"

    victor = Program(port, "victor")
    with pytest.raises(HTTPError, match="403"):
        victor.does("objects/delete", **study, reason="not allowed")
    assert victor.asks("objects")["hits"][0]["instances"] == 4

    audit = until(lambda: _audited(tmp_path / "audit.xml"), "the audit trail tells who did it")
    assert b64encode(b"legal hold added on series: a court asks").decode() in audit
    assert "Wire^Test" not in audit + node.log.read_text()
    node.process.terminate()
    assert node.process.wait(60) == 0
    assert node.run("verify", "--deep").returncode == 0
    assert node.run("fsck").returncode == 0


def _audited(file: Path) -> str:
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    wanted = ("anna", "picture shown", "by hand: a test", "restored from the trash", "to be sent to DEST")
    return text if all(one in text for one in wanted) else ""
