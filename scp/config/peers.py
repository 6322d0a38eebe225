"""The peers that a configuration names: where they are, where they come from, and what they may do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field

from scp.config.networks import Networks
from scp.config.values import (
    AeTitle,
    Quality,
    SampleError,
    Switch,
    Table,
    TransferSyntaxes,
    nearest,
    texts,
)
from scp.model import CALLING_AET, QueryKey

Service = Literal["echo", "store", "find", "move", "get", "commit"]
SERVICES: tuple[Service, ...] = get_args(Service)
# Keys for what a peer sees: the index has a column for each, of text with wildcards.
SEEN_BY = (
    CALLING_AET,
    "PatientID",
    "IssuerOfPatientID",
    "Modality",
    "BodyPartExamined",
    "InstitutionName",
    "InstitutionalDepartmentName",
    "StationName",
)
# As many patterns as one key of a query may have (scp.index.matching): with more, each query would fail.
MOST_SEEN = 100


def services(value: object) -> tuple[str, ...]:
    """Names of services."""
    names = texts(value)
    for name in names:
        if name not in SERVICES:
            raise ValueError(f'"{name}" is no service; {nearest(name, SERVICES)}')
    return names


def sight(value: object) -> dict[str, tuple[str, ...]]:
    """What an object must have for a peer to see it: key → values, any of which may be there."""
    if not isinstance(value, Mapping):
        raise ValueError(f'"{value}" is not a table; write {{ Modality = ["CT", "MR"] }}')
    for key in value:
        if key not in SEEN_BY:
            raise ValueError(f'"{key}" does not say what a peer sees; {nearest(key, SEEN_BY)}')
    asked = {key: texts(wanted, key) for key, wanted in value.items()}
    for key, wanted in asked.items():
        if not wanted or any(not text.strip(" *") or "\\" in text for text in wanted):
            raise ValueError(f"{key} must name values; * alone is any: leave the key out")
        if len(wanted) > MOST_SEEN:
            raise ValueError(f"{key} names {len(wanted)} values; {MOST_SEEN} are the most")
    return asked


Services = Annotated[tuple[Service, ...], BeforeValidator(services)]
Sight = Annotated[dict[str, tuple[str, ...]], BeforeValidator(sight)]


class Peer(Table):
    """A node that zscp knows: it may be a C-MOVE destination. ``prefer`` holds UIDs.

    ``associations`` are the most that zscp opens to it for one C-MOVE. ``lossy`` lets zscp send it lossy
    copies, by ``quality`` or within ``max_error``. ``certificate_name`` must be a name in its certificate,
    whoever opened the association. It may come from ``addresses`` only, where there are some,
    use the services of ``may``, and name ``destinations`` in its C-MOVEs; None: all peers. Of the objects it
    finds and retrieves those that it ``sees``; an empty table: all.
    """

    aet: AeTitle
    host: Annotated[str, Field(min_length=1)]
    port: Annotated[int, Field(strict=True, ge=1, le=65535)]
    addresses: Networks = ()
    certificate_name: Annotated[str, Field(min_length=1)] | None = None
    may: Services = SERVICES
    destinations: tuple[AeTitle, ...] | None = None
    sees: Sight = Field(default_factory=dict)
    link_mbps: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = None
    prefer: TransferSyntaxes = ()
    associations: Annotated[int, Field(strict=True, ge=1, le=16)] = 1
    tls: Switch = False
    lossy: Switch = False
    quality: Quality | None = None
    max_error: SampleError | None = None

    @property
    def seen(self) -> tuple[QueryKey, ...]:
        """What an object must have for the peer to find and retrieve it, as keys of a query."""
        return tuple(QueryKey(key, "", "\\".join(wanted)) for key, wanted in self.sees.items())
