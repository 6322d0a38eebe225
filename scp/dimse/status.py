"""Error class → DIMSE status, one table (PS3.4 B.2.3, C.4.1.1.4, C.4.2.1.5, C.4.3.1.4; PS3.7 Annex C)."""

from __future__ import annotations

import re

from scp.errors import (
    DestinationUnknown,
    DuplicateRejected,
    HoldUnreadable,
    IncompleteDataset,
    InvalidArgument,
    MismatchedPixelData,
    NoSuchAction,
    NoSuchInstance,
    NotAuthorized,
    OutOfResources,
    QueryError,
    UidMismatch,
    UnidentifiedDataset,
    UnreadableDataset,
    UnrecognizedOperation,
    UnsupportedSopClass,
    UnsupportedSyntax,
    UnusableUid,
)
from scp.model import Kept

SUCCESS = 0x0000
PENDING = 0xFF00
PENDING_UNSUPPORTED_KEYS = 0xFF01  # optional keys were asked for that are not held
CANCELLED = 0xFE00
WARNING_SUBOPERATIONS = 0xB000  # complete, one or more failures
UNABLE_TO_SEARCH = 0xA701  # of a C-MOVE or C-GET: out of resources, unable to calculate number of matches
UNABLE_SUBOPERATIONS = 0xA702  # refused: unable to perform sub-operations
WARNING_COERCED = 0xB000  # of a C-STORE: data elements are coerced (PS3.4 table B.2-1)
WARNING_MISMATCH = 0xB007  # of a C-STORE: the data set does not match its SOP class (PS3.4 table B.2-1)
SOP_CLASS_NOT_SUPPORTED = 0x0122
PROCESSING_FAILURE = 0x0110
RESOURCE_LIMITATION = 0x0213
UNABLE_TO_PROCESS = 0xC000

TABLE: tuple[tuple[type[Exception], int], ...] = (
    (OutOfResources, 0xA700),
    (HoldUnreadable, 0xA700),
    (NotAuthorized, 0x0124),
    (DestinationUnknown, 0xA801),
    (UidMismatch, 0xA900),
    (QueryError, 0xA900),
    (IncompleteDataset, 0xA900),
    (MismatchedPixelData, 0xA900),
    (DuplicateRejected, 0x0111),
    (UnusableUid, 0x0117),
    (UnsupportedSopClass, 0x0122),
    (UnsupportedSyntax, 0xC122),  # PS3.18 I.2: of STOW-RS alone
    (UnidentifiedDataset, 0xC001),
    (UnreadableDataset, 0xC002),
    (NoSuchInstance, 0x0112),
    (InvalidArgument, 0x0115),
    (NoSuchAction, 0x0123),
    (UnrecognizedOperation, 0x0211),
    # The system refused what the node needs, for example a file's permission: the peer may come again.
    (OSError, 0xA700),
    (Exception, UNABLE_TO_PROCESS),
)
# The N-services have general statuses only (PS3.7 10.1.4.1.10), and other names for these.
OF_N_SERVICES = {
    0xA700: RESOURCE_LIMITATION,
    0xA900: RESOURCE_LIMITATION,  # an identifier that is too large; other faults have statuses of their own
    UNABLE_TO_PROCESS: PROCESSING_FAILURE,
}
# A retrieve that cannot begin; where sub-operations failed, they are counted (UNABLE_SUBOPERATIONS).
OF_RETRIEVES = {0xA700: UNABLE_TO_SEARCH}
# The meanings of the statuses that no error stands for.
MEANINGS: tuple[tuple[int, str], ...] = (
    (SUCCESS, "Done."),
    (PENDING, "A match, or sub-operations go on."),
    (PENDING_UNSUPPORTED_KEYS, "A match; a key was asked for that is not held."),
    (CANCELLED, "Ended by C-CANCEL."),
    (
        WARNING_SUBOPERATIONS,
        "Of a C-MOVE or C-GET: sub-operations are complete, and some failed or warned. "
        "Of a C-STORE: kept; the dataset lacks a UID, and goes out with the one that it is kept under.",
    ),
    (WARNING_MISMATCH, "Kept as it came; it cannot be read in the transfer syntax that it was announced in."),
    (UNABLE_TO_SEARCH, "What is 0xA700 elsewhere, as answer to a C-MOVE or C-GET."),
    (UNABLE_SUBOPERATIONS, "No sub-operation succeeded."),
    (PROCESSING_FAILURE, "What is 0xC000 elsewhere, as answer to an N-ACTION."),
    (
        RESOURCE_LIMITATION,
        "What is 0xA700 elsewhere, as answer to an N-ACTION; or it is too large.",
    ),
)
# The Error Comment for a UID that a dataset lacks, in this order; the UID that it is given comes next.
_TELLING = {
    "StudyInstanceUID": "Study UID missing:",
    "SeriesInstanceUID": "Series UID missing:",
    "SOPInstanceUID": "SOP UID missing:",
    "SOPClassUID": "SOP Class missing:",
}
# (0000,0902) is an LO: 64 characters, no backslash.
_LONGEST_COMMENT = 64
# A message may begin with the key of a stored file, which would leave no room for what is wrong with it.
_LONGEST_KEY = 512
_KEY = re.compile(r"\S+/\S+:? (?=.)")


def status_of(error: Exception) -> int:
    """The status that answers an error."""
    return next(status for kind, status in TABLE if isinstance(error, kind))


def comment_of(text: str) -> str:
    """The Error Comment for a message: without the key of a file, and cut to what fits."""
    if len(text) > _LONGEST_COMMENT and (key := _KEY.match(text, 0, _LONGEST_KEY)):
        text = text[key.end() :]
    plain = "".join(c if " " <= c <= "~" and c != "\\" else " " for c in text)
    return plain if len(plain) <= _LONGEST_COMMENT else plain[: _LONGEST_COMMENT - 3] + "..."


def of_kept(kept: Kept) -> tuple[int, str]:
    """How the C-STORE of an object that was taken is answered: status and Error Comment.

    A fault in reading it comes before a missing UID: that is what its sender should look into.
    """
    if kept.fault:
        return WARNING_MISMATCH, comment_of(kept.fault)
    for keyword, missing in _TELLING.items():
        if uid := kept.given.get(keyword):
            return WARNING_COERCED, comment_of(f"{missing} {uid}")
    return SUCCESS, ""


def is_success(status: int) -> bool:
    """Whether a peer accepted what an N-service sent: Success, or a warning (PS3.7 C.1, C.2, C.4)."""
    return status == SUCCESS or is_warning(status)


def is_warning(status: int) -> bool:
    """Whether a C-STORE sub-operation with this status was done, with a warning."""
    return status in (0x0001, 0x0107, 0x0116) or status >> 12 == 0xB
