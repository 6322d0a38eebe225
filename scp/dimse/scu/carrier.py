"""An association over which objects are sent with C-STORE, several in flight where that was agreed on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count

from pynetdicom.presentation import PresentationContext

from scp.dimse.exchange import Requester
from scp.dimse.negotiation.direct import context_id
from scp.dimse.wire import messages
from scp.dimse.wire.messages import Message, Value
from scp.dimse.wire.upper_layer import Ended, UpperLayer
from scp.model import Instance
from scp.spool import Buffer
from scp.telemetry import is_failure

# Called with each object that the peer has taken, and its bytes on the wire.
Taken = Callable[[Instance, int], None]

_MEDIUM = 0x0000  # priority of sub-operations (PS3.7 9.3.1.1)


def by_sop_class(contexts: Iterable[PresentationContext]) -> dict[str, dict[str, int]]:
    """SOP class → transfer syntax → presentation context, of accepted ones."""
    accepted: dict[str, dict[str, int]] = {}
    for context in contexts:
        syntaxes = accepted.setdefault(str(context.abstract_syntax), {})
        syntaxes.setdefault(str(context.transfer_syntax[0]), context_id(context))
    return accepted


def _untold(_instance: Instance, _size: int) -> None:
    """Nobody wants to know."""


class Carrier(ABC):
    """Sends objects, and reports how they were answered. Used by one thread at a time.

    ``flying`` are the objects that wait for their answer, by Message ID; ``ended`` says how the association
    broke. ``origin`` are AE title and Message ID of the C-MOVE that it is for, if there is one. ``taken`` is
    told of what the peer has taken.
    """

    layer: UpperLayer

    def __init__(
        self, accepted: Mapping[str, Mapping[str, int]], window: int, origin: tuple[str, int] | None = None
    ) -> None:
        self._accepted = accepted
        self._origin = origin
        self._message_ids = count(1)
        self.window = window
        self.flying: dict[int, Instance] = {}
        self.taken: Taken = _untold
        self._sizes: dict[int, int] = {}  # on the wire, of those that fly
        self.ended: Ended | None = None
        self.bytes_sent = 0

    def accepted(self, sop_class: str) -> Mapping[str, int]:
        """Transfer syntax → presentation context of those accepted for a SOP class."""
        return self._accepted.get(sop_class, {})

    def begin(
        self, instance: Instance, transfer_syntax: str, chunks: Iterable[Buffer], copy_uid: str = ""
    ) -> None:
        """Send one object, or a copy of it under a SOP Instance UID of its own.

        Raises Ended, and what ``chunks`` raise before anything was sent.
        """
        # Each side numbers its own requests (PS3.7 9.1): ours and the peer's cannot be confused.
        message_id = next(self._message_ids) % 65536
        command: dict[str, Value] = {
            "CommandField": messages.C_STORE_RQ,
            "MessageID": message_id,
            "AffectedSOPClassUID": instance.sop_class_uid,
            "AffectedSOPInstanceUID": copy_uid or instance.sop_instance_uid,
            "Priority": _MEDIUM,
        }
        if self._origin is not None:
            command["MoveOriginatorApplicationEntityTitle"], command["MoveOriginatorMessageID"] = self._origin
        context = self.accepted(instance.sop_class_uid)[transfer_syntax]
        self.flying[message_id], before = instance, self.bytes_sent
        try:
            self.layer.send(context, command, self._counted(chunks))
            self._sizes[message_id] = self.bytes_sent - before
        except Ended:
            raise
        except BaseException:
            del self.flying[message_id]
            raise

    def answered(self, wait: bool) -> list[tuple[Instance, int]]:
        """Objects that were answered, with their statuses. Raises Ended.

        Returns those that came already; with ``wait``, waits for at least one message.
        """
        found = []
        for message in self.responses(wait and bool(self.flying)):
            # PS3.7 9.1.1: answers come in any order; one to no request of ours is ignored.
            message_id = message.number("MessageIDBeingRespondedTo")
            instance, size = self.flying.pop(message_id, None), self._sizes.pop(message_id, 0)
            if instance is not None:
                status = message.number("Status")
                found.append((instance, status))
                if not is_failure(status):
                    self.taken(instance, size)
        return found

    def forget(self, instance: Instance) -> None:
        """No longer wait for the answer to an object that could not be sent to its end."""
        for message_id, flying in list(self.flying.items()):
            if flying is instance:
                del self.flying[message_id]

    def _counted(self, chunks: Iterable[Buffer]) -> Iterator[Buffer]:
        for chunk in chunks:
            self.bytes_sent += len(chunk)
            yield chunk

    @abstractmethod
    def responses(self, wait: bool) -> list[Message]:
        """Responses that have come; where ``wait``, returns after at least one message. Raises Ended."""


class SameAssociation(Carrier):
    """For C-GET: objects go to the requester over its own association (PS3.4 C.4.3)."""

    def __init__(self, association: Requester) -> None:
        # The requester takes the SCP role for these (PS3.4 C.5.3).
        as_scu = [context for context in association.accepted_contexts if context.as_scu]
        super().__init__(by_sop_class(as_scu), association.suboperations)
        self.layer = association.upper_layer
        self._association = association

    def responses(self, wait: bool) -> list[Message]:
        """Responses that have come; other messages are set aside. Raises Ended."""
        return self._association.responses(wait)
