"""Every error that zscp raises on purpose, as one tree.

::

    ZscpError
    ├── ConfigurationError        the configuration cannot be used; names the key and the remedy
    ├── DatasetError              what a peer sent is at fault
    │   ├── UnreadableDataset     its encoding cannot be followed
    │   ├── UnidentifiedDataset   nothing says which SOP instance it is, so it cannot be kept
    │   ├── UidMismatch           its UIDs disagree with the command that carried it
    │   └── DuplicateRejected     the instance is held with other content, and policy says reject
    ├── QueryError                an identifier that the standard does not allow
    ├── ActionRefused             an N-ACTION that cannot be acted upon
    │   ├── NoSuchAction          not one that its SOP class has
    │   ├── NoSuchInstance        not on the SOP instance that its SOP class is about
    │   └── InvalidArgument       its information is not what the standard asks for
    ├── DestinationUnknown        a C-MOVE destination that no [[peer]] names
    ├── DestinationUnreachable    a peer that does not answer, or refuses the association
    ├── CodecError                pixel data could not be taken from one form to another
    │   ├── CannotEncode          this codec cannot take this object
    │   ├── CannotDecode          this codestream cannot be read
    │   │   └── BeyondBitsStored  its samples need more bits than its header describes
    │   └── NotReproduced         the result does not reproduce what was received
    ├── NoLosslessWay             no accepted transfer syntax can carry the object without loss
    ├── OutOfResources            no room, or the store or index does not answer
    ├── ObjectMissing             the index names a file that is not there
    ├── ObjectUnavailable         a stored object lies where it cannot be read now; it is not lost
    └── ObjectDamaged             a stored file is not what was written
        └── DictionaryMissing     the zstd dictionary that it needs is not there, or not what was written

Errors of libraries are translated into these where the library is called. How each is answered on
the wire is one table: :mod:`scp.dimse.status`.
"""

from __future__ import annotations


class ZscpError(Exception):
    """Base of every error that zscp raises on purpose."""


class ConfigurationError(ZscpError):
    """The configuration cannot be used; the message names file, key, fault and remedy."""


class DatasetError(ZscpError):
    """A received dataset is at fault."""


class UnreadableDataset(DatasetError):
    """The encoding of a dataset cannot be followed to its end."""


class UnidentifiedDataset(DatasetError):
    """Neither the command set nor the dataset says which SOP instance this is."""


class UidMismatch(DatasetError):
    """The dataset's SOP Class or Instance UID disagrees with the command set's."""


class DuplicateRejected(DatasetError):
    """The SOP instance is held already, with other content, and is to be rejected."""


class QueryError(ZscpError):
    """A query's identifier is not one that PS3.4 C.4 allows."""


class ActionRefused(ZscpError):
    """An N-ACTION that cannot be acted upon."""


class NoSuchAction(ActionRefused):
    """An N-ACTION of another type than its SOP class has."""


class NoSuchInstance(ActionRefused):
    """An N-ACTION on another SOP instance than the well-known one of its SOP class."""


class InvalidArgument(ActionRefused):
    """The information of an N-ACTION is not what PS3.4 asks for."""


class DestinationUnknown(ZscpError):
    """A C-MOVE names a destination that is not among the configured peers."""


class DestinationUnreachable(ZscpError):
    """A peer that zscp opens an association to does not answer, or refuses it."""


class CodecError(ZscpError):
    """Pixel data could not be taken from one form to another."""


class CannotEncode(CodecError):
    """A codec cannot take this object; the message says why."""


class CannotDecode(CodecError):
    """A codestream cannot be read."""


class BeyondBitsStored(CannotDecode):
    """Samples that Bits Stored does not describe; ``bits`` is the precision that their codestream has."""

    def __init__(self, stored: int, bits: int = 0) -> None:
        of = f", the codestream's precision is {bits}" if bits else ""
        super().__init__(f"bits above Bits Stored ({stored}) are in use{of}")
        self.bits = bits


class NotReproduced(CodecError):
    """What was encoded does not decode to what was received."""


class NoLosslessWay(ZscpError):
    """No transfer syntax that the peer accepted can carry the object without loss."""


class OutOfResources(ZscpError):
    """There is no room for an object, or the store or the index does not answer."""


class ObjectMissing(ZscpError):
    """The index names a stored object that is not in the object store."""


class ObjectUnavailable(ZscpError):
    """A stored object's medium is not there, or gives nothing: ask again later."""


class ObjectDamaged(ZscpError):
    """A stored object is not what was written: it must not be served."""


class DictionaryMissing(ObjectDamaged):
    """A stored object cannot be read without a zstd dictionary that is not there: it is whole with it."""
