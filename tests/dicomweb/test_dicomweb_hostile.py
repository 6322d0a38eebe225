"""Paths and queries that nobody sends by mistake: each is answered, and none takes long or breaks another."""

from __future__ import annotations

import json
import time
from io import StringIO
from typing import Any
from urllib.parse import quote

import pytest
from dicomweb_desks import MadeDicomWeb, image
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.datadict import keyword_dict

from scp import telemetry
from scp.config.settings import LogSettings
from scp.errors import QueryError
from scp.web.dicomweb.faults import Refused
from scp.web.dicomweb.search.parameters import search_of

pytestmark = [pytest.mark.dicomweb, pytest.mark.quick]


@pytest.fixture(scope="module")
def filled(made: MadeDicomWeb) -> MadeDicomWeb:
    """Two images of one series."""
    made.store(image("1.2.1.1.1"), image("1.2.1.1.2", PatientName="A" * 60))
    return made


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/studies?" + "a" * 40_000, 414),
        ("/studies?" + "&".join(f"PatientID={n}" for n in range(3000)), 414),
        ("/studies?" + "&".join(["PatientID=1"] * 2000), 400),
        ("/studies?includefield=" + ",".join(["StudyDate"] * 3000), 200),
        ("/studies?includefield=" + ",".join(f"{n:04X}1001" for n in range(9, 7009, 2)), 200),
        ("/studies?PatientName=" + "*a" * 1000, 400),
        ("/studies?PatientName=" + "?" * 500, 400),
        ("/studies?StudyInstanceUID=" + ",".join(["1.2"] * 8000), 204),
        ("/studies?PatientID=" + "%5C".join(["x"] * 500), 400),
        ("/studies?" + ".".join(["RequestAttributesSequence"] * 100) + ".CodeValue=1", 400),
        ("/studies?PatientName.CodeValue=1", 400),
        ("/studies?RequestAttributesSequence=1", 400),
        ("/studies?StudyDate=yesterday", 400),
        ("/series?SeriesNumber=one", 400),
        ("/studies?limit=-1", 400),
        ("/studies?limit=1&limit=2", 400),
        ("/studies?limit=99999999999999999999999", 400),
        ("/studies?offset=1e3", 400),
        ("/studies?offset=999999999999999", 204),
        ("/studies?fuzzymatching=maybe", 400),
        ("/studies?nothing=1", 400),
        ("/studies?PatientID=%00", 200),
        ("/studies?PatientID=%FF", 400),
        ("/studies?PatientID=1%00%27%20OR%201=1--", 204),
        ("/studies?PatientID=1&00100020=1", 400),
        ("/studies/1.2.1/series?StudyInstanceUID=1.2.1", 400),
        ("/studies/%2E%2E/series", 204),
        ("/studies/1.2.1%2Fseries", 404),
        ("/studies/1.2%2F3/series", 204),
        ("/studies/%00/series", 404),
        ("/studies/*/series", 404),
        ("/studies/1.2.1%5C1.2.2/series", 404),
        ("/studies/%FF/series", 400),
        ("/studies//series", 404),
        ("/" + "a/" * 10_000, 404),
        ("/studies/" + "1" * 5000 + "/series", 404),
        ("/rendered", 404),
        ("/studies/1/frames/1", 404),
    ],
)
def test_odd_requests_are_answered(filled: MadeDicomWeb, path: str, status: int) -> None:
    begun = time.process_time()
    answer = filled.client().get(path)
    assert (answer.status_code, answer.status_code >= 500) == (status, False), answer.text[:200]
    assert time.process_time() - begun < 5.0
    assert len(answer.content) < 10_000


def test_a_method_that_a_resource_has_not_is_told_those_that_it_has(filled: MadeDicomWeb) -> None:
    answer = filled.client().delete("/studies/1.2.1/series")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


def test_the_log_has_what_was_asked_and_no_value_of_it(filled: MadeDicomWeb) -> None:
    log = StringIO()
    telemetry.configure(LogSettings(), log)
    filled.client().get("/studies?PatientName=Secretname&StudyDate=Secretname")
    filled.client().get("/studies/1.2.1/series?PatientID=Secretname")
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    refused, found = (line for line in lines if line["logger"] == "zscp")  # others are of the test's client
    assert "Secretname" not in json.dumps([refused, found])
    assert (refused["event"], refused["http_status"], refused["outcome"]) == ("qido-rs", 400, "QueryError")
    assert (set(found["keys"]), found["query_level"]) == ({"PatientID", "StudyInstanceUID"}, "SERIES")
    assert (found["caller"], found["http_status"], found["outcome"]) == ("viewer", 204, "ok")


def test_a_fault_of_zscp_harms_its_request_alone(
    filled: MadeDicomWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry.configure(LogSettings(), StringIO())
    with monkeypatch.context() as patched:
        patched.setattr("scp.web.dicomweb.search.service.of_texts", lambda _: 1 / 0)
        answer = filled.client().get("/studies")
        assert (answer.status_code, answer.content) == (200, b"")  # it had begun, and breaks off
    with monkeypatch.context() as patched:
        patched.setattr("scp.web.dicomweb.search.service.search_of", lambda *_: 1 / 0)
        assert filled.client().get("/studies").status_code == 500
    assert filled.client().get("/studies").status_code == 200


_KEYWORDS = sorted(keyword_dict)[:400]
_NAMES = st.one_of(st.sampled_from(_KEYWORDS), st.text(max_size=12), st.sampled_from(["limit"]))
_PAIRS = st.lists(st.tuples(_NAMES, st.text(max_size=20)), max_size=4)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    pairs=_PAIRS,
    level=st.sampled_from(["STUDY", "IMAGE"]),
)
def test_any_query_is_one_or_is_refused(pairs: list[tuple[str, str]], level: str) -> None:
    text = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)
    try:
        found = search_of(level, {}, text.encode("utf-8", "surrogatepass"))
    except (QueryError, Refused):
        return
    assert found.query.level == level
    assert {key.keyword for key in found.query.keys} >= {"StudyInstanceUID"}


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(segments=st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=6), raw=st.binary(max_size=30))
def test_any_path_is_answered(filled: MadeDicomWeb, segments: list[str], raw: bytes) -> None:
    path = "/".join(quote(one, safe="", errors="replace") for one in ("studies", *segments))
    answer: Any = filled.client().get(f"/{path}?PatientID={quote(raw)}")
    assert answer.status_code in {200, 204, 400, 404}
