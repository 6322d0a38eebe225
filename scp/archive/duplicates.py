"""What becomes of a received object of which one is held already, by ``storage.duplicates``."""

from __future__ import annotations

from scp.archive.admission import remarked
from scp.archive.options import Duplicates
from scp.archive.reader import Reader
from scp.archive.safekeeping import has_uid_of_original
from scp.errors import DictionaryMissing, DuplicateRejected, ObjectDamaged, ObjectMissing, ObjectUnavailable
from scp.identity import Identity
from scp.index.index import Index
from scp.model import Facts, Instance, Kept, Received


class DuplicatePolicy:
    """Decides by the held object, which it reads, and by what the admin ``chosen`` has."""

    def __init__(self, chosen: Duplicates, index: Index, reader: Reader) -> None:
        self._chosen = chosen
        self._index = index
        self._reader = reader

    @property
    def may_reject(self) -> bool:
        """Whether an object may be rejected because of what is held."""
        return self._chosen == "reject"

    def found(self, received: Received, held: Instance, facts: Facts) -> Kept | None:
        """The result for an object that is stored already; None if the new one must be kept.

        Raises DuplicateRejected.
        """
        same = received.sha256 == held.received_sha256
        try:
            self._reader.verify(held)  # reads it: Success must not rest on a damaged copy
        except ObjectUnavailable:
            if same:
                return None  # the copy here is better than one out of reach
        except (ObjectMissing, ObjectDamaged) as error:
            if same or not isinstance(error, DictionaryMissing):  # a missing dictionary can be restored
                return None  # the stored file is damaged: the new one repairs it
        if same and received.transfer_syntax == held.received_transfer_syntax:
            return remarked(Kept("duplicate", held), facts)
        if self._chosen == "keep" and not has_uid_of_original(held):  # a copy is not what came first
            return remarked(Kept("discarded", held), facts)
        if self.may_reject:
            raise DuplicateRejected("held with other content, and storage.duplicates is reject")
        return None

    def would_take(self, identity: Identity, held: Instance | None) -> bool:
        """Whether an object with other content than the ``held`` one, if there is one, would be accepted."""
        return not self._is_refused(identity) and (held is None or self._gives_way(held))

    def _gives_way(self, held: Instance) -> bool:
        if self._chosen == "replace" or (self._chosen == "keep" and has_uid_of_original(held)):
            return True
        try:
            self._reader.verify(held)
        except ObjectUnavailable:
            return False  # it may be undamaged
        except (ObjectMissing, ObjectDamaged) as error:
            return not isinstance(error, DictionaryMissing)  # a missing dictionary can be restored
        return False

    def check_elsewhere(self, identity: Identity) -> None:
        """Check whether the SOP Instance UID may also be that of an object of another study or patient.

        These are two objects; neither replaces the other. Raises DuplicateRejected.
        """
        if self._is_refused(identity):
            raise DuplicateRejected(
                "held in another study or of another patient, and storage.duplicates is reject"
            )

    def _is_refused(self, identity: Identity) -> bool:
        """Whether an object is rejected because another object has its SOP Instance UID."""
        if not self.may_reject:
            return False
        named = self._index.named(identity.sop_instance_uid)
        return bool(named) and all(one.identity != identity for one in named)
