"""What a process committed last: a database that was away may come back without it.

A standby that takes over asynchronously lacks the last commits, and so does a server that crashed without
``synchronous_commit``. Either way the connection breaks. What was committed on one that is gone is in doubt
until somebody looks (:mod:`scp.lifecycle.lost_commits`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from scp.model import Instance

# What a process stores in a minute; 4 MB.
MOST = 10_000


@dataclass(frozen=True, slots=True)
class CommittedRow:
    """What a row named when it was committed: the file of an object, and the digest of what was received."""

    sop_instance_uid: str
    key: str
    received_sha256: str
    run: int = 0  # of the connections that the process had: the how many-th

    @classmethod
    def of(cls, instance: Instance) -> CommittedRow:
        """That of an instance."""
        return cls(instance.sop_instance_uid, instance.key, instance.received_sha256)


class Committed:
    """The rows of one process that name files, in the order of their commits; for one thread at a time."""

    def __init__(self) -> None:
        self._open: list[CommittedRow] = []
        self._here: deque[CommittedRow] = deque(maxlen=MOST)
        self._doubtful: deque[CommittedRow] = deque(maxlen=MOST)
        self._run = 0

    def written(self, row: CommittedRow) -> None:
        """A row is written, and not committed yet."""
        self._open.append(row)

    def committed(self) -> None:
        """The transaction is committed."""
        self._here.extend(self._open)
        self._open.clear()

    def rolled_back(self) -> None:
        """The transaction is rolled back, or nobody knows: its objects were not acknowledged."""
        self._open.clear()

    def connected(self) -> None:
        """There is a new connection, perhaps to another server."""
        self._doubtful.extend(replace(row, run=self._run) for row in self._here)
        self._here.clear()
        self._run += 1

    def take_doubtful(self) -> list[CommittedRow]:
        """What was committed on connections that are gone, once."""
        found = list(self._doubtful)
        self._doubtful.clear()
        return found
