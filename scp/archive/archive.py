"""The story: what happens to an object from its arrival to its way out, one part a chapter.

A received dataset is looked at, matched by the policy, made durable and recorded in the index, and only then
acknowledged (:mod:`scp.archive.receive`, :mod:`scp.archive.recorder`). Where the policy puts its encoding
behind that, it lands as received, and its form is made and proven (:mod:`scp.archive.form_maker`,
:mod:`scp.archive.encode`) right afterwards, and put in its place (:mod:`scp.archive.replacer`); else before.
A stored one is looked up, read, checked (:mod:`scp.archive.reader`), and given out in a transfer syntax that
the peer accepts (:mod:`scp.archive.fetch`, :mod:`scp.archive.deliver`).
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping

from scp.archive.admission import Admission
from scp.archive.availability import slowness, with_availability
from scp.archive.cached_fetch import CachedFetch
from scp.archive.deliver import Outgoing
from scp.archive.fetch import Fetch, Fetcher
from scp.archive.form_maker import FormMaker
from scp.archive.interrupted import Interrupted
from scp.archive.options import Options
from scp.archive.policy_in_force import PolicyInForce
from scp.archive.reader import Reader
from scp.archive.receive import Receiver
from scp.archive.recorder import Recorder
from scp.archive.replacement import Change
from scp.archive.replacer import Replacer
from scp.archive.statistics import Statistics, statistics_of
from scp.archive.stored_files import StoredFiles
from scp.archive.trials import Trials
from scp.config.rules import PolicyRule
from scp.identity import Conflict, Identity
from scp.index.index import Checks, DueStages, Index, PendingCount
from scp.index.queue import Claims, Commitments, SendQueue
from scp.model import Facts, Instance, Kept, Provenance, Query, QueuedSend, Received, SyntaxPreference
from scp.objects.dictionaries import Dictionaries
from scp.objects.journal import JournaledStore
from scp.objects.landed import LandedStore

_NO_PREFERENCE = SyntaxPreference()
_NO_OPTIONS = Options()


class Archive:
    """Objects kept by a policy. Its parts are given to it; it knows neither the wire nor SQL.

    What is asked of one part only has that one's name: ``files``, ``reader``, ``recorder``, ``receiver``,
    ``trials`` and ``interrupted`` here, ``stages``, ``claims``, ``integrity``, ``commitments`` and
    ``send_queue`` in the index. Other rooms use these and the verbs, never ``store`` or ``index``.
    """

    def __init__(
        self,
        store: JournaledStore,
        index: Index,
        policy: Iterable[PolicyRule],
        options: Options = _NO_OPTIONS,
    ) -> None:
        self.store = store if isinstance(store, LandedStore) else LandedStore(store)
        self.index, self._options = index, options
        self.policy = PolicyInForce(policy)
        self.pairing = options.pairing
        self.files = StoredFiles(self.store)
        self.trials = Trials(index, options.attempts)
        self.reader = Reader(self.files, index, self.trials, self.policy)
        self.forms = FormMaker(self.files, self.reader, self.trials, self.policy)
        self.replacer = Replacer(self.files, index, self.reader, options.pairing)
        self.recorder = Recorder(self.files, index, self.reader, self.replacer, options)
        self.receiver = Receiver(self.store, index, self.reader, self.forms, self.recorder, options)
        self.interrupted = Interrupted(self.files, index)
        fetch: Fetch = Fetcher(self.reader, self.trials)
        self._cached = CachedFetch(fetch, options.decoded) if options.decoded is not None else None
        self._fetch = fetch if self._cached is None else self._cached

    # -- in ----------------------------------------------------------------------------------------------

    def ingest(self, received: Received, admission: Admission | None = None) -> Kept:
        """Keep an object: when this returns it is durable and indexed (invariant 1).

        ``admission`` stands in the place of the archive's own. Raises DatasetError, OutOfResources.
        """
        return self.receiver.ingest(received, admission)

    # -- found -------------------------------------------------------------------------------------------

    def find(self, query: Query) -> Generator[dict[str, str], None, None]:
        """Matches of a C-FIND, each as keyword to text. Raises QueryError.

        Where there are stores that are slower than the first, Instance Availability is that of the slowest
        that a match has anything in: what a retrieve of it has to wait for.
        """
        ranks = slowness(self.store.tiers)
        found = self.index.find(query, ranks)
        return with_availability(found) if ranks else found

    def notice_query(self, asked: Facts) -> None:
        """A peer asked for something: earlier studies may be wanted soon."""
        if self._options.forwarding is not None:
            self._options.forwarding.notice("query", asked)

    def instances(self, query: Query) -> list[Instance]:
        """All instances that a C-MOVE or C-GET names. Raises QueryError."""
        return self.index.instances(query)

    def all(self) -> Iterator[Instance]:
        """Every instance once; others may write in between."""
        return self.index.all()

    def current(self, identity: Identity) -> Instance | None:
        """What is held now of an object."""
        return self.index.current(identity)

    def named(self, sop_instance_uid: str) -> list[Instance]:
        """All instances of a SOP Instance UID, the newest first: of several studies or patients."""
        return self.index.named(sop_instance_uid)

    def queued_instance(self, queued: QueuedSend) -> Instance | None:
        """The object that is to be sent, as it is held now; None where it is not any more."""
        if queued.study_instance_uid or queued.patient_id:
            return self.index.current(queued.identity)
        return self.index.newest(queued.sop_instance_uid)  # recorded before it named its study and patient

    def conflicts(self) -> list[Conflict]:
        """What objects contradict each other in: whose they are. Reads much."""
        return self.index.conflicts()

    def count(self) -> int:
        """How many instances are held."""
        return self.index.counts().instances

    def statistics(self) -> Statistics:
        """How much is held, and what is still to be done. Raises OutOfResources."""
        return statistics_of(self.index, self.store.tiers)

    # -- out ---------------------------------------------------------------------------------------------

    def fetch(
        self, instance: Instance, accepted: Iterable[str], preference: SyntaxPreference = _NO_PREFERENCE
    ) -> Outgoing:
        """An object in the best of the accepted transfer syntaxes (invariant 4).

        A lossy copy is made only where the preference holds a rule for it. Raises NoLosslessWay,
        ObjectMissing, ObjectDamaged.
        """
        return self._fetch(instance, tuple(accepted), preference)

    def record_access(self, instances: Iterable[Instance]) -> None:
        """Note that objects were retrieved, where the policy asks for that: some may be due to come back."""
        if not self.policy.access_exactness:
            return
        self.stages.record_access(instances, time.time(), self.policy.access_exactness)
        if any(rule.on_access for rule in self.policy.rules):
            self.wake_encoder()

    def forget_decoded(self, instances: Iterable[Instance]) -> None:
        """Remove objects from the cache of decoded ones."""
        if self._cached is not None:
            for one in instances:
                self._cached.forget(one)

    # -- looked after ------------------------------------------------------------------------------------

    def verify(self, instance: Instance, deep: bool = False) -> str:
        """See :meth:`scp.archive.reader.Reader.verify`."""
        return self.reader.verify(instance, deep)

    def provenance(self, instance: Instance) -> Provenance:
        """What the stored file remembers. Raises ObjectMissing, ObjectDamaged."""
        return self.reader.provenance(instance)

    def facts(self, instance: Instance) -> Facts:
        """What the policy was asked of a stored object when it came. Raises as :meth:`verify`."""
        return self.reader.facts(instance)

    def encode(self, instance: Instance, now: float | None = None) -> Change:
        """The form that an object's rule asks for at ``now``, for :meth:`replace`; see FormMaker.change."""
        return self.forms.change(instance, now)

    def replace(self, changes: list[Change]) -> None:
        """Put new stored forms in the place of old ones; see Replacer.replace."""
        self.replacer.replace(changes)

    def pending(self, most: int) -> list[Instance]:
        """At most ``most`` of what is to be encoded yet, those that came first before others."""
        return self.index.pending(most)

    def count_pending(self) -> PendingCount:
        """How much is to be encoded yet."""
        return self.index.count_pending()

    def wake_encoder(self) -> None:
        """Tell the encoder that there is something to do."""
        if self._options.pending is not None:
            self._options.pending.announce()

    @property
    def dictionaries(self) -> Dictionaries:
        """The zstd dictionaries beside the objects."""
        return self.files.dictionaries

    @property
    def stages(self) -> DueStages:
        """Which stages of the policy are due."""
        return self.index.stages

    @property
    def claims(self) -> Claims:
        """Who works on an instance."""
        return self.index.claims

    @property
    def integrity(self) -> Checks:
        """Which files were read when, what was wrong with them, and what is refused."""
        return self.index.checks

    @property
    def commitments(self) -> Commitments:
        """Results of storage commitment that are yet to be reported."""
        return self.index.commitments

    @property
    def send_queue(self) -> SendQueue:
        """Objects that are yet to be sent to peers."""
        return self.index.send_queue

    # -- rows without more -------------------------------------------------------------------------------

    def record_rows(self, rows: Iterable[tuple[Instance, Mapping[str, str]]]) -> None:
        """Have the index name files, with the attributes of their objects: in one transaction, in order.

        Nothing is sent on, encoded or removed for it. It outlives a power cut after :meth:`sync`.
        """
        self.index.record_many(rows)

    def forget(self, sop_instance_uid: str, key: str) -> None:
        """Remove the row of what is stored under ``key``."""
        self.index.forget(sop_instance_uid, key)

    def sync(self) -> None:
        """Make all that was recorded until now outlive a power cut. Raises OutOfResources."""
        self.index.sync()

    # -- its life ----------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make ready what the first object would else wait for."""
        if self._options.pending is not None:
            self.store.prepare()

    def use_policy(self, policy: Iterable[PolicyRule]) -> None:
        """From now on these rules count, also for what is stored."""
        self.policy.use(policy)

    def stopping(self) -> None:
        """This process was told to end: no object is to blame for that, whatever it works on."""
        self.trials.stopping()

    def close(self) -> None:
        """Let go of store and index."""
        self.index.sync()
        self.trials.close()
        self.store.close()
        self.index.close()
