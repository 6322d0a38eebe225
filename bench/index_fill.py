"""A large index to measure against, made by SQL alone: about 20 instances in 3 series a study.

Keys have realistic lengths, studies lie in the order of their dates as they arrive, patients come
back. The numbers are drawn from hashes of the row number, so that the same index is made each time
and :func:`study` can tell what is in it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from scp.index.keys import fold
from scp.index.sql import SqlIndex

FIRST_DAY, DAYS = date(2010, 1, 1), 15 * 365
STUDIES_A_PATIENT = 2.5
# Modality of a study's main series, SOP class, how many in 100, rows, columns.
MODALITIES = (
    ("CT", "1.2.840.10008.5.1.4.1.1.2", 30, 512),
    ("MR", "1.2.840.10008.5.1.4.1.1.4", 22, 320),
    ("CR", "1.2.840.10008.5.1.4.1.1.1", 18, 2500),
    ("US", "1.2.840.10008.5.1.4.1.1.6.1", 14, 768),
    ("MG", "1.2.840.10008.5.1.4.1.1.1.2", 8, 4096),
    ("XA", "1.2.840.10008.5.1.4.1.1.12.1", 5, 1024),
    ("NM", "1.2.840.10008.5.1.4.1.1.20", 3, 128),
)
_STARTS = (
    "Ab Bel Cor Do Er Fal Gar Hol In Jan Kor Lin Mey Nor Ost Pet Qui Ros Sch Tan Ul Ver Wag Yor Zim".split()
)
_ENDS = "bach dahl e er feld gard haus ini kov land mann nik oe quist rup sen stein tran ulis witz".split()
SURNAMES = tuple(start + end for start in _STARTS for end in _ENDS)
GIVEN = tuple(
    "Anna Ben Clara David Emma Felix Greta Hugo Ida Jonas "
    "Klara Leo Mia Noah Olga Paul Rosa Sven Tina Uwe".split()
)
_BATCH = 50_000  # studies a transaction: a million instances


@dataclass(frozen=True, slots=True)
class Study:
    """What is known of study ``number`` (from 1) without asking the index."""

    number: int
    uid: str
    patient_id: str
    surname: str
    day: date
    modality: str
    accession: str


def study(number: int, studies: int) -> Study:
    """The study of that number in an index of so many."""
    patient = _hash(number) % _patients(studies) + 1
    return Study(
        number,
        f"1.2.840.113619.2.{_hash(number) % 60}.{_hash(number + 7)}.{number + 10**9}",
        f"PID{patient + 10**7}",
        SURNAMES[_hash(patient + 11) % len(SURNAMES)],
        FIRST_DAY + timedelta(days=(number - 1) * DAYS // studies),
        _MODALITY[_hash(number + 3) % 100][0],
        f"ACC{number + 10**9}",
    )


def filled(folder: Path, studies: int) -> tuple[str, float]:
    """The URL of an index of ``studies`` studies in ``folder``, made if it is not there; seconds it took."""
    folder.mkdir(parents=True, exist_ok=True)
    database = folder / f"index-{studies}.db"
    url = f"sqlite:///{database}"
    if database.exists():
        SqlIndex.open(url).close()  # brings it to this version's schema
        return url, 0.0
    began = time.perf_counter()
    making = database.with_suffix(".making")
    SqlIndex.open(f"sqlite:///{making}").close()
    with closing(sqlite3.connect(making, isolation_level=None)) as connection:
        _fill(connection, studies)
    making.rename(database)
    return url, time.perf_counter() - began


def _fill(connection: sqlite3.Connection, studies: int) -> None:
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -2000000", "temp_store = FILE"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    connection.create_function("hash", 1, _hash, deterministic=True)
    connection.create_function("day", 1, lambda n: _day(n, studies), deterministic=True)
    connection.create_function("surname", 1, lambda n: SURNAMES[_hash(n + 11) % len(SURNAMES)])
    connection.create_function("folded", 1, fold, deterministic=True)
    indexes = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql > ''")
    dropped = dict(indexes.fetchall())
    for name in dropped:
        connection.execute(f"DROP INDEX {name}")
    _lists(connection)
    connection.execute("BEGIN")
    connection.execute(_PATIENTS, (_patients(studies),))
    for first in range(1, studies + 1, _BATCH):
        _some_studies(connection, first, min(first + _BATCH - 1, studies), _patients(studies))
    connection.execute("COMMIT")
    for sql in dropped.values():
        connection.execute(sql)
    connection.execute("PRAGMA journal_mode = WAL").fetchall()


def _some_studies(connection: sqlite3.Connection, first: int, last: int, patients: int) -> None:
    connection.execute(_STUDIES, (first, last, patients))
    connection.execute(_SERIES, (first, last))
    connection.execute(_INSTANCES, (first * 3 - 2, last * 3))


def _lists(connection: sqlite3.Connection) -> None:
    """Temporary tables: modality of a number below 100, given names, and the numbers to 60."""
    connection.execute("CREATE TEMP TABLE kind (n INTEGER PRIMARY KEY, modality, class, size)")
    connection.executemany("INSERT INTO kind VALUES (?, ?, ?, ?)", ((n, *_MODALITY[n]) for n in range(100)))
    connection.execute("CREATE TEMP TABLE given (n INTEGER PRIMARY KEY, name)")
    connection.executemany("INSERT INTO given VALUES (?, ?)", enumerate(GIVEN))
    connection.execute("CREATE TEMP TABLE number (n INTEGER PRIMARY KEY)")
    connection.executemany("INSERT INTO number VALUES (?)", ((n,) for n in range(1, 61)))


def _hash(number: int) -> int:
    """A number below 2³² that looks random (a multiplication and shifts, after MurmurHash3)."""
    number = (number ^ (number >> 16)) * 0x85EBCA6B & 0xFFFFFFFF
    number = (number ^ (number >> 13)) * 0xC2B2AE35 & 0xFFFFFFFF
    return number ^ (number >> 16)


def _day(number: int, studies: int) -> str:
    return (FIRST_DAY + timedelta(days=(number - 1) * DAYS // studies)).strftime("%Y%m%d")


def _patients(studies: int) -> int:
    return max(1, round(studies / STUDIES_A_PATIENT))


def _kinds() -> Iterator[tuple[str, str, int]]:
    for modality, sop_class, share, size in MODALITIES:
        yield from [(modality, sop_class, size)] * share


_MODALITY = tuple(_kinds())

_PATIENTS = """
WITH RECURSIVE made(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM made LIMIT ?)
INSERT INTO patient (id, patient_id) SELECT made.n, 'PID' || (made.n + 10000000) FROM made
"""

_STUDIES = """
WITH RECURSIVE made(n) AS (SELECT ?1 UNION ALL SELECT n + 1 FROM made WHERE n < ?2)
INSERT INTO study (id, parent, study_instance_uid, study_date, study_date_key, study_time, study_time_key,
                   accession_number, study_id, study_description, referring_physician_name,
                   referring_physician_name_alphabetic, patient_age, patient_name, patient_name_alphabetic,
                   patient_birth_date, patient_birth_date_key, patient_sex)
