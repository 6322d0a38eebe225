"""User Identity Negotiation (PS3.7 D.3.3.7): who a peer says that its user is, checked and answered."""

from __future__ import annotations

import secrets
import threading
from functools import cache

from pynetdicom.pdu_primitives import UserIdentityNegotiation

from scp.config.settings import Settings
from scp.config.users import User, hashed
from scp.dimse.negotiation.association_pdus import Rejection

_NAME, _NAME_AND_PASSCODE = 1, 2
_KINDS = {3: "a Kerberos ticket", 4: "a SAML assertion", 5: "a JSON web token"}
# A hash takes 19 MB and 33 ms of a core: one at a time in a process, however many peers ask.
_one_at_a_time = threading.Lock()


def refused_by_identity(settings: Settings, asked: UserIdentityNegotiation | None) -> Rejection | None:
    """The rejection of a peer whose user is not known, where users are required.

    It is permanent, by the service user, without a reason: PS3.8 9.3.4 has none for this.
    """
    if settings.access.users == "ignored":
        return None
    why = _fault(settings, asked)
    return Rejection(1, 1, 1, why) if why else None


def _fault(settings: Settings, asked: UserIdentityNegotiation | None) -> str:
    if asked is None:
        return 'it names no user, and access.users is "required"'
    kind = asked.user_identity_type
    if kind not in (_NAME, _NAME_AND_PASSCODE):
        shown = _KINDS.get(kind or 0, "something unknown")
        return f"its user shows {shown}; only names and passcodes are checked"
    name = name_of(asked)
    user = next((one for one in settings.user if one.name == name), None)
    with _one_at_a_time:
        known = (user or _nobody()).shows(asked.secondary_field or b"") and user is not None
    # Not which of both it is, nor the name: it may be a passcode in the wrong field.
    return "" if known else "its user is not known, or the passcode is not the user's"


@cache
def _nobody() -> User:
    """Whose passcode nobody has: an unknown name takes as long as a wrong passcode, and neither is told."""
    return User(name="nobody", passcode=hashed(secrets.token_hex()))


def name_of(asked: UserIdentityNegotiation | None) -> str:
    """The name that a user has; only once it was checked it is one, and no passcode in the wrong field."""
    return (asked.primary_field or b"").decode("utf-8", "replace") if asked is not None else ""


def answer_to(asked: UserIdentityNegotiation | None) -> UserIdentityNegotiation | None:
    """The response, where one is asked for: the association is accepted with it.

    pynetdicom does not answer names and passcodes. The response is empty, as it has to be for those. It is
    empty for tickets and assertions too: zscp checks none, and has none to give.
    """
    if asked is None or not asked.positive_response_requested:
        return None
    answer = UserIdentityNegotiation()
    answer.server_response = b""
    return answer
