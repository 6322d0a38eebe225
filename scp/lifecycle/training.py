"""zstd dictionaries trained from stored objects, by SOP class (docs/decisions/0055).

A quarter of the sample is held out; only what makes these files smaller than they are now becomes the class's
newest dictionary.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog

from scp.archive.archive import Archive
from scp.archive.replacement import Change
from scp.archive.trainer import FEWEST, SIZE, Material, material_of, trained
from scp.background.alone import alone
from scp.background.parallel import each
from scp.background.progress import Progress, Silent
from scp.model import Instance
from scp.objects import part10
from scp.objects.dictionaries import Dictionary, dictionary_of
from scp.objects.names import DictionaryName
from scp.spool import IN_MEMORY, Buffer

# Objects of a class that are looked at: of small MR, 50 do nearly as well as 300 (19.9 % and 19.8 %).
_SAMPLE = 256
_HELD_OUT = 4  # each fourth
# What a new version has to save of the held-out files: it stays for ever.
_WORTHWHILE = 0.02
# After so many files it is seen whether headers are a part of them that is worth it.
_FIRST_LOOK = 16
# A class gets its first dictionary at so many objects, and the next one is tried at four times as many.
FIRST, _TIMES = 64, 4


@dataclass(slots=True)
class TrainingSample:
    """Some objects of one SOP class, spread evenly over all that were ``seen``: the same ones each time."""

    seen: int = 0
    stored_size: int = 0
    kept: list[Instance] = field(default_factory=list)
    _step: int = 1

    def add(self, instance: Instance) -> None:
        """Add one more object of the class."""
        if self.seen % self._step == 0:
            self.kept.append(instance)
        self.seen += 1
        self.stored_size += instance.stored_size
        if len(self.kept) > _SAMPLE:
            self.kept = self.kept[::2]
            self._step *= 2


@dataclass(frozen=True, slots=True)
class Trained:
    """The result of training for one SOP class; sizes in bytes.

    Some of the ``objects``, which take ``stored_size`` in all, were read. Those held out are ``received``
    bytes as they came; they would take ``without`` bytes without a dictionary, ``now`` with the one that
    there is, ``then`` with the new one.
    ``entry`` is None where none was stored, and ``reason`` says why.
    """

    sop_class_uid: str
    objects: int
    stored_size: int
    received: int = 0
    without: int = 0
    now: int = 0
    then: int = 0
    entry: DictionaryName | None = None
    reason: str = ""

    @property
    def saves(self) -> int:
        """Bytes that the objects of the class would save in all, by those that were held out."""
        return round(self.stored_size * (1 - self.then / self.now)) if self.now and self.entry else 0


def may_share(instance: Instance) -> bool:
    """Whether an object is one that dictionaries are for: in its form, readable, and small."""
    return instance.readable and not instance.pending and instance.stored_size <= IN_MEMORY


def samples(instances: Iterable[Instance], progress: Progress, wanted: str = "") -> dict[str, TrainingSample]:
    """Objects to train on, by SOP class, or of the ``wanted`` class alone."""
    found: dict[str, TrainingSample] = defaultdict(
        TrainingSample, {wanted: TrainingSample()} if wanted else {}
    )
    for instance in instances:
        if wanted in ("", instance.sop_class_uid) and may_share(instance):
            found[instance.sop_class_uid].add(instance)
        progress.advance()
    return dict(sorted(found.items()))


def train(
    archive: Archive,
    sop_class_uid: str,
    sample: TrainingSample,
    size: int = SIZE,
    progress: Progress | None = None,
) -> Trained:
    """Make a dictionary of at most ``size`` bytes, and store it if it gains. Raises OutOfResources."""
    progress = progress or Silent()
    nothing = Trained(sop_class_uid, sample.seen, sample.stored_size)
    files: list[_Learned] = []
    for read in each(lambda one: _learned(archive, one), sample.kept):
        progress.advance()
        if read is not None:
            files.append(read)
        if len(files) == _FIRST_LOOK and _is_mostly_pixels(files):
            return _but(nothing, "too small a part of them is header")
    if len(files) < FEWEST:
        return _but(nothing, f"{len(files)} small objects that can be read, and it takes {FEWEST}")
    held_out = files[_HELD_OUT - 1 :: _HELD_OUT]
    learned_from = [one for number, one in enumerate(files) if (number + 1) % _HELD_OUT]
    content = trained([one.beginning for one in learned_from], size)
    if not content:
        return _but(nothing, "too little that they have in common")
    return _judged(archive, nothing, [one.instance for one in held_out], content)


def _judged(archive: Archive, nothing: Trained, held_out: list[Instance], content: bytes) -> Trained:
    """Store the dictionary if the files that were held out become smaller with it.

    They are read once more, one at a time: 64 files of 4 MB are more memory than a process of a node has.
    """
    uid = nothing.sop_class_uid
    before, new = archive.dictionaries.newest(uid), dictionary_of(content)
    sizes = [
        (*_sizes(one.material.data, before, new), one.received)
        for one in filter(None, (_read(archive, instance) for instance in held_out))
    ]
    if not sizes:
        return _but(nothing, "they were replaced meanwhile")
    without, now, then, received = (sum(column) for column in zip(*sizes, strict=True))
    gains = then <= now * (1 - _WORTHWHILE)
    return Trained(
        uid,
        nothing.objects,
        nothing.stored_size,
        received,
        without,
        now,
        then,
        archive.dictionaries.add(uid, content) if gains else None,
        "" if gains else f"a new one would save less than {_WORTHWHILE:.0%}",
    )


def _but(nothing: Trained, reason: str) -> Trained:
    return Trained(nothing.sop_class_uid, nothing.objects, nothing.stored_size, reason=reason)


@dataclass(frozen=True, slots=True)
class _Learned:
    """What is kept in memory of a file that was read: its ``beginning``; bytes of its header, and in all."""

    instance: Instance
    beginning: bytes
    header: int
    size: int


def _learned(archive: Archive, instance: Instance) -> _Learned | None:
    if (read := _read(archive, instance)) is None:
        return None
    return _Learned(instance, read.material.beginning, read.material.header, len(read.material.data))


def _is_mostly_pixels(files: list[_Learned]) -> bool:
    """Whether a dictionary cannot save what it has to, even if nothing were left of the headers."""
    return sum(one.header for one in files) < _WORTHWHILE * sum(one.size for one in files)


@dataclass(frozen=True, slots=True)
class _File:
    """A stored file, and the size of the dataset that was received."""

    material: Material
    received: int


def _read(archive: Archive, instance: Instance) -> _File | None:
    """None for an object that was replaced since, is damaged or refused: training does without it."""
    uid = instance.sop_instance_uid
    with alone("not trained on", through=(), sop_instance=uid), archive.trials.of(instance, "survey"):
        file = archive.reader.read(instance)[1]
        if len(file.dataset) <= IN_MEMORY:
            return _File(material_of(file), instance.received_size)
    return None


def _sizes(data: Buffer, before: Dictionary | None, new: Dictionary) -> tuple[int, int, int]:
    """A file's size without a dictionary, with the one that there is, and with the new one."""
    without = min(len(data), len(part10.wrap(data, None)))
    now = min(without, len(part10.wrap(data, None, dictionary=before))) if before else without
    return without, now, min(without, len(part10.wrap(data, None, dictionary=new)))


