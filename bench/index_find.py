"""How fast a large index answers: C-FIND of several kinds, what a retrieve looks up, and recording.

    python -m bench.index_find FOLDER [--studies 1000000] [--queries 200] [--json FILE]

makes an index in FOLDER where there is none yet (bench.index_fill; a million studies take 19 GB and
some minutes), asks it at random, first with the file evicted from the page cache, then again, and
prints a Markdown table: median and 95th percentile in ms.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.index_fill import filled
from bench.index_rows import FIRST_DAY, MODALITIES, SURNAMES, Study, study
from scp.index.sql import SqlIndex
from scp.model import Instance, Query, QueryKey

Times = list[tuple[float, float]]  # to the first match and to the last, seconds
_RETURNED = {
    "PatientName": "",
    "StudyDate": "",
    "StudyTime": "",
    "StudyDescription": "",
    "ModalitiesInStudy": "",
}


def _query(level: str, **keys: str) -> Query:
    return Query("STUDY", level, tuple(QueryKey(keyword, "", value) for keyword, value in keys.items()))


def _around(known: Study, days: int) -> str:
    first = known.day - timedelta(days=random.randrange(days))
    return f"{first:%Y%m%d}-{first + timedelta(days=days - 1):%Y%m%d}"


def _modality() -> str:
    return random.choices([row[0] for row in MODALITIES], [row[2] for row in MODALITIES])[0]


def _listed(**keys: str) -> Query:
    return _query("STUDY", **(_RETURNED | keys))


FINDS: dict[str, Callable[[Study], Query]] = {
    "PatientID, a year, modality": lambda known: _listed(
        PatientID=known.patient_id, StudyDate=_around(known, 365), ModalitiesInStudy=known.modality
    ),
    "PatientName `DOE*`, a week, modality": lambda known: _listed(
        PatientName=f"{known.surname.upper()}*",
        StudyDate=_around(known, 7),
        ModalitiesInStudy=_modality(),
    ),
    "PatientName `DOE*`, a year, modality": lambda known: _listed(
        PatientName=f"{known.surname.upper()}*",
        StudyDate=_around(known, 365),
        ModalitiesInStudy=known.modality,
    ),
    "PatientName `D*`, a day, modality": lambda known: _listed(
        PatientName=f"{known.surname[0]}*", StudyDate=_around(known, 1), ModalitiesInStudy=_modality()
    ),
    "PatientName `DOE*`, modality": lambda known: _listed(
        PatientName=f"{known.surname.upper()}*", ModalitiesInStudy=_modality()
    ),
    "PatientName `NOBODY*`, a year": lambda known: _listed(
        PatientName="NOBODY*", StudyDate=_around(known, 365)
    ),
    "PatientName `*OE*`, a year": lambda known: _listed(
        PatientName=f"*{known.surname[1:].upper()}*", StudyDate=_around(known, 365)
    ),
    "PatientName `*OE*`": lambda known: _listed(PatientName=f"*{known.surname[1:].upper()}*"),
    "PatientName `*NOBODY*`": lambda known: _listed(PatientName=f"*NOBODY{known.number}*"),
    "a day, modality": lambda known: _listed(StudyDate=f"{known.day:%Y%m%d}", ModalitiesInStudy=_modality()),
    "a year, modality": lambda known: _listed(StudyDate=_around(known, 365), ModalitiesInStudy=_modality()),
    "AccessionNumber": lambda known: _listed(AccessionNumber=known.accession),
    "PatientID, counts returned": lambda known: _listed(
        PatientID=known.patient_id, NumberOfStudyRelatedInstances="", NumberOfStudyRelatedSeries=""
    ),
    "a day, counts returned": lambda known: _listed(
        StudyDate=f"{known.day:%Y%m%d}", NumberOfStudyRelatedInstances=""
    ),
    "series of a study": lambda known: _query(
        "SERIES", StudyInstanceUID=known.uid, Modality="", SeriesNumber="", NumberOfSeriesRelatedInstances=""
    ),
    "instances of a series": lambda known: _query(
        "IMAGE",
        StudyInstanceUID=known.uid,
        SeriesInstanceUID=f"{known.uid}.1",
        SOPInstanceUID="",
        InstanceNumber="",
    ),
}
RETRIEVES: dict[str, Callable[[Study], Query]] = {
    "retrieve a study": lambda known: _query("STUDY", StudyInstanceUID=known.uid),
    "retrieve a series": lambda known: _query(
        "SERIES", StudyInstanceUID=known.uid, SeriesInstanceUID=f"{known.uid}.2"
    ),
    "retrieve an instance": lambda known: _query("IMAGE", SOPInstanceUID=f"{known.uid}.1.1"),
}


def _timed(matches: Callable[[], Iterator[object]]) -> tuple[float, float]:
    began = time.perf_counter()
    iterator = matches()
    next(iterator, None)
    first = time.perf_counter() - began
    for _ in iterator:
        pass
    return first, time.perf_counter() - began


def _asked(index: SqlIndex, kind: str, queries: list[Query]) -> Times:
    if kind in FINDS:
        return [_timed(lambda asked=asked: index.find(asked)) for asked in queries]
    return [_timed(lambda asked=asked: iter(index.instances(asked))) for asked in queries]


def _evict(database: Path) -> None:
    """Out of the page cache with it, where the system takes the advice."""
    with database.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _summary(times: Times) -> list[float]:
    columns = (sorted(column) for column in zip(*times, strict=True))
    return [column[int(len(column) * share)] * 1000 for column in columns for share in (0.5, 0.95)]


def measured(url: str, studies: int, queries: int) -> dict[str, dict[str, list[float]]]:
    """Kind → median and p95 to the first, then to the last match in ms; "cold" and "warm"."""
    results = {}
    for kind, made in {**FINDS, **RETRIEVES}.items():
        random.seed(kind)
        asked = [made(study(random.randint(1, studies), studies)) for _ in range(queries)]
        _evict(Path(url.removeprefix("sqlite:///")))
        index = SqlIndex.open(url)
        results[kind] = {state: _summary(_asked(index, kind, asked)) for state in ("cold", "warm")}
        index.close()
        print(f"| {kind} | " + " | ".join(_cells(results[kind])) + " |", flush=True)
    return results


def _cells(result: dict[str, list[float]]) -> list[str]:
    return [f"{result[state][place]:.1f}" for state in ("warm", "cold") for place in range(4)]


def recorded(url: str, instances: int, together: int) -> dict[str, float]:
    """What recording new instances costs, so many in a transaction: µs each, CPU and wall clock.

    They are removed again.
    """
    index = SqlIndex.open(url)
    mine = [_new(number) for number in range(instances)]
    groups = [[(*one, ()) for one in mine[at : at + together]] for at in range(0, instances, together)]
    began, cpu = time.perf_counter(), time.process_time()
    for group in groups:
        index.add_many(group)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    for instance, _ in mine:
        index.remove(instance.sop_instance_uid)
    index.close()
    return {"cpu_us": cpu / instances * 1e6, "wall_us": wall / instances * 1e6}


def _new(number: int) -> tuple[Instance, dict[str, str]]:
    """Instances of new studies of 100, each study in another place of the indexes."""
    study_uid = f"1.2.840.113619.2.{number // 100 * 37 % 60}.{number // 100 * 104729 % 10**9}.7"
    instance = Instance(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid=f"{study_uid}.1.{number}",
        study_instance_uid=study_uid,
        series_instance_uid=f"{study_uid}.1",
        key=f"3f/a7/{study_uid}/{study_uid}.1.{number}_0123456789abcdef.htj2k.dcm.zst",
        form="htj2k",
        transfer_syntax="1.2.840.10008.1.2.4.201",
        stored_size=150_000,
        stored_sha256="5" * 64,
        received_transfer_syntax="1.2.840.10008.1.2.1",
        received_size=525_312,
        received_sha256="6" * 64,
        received_at=datetime.now(UTC),
        calling_aet="CTROOM1",
        rule="everything else",
        patient_id=f"NEW{number // 100}",
    )
    attributes = {"InstanceNumber": str(number), "Rows": "512", "Columns": "512", "BitsStored": "12"}
    attributes |= {"PatientID": f"NEW{number // 100}", "PatientName": f"{SURNAMES[number // 100 % 500]}^New"}
    return instance, attributes | {
        "Modality": "CT",
        "StudyDate": f"{FIRST_DAY:%Y%m%d}",
        "ImageType": "ORIGINAL",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--studies", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=200, help="of each kind")
    parser.add_argument("--json", type=Path, help="write the numbers there too")
    given = parser.parse_args()
    url, seconds = filled(given.folder, given.studies)
    if seconds:
        print(f"made in {seconds:.0f} s\n")
    print(
        "| kind | warm, first: median | p95 | last: median | p95 | "
        "cold, first: median | p95 | last: median | p95 |"
    )
    print("| --- |" + " --- |" * 8, flush=True)
    finds = measured(url, given.studies, given.queries)
    recording = {together: recorded(url, 5000, together) for together in (1, 10)}
    held = SqlIndex.open(url)
    size = Path(url.removeprefix("sqlite:///")).stat().st_size
    instances = held.counts().instances
    held.close()
    alone, ten = (
        "{cpu_us:.0f} µs of CPU, {wall_us:.0f} µs by the clock".format(**one) for one in recording.values()
    )
    print(
        f"\n{instances} instances, {size / instances:.0f} bytes each; a new one is recorded in {alone}; "
        f"ten together, as behind the landing log, each in {ten}"
    )
    if given.json:
        numbers = {"studies": given.studies, "instances": instances, "bytes": size, "made_in_s": seconds}
        given.json.write_text(json.dumps(numbers | {"record": recording, "ms": finds}, indent=1))


if __name__ == "__main__":
    main()
