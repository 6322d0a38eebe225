"""What an archive may be given besides its object store, its index and its policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scp.archive.admission import Admission
from scp.archive.forwarding import Forwarding
from scp.archive.pairing import Pairing
from scp.archive.pending import PendingBound
from scp.archive.safekeeping import Safekeeping
from scp.objects.attempts import Attempts
from scp.objects.decoded import DecodedCache

Duplicates = Literal["replace", "keep", "reject"]
_DEFAULT = Admission()


@dataclass(frozen=True, slots=True)
class Options:
    """Each part is there or not; the defaults are those of an archive that does all at once by itself.

    ``pending`` says how much may be encoded behind the response, and wakes who does that: without it all is
    encoded before. ``forwarding`` says what is sent on. With a ``safekeeping`` what is replaced goes to the
    trash, and what is under a hold is not replaced. ``attempts`` tells the next process what this one died
    of. ``pairing`` knows whether the index is the stores' own. ``decoded`` caches objects that were slow to
    decode.
    """

    duplicates: Duplicates = "replace"
    admission: Admission = _DEFAULT
    pending: PendingBound | None = None
    forwarding: Forwarding | None = None
    safekeeping: Safekeeping | None = None
    attempts: Attempts | None = None
    pairing: Pairing | None = None
    decoded: DecodedCache | None = None
