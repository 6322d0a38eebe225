"""Which received objects are accepted, with or without a remark: unnamed, incomplete and unreadable ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scp.archive.encode import uids_within
from scp.archive.records import check_uids
from scp.encoding.uids import LONGEST, is_usable, uids_of
from scp.errors import (
    IncompleteDataset,
    MismatchedPixelData,
    UnidentifiedDataset,
    UnreadableDataset,
    UnusableUid,
)
from scp.model import Facts, Kept, Received
from scp.syntaxes import BY_UID

Choice = Literal["keep", "reject"]


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether objects that lack a UID (``incomplete``), or cannot be read, are kept or rejected."""

    incomplete: Choice = "keep"
    unreadable: Choice = "keep"

    def check(self, received: Received, facts: Facts) -> None:
        """Reject an object that must not be kept.

        Raises UidMismatch, IncompleteDataset, UnreadableDataset, MismatchedPixelData.
        """
        check_uids(received, facts)
        if self.unreadable == "reject" and (fault := fault_of(facts)):
            raise (MismatchedPixelData if facts.mismatched else UnreadableDataset)(fault)
        if self.incomplete == "reject" and (given := uids_within(received, facts).given):
            raise IncompleteDataset(f"the dataset has no {', '.join(given)}")


def check_names(received: Received) -> None:
    """Check that an object can be kept under the command's UIDs. Raises UnidentifiedDataset, UnusableUid."""
    if not received.dataset or not received.sop_instance_uid:
        raise UnidentifiedDataset("no dataset, or no Affected SOP Instance UID to keep it under")
    for uid in (received.sop_class_uid, received.sop_instance_uid):
        if uid and not is_usable(uid):
            told = repr(uid[:20])
            what = f"UID with a backslash or NUL, or over {LONGEST} characters: {told}"
            raise UnusableUid(what, quoted=told)


def fault_of(facts: Facts) -> str:
    """Why an object cannot be read in the transfer syntax that it was announced in; empty if it can be read.

    A transfer syntax that zscp does not know is no fault of the object.
    """
    return facts.fault if facts.transfer_syntax in BY_UID else ""


def remarked(kept: Kept, facts: Facts) -> Kept:
    """``kept`` with what the sender must be told: the object's fault, and the UIDs that it was given."""
    one = kept.instance
    given = uids_of(one.sop_class_uid, one.sop_instance_uid, facts.attributes, {}).given
    modality = facts.attributes.get("Modality", "")
    return Kept(kept.outcome, one, kept.attempts, fault_of(facts), given, modality)
