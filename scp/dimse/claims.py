"""Claims on what is to be reported or sent: who has one renews it, who dies lets it end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import uuid4

from scp.errors import OutOfResources

# After so long another process takes up what one has left that died; a claim in use is renewed thrice in it.
LEASE = timedelta(seconds=9)
_RENEWED = LEASE.total_seconds() / 3


class Claims(Protocol):
    """Rows that a holder may have a claim on."""

    def renew(self, holder: str, until: datetime) -> None:
        """Let all claims of ``holder`` last until then."""


def new_holder() -> str:
    """A name for claims that nobody else has."""
    return uuid4().hex


@contextmanager
def kept(outstanding: Claims, holder: str) -> Iterator[None]:
    """Renew the claims of ``holder`` as long as the block takes."""
    over = threading.Event()

    def renew() -> None:
        while not over.wait(_RENEWED):
            with suppress(OutOfResources):  # the next time it may go; else another tries too
                outstanding.renew(holder, datetime.now(UTC) + LEASE)

    thread = threading.Thread(target=renew, name="claims", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
