"""Sends objects to one peer, over as few associations as they need, and reports each as it is answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from scp.archive.archive import Archive
from scp.archive.deliver import Outgoing, identified
from scp.config.peers import Peer
from scp.config.settings import Settings
from scp.dimse.scu.associate import Destination, associated, batches
from scp.dimse.scu.fetch_ahead import Ahead, Fetched, Work
from scp.dimse.scu.pacing import Throttle
from scp.dimse.scu.traffic import sent_counter
from scp.dimse.status import SUCCESS, is_warning
from scp.dimse.wire.upper_layer import Ended
from scp.identity import Identity
from scp.model import Instance, QueuedSend
from scp.policy.preference import preference_of, proposed

# Those that were taken, and those that failed alone, with the reasons.
Told = Callable[[list[QueuedSend], list[tuple[QueuedSend, str]]], None]


class Sender:
    """Sends objects; ``told`` is called for each one that was answered, or that cannot be sent."""

    def __init__(self, archive: Archive, settings: Settings, peer: Peer, told: Told) -> None:
        self._archive, self._settings, self._peer, self._told = archive, settings, peer, told
        self._preference = preference_of(peer)
        self._stopped = threading.Event()
        self._carrier: Destination | None = None
        self._throttle = Throttle(peer.link_mbps, time.monotonic, self._stopped.wait)
        self._left: dict[Identity, QueuedSend] = {}
        self.bytes_sent = 0  # of datasets, over all associations

    def stop(self) -> None:
        """Make :meth:`send` return soon."""
        self._stopped.set()
        if (carrier := self._carrier) is not None:
            carrier.layer.break_off()

    def send(self, objects: Sequence[tuple[QueuedSend, Instance]]) -> str:
        """Send objects; returns why an association ended early, if one did.

        Raises DestinationUnreachable; then ``told`` was not called for what was not sent.
        """
        self._left = {instance.identity: queued for queued, instance in objects}
        instances = [instance for _, instance in objects]
        taken = sent_counter("forward", self._peer.aet, self._archive, instances)
        for batch, contexts in batches(instances, proposed(self._preference)):
            if self._stopped.is_set():
                return ""
            self._carrier = carrier = associated(self._peer, contexts, self._settings)
            try:
                carrier.taken = taken
                self._carry(carrier, Work(batch))
            except Ended as ended:
                carrier.ended = ended
                if self._stopped.is_set():
                    return ""
                return self._broken(carrier, ended)
            finally:
                self._carrier = None
                self.bytes_sent += carrier.bytes_sent
                carrier.close()
        return ""

    def _carry(self, carrier: Destination, work: Work) -> None:
        def fetch(instance: Instance) -> Outgoing:
            accepted = carrier.accepted(instance.sop_class_uid)
            return identified(self._archive.fetch(instance, accepted, self._preference))

        most = carrier.window - 1
        with Ahead(work, fetch) as ahead:
            for fetched in ahead:
                # The peer may break off at one that failed before: nothing else is in flight with it.
                alone = self._left[fetched.instance.identity].attempts > 0
                self._settle(carrier, 0 if alone else most)
                if self._stopped.is_set():
                    work.put_back([fetched.instance])
                    break
                self._begin(carrier, fetched)
                most = 0 if alone else carrier.window - 1
        self._settle(carrier, 0)

    def _begin(self, carrier: Destination, fetched: Fetched) -> None:
        try:
            if fetched.error is not None:
                raise fetched.error
            chunks = self._throttle.paced(fetched.chunks)
            carrier.begin(fetched.instance, fetched.transfer_syntax, chunks, fetched.copy_uid)
        except Ended:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, the other objects are sent
            self._told([], [(self._take(fetched.instance), str(error))])

    def _settle(self, carrier: Destination, most: int) -> None:
        """Report what was answered, and wait until at most so many are not."""
        while carrier.flying:
            answered = carrier.answered(wait=len(carrier.flying) > most)
            self._tell(answered)
            if len(carrier.flying) <= most:
                return

    def _tell(self, answered: list[tuple[Instance, int]]) -> None:
        taken, refused = [], []
        for instance, status in answered:
            if status == SUCCESS or is_warning(status):
                taken.append(self._take(instance))
            else:
                fault = f"{self._peer.aet} answered with status {status:04X}H"
                refused.append((self._take(instance), fault))
        if answered:
            self._told(taken, refused)

    def _broken(self, carrier: Destination, ended: Ended) -> str:
        """A peer may break off at what it did not answer: that is tried later than the others."""
        reason = f"{self._peer.aet} ended the association: {ended}"
        self._told([], [(self._take(instance), reason) for instance in carrier.flying.values()])
        return reason

    def _take(self, instance: Instance) -> QueuedSend:
        return self._left.pop(instance.identity)
