"""How errors that zscp raises on purpose are answered (PS3.18 8.5), in one line of text."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import PlainTextResponse

from scp.errors import (
    DatasetError,
    NoLosslessWay,
    NoPicture,
    NotAuthorized,
    ObjectDamaged,
    ObjectMissing,
    ObjectUnavailable,
    OutOfResources,
    QueryError,
    ZscpError,
)

# Errors that are not here are the node's own (500).
STATUSES: Mapping[type[ZscpError], int] = {
    QueryError: 400,
    DatasetError: 409,
    NotAuthorized: 403,
    NoLosslessWay: 406,
    NoPicture: 406,
    OutOfResources: 503,
    ObjectUnavailable: 503,
    ObjectMissing: 500,
    ObjectDamaged: 500,
}
# A query that takes too long is to be repeated with a narrower one, or in pages (PS3.18 10.6.3.1).
_TOO_BROAD, _QUERY_SECONDS = 413, "query.seconds"
RETRY_SECONDS = "5"


class Refused(Exception):
    """A request that is answered with a status of HTTP, and with ``told``."""

    def __init__(self, status: int, told: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(told)
        self.status, self.headers = status, headers or {}


def fault(status: int, told: str, headers: Mapping[str, str] | None = None) -> PlainTextResponse:
    """An answer that says why there is no other."""
    more = {"Retry-After": RETRY_SECONDS} if status == 503 else {}
    return PlainTextResponse(f"{told}\n", status, {**more, **(headers or {})})


def status_of(error: ZscpError) -> int:
    """The status of HTTP by which an error is answered."""
    if isinstance(error, OutOfResources) and error.limit == _QUERY_SECONDS:
        return _TOO_BROAD
    return next((status for kind, status in STATUSES.items() if isinstance(error, kind)), 500)
