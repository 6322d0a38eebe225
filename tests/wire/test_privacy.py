"""No patient's data in the log, nor in an Error Comment that is not about the peer's own value."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydicom.dataset import Dataset

from scp import telemetry
from scp.config.settings import LogSettings

from .conftest import RunningNode
from .peers import (
    EXPLICIT,
    MR_IMAGE,
    PATIENT_FIND,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    Sent,
    identifier,
    image,
    written,
)

MARK = "ZQXMARK"
CONTEXTS = [(uid, [EXPLICIT]) for uid in (PATIENT_FIND, STUDY_FIND, STUDY_GET, STUDY_MOVE, MR_IMAGE)]


@pytest.fixture
def log() -> io.StringIO:
    stream = io.StringIO()
    telemetry.configure(LogSettings(level="debug"), stream)
    return stream


def marked(instance: str, **more: Any) -> Sent:
    """An object whose texts, dates and numbers all are marked, as far as they can be sent."""
    dataset = image(instance=instance).dataset
    for keyword in ("PatientName", "PatientID", "StudyDescription", "SeriesDescription", "AccessionNumber"):
        setattr(dataset, keyword, MARK)
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    return Sent(MR_IMAGE, instance, EXPLICIT, written(dataset, EXPLICIT))


def raw(level: str, tag: int, vr: bytes, value: bytes) -> Dataset | bytes:
    """An identifier with one element as it is, whatever its VR would have."""
    keys = written(identifier(level), EXPLICIT)
    value += b" " * (len(value) % 2)
    element = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + vr
    return keys + element + len(value).to_bytes(2, "little") + value


def test_all_services(node: RunningNode, log: io.StringIO) -> None:
    """Stored, found, retrieved and refused: queries name keys that are dates, numbers, names and ids."""
    comments: list[str] = []
    with node.scu(*CONTEXTS, roles=[MR_IMAGE]) as scu:
        good = marked("1.2.3.1")
        cut = Sent(MR_IMAGE, "1.2.3.2", EXPLICIT, marked("1.2.3.2").data[:-30])
        several = (good, cut, good, Sent(MR_IMAGE, "1.2.3.3", EXPLICIT, good.data))
        comments += [str(scu.store(sent).comment) for sent in several]
        scu.find(STUDY_FIND, identifier("STUDY", PatientName=MARK, PatientID=f"{MARK}*"))
        for tag, vr in ((0x00080020, b"DA"), (0x00100030, b"DA"), (0x00080030, b"TM"), (0x00200013, b"IS")):
            level = "IMAGE" if vr == b"IS" else "PATIENT" if tag >> 16 == 0x10 else "STUDY"
            root = PATIENT_FIND if level == "PATIENT" else STUDY_FIND
            answer = scu.find(root, raw(level, tag, vr, MARK.encode()))[-1]
            assert level == "IMAGE" or answer.status == 0xA900, (hex(tag), answer)
        scu.find(STUDY_FIND, identifier(MARK))
        comments.append(str(scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID="1.2.3")).final.comment))
        scu.move(STUDY_MOVE, identifier("STUDY", StudyInstanceUID="1.2.3"), "NOWHERE")
    told = log.getvalue()
    assert told.count('"c-store"') == 4
    assert "QueryError" in told
    assert MARK not in told
    assert not any(MARK in comment for comment in comments)


def test_a_fault_of_the_node_quotes_nothing(
    node: RunningNode, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Python and libraries raise quotes the value that they stumbled over."""

    def find(*_: object) -> Iterator[Any]:
        try:
            float(MARK)
        except ValueError as error:
            raise KeyError(MARK) from error
        yield

    monkeypatch.setattr(node.archive, "find", find)
    with node.scu(*CONTEXTS) as scu:
        answer = scu.find(STUDY_FIND, identifier("STUDY", PatientName="A"))[-1]
    assert answer.status == 0xC000
    assert MARK not in str(answer.comment)
    (line,) = [one for one in map(json.loads, log.getvalue().splitlines()) if one["event"] == "c-find"]
    assert "Traceback" in line["exception"]
    assert "could not convert string to float: …" in line["exception"]
    assert MARK not in json.dumps(line)


def test_the_log_may_have_them(node: RunningNode) -> None:
    stream = io.StringIO()
    telemetry.configure(LogSettings(patients=True), stream)
    with node.scu(*CONTEXTS) as scu:
        scu.find(PATIENT_FIND, raw("PATIENT", 0x00100030, b"DA", MARK.encode()))
    assert MARK in stream.getvalue()
