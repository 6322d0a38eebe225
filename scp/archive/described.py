"""What the log's line of a request says of the object that it stored, whatever it came by."""

from __future__ import annotations

import re

from scp.model import Kept
from scp.telemetry import RequestEvent

# The fault of an object that is beyond a limit names its key (docs/limits.md).
_LIMIT = re.compile(r"\((limits\.\w+)\)")


def describe(kept: Kept, event: RequestEvent) -> None:
    """Add to the request's line what became of the object."""
    event.add(
        outcome=kept.outcome,
        study=kept.instance.study_instance_uid,
        modality=kept.modality[:16],  # a CS; of an odd object it may be any text
        form=kept.instance.form,
        bytes_kept=kept.instance.stored_size,
    )
    if not kept.instance.readable:
        event.add(readable=False)
    fallen_back = [f"{tried.form}: {tried.outcome} {tried.reason}" for tried in kept.attempts if tried.reason]
    if fallen_back:
        event.add(fallen_back=fallen_back)
    if kept.fault:
        event.add(fault=kept.fault)
    if kept.given:
        event.add(given=dict(kept.given))


def count_limit(kept: Kept, event: RequestEvent) -> None:
    """Count the limit, if any, because of which the object was not looked into."""
    if (beyond := _LIMIT.search(kept.fault)) is not None:
        event.reached(beyond[1])
