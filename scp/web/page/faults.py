"""How errors that zscp raises on purpose are answered, and what the API's description says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scp.errors import (
    ConfigurationError,
    DestinationUnknown,
    DuplicateRejected,
    NoLosslessWay,
    NoPicture,
    ObjectDamaged,
    ObjectMissing,
    ObjectUnavailable,
    OutOfResources,
    QueryError,
    SeveralPatients,
    ZscpError,
)

# Errors that are not here are the node's own (500).
STATUSES: Mapping[type[ZscpError], int] = {
    OutOfResources: 503,
    ObjectUnavailable: 503,
    ObjectMissing: 404,
    DestinationUnknown: 404,
    ConfigurationError: 409,
    SeveralPatients: 409,
    DuplicateRejected: 409,
    NoLosslessWay: 409,
    ObjectDamaged: 409,
    NoPicture: 422,
    QueryError: 422,
}


@dataclass(frozen=True, slots=True)
class ApiFault:
    """Why a request was not done."""

    detail: str


def faults(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Answers of an operation beside the good one, for its description."""
    return {status: {"model": ApiFault} for status in statuses}
