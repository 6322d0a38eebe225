"""One peer of the mixed soak, as a process of its own:

    python -m bench.mixed.peer ROLE NUMBER PORT FOLDER

It acts until its input ends. What it did goes to FOLDER/events, what it stored to FOLDER/ledger.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bench.mixed import bad, good
from bench.mixed.acting import Acting

# Who takes part: role → what it does once, and the pause after that in seconds. Sixteen, by ROLES_IN_ORDER.
ROLES: dict[str, tuple[Callable[[Acting], None], float]] = {
    "modality": (good.modality, 0.0),
    "window": (good.windowed, 1.0),
    "finder": (good.finder, 0.3),
    "mover": (good.mover, 1.0),
    "getter": (good.getter, 1.0),
    "converter": (good.converter, 1.5),
    "echo": (good.echo, 0.2),
    "caller": (good.caller, 0.5),
    "canceller": (bad.canceller, 1.0),
    "aborter": (bad.aborter, 0.7),
    "dying": (bad.dying, 0.5),
    "breaker": (bad.breaker, 0.7),
    "garbage": (bad.garbage, 0.7),
    "slow": (bad.slow, 0.5),
}
SIXTEEN = (*("modality",) * 3, *(role for role in ROLES if role != "modality"))
WELL_BEHAVED = {"modality", "window", "finder", "mover", "getter", "converter", "echo", "caller"}


def main() -> None:
    """See the module."""
    role, number, port, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this one ends it
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    draw = random.Random(f"{role} {number} {os.getpid()} {time.time_ns()}")
    acting = Acting(role, number, ("127.0.0.1", port), folder, draw, over)
    act, pause = ROLES[role]
    try:
        while not over.is_set():
            acting.once(act)
            over.wait(pause * draw.uniform(0.5, 1.5))
    finally:
        acting.leave()


if __name__ == "__main__":
    main()
