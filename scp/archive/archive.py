"""The archive: what happens to an object from its arrival until it is sent out. Each part has a module.

A received dataset is surveyed, matched by the policy, made durable and recorded in the index. Only then is it
acknowledged (:mod:`scp.archive.receive`, :mod:`scp.archive.recorder`). Its form is made and proven by
:mod:`scp.archive.form_maker` and :mod:`scp.archive.encode`: before the response or, where the policy allows
it, after. Then the object is first stored as received, and :mod:`scp.archive.replacer` replaces that form.
A stored object is looked up, read and checked (:mod:`scp.archive.reader`), and sent out in a transfer syntax
that the peer accepts (:mod:`scp.archive.fetch`, :mod:`scp.archive.deliver`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager

from scp.archive.access import record_access
from scp.archive.admission import Admission
from scp.archive.ahead import LookAhead
from scp.archive.availability import page_with_availability, slowness, with_availability
from scp.archive.cached_fetch import CachedFetch
from scp.archive.deliver import Outgoing
from scp.archive.elsewhere import Cluster, Elsewhere
from scp.archive.fetch import Fetch, Fetcher
from scp.archive.form_maker import FormMaker
from scp.archive.frames import FrameReader
from scp.archive.headers import HeaderReader
from scp.archive.history import ArchiveHistory
from scp.archive.interrupted import Interrupted
from scp.archive.lossy_maker import LossyMaker
from scp.archive.lossy_replacer import LossyReplacer
from scp.archive.options import Options
from scp.archive.policy_in_force import PolicyInForce
from scp.archive.reader import Reader
from scp.archive.receive import Follow, Receiver
from scp.archive.recorder import Recorder
from scp.archive.replacement import Change
from scp.archive.replacer import Replacer
from scp.archive.statistics import Statistics, statistics_of
from scp.archive.stored_files import StoredFiles
from scp.archive.trials import Trials
from scp.archive.trusted_time import TrustedTime
from scp.config.rules import PolicyRule
from scp.identity import Conflict, Identity
from scp.index.committed import CommittedRow
from scp.index.index import Checks, DueStages, Index, PendingCount, SenderCount
from scp.index.pages import Page, Pages
from scp.index.queue import Claims, Commitments, SendQueue
from scp.index.self_description import NamesIndexed
from scp.index.watch import Watch
from scp.model import Facts, Instance, Kept, Provenance, Query, QueuedSend, Received, SyntaxPreference
from scp.objects.dictionaries import Dictionaries
from scp.objects.journal import JournaledStore
from scp.objects.landed import LandedStore
from scp.objects.names import prefixes

_NO_PREFERENCE = SyntaxPreference()
_NO_OPTIONS = Options()


class Archive:
    """Objects kept by a policy. Its parts are given to it; it knows neither the wire nor SQL.

    Other packages use the methods here and some parts by their names: ``files``, ``dictionaries``,
    ``reader``, ``recorder``, ``trials``, ``interrupted``, ``history``, ``policy``, ``elsewhere``, ``frames``,
    ``ahead``, ``header``, ``losses``, ``pairing`` and ``clock``, and of the index ``stages``, ``claims``,
    ``integrity``, ``pages``, ``commitments`` and ``send_queue``. They use no other part.
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
        self.pairing = options.pairing
        self.elsewhere = options.elsewhere or Elsewhere(Cluster(index.nodes, ""), index, self.store)
        self.files = StoredFiles(self.store)
        self.policy = PolicyInForce(policy, self.files.dictionaries.newest_id)
        self.trials = Trials(index, options.attempts)
        self.reader = Reader(self.files, index, self.trials, self.policy)
        lossy = LossyMaker(self.files, index, options.safekeeping)
        self.forms = FormMaker(self.files, self.reader, self.trials, self.policy, lossy)
        self.replacer = Replacer(self.files, index, self.reader, options.pairing, self.elsewhere)
        self.recorder = Recorder(self.files, index, self.reader, self.replacer, options, self.elsewhere)
        self.losses = LossyReplacer(self.files, index, self.replacer, self.recorder, options.safekeeping)
        self.receiver = Receiver(self.store, index, self.reader, self.forms, self.recorder, options)
        self.history = ArchiveHistory(index.history, prefixes(self.store.tiers))
        self.clock = options.clock or TrustedTime(index.meta)
        self.interrupted = Interrupted(self.files, index, self.elsewhere)
        fetch: Fetch = Fetcher(self.reader, self.trials, self.elsewhere)
        self._cached = CachedFetch(fetch, options.decoded) if options.decoded is not None else None
        self._fetch = fetch if self._cached is None else self._cached
        self.frames = FrameReader(self.reader, self.trials, self.elsewhere)
        self.ahead = LookAhead(index, self.frames, self.elsewhere)
        self.header = HeaderReader(self.reader, self.trials, self.elsewhere)

    # -- in ----------------------------------------------------------------------------------------------

    def ingest(
        self, received: Received, admission: Admission | None = None, follow: Follow | None = None
    ) -> Kept:
        """Keep an object: when this returns it is durable and indexed (invariant 1).

        ``admission`` replaces the archive's own. With ``follow`` the index may have it some 20 ms later: then
        that is called with what may be waited for. Raises DatasetError, OutOfResources.
        """
        return self.receiver.ingest(received, admission, follow)

    def would_take(self, identity: Identity, held: Instance | None) -> bool:
        """See DuplicatePolicy.would_take."""
        return self.receiver.duplicates.would_take(identity, held)

    # -- found -------------------------------------------------------------------------------------------

    def find(self, query: Query, watch: Watch | None = None) -> Generator[dict[str, str], None, None]:
        """Matches of a C-FIND, each as keyword to text. Raises QueryError.

        Where some stores are slower than the first, Instance Availability is that of the slowest store that
        holds any part of a match: a retrieve of the match has to wait for that store. ``watch`` may stop it.
        """
        ranks = slowness(self.store.tiers)
        found = self.index.find(query, ranks, watch)
        return with_availability(found) if ranks else found

    def find_page(self, query: Query, most: int, before: int | None, watch: Watch, skip: int = 0) -> Page:
        """Matches as :meth:`find` has them, the newest first; see :meth:`scp.index.pages.Pages.page`."""
        ranks = slowness(self.store.tiers)
        page = self.index.pages.page(query, most, before, watch, skip, ranks)
        return page_with_availability(page) if ranks else page

    def notice_query(self, asked: Facts) -> None:
        """Note that a peer sent a query: earlier studies may be wanted soon."""
        if self._options.forwarding is not None:
            self._options.forwarding.notice("query", asked)

    def instances(self, query: Query, watch: Watch | None = None) -> list[Instance]:
        """All instances that a C-MOVE or C-GET names. Raises QueryError. ``watch`` may stop the search."""
        return self.index.instances(query, watch)

    def all(self) -> Iterator[Instance]:
        """Every instance once; other processes may write in between."""
        return self.index.all()

    def current(self, identity: Identity) -> Instance | None:
        """The row of an object as it is now; None if the object is not held."""
        return self.index.current(identity)

    def named(self, sop_instance_uid: str) -> list[Instance]:
        """All instances of a SOP Instance UID, the newest first; several studies or patients may have one."""
        return self.index.named(sop_instance_uid)

    def queued_instance(self, queued: QueuedSend) -> Instance | None:
        """The object that is to be sent, as it is stored now; None if it is no longer held."""
        if queued.study_instance_uid or queued.patient_id:
            return self.index.current(queued.identity)
        return self.index.newest(queued.sop_instance_uid)  # an older version recorded neither

    def conflicts(self, most: int | None = None) -> list[Conflict]:
        """Studies and patients about which objects contradict each other. Reads large parts of the index."""
        return self.index.conflicts(most)

    def count(self) -> int:
        """How many instances are held."""
        return self.index.counts().instances

    def statistics(self) -> Statistics:
        """How much is held, and how much work is outstanding. Raises OutOfResources."""
        return statistics_of(self.index, self.store.tiers)

    def senders(self) -> list[SenderCount]:
        """Who sent what is held. Raises OutOfResources."""
        return self.index.senders()

    def modalities(self, instances: Iterable[Instance]) -> Mapping[str, str]:
        """The modality of each series of these instances, by its UID. Raises OutOfResources."""
        return self.index.history.modalities({one.series_instance_uid for one in instances})

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
        """Note that objects were retrieved, if the policy uses that: a rule's ``on_access`` may be due."""
        if record_access(self.stages, self.policy, instances):
            self.wake_encoder()

    def forget_decoded(self, instances: Iterable[Instance]) -> None:
        """Remove objects from the cache of decoded ones."""
        if self._cached is not None:
            for one in instances:
                self._cached.forget(one)

    # -- maintenance -------------------------------------------------------------------------------------

    def verify(self, instance: Instance, deep: bool = False) -> str:
        """See :meth:`scp.archive.reader.Reader.verify`."""
        return self.reader.verify(instance, deep)

    def provenance(self, instance: Instance) -> Provenance:
        """What the stored file says of its origin. Raises ObjectMissing, ObjectDamaged."""
        return self.reader.provenance(instance)

    def facts(self, instance: Instance) -> Facts:
        """The facts of a stored object by which the policy chose its rule. Raises as :meth:`verify`."""
        return self.reader.facts(instance)

    def encode(self, instance: Instance, now: float | None = None) -> Change:
        """The form that an object's rule asks for at ``now``, for :meth:`replace`; see FormMaker.change."""
        return self.forms.change(instance, now)

    def replace(self, changes: list[Change]) -> None:
        """Put new stored forms in the place of old ones; see Replacer.replace."""
        self.replacer.replace(changes)

    def remove_replaced(self) -> None:
        """Remove what :meth:`replace` could not remove for a lack of resources. Raises OutOfResources."""
        self.replacer.remove_replaced()

    def index_fault(self) -> str:
        """See Replacer.index_fault."""
        return self.replacer.index_fault()

    def pending(self, most: int) -> list[Instance]:
        """At most ``most`` of the objects that this node has yet to encode, in the order of their arrival."""
        return self.index.pending(most, self.elsewhere.prefixes())

    def count_pending(self) -> PendingCount:
        """How much this node has yet to encode; with what any node may that shares the store."""
        return self.index.count_pending(self.elsewhere.prefixes())

    def upload(self, key: str) -> None:
        """Give a record of the landing log a file of its own, as it is there, unless it has one already.

        Raises OutOfResources, ObjectMissing, ObjectDamaged.
        """
        if (instance := self.index.pending_at(key)) is not None:
            self.replacer.own_file(instance)

    def wake_encoder(self) -> None:
        """Tell the encoder that there is work."""
        if self._options.pending is not None:
            self._options.pending.announce()

    def wake_forwarder(self) -> None:
        """Tell the forwarder that there is something to send."""
        if self._options.forwarding is not None:
            self._options.forwarding.announce()

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
        """Which process works on an instance."""
        return self.index.claims

    @property
    def integrity(self) -> Checks:
        """When each file was last read, what was wrong with it, and what is refused."""
        return self.index.checks

    @property
    def pages(self) -> Pages:
        """Pages of matches for people who look."""
        return self.index.pages

    @property
    def commitments(self) -> Commitments:
        """Results of storage commitment that are yet to be reported."""
        return self.index.commitments

    @property
    def send_queue(self) -> SendQueue:
        """Objects that are yet to be sent to peers."""
        return self.index.send_queue

    def index_names(self) -> NamesIndexed:
        """See :meth:`scp.index.index.Index.index_names`."""
        return self.index.index_names()

    def exclusive(self, name: str, wait: bool | float = True) -> AbstractContextManager[bool]:
        """See :meth:`scp.index.index.Index.exclusive`."""
        return self.index.exclusive(name, wait)

    def doubtful(self) -> list[CommittedRow]:
        """See :meth:`scp.index.index.Index.doubtful`."""
        return self.index.doubtful()

    # -- rows only ---------------------------------------------------------------------------------------

    def record_rows(self, rows: Iterable[tuple[Instance, Mapping[str, str]]]) -> None:
        """Record files in the index, with the attributes of their objects: in one transaction, in order.

        Nothing is forwarded, encoded or removed. The rows survive a power cut after :meth:`sync`.
        """
        self.index.record_many(rows)

    def add_row(self, instance: Instance, attributes: Mapping[str, str]) -> Instance | None:
        """As :meth:`record_rows` of one file, unless its object is held: that is returned, and stays."""
        return self.index.add(instance, attributes)

    def forget(self, sop_instance_uid: str, key: str) -> None:
        """Remove the row of what is stored under ``key``."""
        self.index.forget(sop_instance_uid, key)

    def sync(self) -> None:
        """Make all that was recorded until now survive a power cut. Raises OutOfResources."""
        self.index.sync()

    # -- start, policy and end ---------------------------------------------------------------------------

    def prepare(self) -> None:
        """Prepare what the first object would otherwise have to wait for."""
        if self._options.pending is not None:
            self.store.prepare()

    def use_policy(self, policy: Iterable[PolicyRule]) -> None:
        """Apply these rules from now on, also to stored objects."""
        self.policy.use(policy)

    def stopping(self) -> None:
        """Note that this process was told to end, so that no object is blamed for its end."""
        self.trials.stopping()

    def close(self) -> None:
        """Close the store and the index."""
        self.receiver.close()
        self.index.sync()
        self.trials.close()
        self.store.close()
        self.index.close()
