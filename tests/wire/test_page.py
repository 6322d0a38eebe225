"""The page of a real node of several processes: what one worker does is seen by another process."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from typing import Any

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
        told = now()
        assert told["open"] == 4
        assert [one["calling_aet"] for one in told["associations"]] == ["CT0", "CT1", "CT2", "CT3"]
        assert {one["service"] for one in told["associations"]} == {"c-store"}
        assert all(one["requests"] == 1 and one["bytes_received"] > 1000 for one in told["associations"])
        assert sum(one["associations"] for one in told["processes"]) == 4
        assert told["since_start"]["requests"] == 4
    finally:
        for scu in scus:
            scu.__exit__(None, None, None)
    until(lambda: now()["associations"] == [] and now()["open"] == 0, "the associations have ended")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
        assert b"The node is ready" in answer.read()
