"""Search for people: patients, studies, series or images as C-FIND finds them, and how they are kept.

The newest come first, a page at a time, within a time: nobody waits for a million studies.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from pydicom.datadict import dictionary_VR, tag_for_keyword

from scp.archive.archive import Archive
from scp.errors import OutOfResources, QueryError
from scp.index.pages import KeptSum, PageEntry
from scp.index.watch import Watch
from scp.model import CALLING_AET, LEVELS, UNIQUE_KEYS, Query, QueryKey
from scp.objects.holds import Hold
from scp.objects.names import prefixes

Held = Literal["no", "part", "all", "unknown"]

# What is told of each match, by level.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "PATIENT": ("PatientID", "PatientName", "PatientBirthDate", "NumberOfPatientRelatedStudies"),
    "STUDY": (
        "PatientID",
        "PatientName",
        "StudyDate",
        "ModalitiesInStudy",
        "StudyDescription",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
        "StudyInstanceUID",
    ),
    "SERIES": (
        "StudyInstanceUID",
        "Modality",
        "SeriesNumber",
        "SeriesDescription",
        "BodyPartExamined",
        "NumberOfSeriesRelatedInstances",
        "SeriesInstanceUID",
    ),
    "IMAGE": ("SeriesInstanceUID", "InstanceNumber", "SOPClassUID", "SOPInstanceUID"),
}
_ISSUER = "IssuerOfPatientID"
MOST = 500  # matches in a page
_HOLD_SECONDS = 2.0  # to look up what holds are on


@dataclass(frozen=True, slots=True)
class KeptForm:
    """How many instances are kept in one form; sizes in bytes. ``store`` is empty for the first."""

    form: str
    transfer_syntax: str
    store: str
    instances: int
    received_size: int
    stored_size: int


@dataclass(frozen=True, slots=True)
class SearchHit:
    """One match: ``attributes`` as C-FIND answers them, and how its instances are kept.

    Sizes are in bytes. ``held`` says whether a legal hold is on all of it, on a part, or on nothing;
    ``unknown`` where the holds could not be read.
    ``forms`` is empty, and the figures are 0, where the index had no time to add them up.
    """

    number: int
    attributes: Mapping[str, str]
    instances: int
    received_size: int
    stored_size: int
    pending: int
    damaged: int
    forms: tuple[KeptForm, ...]
    held: Held


@dataclass(frozen=True, slots=True)
class SearchPage:
    """Matches of one ``level``, the newest first.

    With ``following`` as ``before``, :func:`search` gives the next page; None: this is the last. ``count`` is
    how many there are in all; None where these are many. ``summed`` is false where the time was up before
    it was known how they are kept.
    """

    level: str
    hits: tuple[SearchHit, ...]
    following: int | None
    count: int | None
    summed: bool = True


def search(  # noqa: PLR0913, PLR0917 - what is searched, and the bounds of it
    archive: Archive,
    level: str,
    keys: Mapping[str, str],
    before: int | None = None,
    most: int = 50,
    seconds: float = 10.0,
    holds: Iterable[Hold] | None = (),
) -> SearchPage:
    """At most ``most`` matches of ``keys``: keyword → value, with C-FIND's wildcards, ranges and lists.

    Keys of lower levels match, too: a study is found by the body part of one of its series, or by the AE
    title that one of its objects came from (:func:`query_of`). The index works
    for ``seconds`` at most for the matches, and as long again to add up how they are kept. ``holds`` are all
    legal holds; None: they could not be read. Raises QueryError
    for a level, a keyword or a value that there is not, OutOfResources.
    """
    page = archive.pages.page(query_of(level, keys), min(most, MOST), before, _watch(seconds))
    sums, summed = _sums(archive, level, page.entries, seconds)
    on = _Holding(archive, holds)
    hits = (_hit(entry, sums[entry.number], on.of(level, entry.attributes)) for entry in page.entries)
    return SearchPage(level, tuple(hits), page.following, page.count, summed)


def query_of(level: str, keys: Mapping[str, str]) -> Query:
    """A relational query, which asks for :data:`COLUMNS` beside the ``keys``. Raises QueryError.

    The key :data:`scp.model.CALLING_AET` is the AE title that objects came from: only these count.
    """
    if level not in LEVELS:
        raise QueryError(f"the level is one of {', '.join(LEVELS)}")
    above = (UNIQUE_KEYS[each] for each in LEVELS[: LEVELS.index(level)])
    wanted = dict.fromkeys((*COLUMNS[level], *above, _ISSUER), "") | dict(keys)
    aet = wanted.pop(CALLING_AET, "")
    return Query(
        "PATIENT",
        level,
        tuple(QueryKey(keyword, _vr_of(keyword), value) for keyword, value in wanted.items()),
        relational=True,
        seen=(QueryKey(CALLING_AET, "AE", aet),) if aet else (),
    )


def _vr_of(keyword: str) -> str:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise QueryError(f"{keyword} is no attribute's keyword")
    return dictionary_VR(tag)


def _watch(seconds: float) -> Watch:
    return Watch(seconds, lambda: None)


def _sums(
    archive: Archive, level: str, entries: tuple[PageEntry, ...], seconds: float
) -> tuple[Mapping[int, list[KeptSum]], bool]:
    found: defaultdict[int, list[KeptSum]] = defaultdict(list)
    stores = prefixes(archive.files.stores()[1:])
    try:
        numbers = [entry.number for entry in entries]
        for one in archive.pages.sums(level, numbers, stores, _watch(seconds)):
            found[one.number].append(one)
    except OutOfResources as error:
        if error.limit != "query.seconds":
            raise
        return defaultdict(list), False
    return found, True


def _hit(entry: PageEntry, sums: list[KeptSum], held: Held) -> SearchHit:
    forms = [
        KeptForm(one.form, one.transfer_syntax, one.store, one.instances, one.received_size, one.stored_size)
        for one in sums
    ]
    return SearchHit(
        entry.number,
        entry.attributes,
        sum(one.instances for one in sums),
        sum(one.received_size for one in sums),
        sum(one.stored_size for one in sums),
        sum(one.pending for one in sums),
        sum(one.damaged for one in sums),
        tuple(sorted(forms, key=lambda one: -one.instances)),
        held,
    )


class _Holding:
    """Which entities are under a legal hold, as a whole or in part."""

    def __init__(self, archive: Archive, holds: Iterable[Hold] | None) -> None:
        self._archive, self._holds, self._known = archive, tuple(holds or ()), holds is not None
        self._parts: list[dict[str, str]] | None = None

    def of(self, level: str, attributes: Mapping[str, str]) -> Held:
        """Of an entity of a level."""
        if not self._holds:
            return "no" if self._known else "unknown"
        mine = {each: attributes.get(UNIQUE_KEYS[each], "") for each in LEVELS[: LEVELS.index(level) + 1]}
        if any(hold.covers(mine | {"ISSUER": attributes.get(_ISSUER, "")}) for hold in self._holds):
            return "all"
        return "part" if any(mine.items() <= part.items() for part in self._held_below()) else "no"

    def _held_below(self) -> list[dict[str, str]]:
        """The unique keys, by level, of held entities and of those that they are in."""
        if self._parts is None:
            self._parts = [part for level in LEVELS[1:] for part in self._parts_at(level)]
        return self._parts

    def _parts_at(self, level: str) -> Iterable[dict[str, str]]:
        """Of the holds at a level, which are looked up together."""
        uids = dict.fromkeys(hold.uid for hold in self._holds if hold.level == level)
        if not uids:
            return
        query = query_of(level, {UNIQUE_KEYS[level]: "\\".join(list(uids)[:MOST])})
        for one in self._archive.pages.page(query, MOST, None, _watch(_HOLD_SECONDS)).entries:
            found = {each: one.attributes.get(UNIQUE_KEYS[each], "") for each in LEVELS}
            if any(hold.covers(found | {"ISSUER": one.attributes.get(_ISSUER, "")}) for hold in self._holds):
                yield found
