"""Who acts: this process, the person at the command line, and peers, as participants of audit messages."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from functools import lru_cache

from scp.audit.events import Code, Participant


@lru_cache(1)
def host() -> str:
    """This machine's name: the same in all messages, however many addresses it has (PS3.15 A.5.2.4)."""
    return socket.gethostname() or "localhost"


def titles(*aets: str) -> str:
    """AE titles, as an AlternativeUserID has them (A.5.2.2)."""
    return f"AETITLES={';'.join(aet for aet in aets if aet)}" if any(aets) else ""


def this_process(
    *aets: str, role: Code | None = None, requestor: bool = False, name: str = "zscp"
) -> Participant:
    """This process by its id, with which the names of associations in the log begin (A.5.2.1)."""
    return Participant(str(os.getpid()), requestor, role, titles(*aets), name, host())


def this_command(role: Code | None = None) -> Participant:
    """This process, as a command that was typed."""
    return this_process(role=role, name=" ".join(["zscp", *sys.argv[1:2]]))


def operator(role: Code | None = None) -> Participant:
    """The account that this process runs in, and who became it by sudo, if it was so."""
    try:
        account = getpass.getuser()
    except (KeyError, OSError):  # no name for the number, as in a container
        account = str(os.getuid())
    behind = os.environ.get("SUDO_USER", "")
    name = f"{behind} (sudo)" if behind and behind != account else ""
    return Participant(f"{account}@{host()}", True, role, name=name, address=host())


def peer(
    aet: str, address: str, role: Code | None = None, requestor: bool = False, user: str = ""
) -> Participant:
    """A peer by its AE title; ``user`` is the name that was checked, if one was."""
    return Participant(aet, requestor, role, titles(aet), user, address)
