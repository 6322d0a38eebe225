"""What processes that died were about: suspected, tried again alone, and refused when it ends another."""

from __future__ import annotations

import structlog

from scp.archive.reader import Holdings
from scp.archive.refusal import Refusal, by_suspect, is_outdated, library_of, refusal_of
from scp.model import Instance
from scp.objects.suspects import Suspect


def note_deaths(holdings: Holdings) -> None:
    """Read what processes left that died, and mark the rows of what is refused because of it.

    Before anything is tried. Safe beside processes that live, and to stop and run again.
    Raises OutOfResources.
    """
    if holdings.attempts is None:
        return
    log = structlog.get_logger("zscp")
    for one in holdings.attempts.take_up(library_of):
        told = {"key": one.key, "sop_instance": one.uid, "doing": one.act, "times": one.times}
        if not one.refused:
            log.warning("an object may have ended a process", **told, remedy="it is tried again, alone")
    for one in holdings.attempts.suspects.all():
        if (refusal := by_suspect(one)) is not None and _is_settled(holdings, one, refusal):
            holdings.attempts.forget(one.key)


def _is_settled(holdings: Holdings, one: Suspect, refusal: Refusal) -> bool:
    """Whether the journal need not know of what is refused: its row says so now, or versions have changed.

    Of what has no row the journal alone knows; recovery, reindex and import ask it.
    """
    if is_outdated(refusal):
        return True
    instance = _instance_at(holdings, one)
    if instance is not None:
        holdings.refuse(instance, refusal)
    return instance is not None


def _instance_at(holdings: Holdings, one: Suspect) -> Instance | None:
    if not one.uid:  # a record of the landing log, which does not say whose it is; or a file to be imported
        return holdings.index.pending_at(one.key)
    return next((each for each in holdings.index.named(one.uid) if each.key == one.key), None)


def renew(holdings: Holdings) -> int:
    """Let be tried again what failed in another version than there is now; returns how many objects.

    Raises OutOfResources.
    """
    done = 0
    for one in holdings.index.checks.refused():
        refusal = refusal_of(one.refused)
        if refusal is None or is_outdated(refusal):
            allow(holdings, one)
            done += 1
    if done:
        structlog.get_logger("zscp").info("tried again, as versions have changed", objects=done)
    return done


def allow(holdings: Holdings, instance: Instance) -> None:
    """Let everything be tried again with an object. Raises OutOfResources."""
    holdings.index.checks.refuse(instance.sop_instance_uid, instance.key, "")
    if holdings.attempts is not None:
        holdings.attempts.forget(instance.key)
