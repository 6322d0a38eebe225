"""What the node lays before the page: all that views may ask for, as one value.

The page is a leaf. What it needs of ``dimse``, ``lifecycle`` or ``advise`` is a callable here, which
:mod:`scp.node.web` gives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from scp.archive.archive import Archive
from scp.audit.trail import AuditTrail
from scp.config.settings import Settings
from scp.web.exposition import MetricSources
from scp.web.page.admin import AdminDesk
from scp.web.page.objects.asked import ObjectsDesk
from scp.web.page.rates import Rates
from scp.web.plans import PlanLook


@dataclass(frozen=True, slots=True)
class Desk:
    """``archive`` raises OutOfResources while the index cannot be opened; ``settings`` are those in force.

    ``sources`` are what the metrics are made of: figures of all processes, health, the last look, disks.
    ``admin`` is what there is to see and to do of policy and peers; ``objects`` looks at stored objects, and
    acts on them.
    ``plan`` is the last look at what the policy would do; it begins another one where that is old.
    """

    settings: Callable[[], Settings]
    archive: Callable[[], Archive]
    sources: MetricSources
    rates: Rates
    trail: AuditTrail
    admin: AdminDesk
    objects: ObjectsDesk
    plan: Callable[[], PlanLook] = PlanLook


def _desk_of(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


# The parameter of a view that takes the desk.
DeskOf = Annotated[Desk, Depends(_desk_of)]
