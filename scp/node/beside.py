"""Programs beside a node, with low priority: what breaks there, or takes long, leaves the node alone."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

# Less than the 10 s within which the loops of a process that stops must end.
_NICE, _END_SECONDS = 15, 5.0


def begin(
    command: Sequence[str], out: IO[bytes], fault: IO[bytes], given: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """Start a program of ours, which writes into two files; ``given`` is what it reads. Raises OSError.

    It inherits that SIGINT, SIGTERM and SIGHUP are blocked, as in all threads of a node, and lets them in
    itself: to do so here, in a thread of the node, would end the node.
    """
    return subprocess.Popen(  # noqa: S603 - this program
        ["nice", "-n", str(_NICE), *command],  # noqa: S607 - as the system has it
        stdin=given,
        stdout=out,
        stderr=fault,
        start_new_session=True,  # its codec processes end with it
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """End a program with those that it started: asked first, so that it removes its files, then killed."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
