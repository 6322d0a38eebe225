"""The optional parts of an archive, besides its object store, its index and its policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scp.archive.admission import Admission
from scp.archive.elsewhere import Elsewhere
from scp.archive.forwarding import Forwarding
from scp.archive.pairing import Pairing
from scp.archive.pending import PendingBound
from scp.archive.safekeeping import Safekeeping
from scp.archive.trusted_time import TrustedTime
from scp.objects.attempts import Attempts
from scp.objects.decoded import DecodedCache

Duplicates = Literal["replace", "keep", "reject"]
_DEFAULT = Admission()


@dataclass(frozen=True, slots=True)
class Options:
    """The optional parts. By default an archive does everything before the response, and by itself.

    ``pending`` bounds how much may be encoded after the response, and wakes the encoder; without it all is
    encoded before, and nothing lands. ``forwarding`` says which objects are forwarded. With ``safekeeping``
    replaced objects go to the trash, and objects under a legal hold are not replaced. ``attempts`` tells the
    next process which object this one worked on when it died. ``pairing`` checks that the index belongs to
    the stores. ``decoded`` caches objects that are slow to decode. ``landing`` says whether what is small
    goes to the landing log first, as received or in its form; else to a file of its own. ``elsewhere`` knows
    the other nodes that share the store. ``clock`` is the time that counts for what cannot be undone.
    """

    duplicates: Duplicates = "replace"
    admission: Admission = _DEFAULT
    pending: PendingBound | None = None
    forwarding: Forwarding | None = None
    safekeeping: Safekeeping | None = None
    attempts: Attempts | None = None
    pairing: Pairing | None = None
    decoded: DecodedCache | None = None
    landing: bool = True
    elsewhere: Elsewhere | None = None
    clock: TrustedTime | None = None
