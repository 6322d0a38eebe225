"""For which SOP instances a storage commitment was answered: they are never kept with loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from scp.model import Instance

# A name in Meta: from when on promises are known, in seconds since 1970. A rebuilt index knows no older ones.
PROMISED_SINCE = "promised_since"


class Promises(Protocol):
    """The SOP instances whose safekeeping was promised to a peer (PS3.4 J). The objects do not say it.

    Every method raises :class:`scp.errors.OutOfResources` as an index does.
    """

    def add(self, sop_instance_uids: Iterable[str]) -> None:
        """Note them, before it is promised."""

    def covers(self, sop_instance_uid: str) -> bool:
        """Whether a promise was given, or is about to be, for an instance of this UID."""

    def forget(self, instance: Instance) -> bool:
        """Remove the row of an instance, which becomes lossy, in one transaction with the look at promises.

        Returns whether it was removed: not if a promise covers it. A promise that comes later finds no row.
        """

    def record(self, copy: Instance, attributes: Mapping[str, str]) -> Instance | None:
        """As :meth:`scp.index.index.Index.record`, of a lossy copy that may replace its original's row.

        In one transaction with the look at promises: raises DuplicateRejected if one covers its UID.
        """

    def begin(self) -> float:
        """Promises are known from now on, and of nothing that the index names by now; returns the moment.

        It is after the receipt of all that is named, by whatever clock that came: so neither a clock that is
        wrong now, nor one that was, makes an object one whose promises would be known.
        """

    def since(self) -> float:
        """From when on all promises are known, in seconds since 1970."""
