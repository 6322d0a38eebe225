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

from scp.index import query as reading
from scp.index.columns import ID, answer
from scp.index.dialect import kind, reads, watched
from scp.index.index import Ranks
from scp.index.sequences import selection
from scp.index.watch import Watch
from scp.model import Query

_AT_ONCE = 512  # matches that are read at once
_FIRST_SECONDS = 0.01  # the first are given on when so much time has passed, as a peer may wait for them

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
        self._newest = self._among_newest()
        self._first = self._any() if self._newest is None else None
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
        first = self._any() if self._first is None else self._first
        most = database.FIRST_NAMED_ROWS if reading.is_by_name(self._query) else database.FIRST_ROWS
        # All rows of a server are here with the first; to ask for the others again takes two statements.
        size, wait = (most, math.inf) if database.IS_REMOTE else (1, _FIRST_SECONDS)
        begun = time.monotonic()
        with self._reads() as connection, connection.execute(first.limit(most)) as result:
            rows = result.mappings()
            while part := rows.fetchmany(size):
                self._seen.update(row[ID] for row in part)
                found += self._matched(part)
                if len(self._seen) == most or (found and time.monotonic() - begun > wait):
                    return found, False
                size = min(2 * size, _AT_ONCE)
        return found, True

    def _any(self) -> Select[Any]:
        return reading.find(self._query, self._later, self._ranks)

    def _among_newest(self) -> Select[Any] | None:
        """What a server that reads trigrams is asked first; None where that does not help."""
        newest = reading.newest_named(self._query) if self._database.HAS_TRIGRAMS else None
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
            with streaming.execute(reading.found(self._query, self._later)) as result:
                for part in result.scalars().partitions(_AT_ONCE):
                    ids.extend(one for one in part if one not in self._seen)
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
