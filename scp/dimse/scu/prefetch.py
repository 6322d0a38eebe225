"""Queues earlier studies of a patient when one of the patient's studies arrives, or is asked for."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime

import structlog

from scp.archive.archive import Archive
from scp.archive.forwarding import Forwarding
from scp.background.loop import Task
from scp.model import PREFETCH, Instance, Query, QueryKey, QueuedSend
from scp.policy.forwarding import Occasion, priors

_ASKED = {
    "PatientID": "LO",
    "IssuerOfPatientID": "LO",
    "StudyInstanceUID": "UI",
    "StudyDate": "DA",
    "StudyTime": "TM",
    "SeriesInstanceUID": "UI",
    "Modality": "CS",
    "BodyPartExamined": "CS",
}


class Prefetcher(Task):
    """Works on the occasions for prefetching of its process.

    They are not durable: if the process dies, what was not prefetched is sent when it is asked for.
    """

    name = "prefetching"

    def __init__(self, archive: Archive, forwarding: Forwarding) -> None:
        super().__init__(forwarding.occasion_bell)
        self._archive, self._forwarding = archive, forwarding

    def turn(self) -> None:
        """Queue what occasions ask for."""
        while self._forwarding.occasions and not self.stopping.is_set():
            self._take_up(self._forwarding.occasions.popleft())

    def _take_up(self, found: Occasion) -> None:
        log = structlog.get_logger("zscp")
        try:
            queued = prefetch(self._archive, found)
        except Exception as error:  # whatever it was: what is not prefetched is sent when it is asked for
            log.warning("prefetch failed", rule=found.rule.name, exc_info=error)
            return
        if queued:
            log.info("prefetch", rule=found.rule.name, destination=found.rule.to, objects=queued)
            self._forwarding.announce()


def prefetch(archive: Archive, found: Occasion) -> int:
    """Queue what an occasion asks for, or have it brought back; returns how many objects were queued."""
    keys = {**dict.fromkeys(_ASKED, ""), "PatientID": found.patient_id}
    asked = tuple(QueryKey(keyword, _ASKED[keyword], value) for keyword, value in keys.items())
    with closing(archive.find(Query("STUDY", "SERIES", asked, relational=True))) as series:
        studies = priors(found, series)
    now, rule = datetime.now(UTC), found.rule
    sends: list[QueuedSend] = []
    for study in studies:
        named = {"StudyInstanceUID": study, "PatientID": found.patient_id, "IssuerOfPatientID": found.issuer}
        own = tuple(QueryKey(keyword, _ASKED[keyword], value) for keyword, value in named.items())
        instances = archive.instances(Query("STUDY", "STUDY", own))
        if rule.promote:
            archive.record_access(instances)
        for aet in rule.destinations:
            sends += [_ahead(one, aet, rule.name, now) for one in instances]
    return archive.send_queue.add(sends)


def _ahead(instance: Instance, aet: str, rule: str, now: datetime) -> QueuedSend:
    of = instance.identity._asdict()
    return QueuedSend(**of, destination=aet, rule=rule, queued_at=now, due=now, priority=PREFETCH)
