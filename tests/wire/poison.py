"""Objects that end every process that looks into them, and nodes that meet them."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from pathlib import Path
from typing import Any

from .conftest import NodeProcess
from .peers import Sent, image

MARK = "POISONED"

# What a process does that works on such an object, by the name of a module and its function.
_DEADLY = """
    import importlib, os, signal, sys

    def deadly(module, name):
        found = importlib.import_module(module)
        work = getattr(found, name)
        def step(*given, **named):
            if any(b"POISONED" in bytes(one.dataset[:2048]) for one in given if hasattr(one, "dataset")):
                if given[0] not in ("received", "zstd"):
                    os.kill(os.getpid(), signal.SIGKILL)
            return work(*given, **named)
        setattr(found, name, step)
"""


def poison(number: int, **attributes: Any) -> Sent:
    return image(
        instance=f"1.2.3.66.{number}",
        seed=number,
        rows=48,
        InstitutionName=MARK,
        InstanceNumber=number,
        **attributes,
    )


class DeadlyNode(NodeProcess):
    """A node in which ``where`` (module, function) is deadly for poisoned objects."""

    def __init__(self, root: Path, *where: tuple[str, str], **tables: Any) -> None:
        super().__init__(root, **tables)
        self.where = where

    def command(self) -> list[str]:
        calls = "\n".join(f"deadly({module!r}, {name!r})" for module, name in self.where)
        script = f"{textwrap.dedent(_DEADLY)}\n{calls}\nfrom scp.cli.main import main\nmain()\n"
        return [sys.executable, "-c", script, "serve", "-c", str(self.config)]

    def deaths(self) -> int:
        """How many of its processes were killed."""
        killed = [one for one in self.events() if one.get("event") == "process ended"]
        return sum(one["status"] == -signal.SIGKILL for one in killed)


def in_a_child(work: Any) -> int:
    """Run ``work`` in a process of its own; how that ended, negative for a signal."""
    child = os.fork()
    if not child:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
