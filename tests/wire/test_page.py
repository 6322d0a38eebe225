"""The page of a real node of several processes: what one worker does is seen by another process."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from scp.config.http import digest_of, new_token

from .conftest import NodeProcess
from .peers import EXPLICIT, MR_IMAGE, Scu, free_port, image, until


def test_the_api_sees_the_associations_of_all_workers(process: Callable[..., NodeProcess]) -> None:
    port = free_port()
    # No [[http.user]]: the tests are of the node's account, on its machine.
    node = process(node={"workers": 2}, http={"port": port, "page": "on"}, access={"allow": "any"})
    node.start()

    def now() -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/now", timeout=20) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except OSError:
            return {"ready": False}

    until(lambda: now()["ready"], "the node is ready", 60)
    contexts = [(MR_IMAGE, [EXPLICIT])]
    scus = [Scu(node.address, contexts, calling=f"CT{number}") for number in range(4)]
    try:
        for number, scu in enumerate(scus):
            assert scu.store(image(instance=f"1.2.3.4.{number}", seed=number)).status == 0

        def counted() -> bool:
            told = now()
            each = [one["requests"] for one in told["associations"]]
            return each == [1, 1, 1, 1] and told["since_start"]["requests"] == 4

        # A node counts a request when its response has gone: the peer may have that first.
        until(counted, "all requests are counted", 60)
        told = now()
        assert told["open"] == 4
        assert [one["calling_aet"] for one in told["associations"]] == ["CT0", "CT1", "CT2", "CT3"]
        assert {one["service"] for one in told["associations"]} == {"c-store"}
        assert all(one["bytes_received"] > 1000 for one in told["associations"])
        assert sum(one["associations"] for one in told["processes"]) == 4
    finally:
        for scu in scus:
            scu.__exit__(None, None, None)
    until(lambda: now()["associations"] == [] and now()["open"] == 0, "the associations have ended")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
        assert b"The node is ready" in answer.read()


def test_what_peers_store_is_found_by_dicomweb(process: Callable[..., NodeProcess]) -> None:
    port, viewer, held = free_port(), new_token(), new_token()
    tokens = [
        {"name": "viewer", "digest": digest_of(viewer)},
        {"name": "held", "digest": digest_of(held), "peer": "HELD"},
    ]
    peer = {"aet": "HELD", "host": "127.0.0.1", "port": 104, "sees": {"Modality": ["CT"]}}
    node = process(http={"port": port, "page": "on", "token": tokens}, peer=[peer], access={"allow": "any"})
    node.start()

    def studies(token: str) -> list[dict[str, Any]] | int:
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/dicom-web/studies")
        asked.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(asked, timeout=20) as answer:
                return [] if answer.status == 204 else json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    with Scu(node.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
        assert scu.store(image(instance="1.2.3.4.1", study="1.2.3")).status == 0
    until(lambda: studies(viewer) not in (0, 503, []), "the study is found", 60)
    (found,) = studies(viewer)
    assert found["0020000D"]["Value"] == ["1.2.3"]
    assert studies(held) == []
    assert studies("another") == 401
