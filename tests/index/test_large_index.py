"""The large indexes that benchmarks measure: what is asked of them is there, on either database."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
import servers_postgresql
from sqlalchemy import select

from bench import index_fill, index_fill_server
from bench.index_find import FINDS, RETRIEVES
from bench.index_rows import CT_HEAVY, FLAT, Shape, study
from scp.index.databases import Database
from scp.index.dialect import connect
from scp.index.schema import PATIENT, SERIES, STUDY
from scp.index.sql import SqlIndex

STUDIES = 150


class Server:
    """The tests' server, as bench.index_server has one."""

    connect = staticmethod(lambda name="postgres": servers_postgresql.shared()._connect(name))
    named = staticmethod(lambda name: servers_postgresql.shared().named(name))


def rows(where: Database) -> list[tuple[object, ...]]:
    described = (PATIENT.c.patient_id, STUDY, SERIES.c.series_instance_uid, SERIES.c.modality)
    engine = connect(where)
    try:
        with engine.connect() as connection:
            joined = PATIENT.join(STUDY).join(SERIES)
            found = connection.execute(select(*described).select_from(joined).order_by(SERIES.c.id))
            return [tuple(row) for row in found]
    finally:
        engine.dispose()


@pytest.mark.parametrize("shape", [CT_HEAVY, FLAT])
def test_what_is_asked_of_it_is_there(shape: Shape, tmp_path: Path) -> None:
    url, _ = index_fill.filled(tmp_path, STUDIES, shape)
    with closing(SqlIndex.open(url)) as index:
        assert index.counts().studies == STUDIES
        assert index.counts().instances == pytest.approx(STUDIES * shape.mean, rel=0.2)
        for number in (1, 77, STUDIES):
            known = study(number, STUDIES)
            for kind in ("AccessionNumber", "PatientID, a year, modality", "PatientName `*OE*`"):
                assert known.uid in {match["StudyInstanceUID"] for match in index.find(FINDS[kind](known))}, (
                    kind
                )
            assert index.instances(RETRIEVES["retrieve an instance"](known))


@pytest.mark.cluster
@pytest.mark.parametrize("shape", [CT_HEAVY, FLAT])
def test_it_is_the_same_on_both_databases(shape: Shape, tmp_path: Path) -> None:
    url, _ = index_fill.filled(tmp_path, STUDIES, shape)
    name, _ = index_fill_server.filled(cast(Any, Server()), STUDIES, shape)
    assert rows(Server.named(name)) == rows(Database(url))


def point(database: str, instances: int, ms: float, drawn: Iterable[str]) -> dict[str, Any]:
    times = {state: [ms, 2 * ms] for state in ("cold", "warm")}
    return {
        "database": database,
        "instances": instances,
        "studies": instances // 21,
        "a_study": 21,
        "bytes": {"all": instances * 1000},
        "ms": dict.fromkeys(drawn, times),
        "recorded": {"1": 100.0, "8": 300.0},
    }


def test_its_growth_is_told(tmp_path: Path) -> None:
    # It loads matplotlib, which takes half a second: only here, and not of each process that reads this file.
    report = importlib.import_module("bench.index_growth_report")
    old = [point(name, 2_000_000, 9.0, report.DRAWN) for name in ("SQLite", "PostgreSQL")]
    new = [
        point(name, size, ms, report.DRAWN)
        for name in ("SQLite", "PostgreSQL")
        for size, ms in ((10**6, 2.0), (2 * 10**6, 3.0))
    ]
    for points in (old, new):  # the old point is measured anew
        report.join(tmp_path, {"processor": "one", "date": "2026-11-30", "zscp": "0.1.0"}, points)
    report.write(tmp_path)
    page = (tmp_path / "index_growth.md").read_text()
    assert page.count("| a day, modality | 2.0, **4.0**; 4.0 | 3.0, **6.0**; 6.0 | 1.50 times |") == 2
    assert "| GB | 1.0 | 2.0 | 2.00 times |" in page
    assert "PostgreSQL: a day, modality" in (tmp_path / "index_growth.svg").read_text()
