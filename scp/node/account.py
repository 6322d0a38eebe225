"""Whose archive it is: what root makes in that of another account, its node cannot read."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from tempfile import TemporaryFile

from scp.errors import ConfigurationError
from scp.objects.mark import FOLDER


def check_account(own: Path) -> None:
    """Refuse root in an archive that another account made; ``own`` is the node's own folder.

    An object that root imports has mode 0640, its lock files 0600: the node could neither send the one nor
    take the others. Where all that is made belongs to that account anyway, as on NFS with squashed users,
    there is nothing to refuse. Raises ConfigurationError, which names the account.
    """
    if os.geteuid() != 0:
        return
    try:
        owner = _owner_of_archive(own)
        if owner in (0, _owner_of_new_files(own)):
            return
    except OSError:  # nothing is stored there yet, or nothing can be made
        return
    account = _name_of(owner)
    raise ConfigurationError(
        f"the archive in {own} belongs to the account {account}, whose node could not read what root makes"
        f" there; run this as that account: sudo -u {account} zscp …"
    )


def _owner_of_archive(folder: Path) -> int:
    """Whose process made the mark in it. Raises OSError."""
    return (folder / FOLDER).stat().st_uid


def _owner_of_new_files(folder: Path) -> int:
    """Raises OSError."""
    with TemporaryFile(dir=folder) as made:
        return os.fstat(made.fileno()).st_uid


def _name_of(account: int) -> str:
    """As sudo takes it."""
    try:
        return pwd.getpwuid(account).pw_name
    except KeyError:
        return f"#{account}"
