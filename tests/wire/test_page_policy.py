"""An admin at the page of a running node, without scripts: edits and saves the policy, asks a peer."""

from __future__ import annotations

import html
import json
import re
import signal
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import pytest
from desks import PASSWORDS, users

from scp.audit.tail import tail_of
from scp.config.audit import AuditSettings
from scp.config.settings import Settings
from scp.dimse.server import DimseServer

from .conftest import NodeProcess
from .peers import EXPLICIT, MR_IMAGE, Scu, free_port, image, until


class Form:
    """A browser without scripts, whose user has logged in."""

    def __init__(self, base: str, name: str) -> None:
        self._base = base
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        self.send("/login", name=name, password=PASSWORDS[name])

    def get(self, path: str) -> str:
        return self._answer(urllib.request.Request(f"{self._base}{path}"))

    def json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def send(self, path: str, **fields: str) -> str:
        """Send a form, with the token that the page has."""
        if path != "/login":
            fields["csrf"] = self.json("/api/session")["csrf"]
        body = urllib.parse.urlencode(fields).encode()
        return self._answer(urllib.request.Request(f"{self._base}{path}", body))

    def _answer(self, request: urllib.request.Request) -> str:
        try:
            with self._opener.open(request, timeout=60) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return error.read().decode()


@pytest.fixture
def station() -> Iterator[int]:
    """A peer that answers; its port."""
    chosen = Settings.model_validate({"node": {"aet": "WS", "host": "127.0.0.1", "port": 0}})
    server = DimseServer(None, lambda: chosen)  # type: ignore[arg-type]
    yield server.start()[1]
    server.stop()


def field(text: str, name: str) -> str:
    found = re.search(f'name="{name}" value="([^"]*)"', text)
    assert found, text
    return html.unescape(found[1])


def test_a_policy_is_edited_tried_saved_and_in_force(
    process: Callable[..., NodeProcess], station: int, tmp_path: Path
) -> None:
    port, trail = free_port(), tmp_path / "audit.xml"
    node = process(
        http={"port": port, "page": "on", "user": users(anna="admin")},
        access={"allow": "any"},
        audit={"to": f"file://{trail}"},
        peer=[{"aet": "WS", "host": "127.0.0.1", "port": station}],
        policy=[{"name": "all", "stages": [{"form": "zstd"}]}],
    )
    node.start()
    base = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"{base}/ready", timeout=20):
                return True
        except OSError:
            return False

    def store(number: int) -> None:
        with Scu(node.address, [(MR_IMAGE, [EXPLICIT])], calling="MR1") as scu:
            assert scu.store(image(instance=f"1.2.3.4.{number}", seed=number)).status == 0

    def forms() -> list[str]:
        """As they were stored: what was stored before is soon encoded by the new rules, too."""
        return [one["form"] for one in node.events() if one["event"] == "c-store"]

    until(answers, "the page answers", 60)
    store(1)
    admin = Form(base, "anna")

    # What is wrong is said at its line, and nothing is changed.
    read = admin.json("/api/policy/file")
    text, digest = read["text"], read["digest"]
    assert text == node.config.read_text(encoding="utf-8")
    wrong = admin.send("/policy/try", text=text.replace('"zstd"', '"zst"'), digest=digest)
    line = text[: text.index('"zstd"')].count("\n") + 1
    assert f'data-line="{line}">Line {line}</a>' in wrong

    # What the edited one would change is said; then it is saved, and the node uses it.
    edited = text.replace('"zstd"', '"htj2k"').replace("\n", "\r\n")
    until(lambda: "form now" in admin.send("/policy/try", text=edited, digest=digest), "it can be tried")
    tried = admin.send("/policy/try", text=edited, digest=digest)
    assert "policy[all].stages[0].form" in tried
    assert "zstd → htj2k" in tried or "none → htj2k" in tried
    assert node.config.read_text(encoding="utf-8") == text
    saved = admin.send("/policy/save", text=edited, digest=digest, tried=field(tried, "tried"))
    assert "all of its processes have taken it up" in saved, saved
    assert node.config.read_text(encoding="utf-8") == text.replace('"zstd"', '"htj2k"')
    (former,) = node.root.glob("zscp.toml.*.former")
    assert former.read_text(encoding="utf-8") == text
    assert str(former) in saved

    # The rules are in force: what is stored now has the new form, and the page counts it.
    store(2)
    until(lambda: len(forms()) == 2, "both are logged")
    assert forms() == ["zstd", "htj2k"]

    def rules() -> list[Any]:
        try:
            return list(admin.json("/api/policy/rules")["rules"])
        except KeyError:  # it is being counted
            return []

    until(lambda: rules() and rules()[0]["stages"] == ["htj2k on receive"], "the new rule is counted")

    # The peer that is configured answers, one that is not is not asked, and all of it was recorded.
    assert "answers C-ECHO" in admin.send("/peers/echo", aet="WS")
    assert "is no [[peer]]" in admin.send("/peers/echo", aet="ELSE")
    until(lambda: [one["objects"] for one in admin.json("/api/peers")["peers"] if one["aet"] == "MR1"], "MR1")
    until(lambda: recorded(trail, "C-ECHO to WS: it answers"), "it is recorded")
    assert recorded(trail, "configuration file saved; changed keys: policy[all].stages[0].forms")
    assert b'UserID="anna"' in trail.read_bytes()

    ends_with_the_node(admin, node)


def ends_with_the_node(admin: Form, node: NodeProcess) -> None:
    """A comparison of codecs does."""
    admin.send("/policy/advice", seconds="600")
    assert admin.json("/api/policy/advice")["state"] == "running"
    assert comparing(node)
    assert node.kill(signal.SIGTERM) == 0
    assert not comparing(node)


def recorded(trail: Path, what: str) -> bool:
    """Whether a description of an alert says so; these are in base64."""
    return any(what in one.why for one in tail_of(AuditSettings(to=f"file://{trail}"), 100).lines)


def comparing(node: NodeProcess) -> list[str]:
    """The processes that compare codecs for this node."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "advise" in line and str(node.config) in line:
            found.append(line)
    return found
