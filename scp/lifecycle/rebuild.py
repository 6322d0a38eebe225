"""Rebuild an index that does not know what the stores hold, from the files, before any peer is served.

Order: all files and landed records are read and recorded → rows without a file are removed → that is durable
→ index and stores are paired, and the request of a migration is removed. If the process dies in between, the
next start begins again.

What only the index knows is kept where its rows are still there: requests for storage commitment, what is to
be sent and, for each object whose file is the same, when it was last retrieved and read, and the outcome of
its stage. A missing index has none of these: which objects a storage commitment was answered for is known
only from then on, so that no earlier one is made lossy.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from scp.archive.archive import Archive
from scp.archive.pairing import State
from scp.background.progress import Progress
from scp.errors import ConfigurationError, OutOfResources
from scp.lifecycle.reindex import Outcome, add_found, reindex


@dataclass(frozen=True, slots=True)
class Fitted:
    """The state in which an index was found, and the outcome of rebuilding it, if it was rebuilt."""

    state: State
    told: str = ""
    outcome: Outcome | None = None


def make_fit(archive: Archive, progress: Progress) -> Fitted:
    """Make sure that the index knows what the stores hold, before anything is served, encoded or freed.

    What dead processes worked on is noted first: an object may be what they died of.

    One process does this; others wait, and find it done. No index is rebuilt that another living node uses.
    Raises ConfigurationError where an admin has to decide what was meant or has to stop other nodes first,
    and OutOfResources.
    """
    archive.trials.note_deaths()
    pairing, log = archive.pairing, structlog.get_logger("zscp")
    if pairing is None:
        return Fitted(State.FITS)
    with pairing.lock():
        state = pairing.state()
        told = pairing.message(state)  # asked first: pairing removes a migration's request
        if state in (State.OTHER, State.EMPTY):
            pairing.require()
        if state in (State.FITS, State.NEW):
            fitted = Fitted(state)
        else:
            check_unused(archive, told)
            log.error("the index is being rebuilt", found=str(state), reason=pairing.why(state))
            outcome, away = _read_all(archive, progress)
            if state is not State.ASKED:  # promises that were given are lost with the index, or came after it
                archive.commitments.promises.begin()
            archive.sync()
            pairing.pair(away)
            log.warning("the index was rebuilt", objects=outcome.recorded, not_read=away)
            fitted = Fitted(state, told, outcome)
    _read_what_was_away(archive, progress)
    try:
        pairing.advance()
    except OutOfResources as error:  # a full disk: what is there can be read all the same
        log.error("an older copy of the index could not be told from this one", reason=str(error))
    return fitted


def check_unused(archive: Archive, told: str) -> None:
    """Check that no other node lives; ``told`` is what was about to be done. Raises ConfigurationError."""
    if living := archive.elsewhere.cluster.living():
        names = ", ".join(map(str, living))
        raise ConfigurationError(
            f"{told}. But other nodes use it: {names}; stop them, and start this one first"
        )


def _read_all(archive: Archive, progress: Progress) -> tuple[Outcome, tuple[str, ...]]:
    """Read all stores that are there; returns the outcome, and the names of those that are not there."""
    stores = archive.files.stores()
    away = tuple(name for name in stores if name and not archive.files.is_there(name))
    there = [name for name in stores if name not in away]
    return reindex(archive, progress, archive.files.keys_within(there)), away


def _read_what_was_away(archive: Archive, progress: Progress) -> None:
    """Read the files of a store whose medium has come back since the index was rebuilt.

    Other nodes may work on it, and this one's processes: what they have recorded stays.
    """
    if archive.pairing is None:
        return
    for name in archive.pairing.unread():
        if archive.files.is_there(name):
            found = add_found(archive, progress, archive.files.keys_within([name]))
            archive.sync()
            archive.pairing.was_read(name)
            told = {"objects": found.recorded, "damaged": len(found.damaged)}
            structlog.get_logger("zscp").warning("store read", store=name, **told)
