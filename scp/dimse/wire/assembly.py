"""Presentation data values assembled into messages (PS3.8 Annex E, PS3.7 6.3).

A dataset goes from the receive buffer into a :class:`~scp.spool.Spool`, which hashes it while the sender
still sends, and holds no more than 4 MB of it in memory.
"""

from __future__ import annotations

from collections.abc import Callable

from scp.dimse.wire.messages import C_STORE_RQ, N_ACTION_RQ, NO_DATASET, Message, Value, read_command
from scp.dimse.wire.pdus import COMMAND, LAST, PDV
from scp.errors import OutOfResources, UnreadableDataset
from scp.spool import Spool

# A message may come in so many pieces whatever is in them, and then in one for each so many bytes. 10 MB in
# large pieces take 13 ms CPU, in pieces of 128 bytes 87 ms, of 2 bytes 5.6 s, and empty ones have no end.
_MOST_PIECES, _LEAST_PIECE = 1024, 128
_LONGEST_COMMAND = 65_536  # a command set of all elements at their longest has 1 KB
# Any dataset but that of a C-STORE is read as a whole, into many times its size. Three lists of 10 000 UIDs
# each have 2 MB; a storage commitment request of 100 000 references has 13 MB.
LONGEST_IDENTIFIER = 4 << 20
LONGEST_ACTION = 16 << 20


class TooSmallPieces(UnreadableDataset):
    """A message comes in presentation data values that carry too little to be worth their headers."""


class Assembly:
    """The message that is being received; whole ones are given to ``deliver``."""

    def __init__(self, deliver: Callable[[Message], None]) -> None:
        self._deliver = deliver
        self._command = bytearray()
        self._fields: dict[str, Value] = {}
        self._in_dataset = False
        self._dataset: Spool | None = None  # also None for one that is read and dropped
        self._longest: int | None = None
        self._fault, self._too_long = "", False
        self._context = 0
        self.payload = 0  # bytes of commands and datasets that ever came, without any header
        self._pieces = self._before = 0

    @property
    def begun(self) -> bool:
        """Whether a part of a message has come, and its rest has not."""
        return self._in_dataset or bool(self._command)

    def take(self, body: memoryview) -> bool:
        """Take the presentation data values of one P-DATA-TF; returns whether a command is complete.

        Raises UnreadableDataset for what breaks the rules of PS3.8 9.3.5.1 or PS3.7 6.3, and TooSmallPieces.
        """
        at, complete = 0, False
        self._pieces += 1  # also where there is no value in it
        while at < len(body):
            if at + 6 > len(body):
                raise UnreadableDataset("a presentation data value ends within its header")
            length, context, control = PDV.unpack_from(body, at)
            if length < 2 or at + 4 + length > len(body):
                raise UnreadableDataset(f"a presentation data value of {length} bytes does not fit its PDU")
            complete |= self._take_value(context, control, body[at + 6 : at + 4 + length])
            at += 4 + length
            self._pieces += 1
        if self._pieces > _MOST_PIECES + (self.payload - self._before) // _LEAST_PIECE:
            raise TooSmallPieces(f"a message in over {_MOST_PIECES} pieces of less than {_LEAST_PIECE} bytes")
        return complete

    def _take_value(self, context: int, control: int, data: memoryview) -> bool:
        self.payload += len(data)
        if control & COMMAND:
            self._command += data
            self._context = context
            if len(self._command) > _LONGEST_COMMAND:
                raise UnreadableDataset(f"a command set of more than {_LONGEST_COMMAND} bytes")
            if control & LAST:
                self._command_complete()
                return True
        elif not self._in_dataset or context != self._context:
            raise UnreadableDataset("a dataset without its command")
        else:
            if self._dataset is not None:
                self._keep(self._dataset, data)
            if control & LAST:
                self._dataset_complete()
        return False

    def _keep(self, dataset: Spool, data: memoryview) -> None:
        """Add to a dataset; where there is no room, the rest of it is read all the same, and dropped."""
        if self._longest is not None and dataset.size + len(data) > self._longest:
            self._dataset, self._too_long = None, True
            self._fault = f"the identifier is longer than {self._longest} bytes"
            return
        try:
            dataset.write(data)
        except OutOfResources as error:
            self._dataset, self._fault = None, str(error)

    def _command_complete(self) -> None:
        if self._in_dataset:
            raise UnreadableDataset("a command within another's dataset")
        self._fields = read_command(bytes(self._command))
        self._command.clear()
        if self._fields.get("CommandDataSetType", NO_DATASET) == NO_DATASET:
            self._delivered(Message(self._context, self._fields))
        else:
            self._begin_dataset()

    def _begin_dataset(self) -> None:
        field = self._fields["CommandField"]
        stored = field == C_STORE_RQ
        self._longest = None if stored else LONGEST_ACTION if field == N_ACTION_RQ else LONGEST_IDENTIFIER
        self._in_dataset, self._dataset = True, Spool(hashing=stored)
        self._fault, self._too_long = "", False

    def _dataset_complete(self) -> None:
        view, digest = None, ""
        if self._dataset is not None:
            try:
                view, digest = self._dataset.view(), self._dataset.sha256
            except OutOfResources as error:
                self._fault = str(error)
        self._delivered(Message(self._context, self._fields, view, digest, self._fault, self._too_long))
        self._in_dataset, self._dataset = False, None

    def _delivered(self, message: Message) -> None:
        self._deliver(message)
        self._pieces, self._before = 0, self.payload
