"""The associations of a server: which are under way, and when none is any more."""

from __future__ import annotations

import threading

from scp.dimse.association import ServedAssociation


class Associations:
    """Those that are under way, and a way to wait until they are not."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: set[ServedAssociation] = set()
        self._closed = False

    def add(self, association: ServedAssociation) -> bool:
        """One begins; False where none may any more."""
        with self._changed:
            if not self._closed:
                self._held.add(association)
            return not self._closed

    def close(self) -> list[ServedAssociation]:
        """Let none begin any more; returns those under way."""
        with self._changed:
            self._closed = True
            return list(self._held)

    def discard(self, association: ServedAssociation) -> None:
        """One is over, its threads and its socket gone."""
        with self._changed:
            self._held.discard(association)
            self._changed.notify_all()

    def all(self) -> list[ServedAssociation]:
        """Those under way now."""
        with self._changed:
            return list(self._held)

    def unseated(self) -> int:
        """Connections that have not associated."""
        with self._changed:
            return sum(not association.seated for association in self._held)

    def wait_for_none(self, seconds: float) -> bool:
        """Wait until all are over, but not for ever; whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._held, seconds)
