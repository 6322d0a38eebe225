"""Acts that are refused for an object, because they failed or ended a process, and why.

The object stays as it is, and is sent as it is stored. The act is tried again when an admin asks for that
(``zscp recompress --now --match``), or when the library that failed has another version.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from scp.errors import message_of
from scp.model import Attempt, AttemptOutcome, Instance, Provenance
from scp.objects.suspects import ACTS, LONGEST_REASON, Act, Suspect
from scp.syntaxes import lookup

# The stage of an object whose stage was refused; no policy has a stage of this name.
NO_STAGE = "refused"
FAILED: AttemptOutcome = "failed"  # an attempt's outcome
LAST_RESORTS = ("received", "zstd")
_NOT_DONE: dict[Act, str] = {
    "encode": "encoded",
    "decode": "decoded, or encoded",
    "survey": "looked into, decoded or encoded",
    "read": "read",
}
# The acts as an attempt's reason in an object's file names them.
_DOING: dict[Act, str] = {
    "encode": "encoding",
    "decode": "decoding",
    "survey": "surveying",
    "read": "reading",
}
_ACT_OF = {doing: act for act, doing in _DOING.items()}
_FAILED_AT = re.compile(rf"({'|'.join(_ACT_OF)}) with (.*?): (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The act that is refused, why, and the version of the ``library`` that this depends on.

    Acts that need ``act`` are refused with it: an object that is not decoded is not encoded, and one that is
    not surveyed is neither decoded nor encoded.
    """

    act: Act
    reason: str
    library: str

    def covers(self, act: Act) -> bool:
        """Whether ``act`` is refused."""
        return ACTS.index(act) <= ACTS.index(self.act)

    @property
    def message(self) -> str:
        """The refusal as a message: the reason first, as an Error Comment has 64 characters."""
        return f"{self.reason}: it is not {_NOT_DONE[self.act]} any more"

    @property
    def text(self) -> str:
        """The refusal as a row of the index holds it."""
        return json.dumps({"act": self.act, "reason": self.reason, "library": self.library})


def refusal_of(text: str) -> Refusal | None:
    """The refusal in a row's ``text``; None if it is empty, or no version of zscp wrote it."""
    if not text:
        return None
    try:
        found = json.loads(text)
        act = next(act for act in ACTS if act == found["act"])
        return Refusal(act, str(found["reason"]), str(found["library"]))
    except (ValueError, KeyError, TypeError, StopIteration):
        return None


def is_outdated(refusal: Refusal) -> bool:
    """Whether the library that failed has another version now."""
    return refusal.library != library_of(refusal.act)


def in_force(instance: Instance) -> Refusal | None:
    """The refusal of a stored object; None if there is none."""
    found = refusal_of(instance.refused) if instance.refused else None
    return None if found is None or is_outdated(found) else found


def refused_for(instance: Instance, act: Act) -> Refusal | None:
    """The refusal of a stored object, if it covers ``act``."""
    found = in_force(instance)
    return found if found is not None and found.covers(act) else None


def by_suspect(suspect: Suspect) -> Refusal | None:
    """The refusal that the journal of attempts knows for an object; None if there is none."""
    return Refusal(suspect.refused, suspect.reason, suspect.library) if suspect.refused else None


def by_failure(act: Act, error: BaseException) -> Refusal:
    """The refusal of an ``act`` that failed with ``error``."""
    return Refusal(act, message_of(error)[:LONGEST_REASON], library_of(act))


def with_refusal(instance: Instance, refusal: Refusal) -> Instance:
    """The row with this refusal, unless it has one that covers more."""
    held = in_force(instance)
    if held is not None and ACTS.index(held.act) >= ACTS.index(refusal.act):
        return instance
    return replace(instance, refused=refusal.text)


def within(known: Provenance) -> Refusal | None:
    """The refusal that an object's file records; None if a codec made its form."""
    if known.form not in LAST_RESORTS:
        return None
    found: Refusal | None = None
    for one in known.attempts:
        told = _FAILED_AT.fullmatch(one.reason) if one.outcome == FAILED else None
        if told is not None and (found is None or not found.covers(_ACT_OF[told[1]])):
            found = Refusal(_ACT_OF[told[1]], told[3], told[2])
    return found


def attempt_at(form: str, act: Act, error: BaseException | str) -> Attempt:
    """A failure as an attempt in the provenance of an object's file."""
    reason = error if isinstance(error, str) else message_of(error)[:LONGEST_REASON]
    return Attempt(form, FAILED, f"{_DOING[act]} with {library_of(act)}: {reason}")


def library_of(act: Act) -> str:
    """The library, with its version, that decides when a refused ``act`` is tried again: the codecs, or zscp.

    All codecs come with one release of imagecodecs: a new version of any codec is a new version of that.
    """
    return _version("imagecodecs" if act in ("encode", "decode") else "zscp")


def encoding_of(transfer_syntax: str) -> Act:
    """The act that is needed to give an object another form: encapsulated pixel data is decoded first."""
    return "decode" if lookup(transfer_syntax).encapsulated else "encode"


def needs(transfer_syntax: str, target: str) -> tuple[Act, ...]:
    """The acts that are needed to send an object of ``transfer_syntax`` in ``target``; often none."""
    if transfer_syntax == target:
        return ()
    decoded: tuple[Act, ...] = ("decode",) if lookup(transfer_syntax).encapsulated else ()
    coded: tuple[Act, ...] = ("encode",) if lookup(target).encapsulated else ()
    return (*decoded, *coded) or ("survey",)


@cache
def _version(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return name
