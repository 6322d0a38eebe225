"""Error class → DIMSE status, one table (PS3.4 B.2.3, C.4.1.1.4, C.4.2.1.5, C.4.3.1.4; PS3.7 Annex C)."""

from __future__ import annotations

from scp.errors import (
    DestinationUnknown,
    DuplicateRejected,
    InvalidArgument,
    NoSuchAction,
    NoSuchInstance,
    OutOfResources,
    QueryError,
    UidMismatch,
    UnidentifiedDataset,
    UnrecognizedOperation,
)

SUCCESS = 0x0000
PENDING = 0xFF00
PENDING_UNSUPPORTED_KEYS = 0xFF01  # optional keys were asked for that are not held
CANCELLED = 0xFE00
WARNING_SUBOPERATIONS = 0xB000  # complete, one or more failures
UNABLE_SUBOPERATIONS = 0xA702  # refused: unable to perform sub-operations
SOP_CLASS_NOT_SUPPORTED = 0x0122
PROCESSING_FAILURE = 0x0110
RESOURCE_LIMITATION = 0x0213
UNABLE_TO_PROCESS = 0xC000

TABLE: tuple[tuple[type[Exception], int], ...] = (
    (OutOfResources, 0xA700),
    (DestinationUnknown, 0xA801),
    (UidMismatch, 0xA900),
    (QueryError, 0xA900),
    (DuplicateRejected, 0x0111),
    (UnidentifiedDataset, 0xC001),
    (NoSuchInstance, 0x0112),
    (InvalidArgument, 0x0115),
    (NoSuchAction, 0x0123),
    (UnrecognizedOperation, 0x0211),
    (Exception, UNABLE_TO_PROCESS),
)
# The N-services have general statuses only (PS3.7 10.1.4.1.10), and other names for these.
OF_N_SERVICES = {0xA700: RESOURCE_LIMITATION, UNABLE_TO_PROCESS: PROCESSING_FAILURE}
# Those that no error stands for, in words.
MEANINGS: tuple[tuple[int, str], ...] = (
    (SUCCESS, "Done."),
    (PENDING, "A match, or sub-operations go on."),
    (PENDING_UNSUPPORTED_KEYS, "A match; a key was asked for that is not held."),
    (CANCELLED, "Ended by C-CANCEL."),
    (WARNING_SUBOPERATIONS, "Sub-operations are complete, and some failed or warned."),
    (UNABLE_SUBOPERATIONS, "No sub-operation succeeded."),
    (PROCESSING_FAILURE, "What is 0xC000 elsewhere, as answer to an N-ACTION."),
    (RESOURCE_LIMITATION, "What is 0xA700 elsewhere, as answer to an N-ACTION."),
)
# (0000,0902) is an LO: 64 characters, no backslash.
_LONGEST_COMMENT = 64


def status_of(error: Exception) -> int:
    """The status that answers an error."""
    return next(status for kind, status in TABLE if isinstance(error, kind))


def comment_of(text: str) -> str:
    """The Error Comment that goes with it, cut to what fits."""
    plain = "".join(c if " " <= c <= "~" and c != "\\" else " " for c in text)
    return plain if len(plain) <= _LONGEST_COMMENT else plain[: _LONGEST_COMMENT - 3] + "..."


def is_success(status: int) -> bool:
    """Whether a peer took what an N-service told it: Success, or a warning (PS3.7 C.1, C.2, C.4)."""
    return status == SUCCESS or is_warning(status)


def is_warning(status: int) -> bool:
    """Whether a C-STORE sub-operation with this status was done, with a warning."""
    return status in (0x0001, 0x0107, 0x0116) or status >> 12 == 0xB
