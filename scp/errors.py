"""Every error that zscp raises on purpose, as one tree.

::

    ZscpError
    ├── ConfigurationError        the configuration cannot be used; names the key and the remedy
    ├── NotStarted                a process that a node needs was ended at its start
    ├── ClockDoubted              the clock jumped ahead, and nothing is removed by it
    ├── DatasetError              what a peer sent is at fault
    │   ├── UnreadableDataset     its encoding cannot be followed
    │   │   ├── MismatchedPixelData   its pixel data is of another kind than its transfer syntax has
    │   │   └── BeyondBounds          it is, or holds, more than [limits] allows
    │   ├── UnidentifiedDataset   nothing says which SOP instance it is, so it cannot be kept
    │   ├── UnusableUid           its SOP Instance UID is one that no object can be stored under
    │   ├── IncompleteDataset     it lacks a UID, and storage.incomplete says reject
    │   ├── UidMismatch           its UIDs disagree with the command that carried it
    │   ├── UnsupportedSopClass   it is of a SOP class that is not stored
    │   ├── UnsupportedSyntax     it is in a transfer syntax that is not taken
    │   └── DuplicateRejected     it is held with other content, which a hold or the configuration keeps
    │       └── Superseded        the stored object was received later
    ├── MalformedAssociation      an A-ASSOCIATE PDU that cannot be read, or whose values cannot be used
    │   └── AssociationBeyondLimit  one that asks for more than is served
    ├── UnrecognizedOperation     an operation that its SOP class does not have
    ├── SeveralPatients           what somebody names is of several patients, and it does not say whose
    ├── QueryError                an identifier that the standard does not allow
    │   └── IdentifierTooLarge    it is, or holds, more than is read
    ├── ActionRefused             an N-ACTION that cannot be acted upon
    │   ├── NoSuchAction          not one that its SOP class has
    │   ├── NoSuchInstance        not on the well-known SOP instance of its SOP class
    │   └── InvalidArgument       its information is not what the standard asks for
    ├── NotAuthorized             a peer may not do this, by the configuration
    ├── DestinationUnknown        a C-MOVE destination that no [[peer]] names
    ├── DestinationUnreachable    a peer that does not answer, or refuses the association
    │   └── NothingAccepted       it accepts none of the presentation contexts
    ├── CodecError                pixel data could not be converted from one form to another
    │   ├── CannotEncode          this codec cannot take this object
    │   ├── CannotDecode          this codestream cannot be read
    │   │   ├── DamagedCodestream  it is cut off or damaged: a decoder would invent a part of the image
    │   │   ├── BeyondBitsStored  its samples need more bits than its header describes
    │   │   ├── PixelsBeyondBounds  it declares more pixels than [limits] allows, or than it can hold
    │   │   └── CodecProcessFailed  its codec's process died, or exceeded its limit of memory or time
    │   │       └── DecoderFailed     while it decoded what was received
    │   └── NotReproduced         the result does not reproduce what was received
    ├── NoLosslessWay             no accepted transfer syntax can carry the object without loss
    ├── NoPicture                 an object has no pixels, or none that can be shown
    ├── OutOfResources            no room, or the store or index does not answer
    │   ├── ObjectChanged         another process put an object, or changed it, meanwhile
    │   ├── ReplacementWaits      what is held of an object cannot be replaced by other content now
    │   ├── FormLacksRoom         an object's form could not be made for lack of memory or disk
    │   └── IndexDamaged          the index's own file is not what was written
    ├── IndexUnfit                the index does not belong to the stores, or lacks objects: rebuild it
    ├── DictionaryNeeded          a zstd dictionary is not removed: objects need it, or may
    ├── HoldUnreadable            a legal hold cannot be read, so that nothing is replaced meanwhile
    ├── ObjectMissing             the index names a file that is not there
    ├── ObjectUnavailable         a stored object cannot be read now; it is not lost
    │   ├── ObjectElsewhere       it is in the landing log of another node, which has yet to upload it
    │   ├── ObjectRefused         an operation on it is no longer tried: it ended processes, or failed
    │   └── ObjectUnreadable      its file is there, but permissions or resources do not let it be read
    │       └── KeyMissing        it is encrypted with a key that the configuration does not have
    └── ObjectDamaged             a stored file is not what was written
        └── DictionaryMissing     the zstd dictionary that it needs is not there, or not what was written

Errors of libraries are translated into these where the library is called. How each is answered on
the wire is one table: :mod:`scp.dimse.status`.
"""

