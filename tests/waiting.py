"""Waiting for what others do, without a sleep that is too short on a busy machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

SECONDS = 60.0  # on a busy machine; what is there ends the wait at once


def until(condition: Callable[[], Any], what: str = "what is waited for", seconds: float = SECONDS) -> Any:
    """Wait for ``condition``, and fail when it does not come. What takes longer is looked at less often."""
    begun = time.monotonic()
    while not (value := condition()):
        waited = time.monotonic() - begun
        assert waited < seconds, f"{what}: not within {seconds} s"
        time.sleep(min(max(0.005, waited / 10), 0.3))
    return value
