"""The zstd dictionaries of stored files, on the tables of a SQL index."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice

from sqlalchemy import Engine, bindparam, func, select, update

from scp.index.dialect import reads
from scp.index.meta import SqlMeta
from scp.index.packing import DictionaryUse, NoticedDictionary
from scp.index.record import as_instance
from scp.index.schema import INSTANCE, INSTANCE_COLUMNS, SETTLED
from scp.index.writer import CHANGES, Writer
from scp.model import Instance

_NOTICED = "dictionary "  # names in Meta begin so, and end with a SOP class
_AT_ONCE = 500  # others write in between
_NOTE = (
    update(INSTANCE)
    .where(INSTANCE.c.sop_instance_uid == bindparam("uid"), INSTANCE.c.key == bindparam("at"))
    .values(dictionary=bindparam("needed"), planned="")  # its rule may want it without
)


class SqlPacking:
    """:class:`scp.index.packing.Packing` on the tables and the writer of a SQL index."""

    def __init__(self, engine: Engine, writer: Writer) -> None:
        self._engine = engine
        self._writer = writer
        self._meta = SqlMeta(engine, writer)

    def dictionary_uses(self) -> Mapping[int, DictionaryUse]:
        """See :class:`scp.index.packing.Packing`."""
        needed = INSTANCE.c.dictionary
        counted = select(needed, func.count(), func.sum(INSTANCE.c.stored_size)).group_by(needed)
        with reads(self._engine) as connection:
            rows = connection.execute(counted).all()
        return {number: DictionaryUse(count, int(size)) for number, count, size in rows}

    def needing(self, dictionaries: Collection[int], batch: int = 1000) -> Iterator[Instance]:
        """See :class:`scp.index.packing.Packing`."""
        last = 0
        needed = INSTANCE.c.dictionary.in_(list(dictionaries))
        while True:
            rows = select(INSTANCE.c.id, *INSTANCE_COLUMNS).where(INSTANCE.c.id > last, needed)
            with reads(self._engine) as connection:
                found = connection.execute(rows.order_by(INSTANCE.c.id).limit(batch)).mappings().all()
            if not found:
                return
            yield from map(as_instance, found)
            last = found[-1]["id"]

    def note_dictionaries(self, found: Iterable[tuple[Instance, int]]) -> None:
        """See :class:`scp.index.packing.Packing`."""
        left = iter(found)
        while some := list(islice(left, _AT_ONCE)):
            rows = [{"uid": one.sop_instance_uid, "at": one.key, "needed": needed} for one, needed in some]
            with self._writer.transaction(CHANGES) as connection:
                connection.execute(_NOTE, rows)

    def noticed_dictionaries(self) -> Mapping[str, NoticedDictionary]:
        """See :class:`scp.index.packing.Packing`."""
        noted = ((name.removeprefix(_NOTICED), value.split()) for name, value in self._names())
        return {uid: NoticedDictionary(*map(int, values)) for uid, values in noted}

    def _names(self) -> Iterator[tuple[str, str]]:
        return ((name, value) for name, value in self._meta.all().items() if name.startswith(_NOTICED))

    def plan_for_dictionary(self, sop_class_uid: str, dictionary: int, now: float) -> int:
        """See :class:`scp.index.packing.Packing`."""
        lacking = (
            SETTLED,
            INSTANCE.c.sop_class_uid == sop_class_uid,
            INSTANCE.c.dictionary != dictionary,
            INSTANCE.c.dictionary_tried != dictionary,
        )
        last = planned = 0
        while True:
            rows = select(INSTANCE.c.id).where(INSTANCE.c.id > last, *lacking)
            with reads(self._engine) as connection:
                found = list(connection.execute(rows.order_by(INSTANCE.c.id).limit(_AT_ONCE)).scalars())
            if not found:
                break
            with self._writer.transaction(CHANGES) as connection:
                connection.execute(update(INSTANCE).where(INSTANCE.c.id.in_(found)).values(planned=""))
            last, planned = found[-1], planned + len(found)
        self._meta.put({f"{_NOTICED}{sop_class_uid}": f"{dictionary} {int(now)}"})
        return planned
