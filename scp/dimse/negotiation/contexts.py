"""SOP classes and transfer syntaxes that are accepted, as tables, and the order of preference among them.

docs/conformance.md shows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pynetdicom import build_context
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import (
    NonPatientObjectStorageServiceClass,
    ServiceClass,
    StorageServiceClass,
)
from pynetdicom.sop_class import _NON_PATIENT_OBJECT_CLASSES, _STORAGE_CLASSES, uid_to_service_class

from scp import syntaxes
from scp.dimse.wire import messages
from scp.errors import UnsupportedSopClass, UnsupportedSyntax
from scp.syntaxes import BY_UID, Content, lookup

VERIFICATION = "1.2.840.10008.1.1"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"  # its Push Model (PS3.4 J.3)
_QUERY_RETRIEVE = "1.2.840.10008.5.1.4.1.2."
# SOP class → its information model's root (PS3.4 C.6).
FIND = {_QUERY_RETRIEVE + "1.1": "PATIENT", _QUERY_RETRIEVE + "2.1": "STUDY"}
MOVE = {_QUERY_RETRIEVE + "1.2": "PATIENT", _QUERY_RETRIEVE + "2.2": "STUDY"}
GET = {_QUERY_RETRIEVE + "1.3": "PATIENT", _QUERY_RETRIEVE + "2.3": "STUDY"}

# The one operation that each SOP class has; those that are not here are stored.
_OPERATIONS = {
    STORAGE_COMMITMENT: messages.N_ACTION_RQ,
    **dict.fromkeys(FIND, messages.C_FIND_RQ),
    **dict.fromkeys(MOVE, messages.C_MOVE_RQ),
    **dict.fromkeys(GET, messages.C_GET_RQ),
}

_STORAGE_ROOT = "1.2.840.10008.5.1.4.1.1."
_STANDARD_ROOT = "1.2.840.10008."
_SYNTAX_ROOT = "1.2.840.10008.1.2."
_VIDEO_CLASSES = {_STORAGE_ROOT + "77.1.1.1", _STORAGE_ROOT + "77.1.2.1", _STORAGE_ROOT + "77.1.4.1"}

_WITHOUT_PIXELS = frozenset((VERIFICATION, STORAGE_COMMITMENT, *FIND, *MOVE, *GET))
# Identifiers of C-FIND and the like hold no pixel data.
COMMAND_SYNTAXES = (syntaxes.EXPLICIT, syntaxes.IMPLICIT, syntaxes.DEFLATED, syntaxes.BIG_ENDIAN)


def has_operation(sop_class: str, field: int) -> bool:
    """Whether a SOP class has the operation of a Command Field. C-ECHO is answered in any context."""
    if sop_class == VERIFICATION or field == messages.C_ECHO_RQ:
        return field == messages.C_ECHO_RQ
    return field == _OPERATIONS.get(sop_class, messages.C_STORE_RQ)


def _preference(row: syntaxes.TransferSyntax) -> tuple[int, int]:
    """What is accepted first when one presentation context proposes several.

    Uncompressed first: it asks no work of the peer, cannot be lossy, and anything can be sent in it.
    Then what is always lossless, then what may not be; an encoder is never led into loss.
    """
    order = (Content.NATIVE, Content.LOSSLESS, Content.EITHER, Content.VIDEO, Content.REFERENCED)
    return order.index(row.content), syntaxes.TABLE.index(row)


_SURELY_LOSSLESS = (Content.NATIVE, Content.LOSSLESS)
STORAGE_SYNTAXES = tuple(row.uid for row in sorted(syntaxes.TABLE, key=_preference))
_VIDEO_FIRST = tuple(sorted(STORAGE_SYNTAXES, key=lambda uid: BY_UID[uid].content is not Content.VIDEO))


def is_storage(sop_class: str, unknown_too: bool) -> bool:
    """Whether objects of a SOP class are stored.

    One that pynetdicom has no service for counts as storage where ``unknown_too``, unless it is the
    standard's own and no storage class.
    """
    service = uid_to_service_class(sop_class)
    if service in (StorageServiceClass, NonPatientObjectStorageServiceClass):
        return True
    standard = sop_class.startswith(_STANDARD_ROOT) and not sop_class.startswith(_STORAGE_ROOT)
    return unknown_too and service is ServiceClass and not standard


def _is_unknown_syntax(uid: str) -> bool:
    """A private transfer syntax, or one of the standard's that came after this version."""
    return uid not in BY_UID and (not uid.startswith(_STANDARD_ROOT) or uid.startswith(_SYNTAX_ROOT))


