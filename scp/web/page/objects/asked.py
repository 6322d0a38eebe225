"""What the page asks of the node about stored objects; :mod:`scp.node.page_objects` answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from scp.audit.events import Participant
from scp.model import Instance
from scp.web.page.objects.reports import (
    ChosenObjects,
    Download,
    ExplainedObject,
    FoundEntity,
    FoundPage,
    HeaderRows,
    HoldEntry,
    JobReport,
    Level,
    SendRequest,
    TrashEntries,
    Which,
)


class ObjectsDesk(Protocol):
    """Looks at stored objects, and acts on them; ``who`` is told to the audit trail.

    Every method raises ObjectMissing where nothing that is held is meant, SeveralPatients where it is not
    clear whose is meant, QueryError, and OutOfResources; what reads a file raises ObjectDamaged and
    ObjectUnavailable, too.
    """

    # -- looked at; within query.seconds, and 10 s -------------------------------------------------------

    def search(self, level: Level, keys: Mapping[str, str], before: int | None, most: int) -> FoundPage:
        """At most ``most`` matches, the newest first."""

    def entities(self, which: Which) -> list[FoundEntity]:
        """What is meant; several where patients have the UID in common."""

    def instance(self, which: Which) -> Instance:
        """The one instance that is meant, as the index has it."""

    def chosen(self, which: Which) -> ChosenObjects:
        """How much is meant."""

    def explain(self, which: Which) -> ExplainedObject:
        """Why an object is kept as it is; its file is read."""

    def header(
        self, which: Which, who: Participant, first: int, most: int, whole: bool = False
    ) -> HeaderRows:
        """Rows of an object's header; its file is read."""

    def picture(
        self, which: Which, who: Participant, frame: int, most: int, window: tuple[float, float] | None
    ) -> bytes:
        """A frame as PNG, at most ``most`` pixels on its longer side. Raises NoPicture."""

    def holds(self) -> list[HoldEntry]:
        """All legal holds, the oldest first."""

    def trash(self, first: int, most: int) -> TrashEntries:
        """A part of the trash, the latest first."""

    # -- done with them ----------------------------------------------------------------------------------

    def export(self, which: Which, who: Participant, syntax: str) -> Download:
        """One object as a DICOM file, or several as a ZIP file. Raises NoLosslessWay."""

    def send(self, which: Which, who: Participant, aet: str) -> SendRequest:
        """Queue objects for a peer. Raises DestinationUnknown."""

    def hold(self, which: Which, who: Participant, reason: str) -> HoldEntry:
        """Put something under a hold."""

    def release(self, which: Which, who: Participant) -> list[HoldEntry]:
        """Remove the holds on something."""

    # -- done with them as jobs, which are answered at once ----------------------------------------------

    def verify(self, which: Which, who: Participant, deep: bool) -> JobReport:
        """Check stored files."""

    def recompress(self, which: Which, who: Participant, now: bool) -> JobReport:
        """Carry out the stages that are due, or ``now`` all of them."""

    def delete(self, which: Which, who: Participant, reason: str) -> JobReport:
        """Move objects to the trash."""

    def restore(self, which: Which, who: Participant, replace: bool) -> JobReport:
        """Bring a study, an instance, or an entry by its id back from the trash."""

    def jobs(self) -> list[JobReport]:
        """All jobs that are known, the latest first."""

    def job(self, id: str) -> JobReport:  # noqa: A002 - what it is
        """A job. Raises ObjectMissing."""

    def stop_job(self, id: str) -> JobReport:  # noqa: A002 - what it is
        """Make a job end early; what it did stays. Raises ObjectMissing."""
