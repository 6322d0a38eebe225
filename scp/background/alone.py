"""One object's error does not end a loop: the other objects are still worked on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from scp.errors import (
    FormLacksRoom,
    ObjectDamaged,
    ObjectMissing,
    ObjectUnavailable,
    OutOfResources,
    ReplacementWaits,
)

Errors = tuple[type[Exception], ...]

# What zscp verify reports of an object, so that nothing else has to.
UNREAD: Errors = (ObjectMissing, ObjectDamaged, ObjectUnavailable)
# These say nothing about other objects.
_OF_ONE: Errors = (FormLacksRoom, ReplacementWaits)


@contextmanager
def alone(
    event: str,
    quiet: Errors = UNREAD,
    through: Errors = (OutOfResources,),
    otherwise: Callable[[Exception], None] = lambda _: None,
    **told: object,
) -> Iterator[None]:
    """Around work on one of several objects: what it raises is logged as ``event``, and the block is left.

    ``otherwise`` is called with the error. Errors in ``quiet`` are not logged. Errors in ``through`` are
    raised: without room, or without the index, no other object can be worked on either. FormLacksRoom and
    ReplacementWaits are not raised.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, through) and not isinstance(error, _OF_ONE):
            raise
        if not isinstance(error, quiet):
            structlog.get_logger("zscp").error(event, exc_info=error, **told)
        otherwise(error)
