"""Several nodes that share an index and a store: what the others have in their landing logs.

A small object is durable on the disk of the node that received it before it is in the shared store. Until
then no other node can read it. A node that is asked for such an object asks the one that has it to upload it
first, by a row in the index, and waits for the row to name a file that it can read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from scp.errors import ObjectElsewhere, ObjectMissing, OutOfResources
from scp.index.index import Index
from scp.index.nodes import BEAT_SECONDS, KnownNode, Nodes, Request
from scp.model import Instance
from scp.objects.landed import LandedStore
from scp.objects.names import node_of, nodes_prefix

# How long a retrieve waits for another node to upload an object. It looks for requests every 0.3 s.
BRING_SECONDS = 10.0
# After it did not, the next retrieves do not wait for it for so long: each of a thousand images would.
_SLOW_SECONDS = 30.0
_POLL_SECONDS = 0.1


class Cluster:
    """The nodes that share an index, of which ``own`` is this one; for the landed store, too.

    What is known of them may be BEAT_SECONDS old. While the index does not answer, it is what was known last.
    """

    def __init__(self, nodes: Nodes, own: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.nodes, self.own = nodes, own
        self._clock = clock
        self._known: tuple[KnownNode, ...] = ()
        self._until = float("-inf")

    def others(self) -> tuple[KnownNode, ...]:
        """All other nodes that were ever heard of, and not forgotten since."""
        if (now := self._clock()) >= self._until:
            self._until = now + BEAT_SECONDS
            with suppress(OutOfResources):  # counted where it was raised; the next look may succeed
                self.heard(self.nodes.all())
        return self._known

    def heard(self, known: Iterable[KnownNode]) -> None:
        """Take over what was heard of all nodes just now."""
        self._known = tuple(one for one in known if one.report.id != self.own)
        self._until = self._clock() + BEAT_SECONDS

    def living(self) -> tuple[KnownNode, ...]:
        """The other nodes that live."""
        return tuple(one for one in self.others() if one.lives)

    def has_living(self, node: str) -> bool:
        """Whether another node lives; one that is not known to, and may have started since, is looked up."""
        if any(one.report.id == node for one in self.living()):
            return True
        self._until = float("-inf")
        return any(one.report.id == node for one in self.living())

    def told(self, node: str) -> str:
        """See :class:`scp.objects.landed.OtherNodes`."""
        found = next((str(one) for one in self.others() if one.report.id == node), "")
        return found or f"{node} (unknown here)"

    def settle(self, keys: Iterable[str]) -> None:
        """See :class:`scp.objects.landed.OtherNodes`."""
        self.nodes.ask(Request(node_of(key), "settle", key) for key in keys)

    def is_settled(self, key: str) -> bool:
        """See :class:`scp.objects.landed.OtherNodes`."""
        return self.nodes.is_asked(Request(self.own, "settle", key))


class Elsewhere:
    """What is in the landing logs of other nodes, and what they want of this one's."""

    def __init__(self, cluster: Cluster, index: Index, store: LandedStore) -> None:
        self.cluster, self._index, self._store = cluster, index, store
        self._slow: dict[str, float] = {}  # runs of nodes that did not upload in time, until when
        self._known: tuple[KnownNode, ...] = ()
        self._prefixes: tuple[str, ...] = ()

    def prefixes(self) -> tuple[str, ...]:
        """The prefixes of the keys that this node cannot read; none where there is no other node."""
        if (others := self.cluster.others()) is not self._known:
            here = self._store.nodes_here() if others else set()
            self._prefixes = tuple(nodes_prefix(one.report.id) for one in others if one.report.id not in here)
            self._known = others
        return self._prefixes

    def are_others(self) -> bool:
        """Whether any other node was ever heard of that was not forgotten: one that is silent may go on."""
        return bool(self.cluster.others())

    def has(self, instance: Instance) -> bool:
        """Whether an object's row names a file that only another node can read."""
        return self._store.is_elsewhere(instance.key)

    def brought(self, instance: Instance, seconds: float = BRING_SECONDS) -> Instance:
        """An object's row when it names a file that this node can read: at once, for nearly all objects.

        Raises ObjectElsewhere where the node that has it does not live, or does not upload it within
        ``seconds``, ObjectMissing where the object was deleted meanwhile, and OutOfResources.
        """
        asked, until = "", time.monotonic() + seconds
        while self._store.is_elsewhere(instance.key):
            found = self._index.current(instance.identity)
            if found is None:
                raise ObjectMissing(f"{instance.key} was deleted while another node was to upload it")
            if found.key != instance.key:
                instance = found
                continue
            self._check_lives(instance)
            if asked != instance.key:
                asked = instance.key
                self._ask(instance)
            elif time.monotonic() > until:
                self._slow[self._run_of(node_of(instance.key))] = time.monotonic() + _SLOW_SECONDS
                raise self._not_uploaded(instance, f"did not within {seconds:.0f} s")
            time.sleep(_POLL_SECONDS)
        return instance

    def _ask(self, instance: Instance) -> None:
        """Ask for an object and what else is pending of its study: who retrieves one mostly wants all."""
        node = node_of(instance.key)
        self.cluster.nodes.ask([Request(node, "upload", instance.key)])
        self.cluster.nodes.ask_for_study(node, instance.study_instance_uid, nodes_prefix(node))

    def _not_uploaded(self, instance: Instance, told: str) -> ObjectElsewhere:
        node = self.cluster.told(node_of(instance.key))
        return ObjectElsewhere(
            f"{instance.key} is in the landing log of node {node}, which was asked to upload objects and"
            f" {told}; look at the log of that node"
        )

    def _check_lives(self, instance: Instance) -> None:
        """Raises ObjectElsewhere."""
        node = node_of(instance.key)
        if time.monotonic() < self._slow.get(self._run_of(node), 0.0):
            raise self._not_uploaded(instance, "did not answer just now")
        if not self.cluster.has_living(node):
            raise ObjectElsewhere(
                f"{instance.key} is in the landing log of node {self.cluster.told(node)}, which does not run;"
                " start it, and the object is there again"
            )

    def _run_of(self, node: str) -> str:
        """A node since its last start: one that is started again is asked again."""
        return next(
            (f"{node}/{one.report.start}" for one in self.cluster.others() if one.report.id == node), node
        )

    def asked(self) -> list[Request]:
        """What other nodes ask this one for. Raises OutOfResources."""
        return self.cluster.nodes.asked(self.cluster.own) if self.cluster.own else []

    def pending_here(self) -> list[str]:
        """The keys of what waits in this node's landing log, unreadable for others. Raises OutOfResources."""
        own = self.cluster.own
        return [key for key in self._index.pending_keys() if own and node_of(key) == own]

    def done(self, requests: Iterable[Request]) -> None:
        """Note what is done of that. Raises OutOfResources."""
        self.cluster.nodes.done(requests)
