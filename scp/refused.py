"""What processes that died were about: suspected, tried again alone, and refused when it ends another."""

from __future__ import annotations

import structlog

from scp.holdings import Holdings
from scp.model import Instance
from scp.objects.suspects import Suspect
from scp.refusal import by_suspect, is_outdated, library_of, refusal_of

# A record of the landing log does not say whose it is: it is sought among what is pending.
_MOST_PENDING = 100_000


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
        if one.refused:
            _mark(holdings, one)


def _mark(holdings: Holdings, one: Suspect) -> None:
    """Of what has no row the journal alone knows; recovery, reindex and import ask it."""
    instance = _instance_at(holdings, one)
    refusal = by_suspect(one)
    if refusal is None:
        return
    if is_outdated(refusal):
        if holdings.attempts is not None:
            holdings.attempts.forget(one.key)
    elif instance is not None:
        holdings.refuse(instance, refusal)


def _instance_at(holdings: Holdings, one: Suspect) -> Instance | None:
    named = holdings.index.named(one.uid) if one.uid else holdings.index.pending(_MOST_PENDING)
    return next((each for each in named if each.key == one.key), None)


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