SELECT made.n, patient.id,
       '1.2.840.113619.2.' || (hash(made.n) % 60) || '.' || hash(made.n + 7) || '.' || (made.n + 1000000000),
       day(made.n), day(made.n), '101530', '101530.000000', 'ACC' || (made.n + 1000000000), 'S' || made.n,
       'Thorax with contrast', 'Referrer^Henry', 'referrer^henry', '064Y',
       surname(patient.id) || '^' || given.name, folded(surname(patient.id) || '^' || given.name),
       '19600704', '19600704', 'F'
FROM made JOIN patient ON patient.id = hash(made.n) % ?3 + 1 JOIN given ON given.n = hash(patient.id + 5) % 20
"""

# Two series of images, and every third study has a structured report.
_SERIES = """
INSERT INTO series (id, parent, series_instance_uid, modality, series_number, series_number_key,
                    series_description, series_date, series_date_key, series_time, series_time_key,
                    body_part_examined, protocol_name, manufacturer, manufacturer_model_name, station_name,
                    institution_name, frame_of_reference_uid)
SELECT study.id * 3 - 3 + number.n, study.id, study.study_instance_uid || '.' || number.n,
       CASE WHEN number.n = 3 AND study.id % 3 = 0 THEN 'SR' ELSE kind.modality END, number.n, number.n,
       'Axial 5 mm', study.study_date, study.study_date, '101600', '101600.000000', 'CHEST', 'Routine',
       'Example Medical', 'Scanner 3000', 'ROOM1', 'General Hospital',
       study.study_instance_uid || '.9.' || number.n
FROM study JOIN number ON number.n <= 3 JOIN kind ON kind.n = hash(study.id + 3) % 100
WHERE study.id BETWEEN ? AND ?
"""

# 1 to 25 in the two series of images, 1 or 5 in the last: 20 a study on average.
_INSTANCES = """
INSERT INTO instance (parent, sop_instance_uid, sop_class_uid, instance_number, instance_number_key,
    content_date, content_date_key, content_time, content_time_key, acquisition_date, acquisition_date_key,
    acquisition_time, acquisition_time_key, acquisition_number, acquisition_number_key, image_type, rows,
    columns, samples_per_pixel, photometric_interpretation, bits_allocated, bits_stored,
    pixel_representation, window_center, window_width, slice_thickness, slice_location, study_instance_uid,
    series_instance_uid, key, form, transfer_syntax, stored_size, stored_sha256, received_transfer_syntax,
    received_size, received_sha256, received_at, calling_aet, rule, patient_id)
SELECT series.id, series.series_instance_uid || '.' || number.n,
    CASE series.modality WHEN 'SR' THEN '1.2.840.10008.5.1.4.1.1.88.11' ELSE kind.class END,
    number.n, number.n,
    series.series_date, series.series_date, '101600.25', '101600.250000', series.series_date,
    series.series_date, '101600.25', '101600.250000', '1', '1', 'ORIGINAL\\PRIMARY\\AXIAL', kind.size,
    kind.size, '1', 'MONOCHROME2', '16', '12', '0', '40', '400', '5.0', '-12.5', study.study_instance_uid,
    series.series_instance_uid, '3f/a7/' || study.study_instance_uid || '/' || series.series_instance_uid ||
    '.' || number.n || '_' || lower(hex(randomblob(8))) || '.htj2k.dcm.zst', 'htj2k',
    '1.2.840.10008.1.2.4.201', 150000, lower(hex(randomblob(32))), '1.2.840.10008.1.2.1', 525312,
    lower(hex(randomblob(32))), '2024-01-31 10:15:30.123456', 'CTROOM1', 'everything else', patient.patient_id
FROM series JOIN study ON study.id = series.parent JOIN patient ON patient.id = study.parent
JOIN kind ON kind.n = hash(study.id + 3) % 100
JOIN number ON number.n <= CASE WHEN series.id % 3 = 0 THEN 1 + series.id % 2 * 4
                                ELSE 1 + hash(series.id) % 17 END
WHERE series.id BETWEEN ? AND ?
"""
