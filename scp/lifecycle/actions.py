"""What people do with stored objects: one use case each, for the command line, the page and the API.

Each may be called in any process that has the archive open, beside a running node, and by several at once.
What excludes others is in the index, so that it holds among processes and nodes: the lock ``trash`` for
deletion, restoring and holds, and claims for what gets another form (docs/decisions/0177).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import inf

from scp.archive.archive import Archive
from scp.audit.events import Action, Participant
from scp.audit.messages import accessed, exported
from scp.audit.studies import StudyCounts
from scp.audit.trail import NO_TRAIL, AuditTrail
from scp.background.progress import Progress, Silent
from scp.config.settings import Settings
from scp.errors import ObjectMissing
from scp.lifecycle.auditing import DeletionAudit
from scp.lifecycle.deletion import Deletion, Removal
from scp.lifecycle.loss_audit import LossAudit
from scp.lifecycle.recompress import Recompressed, recompress
from scp.lifecycle.selection import OfPatient
from scp.lifecycle.sending import AskedToSend, send
from scp.lifecycle.transfer import plain_file, zipped
from scp.lifecycle.verify import Verified, verify
from scp.model import Instance
from scp.objects.holds import Hold
from scp.objects.stores import places
from scp.objects.trashed import GONE, Trashed
from scp.spool import Buffer

_SILENT = Silent()
Who = tuple[Participant, ...]


@dataclass(frozen=True, slots=True)
class TrashPage:
    """Entries of the trash, the latest first, of ``count`` in all."""

    entries: tuple[Trashed, ...]
    count: int


class ObjectActions:
    """Acts on the objects of an archive; the audit ``trail`` is told ``who`` does what."""

    def __init__(
        self, archive: Archive, settings: Callable[[], Settings], trail: AuditTrail = NO_TRAIL
    ) -> None:
        self._archive, self._settings, self._trail = archive, settings, trail

    def _deletion(self, who: Who = ()) -> Deletion:
        return Deletion(self._archive, places(self._settings()), DeletionAudit(self._trail, who))

    def noted(self, instances: Iterable[Instance], who: Who, why: str) -> None:
        """Tell the audit trail that somebody looked at objects."""
        if self._trail.on:
            counts = StudyCounts(instances)
            for key in counts:
                self._trail.record(accessed(Action.READ, who, counts.subjects(key), why, ok=True))

    # -- out ---------------------------------------------------------------------------------------------

    def export(self, instances: list[Instance], syntax: str, who: Who, place: str) -> Iterator[bytes]:
        """A ZIP file of plain DICOM files, piece by piece; ``place`` is where they go, as a URI.

        What cannot be exported is named in ``failed.txt`` within it. ``syntax`` is as in
        :func:`scp.lifecycle.transfer.export`.
        """
        if self._trail.on:
            self._trail.record(exported(who, place, StudyCounts(instances).all_subjects()))
        return zipped(self._archive, instances, syntax)

    def export_file(self, instance: Instance, syntax: str, who: Who, place: str) -> Iterator[Buffer]:
        """One plain DICOM file, piece by piece; see :func:`scp.lifecycle.transfer.plain_file`."""
        pieces = plain_file(self._archive, instance, syntax)
        if self._trail.on:
            self._trail.record(exported(who, place, StudyCounts([instance]).all_subjects()))
        return pieces

    def send(self, instances: Iterable[Instance], aet: str) -> AskedToSend:
        """See :func:`scp.lifecycle.sending.send`; what was sent, the forwarder tells the trail."""
        return send(self._archive, self._settings(), instances, aet)

    # -- as it is stored ---------------------------------------------------------------------------------

    def verify(self, instances: Iterable[Instance], deep: bool = False) -> Iterator[Verified]:
        """See :func:`scp.lifecycle.verify.verify`."""
        return verify(self._archive, instances, deep)

    def recompress(
        self,
        instances: Iterable[Instance],
        now: bool = False,
        progress: Progress = _SILENT,
        who: Who = (),
    ) -> Recompressed:
        """Carry out the stages that are due of some instances; with ``now`` all of them, whatever their age.

        With ``now``, what was refused is tried again. Raises OutOfResources; what was done until then stays.
        """
        clock = (lambda: inf) if now else self._archive.clock.now
        audit = LossAudit(self._trail, who)
        return recompress(self._archive, instances, clock, progress, again=now, audit=audit)

    # -- deleted, and kept from that ---------------------------------------------------------------------

    def delete(self, portions: Iterable[list[Instance]], reason: str, who: Who) -> Iterator[Removal]:
        """Move objects to the trash, but for those under a hold, a portion at a time. Raises OutOfResources.

        What came of a portion is said before the next one is taken.
        """
        deletion = self._deletion(who)
        deletion.resume()
        yield from deletion.delete_in(portions, f"by hand: {reason}")

    def trash(self, first: int = 0, most: int = 100) -> TrashPage:
        """At most ``most`` entries of the trash from ``first`` on, the latest first."""
        entries, count = self._deletion().trash.latest(first, most)
        return TrashPage(tuple(entries), count)

    def in_trash(
        self,
        uid: str,
        who: Who,
        patient: tuple[str | None, str | None] = (None, None),
        all_patients: bool = False,
    ) -> list[Trashed]:
        """What a study, an instance or an entry by its id is in the trash; ``patient`` is ID and issuer.

        Raises ObjectMissing where nothing is it, SeveralPatients, OutOfResources.
        """
        deletion = self._deletion(who)
        deletion.resume()
        found = OfPatient(*patient, all_patients).in_trash(deletion.trash.entries(GONE), uid)
        # Of each object the one that went to the trash last.
        return list({one.identity: one for one in found}.values())

    def restore(self, entries: Iterable[Trashed], who: Who, replace: bool = False) -> Iterator[Trashed]:
        """Bring objects back as they were, each before the next entry is taken.

        See :meth:`scp.lifecycle.deletion.Deletion.restore`. Raises what that does, and OutOfResources.
        """
        return self._deletion(who).restore(entries, replace)

    def holds(self) -> list[Hold]:
        """All legal holds, the oldest first. Raises ObjectDamaged."""
        return self._deletion().holds.all()

    def hold(self, hold: Hold, who: Who) -> None:
        """Put a patient, study, series or instance under a hold, and what is added later."""
        deletion = self._deletion(who)
        with deletion.trash.lock():
            deletion.add_hold(hold)

    def release(
        self,
        uid: str,
        who: Who,
        level: str = "",
        patient: tuple[str | None, str | None] = (None, None),
    ) -> list[Hold]:
        """Remove the holds on a UID, or those of a level and a patient; returns them.

        Raises ObjectMissing where there is none.
        """
        deletion = self._deletion(who)
        found = [
            one
            for one in deletion.holds.all()
            if one.uid == uid
            and level in ("", one.level)
            and patient[0] in (None, one.patient_id)
            and patient[1] in (None, one.issuer)
        ]
        if not found:
            raise ObjectMissing(f"there is no such hold on {uid}; zscp hold list shows all")
        deletion.remove_holds(found)
        return found
