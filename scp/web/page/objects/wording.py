"""What came of an action, as a sentence; as the commands put it."""

from __future__ import annotations

from scp.web.page.objects.reports import (
    DeleteResult,
    HoldEntry,
    JobReport,
    JobResult,
    RecompressResult,
    RestoreResult,
    SendRequest,
    VerifyResult,
)
from scp.web.wording import number, percent, size

_STATES = {"waiting": "It waits for other jobs.", "running": "It is under way."}


def told_of(report: JobReport) -> str:
    """What is known of a job, in a sentence or two."""
    job = report.job
    if job.state == "failed":
        before = f" Until then: {_told_of_result(report.result)}" if report.result is not None else ""
        return f"This did not work: {job.fault}.{before}"
    if job.state in _STATES:
        return _STATES[job.state]
    told = _told_of_result(report.result) if report.result is not None else "Nothing was done."
    if job.state == "stopped":
        return f"It was stopped before its end. {told} Ask for it again to do the rest."
    return told


def _told_of_result(result: JobResult) -> str:
    match result:
        case VerifyResult():
            return _verified(result)
        case RecompressResult():
            return _recompressed(result)
        case DeleteResult():
            return _deleted(result)
        case RestoreResult():
            return f"{number(len(result.restored), 'object')} restored."


def _verified(found: VerifyResult) -> str:
    told = f"{number(found.sound, 'object')} sound, {found.damaged} damaged or missing"
    kept = "; some are kept as received, as they cannot be decoded" if found.undecodable else ""
    return f"{told}{kept}{f'; {found.away} could not be looked at' if found.away else ''}."


def _recompressed(done: RecompressResult) -> str:
    told = []
    if done.encoded or done.packed:
        share, anew = percent(done.after, done.before), f", {done.packed} packed anew" if done.packed else ""
        told.append(f"{done.encoded} encoded{anew}: {size(done.before)} became {size(done.after)} ({share})")
    for count, meaning in (
        (done.lossy, "of them with loss: the originals are in the trash"),
        (done.settled, "encoded that were pending"),
        (done.moved, "moved to another store"),
        (done.no_gain, "stay as they are: no gain"),
        (done.cannot, "cannot take the form"),
        (done.left, "left: they cannot be read, or another process works on them"),
    ):
        if count:
            told.append(f"{count} {meaning}")
    return f"{'; '.join(told) or 'Nothing is due'}."


def _deleted(removal: DeleteResult) -> str:
    told = [f"{number(len(removal.deleted), 'object')} moved to the trash"]
    if removal.held:
        told.append(f"{number(len(removal.held), 'object')} under a hold not deleted")
    if removal.left:
        left = number(len(removal.left), "object")
        told.append(f"{left} not deleted, being worked on or unreadable: try again, or verify")
    return f"{'; '.join(told)}."


def told_of_send(asked: SendRequest) -> str:
    """What was queued for a peer."""
    told = f"{number(asked.queued, 'object')} queued for {asked.destination}; the node sends them now."
    more = f" {number(asked.being_sent, 'object')} being sent to it already." if asked.being_sent else ""
    return told + more


def told_of_hold(hold: HoldEntry) -> str:
    """What came under a hold."""
    return f"{hold.level.capitalize()} {hold.uid} is under a hold, and so is what is added to it."


def told_of_release(holds: list[HoldEntry], uid: str) -> str:
    """Which holds were removed."""
    return f"{number(len(holds), 'hold')} on {uid} removed."
