"""Processes of multiprocessing that find zscp's index imported.

Each of those that are spawned imports it anew, which takes 2 s of processor time.
"""

from __future__ import annotations

from multiprocessing import get_context
from multiprocessing.context import ForkServerContext


def processes() -> ForkServerContext:
    """Where they are made: they are forked from a process that has no thread or descriptor of the tests."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["pytest", "scp.index.sql", "servers_postgresql"])
    return context
