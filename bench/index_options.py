"""What a PostgreSQL index gains and loses by two options: trigrams of names, and a divided instance table.

    python -m bench.index_options FOLDER trigrams|partitions --instances 5000000 [--a-study 21] [--parts 16]
        [--queries 200] [--out bench/results]

measures an index that bench.index_growth filled and kept, before and with the option, which is left there:
remove the folder. The figures join index_options.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import psycopg

from bench.index_find import FINDS, RETRIEVES
from bench.index_growth import asked, recorded, with_priority
from bench.index_places import OnServer, place
from bench.index_rows import SHAPES
from scp.index.schema import INSTANCE

NAMES = ("alphabetic", "ideographic", "phonetic")
KINDS = {
    "trigrams": [kind for kind in FINDS if "PatientName" in kind],
    "partitions": ["PatientID, counts returned", "series of a study", "instances of a series", *RETRIEVES],
}


def trigrams(connection: psycopg.Connection[Any], _parts: int) -> None:
    """Indexes of trigrams for each component group of a patient's name."""
    connection.execute("CREATE EXTENSION pg_trgm")
    for group in NAMES:
        column = f"patient_name_{group}"
        connection.execute(f"CREATE INDEX trigrams_{group} ON study USING gin ({column} gin_trgm_ops)")


def partitions(connection: psycopg.Connection[Any], parts: int) -> None:
    """The instance table in so many parts, by a hash of the series, with all its indexes."""
    made = connection.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'instance'").fetchall()
    connection.execute("ALTER TABLE instance RENAME TO whole")
    connection.execute("CREATE TABLE instance (LIKE whole INCLUDING DEFAULTS) PARTITION BY HASH (parent)")
    for part in range(parts):
        of = f"FOR VALUES WITH (MODULUS {parts}, REMAINDER {part})"
        connection.execute(f"CREATE TABLE instance_{part} PARTITION OF instance {of}")
    connection.execute("INSERT INTO instance SELECT * FROM whole ORDER BY id")
    connection.execute("DROP TABLE whole CASCADE")
    for (definition,) in made:
        # A unique index has to contain the key of the division, which that of ids does not.
        plain = definition.replace("UNIQUE INDEX instance_pkey", "INDEX instance_pkey")
        connection.execute(plain.replace(" ON public.instance ", " ON instance "))
    connection.execute("CREATE SEQUENCE IF NOT EXISTS instance_id_seq")
    connection.execute(f"SELECT setval('instance_id_seq', (SELECT max(id) FROM {INSTANCE.name}))")
    connection.execute("ALTER TABLE instance ALTER id SET DEFAULT nextval('instance_id_seq')")


OPTIONS = {"trigrams": trigrams, "partitions": partitions}


def measured(where: OnServer, option: str, studies: int, queries: int) -> dict[str, Any]:
    """Bytes, times and inserts as they are now."""
    found = asked({"PostgreSQL": where}, KINDS[option], studies, queries)["PostgreSQL"]
    rates = {str(threads): recorded(where, threads) for threads in (1, 8)}
    print(rates, where.sizes(), flush=True)
    return {"bytes": where.sizes(), "ms": found, "recorded": rates}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("option", choices=list(OPTIONS))
    parser.add_argument("--instances", type=int, required=True)
    parser.add_argument("--a-study", type=int, choices=[one.mean for one in SHAPES], default=SHAPES[0].mean)
    parser.add_argument("--parts", type=int, default=16)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    given = parser.parse_args()
    with_priority()
    shape = next(shape for shape in SHAPES if shape.mean == given.a_study)
    studies = given.instances // shape.mean
    where = place(given.folder, "PostgreSQL", studies, shape)
    assert isinstance(where, OnServer)
    where.fill()
    where.start()
    result: dict[str, Any] = {"studies": studies, "a_study": shape.mean}
    result["without"] = measured(where, given.option, studies, given.queries)
    began = time.perf_counter()
    with where.server.connect(where.name) as connection:
        connection.execute("SET maintenance_work_mem = '1GB'")
        OPTIONS[given.option](connection, given.parts)
        result["made_s"] = round(time.perf_counter() - began)
        connection.execute("VACUUM ANALYZE")
    result["with"] = measured(where, given.option, studies, given.queries)
    where.stop()
    path = given.out / "index_options.json"
    held = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(held | {given.option: result}, indent=1) + "\n")


if __name__ == "__main__":
    main()