class Automatic:
    """Trains after the response, when enough objects of a class have come whose rule asks for a dictionary.

    Its counts are not stored: a new process begins to count again.
    """

    def __init__(self, archive: Archive, first: int = FIRST) -> None:
        self._archive = archive
        self._first = first
        self._seen: dict[str, TrainingSample] = {}
        self._next: dict[str, int] = {}

    def saw(self, changes: Iterable[Change]) -> None:
        """Count objects that have got their form."""
        asking = {rule.name for rule in self._archive.policy.rules if rule.settled.dictionary}
        for change in changes:
            if change.after.rule in asking and may_share(change.after):
                self._seen.setdefault(change.after.sop_class_uid, TrainingSample()).add(change.after)

    def work(self, run: Callable[[Callable[[], Trained]], Trained]) -> None:
        """Train where it is time; ``run`` runs that in a thread that yields. Raises OutOfResources."""
        for uid, sample in self._seen.items():
            if sample.seen < self._next.setdefault(uid, self._due(uid)):
                continue
            self._next[uid] = max(self._due(uid), sample.seen * _TIMES)  # also where it fails
            with self._archive.exclusive("training", wait=False) as alone:
                if not alone:  # another node trains, perhaps for the same class
                    continue
                found = run(lambda uid=uid, sample=sample: train(self._archive, uid, sample))  # type: ignore[misc]
            self._next[uid] = max(self._due(uid), sample.seen * _TIMES)
            structlog.get_logger("zscp").info(
                "dictionary trained" if found.entry else "no dictionary gained",
                sop_class=uid,
                objects=found.objects,
                without=found.without,
                before=found.now,
                after=found.then,
                key=found.entry.key if found.entry else "",
                reason=found.reason,
            )

    def _due(self, sop_class_uid: str) -> int:
        """How many objects of a class have to be there for its next version."""
        return self._first * int(_TIMES ** len(self._archive.dictionaries.entries(sop_class_uid)))