def check_stored(sop_class: str, transfer_syntax: str, unknown_too: bool) -> None:
    """Whether a presentation context would be accepted for an object that comes without one.

    Raises UnsupportedSopClass, UnsupportedSyntax.
    """
    if not is_storage(sop_class, unknown_too):
        raise UnsupportedSopClass(f"objects of SOP class {sop_class} are not stored")
    if transfer_syntax not in BY_UID and not (unknown_too and _is_unknown_syntax(transfer_syntax)):
        raise UnsupportedSyntax(f"{transfer_syntax} is no transfer syntax that objects are stored in")


def storage_classes() -> list[str]:
    """The SOP classes that count as storage without being unknown, in the order of PS3.4 B.5 and GG.3."""
    return [*_STORAGE_CLASSES.values(), *_NON_PATIENT_OBJECT_CLASSES.values()]


def _order(abstract: str, unknown_too: bool, preferred: Iterable[str]) -> Iterable[str]:
    """The transfer syntaxes of a SOP class, best first; empty where this node has no service for it."""
    if abstract in _WITHOUT_PIXELS:
        return COMMAND_SYNTAXES
    if not is_storage(abstract, unknown_too):
        return ()
    order = _VIDEO_FIRST if abstract in _VIDEO_CLASSES else STORAGE_SYNTAXES
    # A lossy syntax is preferred for sending to the peer; nobody is to send lossy because of it.
    return (*(one for one in preferred if lookup(one).content in _SURELY_LOSSLESS), *order)


def chosen(abstract: str, offered: Sequence[str], unknown_too: bool, preferred: Iterable[str] = ()) -> str:
    """The best transfer syntax that a presentation context offers; any of them where none is supported.

    ``preferred`` transfer syntaxes of a configured peer go before all others.
    """
    order = _order(abstract, unknown_too, preferred)
    known = set(offered)
    for uid in order:
        if uid in known:
            return uid
    # An object in an unknown syntax can be stored, and sent again as it came.
    if unknown_too and order and abstract not in _WITHOUT_PIXELS:
        return min(filter(_is_unknown_syntax, known), default=offered[0])
    return offered[0]


def supported(
    proposed: Iterable[PresentationContext], unknown_too: bool, preferred: Iterable[str] = ()
) -> list[PresentationContext]:
    """The contexts that this node supports of those that a peer proposes; one for each abstract syntax.

    With ``unknown_too``, objects of unknown SOP classes and in unknown transfer syntaxes are taken.

    Storage is offered in both roles: the requester of a C-GET is the SCP of its objects (PS3.4 C.5.3).
    """
    offered: dict[str, set[str]] = {}
    for context in proposed:
        offered.setdefault(str(context.abstract_syntax), set()).update(map(str, context.transfer_syntax))
    contexts = []
    for uid, syntaxes_offered in offered.items():
        order = _order(uid, unknown_too, preferred)
        if uid in _WITHOUT_PIXELS:
            contexts.append(build_context(uid, list(order)))
        elif order:
            # Those that the peer does not offer are left out, as pynetdicom looks at each.
            common = [syntax for syntax in dict.fromkeys(order) if syntax in syntaxes_offered]
            if unknown_too:  # last: only the received stream can be sent again
                common += sorted(each for each in syntaxes_offered if _is_unknown_syntax(each))
            context = build_context(uid, common or list(STORAGE_SYNTAXES[:1]))
            context.scu_role = context.scp_role = True
            contexts.append(context)
    return contexts
