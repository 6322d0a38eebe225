"""A cache of the rows above an instance: the usual instance belongs to a series that was recorded before.

A second instance with the same texts of patient, study and series changes nothing in these three rows, if
they are still as the first instance left them. So the rows are cached by these texts, and only the row of the
instance itself has to be written.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Dialect, Select, bindparam, func, select

from scp.index.attributes import HELD
from scp.index.prepared import Prepared, compiled_once
from scp.index.rows import above
from scp.index.schema import PATIENT, SERIES, STUDY, TABLES

_MOST = 1024  # about 10 KB each; more series than a node receives at the same time
_NEEDED = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")


@dataclass(slots=True)
class _Place:
    """The three rows as last read, series id first, and the era in which that was known to be true."""

    rows: tuple[Any, ...]
    era: int


def _rows() -> Select[Any]:
    columns = [TABLES[row.table].c[row.column] for row in HELD if row.level != "IMAGE"]
    sought = select(SERIES.c.id, STUDY.c.id, PATIENT.c.id, *columns)
    return sought.select_from(SERIES.join(STUDY).join(PATIENT))


@compiled_once
def _look_up(dialect: Dialect) -> Prepared:
    """The three rows of a place."""
    sought = (
        _rows()
        .where(STUDY.c.study_instance_uid == bindparam("study"))
        .where(PATIENT.c.patient_id == bindparam("patient"))
        .where(PATIENT.c.issuer_of_patient_id == bindparam("issuer"))
        .where(SERIES.c.series_instance_uid == bindparam("series"))
    )
    return Prepared(sought, dialect)


@compiled_once
def rows_of_series(dialect: Dialect) -> Prepared:
    """The three rows of places, by the parameter ``ids``, which are those of series: PostgreSQL's."""
    return Prepared(_rows().where(SERIES.c.id == func.any(bindparam("ids"))), dialect)


class Places:
    """Texts of patient, study and series → id of the series; a bounded number of the most recent.

    An era is a time in which no existing patient, study or series was changed: :meth:`doubt` ends it. A place
    of an earlier era is read again, in one look-up, and counts only if its rows, ids included, are unchanged.
    Therefore ids that SQLite uses again do no harm.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._look = _look_up(dialect)
        self._places: OrderedDict[tuple[str, ...], _Place] = OrderedDict()
        self._era = 0

    def doubt(self) -> None:
        """Begin a new era: the cached rows may have changed."""
        self._era += 1

    def find(self, cursor: Any, texts: Mapping[str, str]) -> int | None:
        """The id of the series that an instance with ``texts`` joins without a change above it, or None."""
        sought = above(texts)
        place = self._places.get(sought)
        if place is None:
            return None
        if place.era != self._era:
            if self._read(cursor, texts) != place.rows:
                del self._places[sought]
                return None
            place.era = self._era
        self._places.move_to_end(sought)
        return int(place.rows[0])

    def series(self, found: Iterable[Mapping[str, str]]) -> list[int]:
        """The ids of the series that instances with these texts joined before, as far as they are cached."""
        places = filter(None, (self._places.get(sought) for sought in {above(texts) for texts in found}))
        return list({int(place.rows[0]) for place in places})

    def confirm(self, found: Iterable[Mapping[str, str]], rows: Iterable[tuple[Any, ...]]) -> None:
        """Let the places of these texts count in this era, if their rows are among those that were just read.

        ``rows`` are those of the series that :meth:`series` named.
        """
        read = {row[0]: row for row in rows}
        for sought in {above(texts) for texts in found} if read else ():
            place = self._places.get(sought)
            if place is not None and read.get(place.rows[0]) == place.rows:
                place.era = self._era

    def remember(self, cursor: Any, texts: Mapping[str, str]) -> None:
        """Cache the place of an instance with ``texts``, which was just written.

        Places are not cached if patient, study or series has no unique key: these are found in other ways.
        """
        if not all(texts[keyword] for keyword in _NEEDED):
            return
        rows = self._read(cursor, texts)
        if rows is not None:
            self._places[above(texts)] = _Place(rows, self._era)
            if len(self._places) > _MOST:
                self._places.popitem(last=False)

    def _read(self, cursor: Any, texts: Mapping[str, str]) -> tuple[Any, ...] | None:
        named = {
            "patient": texts["PatientID"],
            "issuer": texts["IssuerOfPatientID"],
            "study": texts["StudyInstanceUID"],
            "series": texts["SeriesInstanceUID"],
        }
        found = self._look.run(cursor, named).fetchall()
        return tuple(found[0]) if found else None
