"""One object's error ends no loop: the others are done all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from scp.errors import FormLacksRoom, ObjectDamaged, ObjectMissing, ObjectUnavailable, OutOfResources

Errors = tuple[type[Exception], ...]

# What zscp verify tells of an object, so that nobody else need do so.
UNREAD: Errors = (ObjectMissing, ObjectDamaged, ObjectUnavailable)


@contextmanager
def alone(
    event: str,
    quiet: Errors = UNREAD,
    through: Errors = (OutOfResources,),
    otherwise: Callable[[Exception], None] = lambda _: None,
    **told: object,
) -> Iterator[None]:
    """Around work on one of several objects: what it raises is logged as ``event``, and the block is left.

    ``otherwise`` is called with it. What is ``quiet`` is not logged. What goes ``through`` is raised: without
    room, or the index, nothing goes on. No room for the form of one says nothing of others.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, through) and not isinstance(error, FormLacksRoom):
            raise
        if not isinstance(error, quiet):
            structlog.get_logger("zscp").error(event, exc_info=error, **told)
        otherwise(error)
