"""What the page and the API show of stored objects, and do with them: names in, frozen dataclasses out.

``web`` may import neither ``viewing`` nor ``lifecycle``; it gets one of these, and calls it from any thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from scp.archive.archive import Archive
from scp.audit.actors import host, this_process
from scp.audit.events import Participant
from scp.audit.trail import NO_TRAIL, AuditTrail
from scp.background.progress import Progress, Silent
from scp.config.settings import Settings
from scp.errors import ObjectDamaged, ObjectMissing
from scp.index.watch import Watch
from scp.lifecycle.actions import ObjectActions, TrashPage, Who
from scp.lifecycle.deletion import Removal
from scp.lifecycle.explain import Explanation, explain_stored
from scp.lifecycle.recompress import Recompressed
from scp.lifecycle.selection import OfPatient, named
from scp.lifecycle.sending import AskedToSend
from scp.lifecycle.verify import Verified
from scp.model import Instance
from scp.objects.holds import Hold
from scp.objects.trashed import Trashed
from scp.spool import Buffer
from scp.viewing.display import VoiWindow
from scp.viewing.header import HeaderView, header_view
from scp.viewing.picture import Picture, picture
from scp.viewing.search import SearchPage, search

User = str | Participant  # who is logged in, by name or as the audit trail has them
_ANYBODYS = OfPatient()
_SILENT = Silent()
_SEARCH_SECONDS = 10.0  # who looks at a page waits no longer


class NodeObjects:
    """Use cases about the objects of the archive that ``archive`` gives; ``user`` is who is logged in.

    Every method raises ObjectMissing where nothing that is held has the UID, SeveralPatients where it is not
    clear whose is meant, and OutOfResources.
    """

    def __init__(
        self, archive: Callable[[], Archive], settings: Callable[[], Settings], trail: AuditTrail = NO_TRAIL
    ) -> None:
        self._archive, self._settings, self._trail = archive, settings, trail

    @property
    def _actions(self) -> ObjectActions:
        return ObjectActions(self._archive(), self._settings, self._trail)

    def _who(self, user: User) -> Who:
        person = user
        if isinstance(person, str):
            person = Participant(person, True, None, name=person, address=host())
        return person, this_process(self._settings().node.aet)

    def selected(self, uid: str, level: str = "", patient: OfPatient = _ANYBODYS) -> list[Instance]:
        """The instances of a study, series or instance, or with level PATIENT of a Patient ID."""
        if level == "IMAGE":
            return self._named(uid, patient)
        watch = Watch(self._seconds, lambda: None)
        found = patient.of(named(self._archive(), uid, level, watch), one_patient=level == "PATIENT")
        if not found:
            raise ObjectMissing(f"nothing that is held has the UID or ID {uid}")
        return found

    def _named(self, uid: str, patient: OfPatient) -> list[Instance]:
        """The instances of a SOP Instance UID, the newest first, also of one that no query may name."""
        found = patient.of(self._archive().named(uid))
        if not found:
            raise ObjectMissing(f"nothing that is held has the SOP Instance UID {uid}")
        return found

    @property
    def _seconds(self) -> float:
        return min(self._settings().query.seconds, _SEARCH_SECONDS)

    def _one(self, uid: str, patient: OfPatient) -> Instance:
        return self._named(uid, patient)[0]

    # -- looked at ---------------------------------------------------------------------------------------

    def search(
        self, level: str, keys: Mapping[str, str], before: int | None = None, most: int = 50
    ) -> SearchPage:
        """See :func:`scp.viewing.search.search`; within ``query.seconds``, and 10 s. Raises QueryError."""
        try:
            holds: list[Hold] | None = self._actions.holds()
        except ObjectDamaged:  # a hold that cannot be read hides no object
            holds = None
        return search(self._archive(), level, keys, before, most, self._seconds, holds)

    def explain(self, uid: str, again: bool = False, patient: OfPatient = _ANYBODYS) -> Explanation:
        """See :func:`scp.lifecycle.explain.explain_stored`. Raises ObjectDamaged."""
        return explain_stored(self._archive(), self._one(uid, patient), again, costs=False)

    def header(
        self,
        uid: str,
        user: User,
        first: int = 0,
        most: int = 2000,
        patient: OfPatient = _ANYBODYS,
        whole: bool = False,
    ) -> HeaderView:
        """See :func:`scp.viewing.header.header_view`."""
        instance = self._one(uid, patient)
        self._actions.noted([instance], self._who(user), "header shown")
        return header_view(self._archive(), instance, first, most, whole=whole)

    def picture(
        self,
        uid: str,
        user: User,
        frame: int = 1,
        most: int = 1024,
        window: tuple[float, float] | None = None,
        patient: OfPatient = _ANYBODYS,
    ) -> Picture:
        """See :func:`scp.viewing.picture.picture`; ``window`` is center and width. Raises NoPicture."""
        instance = self._one(uid, patient)
        self._actions.noted([instance], self._who(user), "picture shown")
        return picture(self._archive(), instance, frame, most, VoiWindow(*window) if window else None)

    # -- done with them ----------------------------------------------------------------------------------

    def export(
        self, instances: list[Instance], user: User, syntax: str = "received", place: str = ""
    ) -> Iterator[bytes]:
        """A ZIP file, piece by piece; see :meth:`scp.lifecycle.actions.ObjectActions.export`."""
        return self._actions.export(instances, syntax, self._who(user), place)

    def export_file(
        self, instance: Instance, user: User, syntax: str = "received", place: str = ""
    ) -> Iterator[Buffer]:
        """One DICOM file, piece by piece. Raises NoLosslessWay, ObjectDamaged."""
        return self._actions.export_file(instance, syntax, self._who(user), place)

    def asked(self, instances: list[Instance], user: User, what: str) -> None:
        """Tell the audit trail who asked for something that the node does later, and tells by itself."""
        self._actions.noted(instances, self._who(user), what)

    def send(self, instances: list[Instance], aet: str) -> AskedToSend:
        """Queue objects for a peer. Raises DestinationUnknown."""
        return self._actions.send(instances, aet)

    def verify(self, instances: list[Instance], deep: bool = False) -> Iterator[Verified]:
        """Check stored files, one after the other; what was found is noted in the index."""
        return self._actions.verify(instances, deep)

    def recompress(
        self,
        instances: list[Instance],
        user: User,
        now: bool = False,
        progress: Progress = _SILENT,
    ) -> Recompressed:
        """Carry out the stages that are due, or ``now`` all of them; it may take long.

        What ``progress`` raises ends it soon; what was done until then stays.
        """
        return self._actions.recompress(instances, now, progress, self._who(user))

    def delete(self, portions: Iterable[list[Instance]], reason: str, user: User) -> Iterator[Removal]:
        """Move objects to the trash, but for those under a hold; says of each portion what came of it."""
        return self._actions.delete(portions, reason, self._who(user))

    def trash(self, first: int = 0, most: int = 100) -> TrashPage:
        """What lies in the trash, the latest first."""
        return self._actions.trash(first, most)

    def in_trash(self, uid: str, user: User, patient: OfPatient = _ANYBODYS) -> list[Trashed]:
        """What a study, an instance, or an entry by its id is in the trash."""
        whose = (patient.patient_id, patient.issuer)
        return self._actions.in_trash(uid, self._who(user), whose, patient.all_patients)

    def restore(self, entries: Iterable[Trashed], user: User, replace: bool = False) -> Iterator[Trashed]:
        """Bring each back before the next is taken. Raises DuplicateRejected, ObjectDamaged."""
        return self._actions.restore(entries, self._who(user), replace)

    def holds(self) -> list[Hold]:
        """All legal holds, the oldest first. Raises ObjectDamaged."""
        return self._actions.holds()

    def hold(self, uid: str, level: str, reason: str, user: User, patient: OfPatient = _ANYBODYS) -> Hold:
        """Put something under a hold; it need not be held yet."""
        hold = Hold(level, uid, reason, time.time(), "", patient.patient_id, patient.issuer)
        self._actions.hold(hold, self._who(user))
        return hold

    def release(self, uid: str, user: User, level: str = "", patient: OfPatient = _ANYBODYS) -> list[Hold]:
        """Remove the holds on it; returns them."""
        return self._actions.release(uid, self._who(user), level, (patient.patient_id, patient.issuer))