from __future__ import annotations

import re


class ZscpError(Exception):
    """Base of every error that zscp raises on purpose.

    ``quoted`` is a value of a dataset or a query in the message. Who sent it may read it; the log must not.
    ``limit`` is the limit that was reached, by its key where it has one; these are counted.
    """

    def __init__(self, *message: object, quoted: str = "", limit: str = "") -> None:
        super().__init__(*message)
        self.quoted = quoted
        self.limit = limit


# What Python and libraries quote in the messages of their errors.
_QUOTED = re.compile(r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*\"""")


def public(error: BaseException) -> str:
    """The message of an error without any value of a dataset or a query: those are patients' data."""
    told = str(error)
    if isinstance(error, ZscpError):
        return told.replace(error.quoted, "…") if error.quoted else told
    return told if isinstance(error, OSError) else _QUOTED.sub("…", told)


def message_of(error: BaseException) -> str:
    """An error as a message for people; it names the class of an error that nobody raises on purpose."""
    if isinstance(error, MemoryError):
        return f"there was not enough memory{': ' * bool(str(error))}{error}"
    return (
        str(error) if isinstance(error, (ZscpError, OSError)) else f"{type(error).__name__}: {public(error)}"
    )


class ConfigurationError(ZscpError):
    """The configuration cannot be used; the message names file, key, fault and remedy."""


class ClockDoubted(ZscpError):
    """The clock jumped ahead, and nothing is removed by it."""


class NotStarted(ZscpError):
    """A process that a node needs was ended at its start."""


class DatasetError(ZscpError):
    """A received dataset is at fault."""


class UnreadableDataset(DatasetError):
    """The encoding of a dataset cannot be followed to its end."""


class MismatchedPixelData(UnreadableDataset):
    """The pixel data is of another kind than the transfer syntax has; the rest can be followed."""


class BeyondBounds(UnreadableDataset):
    """A dataset is, or holds, more than ``[limits]`` allows: it is not looked into any further."""


class UnusableUid(DatasetError):
    """The SOP Class or Instance UID of the command is one that no object can be kept under."""


class IncompleteDataset(DatasetError):
    """The dataset lacks a UID that its SOP class demands, and is to be rejected."""


class UnidentifiedDataset(DatasetError):
    """Neither the command set nor the dataset says which SOP instance this is."""


class UidMismatch(DatasetError):
    """The dataset's SOP Class or Instance UID disagrees with the command set's."""


class UnsupportedSopClass(DatasetError):
    """By STOW-RS: the SOP class is not stored; on an association its presentation context is refused."""


class UnsupportedSyntax(DatasetError):
    """By STOW-RS: the transfer syntax is not taken; on an association its presentation context is refused."""


class DuplicateRejected(DatasetError):
    """The SOP instance is held already with other content, which a hold or the configuration keeps."""


class Superseded(DuplicateRejected):
    """The stored object was received later than the one that was found on the disk."""


class MalformedAssociation(ZscpError):
    """A peer's A-ASSOCIATE PDU cannot be read, or announces a maximum length in which nothing fits."""


class AssociationBeyondLimit(MalformedAssociation):
    """An A-ASSOCIATE PDU holds, or asks for, more than is served; a request is rejected."""


class UnrecognizedOperation(ZscpError):
    """A request for an operation that the SOP class of its presentation context does not have."""


class SeveralPatients(ZscpError):
    """A UID or Patient ID that somebody names is of several patients: say whose, or that all are meant."""


class QueryError(ZscpError):
    """A query's identifier is not one that PS3.4 C.4 allows."""


class IdentifierTooLarge(QueryError):
    """A request's identifier is, or holds, more than any real one: it is not looked into."""


class ActionRefused(ZscpError):
    """An N-ACTION that cannot be acted upon."""


class NoSuchAction(ActionRefused):
    """An N-ACTION of another type than its SOP class has."""


class NoSuchInstance(ActionRefused):
    """An N-ACTION on another SOP instance than the well-known one of its SOP class."""


class InvalidArgument(ActionRefused):
    """The information of an N-ACTION is not what PS3.4 asks for."""


class NotAuthorized(ZscpError):
    """A peer asks for what the configuration does not let it do; says by which key."""


class DestinationUnknown(ZscpError):
    """A C-MOVE names a destination that is not among the configured peers."""


class DestinationUnreachable(ZscpError):
    """A peer that zscp opens an association to does not answer, or refuses it."""


class NothingAccepted(DestinationUnreachable):
    """A peer accepts none of the presentation contexts: another try would get the same answer."""


class CodecError(ZscpError):
    """Pixel data could not be converted from one form to another."""


class CannotEncode(CodecError):
    """A codec cannot take this object; the message says why."""


class CannotDecode(CodecError):
    """A codestream cannot be read."""


class DamagedCodestream(CannotDecode):
    """A codestream is cut off or damaged; what a tolerant decoder makes of it is not the object's image."""

    def __str__(self) -> str:
        return f"the codestream is cut off or damaged: {super().__str__()}"

    def of_frame(self, number: int, frames: int) -> DamagedCodestream:
        """The same, naming the frame where there are several; the first is 1."""
        told = super().__str__()
        return DamagedCodestream(f"frame {number} of {frames}: {told}" if frames > 1 else told)


class BeyondBitsStored(CannotDecode):
    """Samples use more bits than Bits Stored; ``bits`` is the precision that their codestream has."""

    def __init__(self, stored: int, bits: int = 0) -> None:
        of = f", the codestream's precision is {bits}" if bits else ""
        super().__init__(f"bits above Bits Stored ({stored}) are in use{of}")
        self.stored = stored
        self.bits = bits


class PixelsBeyondBounds(CannotDecode):
    """Pixel data declares more than ``[limits]`` allows, or more than its codestream can hold."""


class CodecProcessFailed(CannotDecode):
    """A codec's process died on a frame, or exceeded its limit of memory or time; in encoding too."""


class DecoderFailed(CodecProcessFailed):
    """As :class:`CodecProcessFailed`, for a received codestream: no other way to decode it is tried."""


class NotReproduced(CodecError):
    """What was encoded does not decode to what was received."""


class NoLosslessWay(ZscpError):
    """No transfer syntax that the peer accepted can carry the object without loss."""


class NoPicture(ZscpError):
    """An object has no pixels, or none that can be shown as a picture; the message says why."""


class OutOfResources(ZscpError):
    """There is no room for an object, or the store or the index does not answer."""


class ObjectChanged(OutOfResources):
    """A put did not meet its condition: another process has put the object, or changed it, meanwhile."""


class FormLacksRoom(OutOfResources):
    """A form could not be made for lack of memory or disk; ``times`` says how often, as it is tried again."""

    def __init__(self, reason: str, times: int = 1) -> None:
        super().__init__(reason)
        self.times = times


class ReplacementWaits(OutOfResources):
    """Other content of an object cannot take its place now, as that one's node does not run."""


class IndexDamaged(OutOfResources):
    """The index cannot be read: its file is damaged. It can be rebuilt from the objects."""


class IndexUnfit(ZscpError):
    """The index does not know what the stores hold; the message says why, and how to rebuild it."""


class HoldUnreadable(ZscpError):
    """A legal hold cannot be read, so that no object is replaced by other content until that is repaired."""


class ObjectMissing(ZscpError):
    """The index names a stored object that is not in the object store."""


class ObjectUnavailable(ZscpError):
    """A stored object's medium is absent, or cannot be read: try again later."""


class ObjectElsewhere(ObjectUnavailable):
    """A stored object is in another node's landing log; it can be read once that node has uploaded it."""


class ObjectRefused(ObjectUnavailable):
    """An operation on an object is no longer tried: it ended processes, or failed again and again."""


class ObjectUnreadable(ObjectUnavailable):
    """A stored file is there, but cannot be read for lack of a permission or of system resources.

    Other objects of its store may be readable all the same.
    """


class KeyMissing(ObjectUnreadable):
    """A stored object is encrypted with a key that its store's ``encryption_keys`` lack; it is not lost."""


class ObjectDamaged(ZscpError):
    """A stored object is not what was written: it must not be served."""


class DictionaryNeeded(ZscpError):
    """A zstd dictionary cannot be removed; the message says what needs it, and what to do."""


class DictionaryMissing(ObjectDamaged):
    """A stored object needs a zstd dictionary that is missing; with that dictionary it is intact."""
