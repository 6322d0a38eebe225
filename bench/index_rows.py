"""The rows of a large index as SQL for any database; bench.index_fill and its like insert them.

Keys have realistic lengths, studies lie in the order of their dates as they arrive, patients come
back. The numbers are drawn from hashes of the row number, so that the same index is made each time
and :func:`study` can tell what is in it. The statements call functions ``hash`` and ``folded``, which each
database gets, and join the tables of :data:`LISTS`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

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


@dataclass(frozen=True, slots=True)
class Shape:
    """How many series a study has, and an SQL expression of how many instances a series has."""

    series: int
    instances: str
    mean: int  # instances a study

    def statements(self, first: int, last: int, studies: int, random: Mapping[str, str]) -> Iterator[str]:
        """What inserts the studies from ``first`` to ``last``, and all below them.

        ``random`` has an SQL expression of 8 bytes in hexadecimal, ``hex8``, and two of 32.
        """
        given = {"first": first, "last": last, "series": self.series}
        known = {"patients": patients(studies), "studies": studies, "surnames": len(SURNAMES), "days": DAYS}
        yield STUDIES_OF.format(**given, **known)
        yield SERIES_OF.format(**given, report=0 if self.series < 3 else 3)
        below = {"first": (first - 1) * self.series + 1, "last": last * self.series}
        yield INSTANCES_OF.format(**below, **random, instances=self.instances)


# Two series of 1 to 17 images, and 1 or 5 reports or images in the third one: 21 a study.
CT_HEAVY = Shape(
    3,
    "CASE WHEN series.id % 3 = 0 THEN 1 + series.id % 2 * 4 ELSE 1 + hash(series.id) % 17 END",
    21,
)
# The most studies that a disk takes: one image each.
FLAT = Shape(1, "1", 1)
SHAPES = (CT_HEAVY, FLAT)


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
    patient = hashed(number) % patients(studies) + 1
    return Study(
        number,
        f"1.2.840.113619.2.{hashed(number) % 60}.{hashed(number + 7)}.{number + 10**9}",
        f"PID{patient + 10**7}",
        SURNAMES[hashed(patient + 11) % len(SURNAMES)],
        FIRST_DAY + timedelta(days=(number - 1) * DAYS // studies),
        KINDS[hashed(number + 3) % 100][0],
        f"ACC{number + 10**9}",
    )


def hashed(number: int) -> int:
    """A number below 2²⁹ that looks random; no product in it has more than 63 bits, which SQL can take."""
    number = number * 2654435761 & 0xFFFFFFFF
    return ((number ^ (number >> 15)) * 739982445 & 0xFFFFFFFF) >> 3


def patients(studies: int) -> int:
    return max(1, round(studies / STUDIES_A_PATIENT))


def _kinds() -> Iterator[tuple[str, str, int]]:
    for modality, sop_class, share, size in MODALITIES:
        yield from [(modality, sop_class, size)] * share


KINDS = tuple(_kinds())
# Tables to join: name → its columns after ``n``, which counts from 0, and its rows.
LISTS: Mapping[str, tuple[str, Sequence[tuple[str | int, ...]]]] = {
    "kind": ("modality TEXT, class TEXT, size INTEGER", KINDS),
    "given": ("name TEXT", [(name,) for name in GIVEN]),
    "surname": ("name TEXT", [(name,) for name in SURNAMES]),
    "day": ("text TEXT", [(f"{FIRST_DAY + timedelta(days=n):%Y%m%d}",) for n in range(DAYS)]),
    "number": ("unused INTEGER", [(0,)] * 61),
}

PATIENTS_OF = """
WITH RECURSIVE made(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM made WHERE n < {patients})
INSERT INTO patient (id, patient_id) SELECT made.n, 'PID' || (made.n + 10000000) FROM made
"""

STUDIES_OF = """
WITH RECURSIVE made(n) AS (SELECT CAST({first} AS BIGINT) UNION ALL SELECT n + 1 FROM made WHERE n < {last})
INSERT INTO study (id, parent, study_instance_uid, study_date, study_date_key, study_time, study_time_key,
                   accession_number, study_id, study_description, referring_physician_name,
                   referring_physician_name_alphabetic, patient_age, patient_name, patient_name_alphabetic,
                   patient_birth_date, patient_birth_date_key, patient_sex)
SELECT made.n, patient.id,
       '1.2.840.113619.2.' || (hash(made.n) % 60) || '.' || hash(made.n + 7) || '.' || (made.n + 1000000000),
       day.text, day.text, '101530', '101530.000000', 'ACC' || (made.n + 1000000000), 'S' || made.n,
       'Thorax with contrast', 'Referrer^Henry', 'referrer^henry', '064Y',
       surname.name || '^' || given.name, folded(surname.name || '^' || given.name),
       '19600704', '19600704', 'F'
FROM made JOIN patient ON patient.id = hash(made.n) % {patients} + 1
JOIN given ON given.n = hash(patient.id + 5) % 20
JOIN surname ON surname.n = hash(patient.id + 11) % {surnames}
JOIN day ON day.n = (made.n - 1) * {days} / {studies}
"""

# The third series of every third study is a structured report.
SERIES_OF = """
INSERT INTO series (id, parent, series_instance_uid, modality, series_number, series_number_key,
                    series_description, series_date, series_date_key, series_time, series_time_key,
                    body_part_examined, protocol_name, manufacturer, manufacturer_model_name, station_name,
                    institution_name, frame_of_reference_uid)
SELECT (study.id - 1) * {series} + number.n, study.id, study.study_instance_uid || '.' || number.n,
       CASE WHEN number.n = {report} AND study.id % 3 = 0 THEN 'SR' ELSE kind.modality END,
       number.n, number.n,
       'Axial 5 mm', study.study_date, study.study_date, '101600', '101600.000000', 'CHEST', 'Routine',
       'Example Medical', 'Scanner 3000', 'ROOM1', 'General Hospital',
       study.study_instance_uid || '.9.' || number.n
FROM study JOIN number ON number.n BETWEEN 1 AND {series} JOIN kind ON kind.n = hash(study.id + 3) % 100
WHERE study.id BETWEEN {first} AND {last}
"""

INSTANCES_OF = """
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
    '.' || number.n || '_' || {hex8} || '.htj2k.dcm.zst', 'htj2k',
    '1.2.840.10008.1.2.4.201', 150000, {stored}, '1.2.840.10008.1.2.1', 525312,
    {received}, '2024-01-31 10:15:30.123456', 'CTROOM1', 'everything else', patient.patient_id
FROM series JOIN study ON study.id = series.parent JOIN patient ON patient.id = study.parent
JOIN kind ON kind.n = hash(study.id + 3) % 100
JOIN number ON number.n BETWEEN 1 AND {instances}
WHERE series.id BETWEEN {first} AND {last}
"""
