"""The matches of one query, read in pieces: between two of them nothing of the database is held.

A peer may take hours to read what was found. A transaction that stays open for so long keeps SQLite from
copying its log into the database, so that the log grows with all that is written meanwhile. Most queries find
few entities, and take one statement. Of others, the ids of all are read next, 8 bytes each, and then their
rows, some hundred in a transaction.

A number that belonged to a removed entity may be that of another one meanwhile, so the rows are tested again.
"""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

from sqlalchemy import BindParameter, Connection, Engine, RowMapping, Select, bindparam

from scp.index import names
from scp.index import query as reading
from scp.index.columns import ID, answer
from scp.index.dialect import kind, reads, watched
from scp.index.index import Ranks
from scp.index.sequences import selection
from scp.index.watch import Watch
from scp.model import Query

_AT_ONCE = 512  # matches that are read at once
# The first are given on before so much time has passed, as a peer may wait for them: 20 ms in all, of which
# to build the statements, and to count what finds fewer studies, takes 2 to 8.
_FIRST_SECONDS = 0.006

_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
Match = dict[str, str]


class Matches:
    """Reads the matches of one query; the query is checked when this is made, before anything is read.

    Raises :class:`scp.errors.QueryError` as :meth:`scp.index.index.Index.find` does.
    """

    def __init__(self, engine: Engine, query: Query, ranks: Ranks, watch: Watch) -> None:
        self._engine, self._query, self._watch = engine, query, watch
        self._database = kind(engine)
        self._later = self._tested_later()
        self._ranks = ranks
        self._trigrams, self._newest = self._by_parts_of_a_name()
        self._first = self._find() if self._newest is None else None
        self._chosen = selection(query)
        self._seen: set[int] = set()

    def read(self) -> Generator[Match, None, None]:
        """The matches, each once."""
        matches, whole = self._begin()
        yield from matches
        if whole:
            return
        left = self._ids()
        for at in range(0, len(left), _AT_ONCE):
            yield from self._among(left[at : at + _AT_ONCE].tolist())

    def _begin(self) -> tuple[list[Match], bool]:
        """The first matches, and whether these are all."""
        if found := self._of_the_newest():
            return found, False
        database = self._database
        most = database.FIRST_NAMED_ROWS if names.is_by_name(self._query) else database.FIRST_ROWS
        # All rows of a server are here with the first; to ask for the others again takes two statements.
        size, wait = (most, math.inf) if database.IS_REMOTE else (1, _FIRST_SECONDS)
        begun = time.monotonic()
        with self._reads() as connection:
            for first in self._ways(connection):
                with connection.execute(first.limit(most)) as result:
                    rows = result.mappings()
                    while part := rows.fetchmany(size):
                        found += self._matched([row for row in part if row[ID] not in self._seen])
                        self._seen.update(row[ID] for row in part)
                        # The next row is taken to need as long as each of these did.
                        until = (time.monotonic() - begun) * (1 + 1 / len(self._seen))
                        if len(self._seen) >= most or (found and until > wait):
                            return found, False
        return found, True

    def _find(self) -> Select[Any]:
        """What finds all, by trigrams if there is a table that has all studies."""
        if not self._trigrams:
            return reading.find(self._query, self._later, self._ranks)
        by_trigrams = reading.find(self._query, "", self._ranks, named=self._trigrams)
        return by_trigrams.order_by(names.TRIGRAMS.c.rowid.desc())  # the newest first

    def _ways(self, connection: Connection) -> Iterator[Select[Any]]:
        """The statements that find all matches; some may be found by two of them."""
        first = self._find() if self._first is None else self._first
        if not self._trigrams:
            yield first
            return
        held = self._database.held_trigrams(connection)  # begun anew since it was looked at, perhaps
        if not held.complete:
            yield reading.find(self._query, self._later, self._ranks)
            return
        if held.due:
            yield reading.find(self._query, "", self._ranks, named=names.DUE)
        yield first

    def _by_parts_of_a_name(self) -> tuple[str, Select[Any] | None]:
        """The trigrams by which a name that begins with a wildcard is found, and what finds the newest first.

        No trigrams where an index of names or dates finds fewer studies. The newest are not asked for apart
        where trigrams find them first, or the dates have no others.
        """
        if self._database.PLANS_BY_VALUES:  # it knows its indexes, and which finds fewer rows
            return "", self._among_newest()
        trigrams = names.trigrams(self._query)
        if not trigrams and not names.begins_with_wildcard(self._query):
            return "", None
        counting = names.count_of_dates(self._query)
        with self._reads() as connection:
            if counting is not None and connection.execute(counting).scalar_one() <= names.NEWEST_STUDIES:
                return "", None
            if not self._database.held_trigrams(connection).complete:
                trigrams = ""
        return trigrams, None if trigrams and counting is None else self._among_newest()

    def _among_newest(self) -> Select[Any] | None:
        """What is asked first of a name that begins with a wildcard; None where that does not help."""
        newest = names.newest_named(self._query)
        if newest is None:
            return None
        # Their names were compared already.
        keys = (replace(key, value="") if key.keyword == "PatientName" else key for key in self._query.keys)
        return reading.find(replace(self._query, keys=tuple(keys)), "", self._ranks, among=newest)

    def _of_the_newest(self) -> list[Match]:
        if self._newest is None:
            return []
        with self._reads() as connection:
            rows = connection.execute(self._newest.limit(self._database.FIRST_ROWS)).mappings().all()
        found = list(self._matched(rows))
        if found:
            self._seen.update(row[ID] for row in rows)
        return found

    def _ids(self) -> array[int]:
        """The ids of all entities that were found, but for those that were read already, in their order."""
        ids = array("q")
        with self._reads(streams=True) as connection:
            streaming = connection.execution_options(stream_results=True)
            for way in self._ways(connection):
                known = self._seen.union(ids)
                with streaming.execute(reading.ids_of(way, self._query.level)) as result:
                    for part in result.scalars().partitions(_AT_ONCE):
                        ids.extend(one for one in part if one not in known)
        self._seen.clear()
        return ids

    def _among(self, ids: list[int]) -> list[Match]:
        with self._reads() as connection:
            return list(self._matched(connection.execute(self._rest, {"ids": ids}).mappings()))

    @cached_property
    def _rest(self) -> Select[Any]:
        """What reads the matches after the first ones: most queries have none, and to build it takes 1 ms."""
        return reading.find(self._query, "", self._ranks, among=_IDS)

    def _matched(self, rows: Iterable[RowMapping]) -> Iterator[Match]:
        for row in rows:
            match: Match | None = answer(row)
            if match is not None and self._chosen is not None:
                self._watch.look()
                match = self._chosen(match)
            if match is not None:
                yield match

    @contextmanager
    def _reads(self, streams: bool = False) -> Iterator[Connection]:
        with reads(self._engine, streams) as connection, watched(connection, self._watch):
            yield connection

    def _tested_later(self) -> str:
        """The keyword that matches more studies than the other, so that it is better tested second."""
        ranges = {} if self._database.PLANS_BY_VALUES else reading.ranges(self._query)
        if not ranges:
            return ""
        with self._reads() as connection:
            matched = {key: connection.execute(counting).scalar_one() for key, counting in ranges.items()}
        return "StudyDate" if matched["StudyDate"] >= matched["PatientName"] else "PatientName"
