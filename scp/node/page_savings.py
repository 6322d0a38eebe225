"""What the policy would do to what is stored, looked up for the page while somebody looks at that."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import IO

from scp.background.lookup import unexpected
from scp.background.loop import Task
from scp.config.rules import PolicyRule
from scp.config.settings import Settings
from scp.node.beside import begin, end
from scp.node.planned import REPORT
from scp.web.plans import PlanLook

# A look reads all rows: it may take a twentieth of the time at most, and each hour is often enough.
_AGAIN_SECONDS, _TIMES_AS_LONG, _AFTER_FAULT_SECONDS = 3600.0, 20, 60.0
_MOST_SECONDS, _POLL_SECONDS = 4 * 3600.0, 0.2
_MOST_FAULT = 500  # characters
_COMMAND = (sys.executable, "-m", "scp.node.planned")


class PlanLooks(Task):
    """Looks when :meth:`latest` was asked for, and the last look is old, or of another policy.

    So nobody waits, and nothing is looked at where nobody asks. One look at a time, by a program beside the
    node (:mod:`scp.node.planned`).
    """

    name = "looking at what the policy would do"

    def __init__(self, settings: Callable[[], Settings], command: Sequence[str] = _COMMAND) -> None:
        super().__init__()
        self._settings, self._command = settings, command
        self._latest, self._next = PlanLook(), 0.0
        self._policy: Sequence[PolicyRule] | None = None

    def latest(self) -> PlanLook:
        """What the last look found; begins another one where that is due. Waits for nothing."""
        if not self._latest.running and self._is_due():
            self._latest = replace(self._latest, running=True)
            self.bell.ring()
        return self._latest

    def _is_due(self) -> bool:
        return time.monotonic() >= self._next or self._settings().policy != self._policy

    def turn(self) -> None:
        """See :class:`scp.background.loop.Task`: a look, if one was asked for."""
        if not self._latest.running:
            return
        settings, began = self._settings(), time.monotonic()
        found = self._latest
        try:
            found = self._look(settings)
        except (OSError, ValueError) as error:
            found = replace(found, fault=f"{error}"[-_MOST_FAULT:])
        except Exception as error:  # the loop writes it into the log
            found = replace(found, fault=unexpected(error))
            raise
        finally:
            took = time.monotonic() - began
            again = _AFTER_FAULT_SECONDS if found.fault else _AGAIN_SECONDS
            self._policy, self._next = settings.policy, time.monotonic() + max(again, _TIMES_AS_LONG * took)
            self._latest = replace(found, running=False, took_seconds=took)

    def _look(self, settings: Settings) -> PlanLook:
        """Raises OSError where the program cannot run, ValueError for what it says where it fails."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as fault:
            process = begin(self._command, out, fault, subprocess.PIPE)
            self._follow(process, pickle.dumps(settings))
            if process.returncode:
                raise ValueError(_said(fault) or f"it ended with status {process.returncode}")
            out.seek(0)
            return PlanLook(REPORT.validate_json(out.read()))

    def _follow(self, process: subprocess.Popen[bytes], given: bytes) -> None:
        """Wait for the end of the program, and end it where it has no more time, or the node stops."""
        until = time.monotonic() + _MOST_SECONDS
        if process.stdin is not None:
            with suppress(BrokenPipeError), process.stdin:  # it has ended: its status says why
                process.stdin.write(given)
        while process.poll() is None:
            if self.stopping.wait(_POLL_SECONDS) or time.monotonic() > until:
                end(process)
                process.wait()


def _said(fault: IO[bytes]) -> str:
    """The last line that a program wrote."""
    fault.seek(0)
    lines = fault.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
